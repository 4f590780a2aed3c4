package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

func (s *testSite) explain(request admin.ExplainRequest) *admin.Explanation {
	s.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		s.Fatal(err)
	}
	if !strings.HasPrefix(request.URL, "http") {
		request.URL = s.site + request.URL
	}
	result, err := app.(*App).explain(s.Context(), defaultVendor, request)
	if err != nil {
		s.Fatal(err)
	}
	return result
}

// Explain predicts the gate's decision, with the cause and a hint, and spends nothing.
func TestExplainAgreesWithTheGate(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.grant(store.Grant{UserID: "subscriber", SKU: "premium"})
	ends := clock.Now().Add(-time.Hour)
	s.grant(store.Grant{UserID: "former", SKU: "premium", EndsAt: &ends})
	token := func(claims keys.LinkClaims) (string, string) {
		link, id := s.link(claims)
		return link[strings.Index(link, "token=")+len("token="):], id
	}
	good, _ := token(keys.LinkClaims{})
	counted, countedID := token(keys.LinkClaims{MaxUses: 1})
	used, usedID := token(keys.LinkClaims{MaxUses: 1})
	s.get("/articles/hello?token=" + used).page()
	other, _ := token(keys.LinkClaims{URL: s.site + "/articles/other"})
	revoked, revokedID := token(keys.LinkClaims{})
	if _, err := s.running().Store.As(store.Actor{}).RevokeLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), revokedID); err != nil {
		t.Fatal(err)
	}
	expired, _ := token(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 1})
	reader, stale := s.reader(keys.ReaderClaims{UserID: "subscriber"}), s.reader(keys.ReaderClaims{UserID: "u", ExpiresAt: clock.Now().Unix() + 1})
	clock.Advance(time.Second)

	for _, test := range []struct {
		name    string
		request admin.ExplainRequest
		want    []string // in the lines that people read
	}{
		{"public", admin.ExplainRequest{URL: "/public/x"}, []string{"allow, public", "/public any", "Caddyfile:"}},
		{"stranger", admin.ExplainRequest{URL: "/articles/hello"}, []string{"anonymous: no credential", "login_required, status 401", "any of premium, hello"}},
		{"subscriber", admin.ExplainRequest{URL: "/articles/hello", ReaderToken: reader}, []string{"subscriber: jwt of issuer gatefold:default", "gives premium, in src_default", ": counts", "allow, entitled"}},
		{"former subscriber", admin.ExplainRequest{URL: "/articles/hello", UserID: "former"}, []string{"former: given", "does not count: it has ended", "not_entitled, status 403"}},
		{"old token", admin.ExplainRequest{URL: "/articles/hello", ReaderToken: stale}, []string{"unknown: jwt of issuer gatefold:default: check time failed: token has expired", "bad_credential"}},
		{"another issuer's token", admin.ExplainRequest{URL: "/articles/hello", ReaderToken: "abc"}, []string{"not by an issuer of this site", "login_required"}},
		{"good link", admin.ExplainRequest{URL: "/articles/hello?token=" + good}, []string{"token ok", "not counted", "it opens this page", "allow, signed_link"}},
		{"link in the path", admin.ExplainRequest{URL: "/.gatefold/l/" + good + "/articles/hello"}, []string{"token ok", "it opens this page", "allow, signed_link"}},
		{"misspelt link in the path", admin.ExplainRequest{URL: "/.Gatefold/l/" + good + "/articles/hello"}, []string{"the gate's own", "bad_path, status 400"}},
		{"counted link", admin.ExplainRequest{URL: "/articles/hello", LinkToken: counted}, []string{"0 of 1 uses are spent", "spending one use"}},
		{"used up", admin.ExplainRequest{URL: "/articles/hello", LinkToken: used}, []string{"uses FAILS: 1 of 1", "link_used_up, status 403"}},
		{"other page", admin.ExplainRequest{URL: "/articles/hello", LinkToken: other}, []string{"url does not fit", "link_other_resource"}},
		{"revoked", admin.ExplainRequest{URL: "/articles/hello", LinkToken: revoked}, []string{"not revoked FAILS", "link_revoked"}},
		{"expired", admin.ExplainRequest{URL: "/articles/hello", LinkToken: expired}, []string{"token FAILS: token has expired", "link_expired"}},
		{"garbage", admin.ExplainRequest{URL: "/articles/hello", LinkToken: cutLink}, []string{"token FAILS: malformed", "link_invalid"}},
		{"two tokens", admin.ExplainRequest{URL: "/articles/hello?token=" + good + "&token=" + used}, []string{"bad_query, status 400"}},
		{"link on a public page", admin.ExplainRequest{URL: "/public/x", LinkToken: "abc"}, []string{"allow, public"}},
		{"bad path", admin.ExplainRequest{URL: "/articles//hello"}, []string{"path      refused", "bad_path, status 400"}},
		{"method", admin.ExplainRequest{URL: "/closed/x", Method: "GET", UserID: "former"}, []string{"GET entitled", "any of other"}},
		{"trace", admin.ExplainRequest{URL: "/", Method: "TRACE"}, []string{"bad_method, status 405"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			result := s.explain(test.request)
			var text strings.Builder
			command.WriteExplanation(&text, result)
			for _, part := range test.want {
				if !strings.Contains(text.String(), part) {
					t.Errorf("it does not say %q:\n%s", part, &text)
				}
			}
			if result.Hint == "" {
				t.Errorf("there is no hint:\n%s", &text)
			}
			encoded, err := json.Marshal(result)
			if err != nil || strings.Contains(string(encoded), "eyJ") {
				t.Errorf("it repeats a token: %s, %v", encoded, err)
			}
			if test.request.UserID != "" {
				return
			}
			// The gate decides the same request.
			path := test.request.URL
			if test.request.LinkToken != "" {
				path += "?token=" + test.request.LinkToken
			}
			method, header := http.MethodHead, ""
			if test.request.Method != "" {
				method = test.request.Method
			} else if test.request.LinkToken != counted {
				method = http.MethodGet
			}
			if method == http.MethodHead {
				return // it would spend what explain did not
			}
			if test.request.ReaderToken != "" {
				header = "Bearer " + test.request.ReaderToken
			}
			if got := s.do(method, path, "Authorization", header); got.StatusCode != result.Decision.Status {
				t.Errorf("the gate answers %d, explained was %d", got.StatusCode, result.Decision.Status)
			}
		})
	}
	if got := s.uses(countedID) + s.uses(usedID); got != 1 {
		t.Errorf("%d uses were spent", got)
	}
}

func TestExplainRefusals(t *testing.T) {
	s := newTestSite(t, standardRules)
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		t.Fatal(err)
	}
	for vendor, request := range map[string]admin.ExplainRequest{
		defaultVendor: {URL: s.site + "/", Site: "sport"},
		"other":       {URL: s.site + "/"},
	} {
		_, err := app.(*App).explain(t.Context(), vendor, request)
		refused, ok := errors.AsType[*admin.RefusedError](err)
		if !ok || refused.Status != http.StatusNotFound {
			t.Errorf("%s: %v", vendor, err)
		}
		if vendor == defaultVendor && !strings.Contains(err.Error(), "default") {
			t.Errorf("the known sites are not named: %v", err)
		}
	}
	for _, bad := range []string{"/articles/hello", "ftp://x/y", "http://", "http://[::1", "x"} {
		_, err := app.(*App).explain(t.Context(), defaultVendor, admin.ExplainRequest{URL: bad})
		if refused, ok := errors.AsType[*admin.RefusedError](err); !ok || refused.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A configuration whose load failed is not used.
func TestExplainUsesTheRunningConfiguration(t *testing.T) {
	s := newTestSite(t, standardRules)
	if err := load(strings.Replace(s.config("", "rule / any", ""), "reverse_proxy", "bind 256.0.0.1\n\treverse_proxy", 1)); err == nil {
		t.Fatal("loaded")
	}
	if result := s.explain(admin.ExplainRequest{URL: "/articles/hello"}); result.Decision.Reason != "login_required" {
		t.Errorf("the failed configuration decides: %+v", result.Decision)
	}
	s.load(s.config("", "rule / any", ""))
	if result := s.explain(admin.ExplainRequest{URL: "/articles/hello"}); result.Decision.Reason != "public" {
		t.Errorf("the new configuration does not decide: %+v", result.Decision)
	}
}
