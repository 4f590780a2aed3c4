package caddymodule

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// The access log has the decision and the reason of every request.
func TestDecisionIsLogged(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	s.get("/public/x")
	s.get("/articles/hello", name, bearer)
	s.get(link)
	s.get(link)
	s.get("/articles/hello")
	s.rawPath("//articles/hello")

	rule := "/articles/{publisherContentId}"
	want := []map[string]any{
		{"decision": "allow", "reason": "public", "rule": "/public"},
		{"decision": "allow", "reason": "entitled", "rule": rule, "user": "subscriber"},
		{"decision": "allow", "reason": "signed_link", "rule": rule, "link": id},
		{"decision": "deny", "reason": "link_used_up", "rule": rule, "link": id},
		{"decision": "deny", "reason": "login_required", "rule": rule},
		{"decision": "deny", "reason": "bad_path"},
	}
	entries := logged.entries(t, "http.log.access")
	if len(entries) != len(want) {
		t.Fatalf("%d requests were logged, want %d", len(entries), len(want))
	}
	for i, entry := range entries {
		fields, _ := entry["gatefold"].(map[string]any)
		delete(fields, "grant")
		delete(fields, "request_id") // see TestRequestIDIsInLogProblemAndPage
		if code, _ := fields["support_code"].(string); (code != "") != (fields["decision"] == "deny") {
			t.Errorf("request %d has the support code %q", i, code)
		}
		delete(fields, "support_code") // see TestSupportCodeIsOneEverywhere
		if !reflect.DeepEqual(fields, want[i]) {
			t.Errorf("request %d has %v, want %v", i, fields, want[i])
		}
	}

	// The gate's own log has every denial with its details.
	denials := slices.DeleteFunc(logged.entries(t, "http.handlers.gatefold"), func(entry map[string]any) bool { return entry["level"] == "warn" })
	if len(denials) != 3 {
		t.Fatalf("%d denials were logged, want 3:\n%s", len(denials), logged)
	}
	for i, entry := range denials {
		if entry["level"] != "info" || entry["msg"] != "denied" || entry["client_ip"] != "127.0.0.1" || entry["site"] != "default" || entry["path"] == "" {
			t.Errorf("denial %d is %v", i, entry)
		}
	}
	if err, _ := denials[2]["error"].(string); !strings.Contains(err, "empty segment") {
		t.Errorf("the log does not say what is wrong with the path: %v", denials[2])
	}
}

// The gate's own log contains no token and no cookie, and escapes what a client sends.
func TestLogContainsNoToken(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{MaxUses: 1})
	_, token, _ := strings.Cut(link, "token=")
	cookie := s.get(link).page().linkCookie()
	reader := s.reader(keys.ReaderClaims{UserID: "u"})
	for _, path := range []string{link, "/articles/hello?token=" + token[:len(token)-1], "/articles/other?token=" + token, "/account?token=" + token, "/articles/hello?token=x&token=" + token} {
		s.get(path, "Cookie", cookie+"x; reader="+reader+"x", "Authorization", "Bearer "+reader+"x")
		s.do(http.MethodTrace, path)
	}
	entries := logged.entries(t, "http.handlers.gatefold")
	if len(entries) == 0 {
		t.Fatal("nothing was logged")
	}
	for line := range strings.Lines(logged.String()) {
		if strings.Contains(line, `"logger":"http.log.access`) {
			continue // the site's own log, which the example filters
		}
		for _, secret := range []string{strings.Split(token, ".")[1], strings.Split(reader, ".")[1], strings.Split(cookie, "=")[1]} {
			if strings.Contains(line, secret) {
				t.Errorf("the log holds a secret: %s", line)
			}
		}
	}
}
