package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
)

// fakeAuthelia answers as Authelia's documentation of /api/authz/forward-auth says: 200 with the
// headers of the session's user, the groups with commas between them; without a session, 302 or
// 303 to its login page for a browser, and 401 for what runs in a page. It needs the headers that
// say which request it is about.
func fakeAuthelia(t *testing.T) *httptest.Server {
	t.Helper()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := r.Cookie("authelia_session")
		for _, name := range []string{"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-For"} {
			if r.Header.Get(name) == "" {
				http.Error(w, name+" is missing", http.StatusBadRequest)
				return
			}
		}
		switch {
		case r.URL.Path != "/api/authz/forward-auth" || err != nil || session.Value == "expired":
			method, status := r.Header.Get("X-Forwarded-Method"), http.StatusFound
			switch {
			case r.Header.Get("X-Requested-With") == "XMLHttpRequest" || !strings.Contains(r.Header.Get("Accept"), "text/html"):
				status = http.StatusUnauthorized
			case method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions:
				status = http.StatusSeeOther
			}
			asked := url.URL{Scheme: r.Header.Get("X-Forwarded-Proto"), Host: r.Header.Get("X-Forwarded-Host")}
			w.Header().Set("Location", "https://auth.example.com/?"+url.Values{"rd": {asked.String() + r.Header.Get("X-Forwarded-Uri")}, "rm": {method}}.Encode())
			w.WriteHeader(status)
		case session.Value == "bypass":
			// The policy of the page is bypass: no user.
		default:
			for name, value := range map[string]string{
				"Remote-User": session.Value, "Remote-Groups": "readers,staff", "Remote-Name": "Ann Reader", "Remote-Email": session.Value + "@Example.com",
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
		if got := s.origin.Last(t).Header; got.Get("Remote-User") != reader || got.Get("Remote-Groups") != "readers,staff" || got.Get("Remote-Name") != "Ann Reader" {
			t.Errorf("the origin of %s got %v", reader, got)
		}
	}
	s.get("/articles/hello", "Cookie", "authelia_session=carol").denied(http.StatusForbidden, "not_entitled")
	s.get("/account", "Cookie", "authelia_session=carol").page()
	s.origin.Take()
	s.get("/account").denied(http.StatusUnauthorized, "login_required")
	s.get("/account", "Cookie", "authelia_session=bypass").denied(http.StatusUnauthorized, "login_required")
	s.origin.WantNone(t)
	// The session has ended: the answer of the service is the client's, and neither the gate nor
	// the origin is asked.
	for name, expired := range map[string]struct {
		method, accept string
		status         int
	}{
		"a browser": {http.MethodGet, "text/html", http.StatusFound}, "a form": {http.MethodPost, "text/html", http.StatusSeeOther}, "a script": {http.MethodGet, "application/json", http.StatusUnauthorized},
	} {
		got := s.do(expired.method, "/account?a=1", "Cookie", "authelia_session=expired", "Accept", expired.accept)
		to, err := url.Parse(got.Header.Get("Location"))
		if err != nil || got.StatusCode != expired.status || to.Host != "auth.example.com" || to.Query().Get("rd") != s.site+"/account?a=1" || to.Query().Get("rm") != expired.method {
			t.Errorf("%s gets %d %v", name, got.StatusCode, got.Header)
		}
	}
	s.origin.WantNone(t)
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
