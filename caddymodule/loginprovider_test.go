package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys/keystest"
)

// testProvider is an OpenID provider that does what a test tells it, at id.example.com.
type testProvider struct {
	*keystest.KeyHost
	t   testing.TB
	key *ecdsa.PrivateKey

	mu      sync.Mutex
	subject string                      // who logs in next
	codes   map[string]url.Values       // the authorization requests of codes
	pushed  map[string]url.Values       // pushed authorization requests
	refresh map[string]string           // the subjects of refresh tokens
	calls   map[string]int              // by path
	forms   map[string]url.Values       // the last form of each path
	auth    map[string]string           // and its Authorization
	meta    map[string]any              // members of the configuration, which it changes
	claims  map[string]any              // claims of ID tokens, which it changes; nil removes one
	answers map[string]http.HandlerFunc // in place of its own answers, by path
	signer  func(claims map[string]any) string
}

const (
	providerHost   = "id.example.com"
	providerIssuer = "https://" + providerHost
	loginClient    = "news"
	loginSecret    = "a secret: 100% +&"
)

func newTestProvider(t testing.TB) *testProvider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &testProvider{
		t: t, key: key, subject: "ann", codes: map[string]url.Values{}, pushed: map[string]url.Values{}, refresh: map[string]string{},
		calls: map[string]int{}, forms: map[string]url.Values{}, auth: map[string]string{}, meta: map[string]any{}, claims: map[string]any{}, answers: map[string]http.HandlerFunc{},
	}
	p.KeyHost = keystest.NewKeyHost(t, jose.JSONWebKeySet{})
	p.Handle(p.serve)
	before := storeOptions.KeySets
	storeOptions.KeySets.Hosts = p.Addresses(providerHost)
	storeOptions.KeySets.Interval, storeOptions.KeySets.Timeout = 10*time.Millisecond, 30*time.Second
	t.Cleanup(func() { storeOptions.KeySets = before })
	return p
}

// do changes the provider.
func (p *testProvider) do(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// count returns how often a path was called.
func (p *testProvider) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[path]
}

// last returns the last form that a path was sent, and its Authorization.
func (p *testProvider) last(path string) (form url.Values, authorization string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forms[path], p.auth[path]
}

func (p *testProvider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = r.ParseForm()
	p.calls[r.URL.Path]++
	p.forms[r.URL.Path], p.auth[r.URL.Path] = r.PostForm, r.Header.Get("Authorization")
	w.Header().Set("Content-Type", "application/json")
	if answer := p.answers[r.URL.Path]; answer != nil {
		answer(w, r)
		return
	}
	switch r.URL.Path {
	case keystest.ConfigurationPath:
		configuration := map[string]any{
			"issuer": providerIssuer, "jwks_uri": providerIssuer + "/jwks", "authorization_endpoint": providerIssuer + "/authorize?tenant=1",
			"token_endpoint": providerIssuer + "/token", "userinfo_endpoint": providerIssuer + "/userinfo", "end_session_endpoint": providerIssuer + "/end",
			"authorization_response_iss_parameter_supported": true,
		}
		p.answer(w, http.StatusOK, changed(configuration, p.meta))
	case "/jwks":
		p.answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	case "/par":
		uri := fmt.Sprintf("urn:ietf:params:oauth:request_uri:%d", len(p.pushed))
		p.pushed[uri] = r.PostForm
		p.answer(w, http.StatusCreated, map[string]any{"request_uri": uri, "expires_in": 60})
	case "/token":
		p.token(w, r.PostForm)
	case "/userinfo":
		p.answer(w, http.StatusOK, map[string]any{"sub": strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer access-"), "email": "info@example.com", "email_verified": true})
	default:
		http.NotFound(w, r)
	}
}

func (p *testProvider) answer(w http.ResponseWriter, status int, value any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

// changed returns members with changes; nil removes one.
func changed(members, changes map[string]any) map[string]any {
	maps.Copy(members, changes)
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
	return members
}

// token answers a request of tokens. A code counts once, with its verifier.
func (p *testProvider) token(w http.ResponseWriter, form url.Values) {
	refuse := func() { p.answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"}) }
	subject, nonce := "", ""
	switch form.Get("grant_type") {
	case "authorization_code":
		asked := p.codes[form.Get("code")]
		delete(p.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if asked == nil || asked.Get("redirect_uri") != form.Get("redirect_uri") || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			refuse()
			return
		}
		subject, nonce = asked.Get("sub"), asked.Get("nonce")
	case "refresh_token":
		subject = p.refresh[form.Get("refresh_token")]
		delete(p.refresh, form.Get("refresh_token"))
		if subject == "" {
			refuse()
			return
		}
	}
	now := clock.Now().Unix()
	claims := map[string]any{
		"iss": providerIssuer, "aud": loginClient, "sub": subject, "iat": now, "exp": now + 300, "sid": "sid-" + subject,
		"email": subject + "@example.com", "email_verified": true,
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	answer := map[string]any{"access_token": "access-" + subject, "token_type": "Bearer", "expires_in": 3600}
	changed(claims, p.claims)
	if p.signer != nil {
		answer["id_token"] = p.signer(claims)
	} else {
		answer["id_token"] = p.sign(claims, "JWT")
	}
	if _, offline := p.meta["offline"]; offline {
		token := fmt.Sprint("refresh-", len(p.refresh), "-", p.calls["/token"])
		p.refresh[token], answer["refresh_token"] = subject, token
	}
	p.answer(w, http.StatusOK, answer)
}

// sign signs claims with the provider's key.
func (p *testProvider) sign(claims map[string]any, typ string) string {
	return signWith(p.t, jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, "k1", typ, claims)
}

func signWith(t testing.TB, key jose.SigningKey, kid, typ string, claims map[string]any) string {
	t.Helper()
	return signWithOptions(t, key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", kid), claims)
}

func signWithOptions(t testing.TB, key jose.SigningKey, options *jose.SignerOptions, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// authorize is the provider's login page: it logs the subject in at once, and returns the URL
// to which the browser is redirected.
func (p *testProvider) authorize(location string) string {
	p.t.Helper()
	address, err := url.Parse(location)
	if err != nil || address.Host != providerHost || address.Path != "/authorize" || address.Query().Get("tenant") != "1" {
		p.t.Fatalf("the browser is sent to %s", location)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	query := address.Query()
	if uri := query.Get("request_uri"); uri != "" {
		if len(query) != 3 || p.pushed[uri] == nil {
			p.t.Fatalf("the browser is sent to %s", location)
		}
		query = p.pushed[uri]
	}
	if query.Get("response_type") != "code" || query.Get("client_id") != loginClient || query.Get("code_challenge_method") != "S256" || query.Get("nonce") == "" {
		p.t.Fatalf("the authorization request is %v", query)
	}
	code := fmt.Sprint("code-", len(p.codes), "-", p.calls["/token"])
	query.Set("sub", p.subject)
	p.codes[code] = query
	return query.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {query.Get("state")}, "iss": {providerIssuer}}.Encode()
}

// logoutToken returns a logout token with changed claims.
func (p *testProvider) logoutToken(changes map[string]any) string {
	p.t.Helper()
	now := clock.Now().Unix()
	claims := map[string]any{
		"iss": providerIssuer, "aud": loginClient, "iat": now, "exp": now + 120, "jti": fmt.Sprint(time.Now().UnixNano()), "sub": "ann",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	return p.sign(changed(claims, changes), "logout+jwt")
}
