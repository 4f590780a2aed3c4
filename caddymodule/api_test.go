package caddymodule

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store"
)

// apiSite is a gated site with the management API on another port.
type apiSite struct {
	*testSite
	api string // its URL
}

// newAPISite runs a site and an API with the given lines in its site block.
func newAPISite(t *testing.T, block string) *apiSite {
	t.Helper()
	s := &apiSite{testSite: newTestSite(t, standardRules)}
	s.loadAPI(block)
	return s
}

// loadAPI loads the configuration with another site block for the API.
func (s *apiSite) loadAPI(block string) {
	s.Helper()
	port := keystest.FreePort(s.TB)
	s.api = "http://127.0.0.1:" + port
	s.load(s.config("", standardRules, "") + "\nhttp://127.0.0.1:" + port + " {\n" + block + "\n}\n")
}

const boundAPI = "bind 127.0.0.1\n\tgatefold_api"

// token creates a client and requests an access token for it.
func (s *apiSite) token(vendor string, scopes ...string) string {
	s.Helper()
	client, secret, err := s.running().Store.As(store.Actor{}).CreateClient(s.Context(), store.Client{Name: "test", Vendor: vendor, Scopes: scopes})
	if err != nil {
		s.Fatal(err)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client.ID}, "client_secret": {secret}}
	got := s.post(s.api+"/oauth/token", "application/x-www-form-urlencoded", form.Encode())
	var handed struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &handed); err != nil || handed.Token == "" {
		s.Fatalf("no token: %d %s", got.StatusCode, got.body)
	}
	return handed.Token
}

// A change made with the API applies to the next request at the gate, although the
// previous decision was cached.
func TestAPIChangeDecidesTheNextRequest(t *testing.T) {
	s := newAPISite(t, boundAPI)
	reader := s.reader(keys.ReaderClaims{UserID: "u"})
	token := s.token(defaultVendor, "grants:*", "links:*")
	ask := func() answer { return s.get("/articles/hello", "Authorization", "Bearer "+reader) }
	ask().denied(http.StatusForbidden, "not_entitled")
	ask().denied(http.StatusForbidden, "not_entitled")
	made := s.post(s.api+"/management/access-lists/src_default/grants", "application/json", `{"userId":"u","sku":"premium"}`, "Authorization", "Bearer "+token)
	if made.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", made.StatusCode, made.body)
	}
	ask().page()
	var grant struct{ ID string }
	if err := json.Unmarshal([]byte(made.body), &grant); err != nil {
		t.Fatal(err)
	}
	if got := s.do(http.MethodDelete, s.api+"/management/access-lists/src_default/grants/"+grant.ID, "Authorization", "Bearer "+token); got.StatusCode != http.StatusNoContent {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	ask().denied(http.StatusForbidden, "not_entitled")
}

// Reader tokens do not open the API, and access tokens identify no reader.
func TestTokensAreNotInterchangeable(t *testing.T) {
	s := newAPISite(t, boundAPI)
	access := s.token(defaultVendor, "grants:*", "links:*")
	name, reader := s.subscriber()
	link, _ := s.link(keys.LinkClaims{PublisherContentID: "hello"})
	_, linkToken, _ := strings.Cut(link, "token=")

	list := s.api + "/management/signed-links"
	if got := s.get(list, "Authorization", "Bearer "+access); got.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	for what, credential := range map[string]string{"a reader's token": reader, "a link's token": "Bearer " + linkToken, "nothing": ""} {
		got := s.get(list, "Authorization", credential)
		if got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, `"code":"unauthorized"`) {
			t.Errorf("%s: %d %s", what, got.StatusCode, got.body)
		}
	}
	s.get(list, "Cookie", "reader="+strings.TrimPrefix(reader, "Bearer ")).want(t, http.StatusUnauthorized)

	// At the gate an access token in Authorization is left to the origin and its bearer
	// is anonymous. In the reader's cookie it fails.
	s.get("/articles/hello", name, reader).page()
	s.get("/articles/hello", "Authorization", "Bearer "+access).denied(http.StatusUnauthorized, "login_required")
	s.get("/account", "Cookie", "reader="+access).denied(http.StatusUnauthorized, "bad_credential")
	s.get("/articles/hello?token="+access).denied(http.StatusUnauthorized, "login_required") // is the origin's

	// Vendor and site are named like the audience of access tokens.
	rt := s.running()
	ring, err := rt.Keyring.Ring(t.Context(), "management")
	if err != nil {
		t.Fatal(err)
	}
	claims := keys.ReaderClaims{UserID: "u", ExpiresAt: now().Unix() + 60}
	forged, err := keys.SignReader(ring, "management", "management", claims, now())
	if err != nil {
		t.Fatal(err)
	}
	s.get(list, "Authorization", "Bearer "+forged).want(t, http.StatusUnauthorized)
}

// want checks the status of an answer.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	return a
}

// Operations of the local operator are not available with an access token.
func TestAPIHasNoOperatorRoutes(t *testing.T) {
	s := newAPISite(t, boundAPI)
	token := s.token(defaultVendor, "grants:*")
	for _, path := range []string{"/management/clients", "/management/reader-tokens", "/management/health", "/gatefold/management/clients"} {
		s.get(s.api+path, "Authorization", "Bearer "+token).want(t, http.StatusNotFound)
	}
	s.get(s.api+"/management/access-lists?vendor=other", "Authorization", "Bearer "+token).want(t, http.StatusUnprocessableEntity)
	s.get(s.api+"/management/access-lists", "Authorization", "Bearer "+s.token("", "vendors:*")).want(t, http.StatusForbidden)
}

// Without the directive there is no API.
func TestNoAPIWithoutTheDirective(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.get("/management/signed-links").page() // the origin's own, as / is public
	if got := s.get("/oauth/token"); !strings.Contains(got.body, "origin") && got.StatusCode != http.StatusOK {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// An API below a path includes the path in the URLs that it returns.
func TestAPIBelowAPath(t *testing.T) {
	s := newAPISite(t, "bind 127.0.0.1\n\thandle_path /office/* {\n\t\tgatefold_api\n\t}\n\trespond elsewhere 404")
	var found struct {
		Issuer string
		Token  string `json:"token_endpoint"`
	}
	got := s.get(s.api+"/office/.well-known/openid-configuration").want(t, http.StatusOK)
	if err := json.Unmarshal([]byte(got.body), &found); err != nil {
		t.Fatal(err)
	}
	if found.Issuer != s.api+"/office" || found.Token != s.api+"/office/oauth/token" {
		t.Errorf("%+v", found)
	}
	s.get(s.api+"/management/signed-links").want(t, http.StatusNotFound)
	s.api += "/office"
	s.get(s.api+"/management/signed-links", "Authorization", "Bearer "+s.token(defaultVendor, "links:read")).want(t, http.StatusOK)
}

// A server that would accept API requests from other machines without TLS fails the
// load, wherever the API is in its routes. plain_http permits it.
func TestAPIWithoutTLSIsNotLoaded(t *testing.T) {
	s := newTestSite(t, standardRules)
	site := func(block string) string {
		return s.config("", standardRules, "") + "\nhttp://127.0.0.1:" + keystest.FreePort(t) + " {\n" + block + "\n}\n"
	}
	for name, block := range map[string]string{
		"on every address":  "gatefold_api",
		"on the wildcard":   "bind 0.0.0.0\n\tgatefold_api",
		"on IPv6's":         "bind [::]\n\tgatefold_api",
		"on both":           "bind 127.0.0.1 0.0.0.0\n\tgatefold_api",
		"in an error route": "handle_errors {\n\t\tgatefold_api\n\t}",
		"deep in a route":   "handle /x/* {\n\t\troute {\n\t\t\tgatefold_api\n\t\t}\n\t}",
		"cors for everyone": "bind 127.0.0.1\n\tgatefold_api {\n\t\tcors *\n\t}",
	} {
		err := load(site(block))
		if err == nil {
			t.Errorf("%s: loaded", name)
			continue
		}
		if name != "cors for everyone" && (!strings.Contains(err.Error(), "without TLS") || !strings.Contains(err.Error(), "bind 127.0.0.1")) {
			t.Errorf("%s: %v", name, err)
		}
		s.get("/public").page()
	}
	for name, block := range map[string]string{
		"bound":     boundAPI,
		"on IPv6":   "bind [::1]\n\tgatefold_api",
		"on a pipe": "bind unix/" + filepath.Join(t.TempDir(), "api.sock") + "\n\tgatefold_api",
		"on demand": "gatefold_api {\n\t\tplain_http\n\t}",
	} {
		if err := load(site(block)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A request from another machine without TLS is refused, whatever its credentials.
func TestAPIRefusesPlainConnections(t *testing.T) {
	s := newAPISite(t, boundAPI)
	token := s.token(defaultVendor, "links:read")
	api := &API{app: s.app()}
	api.handler.make = api.open
	api.Issuers = []*APIIssuer{{Issuer: issuerSelf}}
	ask := func(change func(*http.Request) *http.Request) int {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.example/management/signed-links", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		recorder := httptest.NewRecorder()
		if err := api.ServeHTTP(recorder, change(request), nil); err != nil {
			t.Fatal(err)
		}
		return recorder.Code
	}
	from := func(address net.Addr) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, address))
		}
	}
	proxied := func(trusted bool) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			r.Header.Set("X-Forwarded-Proto", "https")
			return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: trusted}))
		}
	}
	outside := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}
	for name, test := range map[string]struct {
		change func(*http.Request) *http.Request
		want   int
	}{
		"no local address":     {func(r *http.Request) *http.Request { return r }, http.StatusForbidden},
		"another machine":      {from(outside), http.StatusForbidden},
		"an untrusted proxy":   {proxied(false), http.StatusForbidden},
		"a trusted proxy":      {proxied(true), http.StatusOK},
		"this machine":         {from(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}), http.StatusOK},
		"this machine on IPv6": {from(&net.TCPAddr{IP: net.IPv6loopback}), http.StatusOK},
		"a socket":             {from(&net.UnixAddr{}), http.StatusOK},
		"TLS":                  {func(r *http.Request) *http.Request { r.TLS = new(tls.ConnectionState); return r }, http.StatusOK},
	} {
		if got := ask(test.change); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	api.PlainHTTP = true
	if got := ask(from(outside)); got != http.StatusOK {
		t.Errorf("plain_http: %d", got)
	}
}

func (s *testSite) app() *App {
	s.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		s.Fatal(err)
	}
	return app.(*App)
}

// The vendor and scope of tokens of a publisher's OpenID issuer apply. Tokens for
// other audiences and of other issuers are refused.
func TestAPIOfAnotherIssuer(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, keySet(t, private.Public(), jose.ES256), 0o600); err != nil {
		t.Fatal(err)
	}
	external := "gatefold_api {\n\t\tissuer https://id.example {\n\t\t\taudience https://api.example\n\t\t\tjwks " + file + "\n\t\t}\n\t}"
	s := newAPISite(t, "bind 127.0.0.1\n\t"+external)
	// sign returns a token of the issuer with one claim changed.
	sign := func(name string, value any) string {
		claims := map[string]any{"sub": "m2m", "vendor_id": "default", "scope": "links:read"}
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
		return signForeign(t, jose.ES256, private, "https://id.example", "https://api.example", claims)
	}
	good := sign("x", 1)
	list := s.api + "/management/signed-links"
	s.get(list, "Authorization", "Bearer "+good).want(t, http.StatusOK)
	s.get(list, "Authorization", "Bearer "+sign("permissions", []string{"links:read"})).want(t, http.StatusOK)
	s.get(s.api+"/management/access-lists", "Authorization", "Bearer "+good).want(t, http.StatusForbidden)
	for name, token := range map[string]string{
		"for another service": sign("aud", "https://shop.example"),
		"by another":          sign("iss", "https://evil.example"),
		"of a bad vendor":     sign("vendor_id", "../x"),
		"of an empty vendor":  sign("vendor_id", ""),
		"of the system":       sign("vendor_id", "_system"),
		"in our name":         sign("iss", keys.AccessIssuer),
		"that has ended":      sign("exp", clock.Now().Unix()),
	} {
		if got := s.get(list, "Authorization", "Bearer "+token); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	// A token without a vendor opens no vendor's records.
	s.get(list, "Authorization", "Bearer "+sign("vendor_id", nil)).want(t, http.StatusForbidden)
	// Without `issuer self` Gatefold issues no tokens.
	s.get(s.api+"/.well-known/openid-configuration").want(t, http.StatusUnauthorized)
	s.post(s.api+"/oauth/token", "application/json", `{}`).want(t, http.StatusUnauthorized)

	s.loadAPI("bind 127.0.0.1\n\t" + strings.Replace(external, "gatefold_api {", "gatefold_api {\n\t\tissuer self", 1))
	s.get(s.api+"/management/signed-links", "Authorization", "Bearer "+good).want(t, http.StatusOK)
	s.get(s.api+"/management/signed-links", "Authorization", "Bearer "+s.token(defaultVendor, "links:read")).want(t, http.StatusOK)
}

// The log holds no client secret and no access token.
func TestAPILogsNoSecrets(t *testing.T) {
	s := newAPISite(t, "bind 127.0.0.1\n\tlog\n\tgatefold_api")
	token := s.token(defaultVendor, "links:read")
	secret := "gfsecret_" + strings.Repeat("x", 43)
	for range 3 {
		s.get(s.api+"/management/signed-links", "Authorization", "Bearer "+token).want(t, http.StatusOK)
		s.get(s.api+"/management/signed-links", "Authorization", "Bearer x"+token).want(t, http.StatusUnauthorized)
		s.post(s.api+"/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials&client_id=x&client_secret="+secret).want(t, http.StatusUnauthorized)
		s.post(s.api+"/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("x:"+secret))).want(t, http.StatusUnauthorized)
	}
	s.waitFor("the access log", func() bool { return strings.Count(logged.String(), "/oauth/token") > 6 })
	text := logged.String()
	for _, material := range []string{secret, strings.Split(token, ".")[2], base64.StdEncoding.EncodeToString([]byte("x:" + secret))} {
		if strings.Contains(text, material) {
			t.Errorf("the log holds %q", material)
		}
	}
}

func TestAPICaddyfile(t *testing.T) {
	for text, want := range map[string]string{
		"gatefold_api /x":                                          "no matcher",
		"gatefold_api {\n\tscope x\n}":                             "known are issuer, cors, plain_http",
		"gatefold_api {\n\tissuer\n}":                              "argument",
		"gatefold_api {\n\tissuer https://x\n}":                    "audience is missing",
		"gatefold_api {\n\tissuer self {\n\t\tkey x\n\t}\n}":       "known are audience, jwks",
		"gatefold_api {\n\tcors\n}":                                "argument",
		"gatefold_api {\n\tcors https://x.example/\n}":             "slash at the end",
		"gatefold_api {\n\tcors https://x.example\n\tcors x\n}":    "twice",
		"gatefold_api {\n\tplain_http yes\n}":                      "argument",
		"gatefold_api {\n\tissuer x {\n\t\taudience a b\n\t}\n}":   "argument",
		"gatefold_api {\n\tissuer x {\n\t\tjwks a\n\t\tjwks b\n}}": "twice",
	} {
		err := new(API).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
	api := new(API)
	err := api.UnmarshalCaddyfile(caddyfile.NewTestDispenser("gatefold_api {\n\tissuer self\n\tissuer https://id.example {\n\t\taudience a\n\t\tjwks f\n\t}\n\tcors https://a.example https://b.example\n\tplain_http\n}"))
	if err != nil || len(api.Issuers) != 2 || api.Issuers[1].Audience != "a" || api.Issuers[1].JWKS != "f" || len(api.Origins) != 2 || !api.PlainHTTP {
		t.Errorf("%+v, %v", api, err)
	}
	for name, issuer := range map[string]APIIssuer{
		"no issuer":           {},
		"our own name":        {Issuer: keys.AccessIssuer, Audience: "x", JWKS: "y"},
		"self with keys":      {Issuer: issuerSelf, JWKS: "y"},
		"self with audience":  {Issuer: issuerSelf, Audience: "y"},
		"no audience":         {Issuer: "https://x", JWKS: "y"},
		"no keys":             {Issuer: "x", Audience: "y"},
		"keys in the clear":   {Issuer: "https://x", Audience: "y", JWKS: "http://x/jwks.json"},
		"issuer in the clear": {Issuer: "http://x", Audience: "y"},
		"keys that are not":   {Issuer: "https://x", Audience: "y", JWKS: "/nothing/there"},
		"keys that are empty": {Issuer: "https://x", Audience: "y", JWKS: os.DevNull},
	} {
		if err := issuer.provision(); err == nil {
			t.Errorf("%s: provisioned", name)
		}
	}
}
