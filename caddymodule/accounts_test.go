package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/openstore"
)

// ownRules are those of docs/proxy.md.
const ownRules = `
		rule /api/legal GET,HEAD any {
			local
		}
		rule /api authenticated {
			local
		}
		rule /terms signed
		rule / any
		local {
			gatefold_accounts
			respond "no operation"
		}
`

// A reader signs the terms of use on the site itself, with the cookie by which they read. The
// page of another site cannot make their browser sign: its form and its script are refused,
// and nothing is signed.
func TestReaderSignsOnTheSite(t *testing.T) {
	s := newCoworkSite(t, openstore.Bolt, ownRules)
	s.desk()
	name, bearer := s.as("ken")
	s.get("/terms", name, bearer).denied(http.StatusForbidden, "agreement_required")

	const sign, yes, jsonType = "/api/legal/terms-of-use/sign", `{"read_terms": true}`, "application/json"
	cookie := "reader=" + s.token("ken")
	for what, attack := range map[string]struct {
		status  int
		headers []string
	}{
		"a form":                     {http.StatusForbidden, []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}},
		"a script":                   {http.StatusForbidden, []string{"Content-Type", jsonType, "Origin", "https://evil.example"}},
		"a script of a subdomain":    {http.StatusForbidden, []string{"Content-Type", jsonType, "Sec-Fetch-Site", "same-site"}},
		"a sandboxed frame":          {http.StatusForbidden, []string{"Content-Type", jsonType, "Origin", "null"}},
		"another port":               {http.StatusForbidden, []string{"Content-Type", jsonType, "Origin", "http://127.0.0.1:1"}},
		"no word of where":           {http.StatusForbidden, []string{"Content-Type", jsonType}},
		"a form of the site's own":   {http.StatusUnsupportedMediaType, []string{"Content-Type", "text/plain", "Origin", s.site}},
		"a form without its content": {http.StatusUnsupportedMediaType, []string{"Origin", s.site}},
	} {
		got := s.doBody(http.MethodPost, sign, yes, append(attack.headers, "Cookie", cookie)...)
		if got.StatusCode != attack.status {
			t.Errorf("%s: %d %s, want %d", what, got.StatusCode, got.body, attack.status)
		}
	}
	s.get("/terms", name, bearer).denied(http.StatusForbidden, "agreement_required")

	signed := s.doBody(http.MethodPost, sign, yes, "Content-Type", jsonType, "Origin", s.site, "Sec-Fetch-Site", "same-origin", "Cookie", cookie)
	if members := signed.members(http.StatusOK, sign); members["read_terms"] != true || members["last_signed"] == nil || signed.Header.Get("Cache-Control") != "private, no-store" {
		t.Errorf("%v %v", members, signed.Header)
	}
	s.get("/terms", name, bearer).page()
	if log := s.audit(); !strings.Contains(log, `"reader ken"`) {
		t.Errorf("the audit log does not name the reader: %s", log)
	}

	// A program writes its credential itself, wherever it runs.
	s.own("xia", http.MethodPost, sign, yes).members(http.StatusOK, "by a token")
	name, bearer = s.as("xia")
	s.get("/terms", name, bearer).page()
}

// Readers do for themselves what is theirs, and nothing else; anonymous readers read the
// agreements. Everything that is not an operation is the site's own.
func TestReadersCallWhatIsTheirs(t *testing.T) {
	s := newCoworkSite(t, openstore.Bolt, ownRules)
	s.desk()
	s.subscribe(clock.Now().Add(time.Hour), nil)
	s.get("/api/legal").members(http.StatusOK, "anonymous")
	s.get("/api/legal/terms-of-use").members(http.StatusOK, "anonymous")
	s.get("/api/profile/abc/subscriptions").denied(http.StatusUnauthorized, "login_required")
	s.doBody(http.MethodPost, "/api/legal/terms-of-use/sign", `{"read_terms": true}`, "Content-Type", "application/json").denied(http.StatusUnauthorized, "login_required")

	for _, test := range []struct {
		user, method, path, body string
		status                   int
	}{
		{"xia", http.MethodGet, "/api/profile/abc/subscriptions", "", http.StatusOK},
		{"ken", http.MethodGet, "/api/profile/abc/subscriptions", "", http.StatusOK},
		{"joe", http.MethodGet, "/api/profile/abc/subscriptions", "", http.StatusForbidden},
		{"joe", http.MethodGet, "/api/profile/none/subscriptions", "", http.StatusForbidden},
		{"ken", http.MethodDelete, "/api/profile/abc/subscriptions/premium", "", http.StatusForbidden},
		{"ken", http.MethodPost, "/api/profile/cowork/plans", `{"title": "Mine"}`, http.StatusForbidden},
		{"xia", http.MethodPost, "/api/profile/cowork/plans", `{"title": "Mine"}`, http.StatusForbidden},
		{"xia", http.MethodPost, "/api/agreements", `{"title": "Mine"}`, http.StatusForbidden},
		{"xia", http.MethodGet, "/api/proxy/rules", "", http.StatusForbidden},
		{"xia", http.MethodPost, "/api/proxy/key", "", http.StatusForbidden},
		{"xia", http.MethodGet, "/api/proxy/rules?vendor=default", "", http.StatusForbidden},
		{"xia", http.MethodGet, "/api/none", "", http.StatusNotFound},
		{"xia", http.MethodDelete, "/api/profile/abc/subscriptions/premium", "", http.StatusNoContent},
	} {
		if got := s.own(test.user, test.method, test.path, test.body); got.StatusCode != test.status {
			t.Errorf("%s %s as %s: %d %s, want %d", test.method, test.path, test.user, got.StatusCode, got.body, test.status)
		}
	}
	if got := s.own("xia", http.MethodPost, "/api/legal/terms-of-use/sign", `{"read_terms": "`+strings.Repeat("x", 2<<20)+`"}`); got.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of 2 MiB: %d %s", got.StatusCode, got.body)
	}
	s.origin.WantNone(t)
	for _, path := range []string{"/management/records/users/export", "/oauth/token", "/docs"} {
		s.own("xia", http.MethodGet, path, "").page()
	}
}

// Outside of a gate's local routes no reader is known, so the configuration fails to load.
func TestAccountsNeedAGate(t *testing.T) {
	s := newTestSite(t, standardRules)
	for site, want := range map[string]string{
		"gatefold_accounts":                    "must be in the local routes of a gate",
		"route /api/* {\ngatefold_accounts\n}": "must be in the local routes of a gate",
		"gatefold {\nrule / any\nlocal {\ngatefold_accounts {\ncors *\n}\n}\n}": "it takes none",
	} {
		if err := load(s.siteOf(site + "\nrespond page")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", site, err, want)
		}
	}
	s.load(s.siteOf("gatefold {\nrule / any {\nlocal\n}\nlocal {\nhandle_path /mine/* {\ngatefold_accounts\n}\n}\n}\nrespond page"))
	if got := s.get("/mine/api/legal"); got.StatusCode != http.StatusOK || !strings.Contains(got.body, `"results"`) {
		t.Errorf("below a path: %d %s", got.StatusCode, got.body)
	}
}
