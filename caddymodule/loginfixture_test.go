package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/login"
)

// loginSite is a site whose readers log in at a testProvider. A proxy before it, which it
// trusts, ends TLS.
type loginSite struct {
	*testSite
	provider *testProvider
	outside  string // directives of the site beside the gate
}

const loginRules = `
		rule /articles/{publisherContentId} entitled premium {publisherContentId}
		rule /account authenticated
		rule /api authenticated
		rule / any
`

// newLoginSite runs a site with further lines in `identify oidc`.
func newLoginSite(t testing.TB, lines string) *loginSite {
	t.Helper()
	t.Setenv("OIDC_SECRET", loginSecret)
	s := &loginSite{provider: newTestProvider(t)}
	s.testSite = newTestSite(t, "rule / any")
	s.configure("client_secret {env.OIDC_SECRET}\n"+lines, loginRules)
	return s
}

// configure loads the site with other lines in `identify oidc`, and other rules.
func (s *loginSite) configure(lines, rules string) {
	s.Helper()
	identify := "identify oidc {\nissuer " + providerIssuer + "\nclient_id " + loginClient + "\n" + lines + "\n}\n"
	text := s.config("servers {\ntrusted_proxies static 127.0.0.1/32\n}", identify+rules, s.outside)
	s.load(strings.Replace(text, "store bolt", "jwks {\nca "+s.provider.WriteRoots(s)+"\n}\nstore bolt", 1))
}

// host is the site as browsers know it.
func (s *loginSite) host() string { return "https://127.0.0.1:" + s.port }

// browserOf is a browser with cookies. It keeps what the site sets, as browsers do.
type loginBrowser struct {
	s       *loginSite
	cookies map[string]string
}

func (s *loginSite) browser() *loginBrowser { return &loginBrowser{s, map[string]string{}} }

var overTLS = []string{
	"X-Forwarded-Proto", "https", "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document",
	"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}

// cookie returns the Cookie header.
func (b *loginBrowser) cookie() string {
	pairs := make([]string, 0, len(b.cookies))
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		pairs = append(pairs, name+"="+b.cookies[name])
	}
	return strings.Join(pairs, "; ")
}

// open navigates to a page, which is not followed where it redirects.
func (b *loginBrowser) open(path string, headers ...string) answer {
	b.s.Helper()
	return b.send(http.MethodGet, path, "", append(slices.Clone(overTLS), headers...)...)
}

func (b *loginBrowser) send(method, path, body string, headers ...string) answer {
	b.s.Helper()
	path = strings.TrimPrefix(path, b.s.host())
	if cookie := b.cookie(); cookie != "" {
		headers = append(slices.Clone(headers), "Cookie", cookie)
	}
	var got answer
	if body == "" {
		got = b.s.do(method, path, headers...)
	} else {
		got = b.s.doBody(method, path, body, headers...)
	}
	for _, cookie := range got.Cookies() {
		if !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || !strings.HasPrefix(cookie.Name, "__Host-") {
			b.s.Errorf("the cookie is %s", cookie)
		}
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
		} else {
			b.cookies[cookie.Name] = cookie.Value
		}
	}
	return got
}

// to returns where a response redirects. No cache keeps it, and no Referer names it.
func (a answer) to() string {
	a.t.Helper()
	location := a.Header.Get("Location")
	if a.StatusCode != http.StatusSeeOther || location == "" || a.Header.Get("Cache-Control") != "no-store" {
		a.t.Fatalf("status %d %v, want a redirect: %s", a.StatusCode, a.Header, a.body)
	}
	return location
}

// begin opens a page that needs a login, and returns the URL of the provider.
func (b *loginBrowser) begin(path string) string {
	b.s.Helper()
	to := b.open(path).to()
	if want := b.s.host() + login.URL(path); to != want {
		b.s.Fatalf("the browser is sent to %s, want %s", to, want)
	}
	return b.open(to).to()
}

// login logs the provider's subject in on the way to a page, and returns the callback's answer.
func (b *loginBrowser) login(path string) answer {
	b.s.Helper()
	return b.open(b.s.provider.authorize(b.begin(path)))
}

// loggedIn expects that the browser has a session.
func (b *loginBrowser) loggedIn() {
	b.s.Helper()
	if b.cookies[login.CookieSession] == "" {
		b.s.Fatal("the browser has no session")
	}
	b.open("/account").page()
}

// anonymous expects that the browser has no session that counts.
func (b *loginBrowser) anonymous() {
	b.s.Helper()
	if got := b.open("/account"); got.StatusCode != http.StatusSeeOther {
		b.s.Fatalf("status %d, want a login", got.StatusCode)
	}
}

// shows expects a page of the login with a status and a title, which no cache keeps.
func (a answer) shows(status int, title string) answer {
	a.t.Helper()
	if a.StatusCode != status || !strings.Contains(a.body, "<h1>"+title+"</h1>") || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Location") != "" {
		a.t.Fatalf("status %d %s, want %d %s", a.StatusCode, a.body, status, title)
	}
	return a
}

// withParam returns a URL with another value of a parameter.
func withParam(t testing.TB, address, name, value string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := parsed.Query()
	query.Set(name, value)
	if value == "" {
		query.Del(name)
	}
	parsed.RawQuery = query.Encode()
	return parsed.String()
}

// basicOf returns the credentials of Basic authentication.
func basicOf(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// claimsOf returns the claims of a token, without verifying it.
func claimsOf(t testing.TB, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a token", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
