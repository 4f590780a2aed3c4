package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/readerkey"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// keySite is a site with the management API at its admin endpoint.
type keySite struct {
	*testSite
	admin string
}

func newKeySite(t *testing.T, gate string) *keySite {
	t.Helper()
	s := &keySite{testSite: newTestSite(t, standardRules)}
	address := "127.0.0.1:" + keystest.FreePort(t)
	s.load(strings.Replace(s.config("", gate, ""), "admin off", "admin "+address, 1))
	s.admin = "http://" + address + "/gatefold"
	return s
}

// call calls the API, and decodes its answer into a value unless that is nil.
func (s *keySite) call(method, path, body string, want int, to any) answer {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), method, s.admin+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if strings.Contains(path, "/batch") {
		request.Header.Set("Content-Type", "application/x-ndjson")
	}
	response, err := browser.Do(request)
	if err != nil {
		s.Fatal(err)
	}
	got := s.read(response)
	if got.StatusCode != want {
		s.Fatalf("%s %s: %d %s", method, path, got.StatusCode, got.body)
	}
	if to != nil {
		if err := json.Unmarshal([]byte(got.body), to); err != nil {
			s.Fatal(err)
		}
	}
	return got
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// A reader's program reads what the reader reads, by a key that their publisher made once:
// as a bearer token or as Basic credentials. The origin learns who reads and never the key,
// nor do the logs. Revoked, it opens nothing from the next request on.
func TestAPIKey(t *testing.T) {
	s := newKeySite(t, standardRules)
	s.backend(policy.SessionAssertion)
	s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	var key admin.CreatedAPIKey
	s.call(http.MethodPost, "/api/users/ann/api-keys", `{"title": "archive search"}`, http.StatusCreated, &key)
	if !strings.HasPrefix(key.Secret, policy.PrefixAPIKey) || key.EndsAt.Sub(key.CreatedAt) != 365*24*time.Hour {
		t.Fatalf("the key is %+v", key)
	}
	for name, credential := range map[string]string{
		"bearer": "Bearer " + key.Secret, "small letters": "bearer  " + key.Secret, "password": basic("ann", key.Secret), "user": basic(key.Secret, ""), "user and x": basic(key.Secret, "x"),
	} {
		for range 2 {
			s.get("/articles/hello", "Authorization", credential).page()
		}
		origin := s.origin.Last(t).Header
		if origin.Get("Authorization") != "" || origin.Get(sessionHeader) == "" {
			t.Errorf("%s: the origin gets %v", name, origin)
		}
		for header, values := range origin {
			if strings.Contains(strings.Join(values, " "), "gfk_") {
				t.Errorf("%s: the key reaches the origin in %s", name, header)
			}
		}
	}
	s.get("/account", "Authorization", "Bearer "+key.Secret).page()
	s.get("/closed/1", "Authorization", "Bearer "+key.Secret).denied(http.StatusForbidden, "not_entitled")
	// The credentials of the origin itself are not the gate's to take.
	s.get("/public", "Authorization", basic("staging", "gf")).page()
	if got := s.origin.Last(t).Header.Get("Authorization"); got != basic("staging", "gf") {
		t.Errorf("the origin's own credentials are %q there", got)
	}
	for name, headers := range map[string][]string{
		"incomplete": {"Authorization", "Bearer " + key.Secret[:60]}, "altered": {"Authorization", "Bearer " + key.Secret[:60] + "AAAAAAAA"},
		"two":      {"Authorization", "Bearer " + key.Secret, "Authorization", "Bearer x"},
		"a feed's": {"Authorization", "Bearer gff_" + key.Secret[4:]},
	} {
		s.get("/articles/hello", headers...).denied(http.StatusUnauthorized, "bad_credential")
		s.get("/public", headers...).page()
		if got := s.origin.Last(t).Header["Authorization"]; got != nil {
			t.Errorf("%s: the origin gets %v", name, got)
		}
	}
	if explained := s.explain(admin.ExplainRequest{URL: "/articles/hello", ReaderToken: key.Secret}); explained.Reader.UserID != "ann" || explained.Reader.Source != readerkey.KindAPIKey || explained.Decision.Reason != "entitled" {
		t.Errorf("explain says %+v", explained)
	}
	if explained := s.explain(admin.ExplainRequest{URL: "/articles/hello", ReaderToken: key.Secret[:60]}); explained.Reader.Error == "" || explained.Decision.Reason != "bad_credential" {
		t.Errorf("explain says %+v", explained)
	}
	var list admin.NumberedPage[admin.APIKey]
	got := s.call(http.MethodGet, "/api/users/ann/api-keys", "", http.StatusOK, &list)
	if list.Count != 1 || list.Results[0].ID != key.ID || list.Results[0].Title != "archive search" || strings.Contains(got.body, "gfk_") {
		t.Errorf("the list is %s", got.body)
	}
	s.call(http.MethodDelete, "/api/users/bob/api-keys/"+key.ID, "", http.StatusNotFound, nil)
	s.call(http.MethodDelete, "/api/users/ann/api-keys/"+key.ID, "", http.StatusNoContent, nil)
	s.get("/articles/hello", "Authorization", "Bearer "+key.Secret).denied(http.StatusUnauthorized, "bad_credential")
	if explained := s.explain(admin.ExplainRequest{URL: "/articles/hello", ReaderToken: key.Secret}); explained.Reader.Error != policy.ErrReaderKey.Error() {
		t.Errorf("explain says %+v", explained.Reader)
	}
	s.call(http.MethodPost, "/api/users/ann/api-keys", `{"password": "yoyo"}`, http.StatusUnprocessableEntity, nil)
	s.holdsNoKey()
}

// holdsNoKey fails the test if a key is in the logs or in the audit log.
func (s *keySite) holdsNoKey() {
	s.Helper()
	audit := s.call(http.MethodGet, "/management/audit", "", http.StatusOK, nil).body
	for _, text := range []string{logged.String(), audit} {
		for _, prefix := range []string{policy.PrefixAPIKey, policy.PrefixFeed} {
			if at := strings.Index(text, prefix); at >= 0 {
				s.Errorf("a key is in the log: %s", text[max(0, at-200):min(len(text), at+20)])
			}
		}
	}
	if !strings.Contains(audit, "reader-key") {
		s.Errorf("the audit log is %s", audit)
	}
}

// A key ends at its declared end, and the streams that it opened with it.
func TestAPIKeyEnds(t *testing.T) {
	s := newKeySite(t, standardRules)
	keepClock(t)
	s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	var key admin.CreatedAPIKey
	s.call(http.MethodPost, "/api/users/ann/api-keys", `{"days": 1}`, http.StatusCreated, &key)
	clock.Advance(24*time.Hour - time.Second)
	s.get("/articles/hello", "Authorization", "Bearer "+key.Secret).page()
	clock.Advance(time.Second)
	s.get("/articles/hello", "Authorization", "Bearer "+key.Secret).denied(http.StatusUnauthorized, "bad_credential")
}

// A program in a loop is told to wait: 429 with Retry-After for gated pages, public ones go on,
// and other keys of the reader too. What it used is counted.
func TestAPIKeyRate(t *testing.T) {
	s := newKeySite(t, standardRules+"\n\t\tkey_rate 3\n")
	keepClock(t)
	s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	var key, other admin.CreatedAPIKey
	s.call(http.MethodPost, "/api/users/ann/api-keys", `{}`, http.StatusCreated, &key)
	s.call(http.MethodPost, "/api/users/ann/api-keys", `{}`, http.StatusCreated, &other)
	clock.Set(clock.Now().Truncate(time.Minute))
	for range 3 {
		s.get("/articles/hello", "Authorization", "Bearer "+key.Secret).page()
	}
	got := s.get("/articles/hello", "Authorization", "Bearer "+key.Secret).denied(http.StatusTooManyRequests, "rate_limited")
	if got.Header.Get("Retry-After") != keyLimitSeconds {
		t.Errorf("the header is %v", got.Header)
	}
	s.get("/public", "Authorization", "Bearer "+key.Secret).page()
	s.get("/articles/hello", "Authorization", "Bearer "+other.Secret).page()
	clock.Advance(time.Minute)
	s.get("/articles/hello", "Authorization", "Bearer "+key.Secret).page()
	s.waitFor("the count", func() bool {
		clock.Advance(time.Minute)
		s.get("/articles/hello", "Authorization", "Bearer "+other.Secret)
		var list admin.NumberedPage[admin.APIKey]
		s.call(http.MethodGet, "/api/users/ann/api-keys", "", http.StatusOK, &list)
		for _, one := range list.Results {
			if one.ID == key.ID {
				return one.Uses == 4 && one.LastUsedAt != nil
			}
		}
		return false
	})
}

// The stream of a program is cut when its key is revoked, over HTTP/1 and HTTP/2, and not before.
func TestRevokedKeyCutsStreams(t *testing.T) {
	s := newKeySite(t, standardRules)
	keepClock(t)
	s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: hello\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	for name, client := range map[string]*http.Client{"HTTP/1.1": browser, "HTTP/2.0": {Transport: transport}} {
		var key admin.CreatedAPIKey
		s.call(http.MethodPost, "/api/users/ann/api-keys", `{}`, http.StatusCreated, &key)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.site+"/articles/hello", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+key.Secret)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		buffer := make([]byte, 64)
		if n, err := response.Body.Read(buffer); err != nil || string(buffer[:n]) != "data: hello\n\n" || response.Proto != name {
			t.Fatalf("%s: %q, %v over %s", name, buffer[:n], err, response.Proto)
		}
		s.waitFor("the stream to be watched", func() bool { return openStreams.count() == 1 })
		cut := make(chan error, 1)
		go func() {
			_, err := response.Body.Read(make([]byte, 64))
			cut <- err
		}()
		clock.Advance(10 * time.Second) // decided again, and still allowed
		select {
		case err := <-cut:
			t.Fatalf("%s: the stream is cut while the key counts: %v", name, err)
		case <-time.After(300 * time.Millisecond):
		}
		s.call(http.MethodDelete, "/api/users/ann/api-keys/"+key.ID, "", http.StatusNoContent, nil)
		select {
		case err := <-cut:
			if err == nil {
				t.Errorf("%s: the stream goes on", name)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the stream goes on after its key was revoked", name)
		}
		s.waitFor("the stream to end", func() bool { return openStreams.count() == 0 })
	}
}
