package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
)

// fakeAuthelia answers as Authelia does at /api/authz/forward-auth: 200 with the headers of
// the session's user, or a redirect to its login page.
func fakeAuthelia(t *testing.T) *httptest.Server {
	t.Helper()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := r.Cookie("authelia_session")
		switch {
		case r.URL.Path != "/api/authz/forward-auth" || err != nil || session.Value == "expired":
			http.Redirect(w, r, "https://auth.example.com/?rd=x", http.StatusFound)
		case session.Value == "bypass":
			// The policy of the page is bypass: no user.
		default:
			for name, value := range map[string]string{
				"Remote-User": session.Value, "Remote-Groups": "readers", "Remote-Name": "Ann Reader", "Remote-Email": session.Value + "@Example.com",
			} {
				w.Header().Set(name, value)
			}
			if session.Value == "two" {
				w.Header().Add("Remote-User", "ada")
			}
		}
	}))
	t.Cleanup(service.Close)
	return service
}

// autheliaSite is the site of the recipe, with a service and an origin of this machine.
func autheliaSite(t *testing.T) *testSite {
	t.Helper()
	text, err := os.ReadFile("../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, found := strings.Cut(string(text), "@session header Cookie *authelia_session=*\n")
	before, rest, _ := strings.Cut(recipe, "\tgatefold {\n")
	gate, _, ends := strings.Cut(rest, "\n\t}\n\treverse_proxy localhost:3000\n")
	if !found || !ends {
		t.Fatal("docs/recipes.md has no recipe for Authelia")
	}
	address := strings.TrimPrefix(fakeAuthelia(t).URL, "http://")
	return newTestSiteWith(t, "", gate, "@session header Cookie *authelia_session=*\n"+strings.Replace(before, "authelia:9091", address, 1))
}

// The recipe of the documentation: the service knows the reader, the gate what they bought.
func TestReaderOfAuthelia(t *testing.T) {
	s := autheliaSite(t)
	s.grant(store.Grant{UserID: "ada", SKU: "premium"})
	s.grant(store.Grant{Email: "bob@example.com", SKU: "premium"})
	for _, reader := range []string{"ada", "bob"} {
		s.get("/articles/hello", "Cookie", "authelia_session="+reader).page()
		if got := s.origin.Last(t).Header; got.Get("Remote-User") != reader || got.Get("Remote-Groups") != "readers" {
			t.Errorf("the origin of %s got %v", reader, got)
		}
	}
	s.get("/articles/hello", "Cookie", "authelia_session=carol").denied(http.StatusForbidden, "not_entitled")
	s.get("/account", "Cookie", "authelia_session=carol").page()
	s.origin.Take()
	s.get("/account").denied(http.StatusUnauthorized, "login_required")
	s.get("/account", "Cookie", "authelia_session=bypass").denied(http.StatusUnauthorized, "login_required")
	s.origin.WantNone(t)
	if got := s.get("/account", "Cookie", "authelia_session=expired"); got.StatusCode != http.StatusFound || !strings.HasPrefix(got.Header.Get("Location"), "https://auth.example.com/") {
		t.Errorf("the session has ended, and the response is %d %v", got.StatusCode, got.Header)
	}
	// The service names two users: whom it means is unknown.
	logged.Reset()
	s.get("/account", "Cookie", "authelia_session=two").denied(http.StatusUnauthorized, "bad_credential")
	s.wantAccessError("two users", "header Remote-User of the authentication service has a comma, as several headers of one name have", "")
}

// A client sends the service's headers itself: without a session, so that the service is
// not asked; with a session of their own; where the service names no user; and in spellings
// that origins read as the same. Neither the gate nor the origin believes them.
func TestClientSendsTheHeadersOfTheService(t *testing.T) {
	s := autheliaSite(t)
	s.grant(store.Grant{UserID: "ada", SKU: "premium"})
	s.grant(store.Grant{Email: "ada@example.com", SKU: "premium"})
	for _, name := range []string{"Remote-User", "remote-user", "Remote_User", "REMOTE.USER", "Remote-Email", "Remote_Email", "Remote-Groups", "Remote-Name"} {
		for _, cookie := range []string{"a=1", "authelia_session=bypass", "authelia_session=mallory"} {
			value := "ada"
			if strings.Contains(name, "mail") {
				value = "ada@example.com"
			}
			send := []string{name, value, "Cookie", cookie}
			if got := s.get("/articles/hello", send...); got.StatusCode == http.StatusOK {
				t.Errorf("%s with %s opens the page", name, cookie)
			}
			s.origin.WantNone(t)
			s.get("/public", send...).page()
			for sent, values := range s.origin.Last(t).Header {
				if strings.HasPrefix(strings.ToLower(sent), "remote") && strings.Contains(strings.Join(values, ","), "ada") {
					t.Errorf("%s with %s: the origin got %s: %q", name, cookie, sent, values)
				}
			}
		}
	}
	// Nor does a client keep the service's headers from the origin (RFC 9110, section 7.6.1).
	s.get("/account", "Cookie", "authelia_session=carol", "Connection", "Remote-User").page()
	if got := s.origin.Last(t).Header.Get("Remote-User"); got != "carol" {
		t.Errorf("the origin got the user %q", got)
	}
}
