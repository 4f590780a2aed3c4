package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// localRules have pages that local routes serve behind the gate.
const localRules = `
		identify jwt {
			issuer self
		}
		rule /pricing any {
			local
			engage pricing app
		}
		rule /account authenticated {
			local
		}
		rule / any
		local {
			@form method POST
			handle_path /pricing* {
				respond "prices of {http.gatefold.rule}"
			}
			respond @form "posted"
			respond /account "account of {http.gatefold.user.id}"
			respond /account/broken 503
		}
`

// Local routes serve the allowed requests of a local rule. The origin gets none.
func TestLocalRoutes(t *testing.T) {
	s := newTestSite(t, localRules)
	if got := s.get("/pricing/plans"); got.StatusCode != http.StatusOK || got.body != "prices of /pricing" || got.Header.Get("Cache-Control") != "" {
		t.Errorf("the local page: %d %s %v", got.StatusCode, got.body, got.Header)
	}
	s.get("/account").denied(http.StatusUnauthorized, "login_required")
	name, bearer := s.subscriber()
	if got := s.get("/account", name, bearer); got.body != "account of subscriber" || got.Header.Get("Cache-Control") != "private" {
		t.Errorf("the reader's local page: %s %v", got.body, got.Header)
	}
	if got := s.get("/account/nothing", name, bearer); got.StatusCode != http.StatusNotFound || !strings.Contains(got.body, `"code":"not_found"`) || got.Header.Get("Cache-Control") != "private, no-store" {
		t.Errorf("what no route answers: %d %s %v", got.StatusCode, got.body, got.Header)
	}
	if got := s.get("/account/nothing", name, bearer, "Accept", "text/html"); got.StatusCode != http.StatusNotFound || !strings.Contains(got.body, "This page is not available") {
		t.Errorf("a browser: %d %s", got.StatusCode, got.body)
	}
	if got := s.get("/account/broken", name, bearer); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a route of its own status: %d", got.StatusCode)
	}
	if got := s.do(http.MethodPost, "/account", name, bearer); got.body != "posted" {
		t.Errorf("POST: %d %s", got.StatusCode, got.body)
	}
	s.origin.WantNone(t)
	s.get("/elsewhere").page()
}

// A rule of the store can be local, with and without local routes of the site.
func TestLocalRulesOfTheStore(t *testing.T) {
	s, admin := newAdminSite(t)
	config := func(gate string) string {
		return strings.Replace(s.config("", gate, ""), "admin off", "admin "+strings.TrimPrefix(admin, "http://"), 1)
	}
	s.load(config("site news"))
	const rules = "/gatefold/api/proxy/rules?site=news"
	s.post(admin+rules, "application/json", `{"path":"/about","allow":0,"is_forward":false}`)
	s.get("/about").denied(http.StatusNotFound, "not_found")
	s.origin.WantNone(t)
	s.load(config("site news\nlocal {\nrespond \"about us\"\n}"))
	if got := s.get("/about"); got.body != "about us" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	s.load(config("site news\ndeny {\nerrors\n}"))
	if got := s.get("/about"); got.StatusCode != http.StatusNotFound || got.body != "" {
		t.Errorf("with deny errors: %d %s", got.StatusCode, got.body)
	}
}

// The API shows the rules of the Caddyfile and refuses to change them.
func TestRulesOfTheCaddyfileAreReadOnly(t *testing.T) {
	s, admin := newAdminSite(t)
	config := func(gate string) string {
		return strings.Replace(s.config("", gate, ""), "admin off", "admin "+strings.TrimPrefix(admin, "http://"), 1)
	}
	s.load(config(localRules))
	const rules = "/gatefold/api/proxy/rules"
	var page struct {
		Results []map[string]any
	}
	if err := json.Unmarshal([]byte(s.get(admin+rules).body), &page); err != nil || len(page.Results) != 3 {
		t.Fatalf("%v %v", page, err)
	}
	if rule := page.Results[0]; rule["path"] != "/pricing" || rule["is_forward"] != false || rule["engaged"] != "pricing,app" || rule["rank"] != 1.0 {
		t.Errorf("the rule is %v", rule)
	}
	got := s.post(admin+rules, "application/json", `{"path":"/x","allow":0}`)
	if got.StatusCode != http.StatusConflict || !strings.Contains(got.body, "Caddyfile:") || !strings.Contains(got.body, "read-only") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	for _, other := range []string{"?site=other", "?vendor=other"} {
		if got := s.post(admin+rules+other, "application/json", `{"path":"/x","allow":0}`); got.StatusCode != http.StatusCreated {
			t.Errorf("%s: %d %s", other, got.StatusCode, got.body)
		}
	}
	s.load(config("link_param token"))
	if got := s.post(admin+rules, "application/json", `{"path":"/x","allow":0}`); got.StatusCode != http.StatusCreated {
		t.Errorf("without rules in the Caddyfile: %d %s", got.StatusCode, got.body)
	}
	s.get("/x").page()
}
