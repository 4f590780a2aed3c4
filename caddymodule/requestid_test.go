package caddymodule

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// idsOf returns the ids of the newest denial in the gate's log and of the newest request
// in the access log.
func (s *testSite) idsOf() (denied, access string) {
	s.Helper()
	id := func(logger string) string {
		entries := logged.entries(s, logger)
		if len(entries) == 0 {
			return ""
		}
		fields, _ := entries[len(entries)-1]["gatefold"].(map[string]any)
		text, _ := fields["request_id"].(string)
		return text
	}
	return id("http.handlers.gatefold"), id("http.log.access")
}

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// A program has the id of the request in the problem, and the site's own page can show it: the
// operator finds the line of the log. The built-in page has the support code in its place.
func TestRequestIDIsInLogProblemAndPage(t *testing.T) {
	s := newTestSite(t, standardRules)
	page := s.write("denied.html", "number {{.RequestID}}.")
	problem := func(got answer) string {
		var p struct{ RequestID string }
		if err := json.Unmarshal([]byte(got.body), &p); err != nil {
			t.Fatal(err)
		}
		return p.RequestID
	}
	check := func(shown string) {
		t.Helper()
		denied, access := s.idsOf()
		if !uuidPattern.MatchString(shown) || denied != shown || access != shown {
			t.Errorf("the reader sees %q, the gate's log has %q, the access log %q", shown, denied, access)
		}
	}
	check(problem(s.get("/account").denied(http.StatusUnauthorized, "login_required")))
	got := s.get("/account", "Accept", browserAccept)
	shown, _ := s.idsOf()
	if strings.Contains(got.body, shown) {
		t.Errorf("the page has both the support code and the id %s", shown)
	}
	// An allowed request has one in the access log.
	s.get("/public/x").page()
	if _, access := s.idsOf(); !uuidPattern.MatchString(access) || access == shown {
		t.Errorf("the id of an allowed request is %q", access)
	}

	s.load(s.config("", standardRules+"\ndeny {\npage "+page+"\n}\n", ""))
	got = s.get("/account", "Accept", browserAccept)
	check(strings.TrimSuffix(strings.TrimPrefix(got.body, "number "), "."))

	s.load(strings.Replace(s.config("", standardRules+"\ndeny {\nerrors\n}\n", "handle_errors {\nrespond \"number {http.gatefold.request_id}.\"\n}\n"), "reverse_proxy", "\n\treverse_proxy", 1))
	got = s.get("/account")
	check(strings.TrimSuffix(strings.TrimPrefix(got.body, "number "), "."))
}

// A load balancer that the server trusts gives its own id to a request. A client cannot:
// it could write into the log what it wants, or hide its requests behind one number. An
// id with other characters, or a long one, is not written either.
func TestRequestIDOfATrustedProxyOnly(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		global := ""
		if trusted {
			global = "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}"
		}
		s := newTestSiteWith(t, global, standardRules, "")
		for given, accepted := range map[string]bool{
			"4bf92f3577b34da6": true, "Root=1-67891233-abcdef": false, "a.b_c-D": true, strings.Repeat("a", 128): true,
			strings.Repeat("a", 129): false, "<script>": false, "x y": false, `a","level":"x`: false,
		} {
			got := s.get("/account", requestIDHeader, given)
			var p struct{ RequestID string }
			if err := json.Unmarshal([]byte(got.body), &p); err != nil {
				t.Fatal(err)
			}
			denied, _ := s.idsOf()
			if want := trusted && accepted; (p.RequestID == given) != want || denied != p.RequestID || !want && !uuidPattern.MatchString(p.RequestID) {
				t.Errorf("trusted %v: %q becomes %q in the problem and %q in the log", trusted, given, p.RequestID, denied)
			}
		}
	}
}

// A dial of the reverse proxy goes on after its request has got another connection, and
// reads the request's variables. The id for the log must not be written there: two
// goroutines at one map end the process.
func TestRequestIDIsNotWrittenBehindTheGate(t *testing.T) {
	s := newTestSite(t, standardRules)
	readVariablesLate(t)
	s.load(strings.Replace(s.config("", standardRules, ""), "reverse_proxy", "route {\n\t\ttest_late_reader\n\t\trespond page\n\t}\n\treverse_proxy", 1))
	for range 20 {
		if got := s.get("/public/x"); got.StatusCode != http.StatusOK {
			t.Fatalf("the page answers %d", got.StatusCode)
		}
		if _, access := s.idsOf(); !uuidPattern.MatchString(access) {
			t.Errorf("the id in the access log is %q", access)
		}
	}
}
