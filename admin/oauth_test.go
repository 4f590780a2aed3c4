package admin_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// public is the API for remote clients, with its own access tokens.
type public struct{ *fixture }

func newPublic(t *testing.T, origins ...string) *public {
	t.Helper()
	p := new(public)
	p.fixture = newFixtureWith(t, func(options *admin.Options) {
		authority, err := admin.NewAuthority(admin.AuthorityOptions{
			Store: options.Store, Keyring: options.Keyring, Own: true, Now: options.Now, Failed: options.Failed,
		})
		if err != nil {
			t.Fatal(err)
		}
		options.Authorize, options.Authority, options.Origins = nil, authority, origins
	})
	return p
}

func (p *public) client(vendor string, scopes ...string) (id, secret string) {
	p.Helper()
	client, secret, err := p.store.As(store.Actor{}).CreateClient(p.Context(), store.Client{Name: "test", Vendor: vendor, Scopes: scopes})
	if err != nil {
		p.Fatal(err)
	}
	return client.ID, secret
}

// ask sends a request from a documentation address.
func (p *public) ask(method, path, body string, header http.Header) answer {
	p.Helper()
	request := httptest.NewRequestWithContext(p.Context(), method, path, strings.NewReader(body))
	maps.Copy(request.Header, header)
	if from := header.Get("X-Test-From"); from != "" {
		request.RemoteAddr = from
	}
	recorder := httptest.NewRecorder()
	p.handler.ServeHTTP(recorder, request)
	return answer{t: p.T, code: recorder.Code, head: recorder.Header(), body: recorder.Body.String()}
}

var (
	isForm = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	isJSON = http.Header{"Content-Type": {"application/json"}}
)

func form(pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

func basic(id, secret string) http.Header {
	header := isForm.Clone()
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret))))
	return header
}

// handed is a response of the token endpoint.
type handed struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string
	Error       string
	Description string `json:"error_description"`
}

func (p *public) token(id, secret string, scope ...string) string {
	p.Helper()
	body := form("grant_type", "client_credentials", "client_id", id, "client_secret", secret, "scope", strings.Join(scope, " "))
	var got handed
	p.ask(http.MethodPost, "/oauth/token", body, isForm).want(http.StatusOK, &got)
	return got.AccessToken
}

func (p *public) with(token, method, path, body string) answer {
	p.Helper()
	header := isJSON.Clone()
	header.Set("Authorization", "Bearer "+token)
	return p.ask(method, path, body, header)
}

func (a answer) tokenError(status int, code string) answer {
	a.t.Helper()
	var got handed
	a.want(status, &got)
	if got.Error != code || got.Description == "" || a.head.Get("Content-Type") != "application/json" || a.head.Get("Cache-Control") != "no-store" {
		a.t.Errorf("not the error %s: %v %s", code, a.head, a.body)
	}
	return a
}

func TestTokensAreIssued(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "links:*", "grants:read")
	asJSON := func(scope string) string {
		return `{"grant_type":"client_credentials","client_id":"` + id + `","client_secret":"` + secret + `","scope":"` + scope + `","audience":"https://elsewhere.example","x":1}`
	}
	for name, test := range map[string]struct {
		body   string
		header http.Header
		scope  string
	}{
		"form":             {form("grant_type", "client_credentials", "client_id", id, "client_secret", secret), isForm, "links:* grants:read"},
		"basic":            {form("grant_type", "client_credentials"), basic(id, secret), "links:* grants:read"},
		"basic and the id": {form("grant_type", "client_credentials", "client_id", id), basic(id, secret), "links:* grants:read"},
		"JSON":             {asJSON(""), isJSON, "links:* grants:read"},
		"less":             {asJSON("links:read"), isJSON, "links:read"},
		"twice the same":   {asJSON("links:write links:read links:write"), isJSON, "links:read links:write"},
		"a wildcard":       {asJSON("links:*"), isJSON, "links:*"},
		"unknown fields":   {form("grant_type", "client_credentials", "client_id", id, "client_secret", secret, "resource", "x", "resource", "y"), isForm, "links:* grants:read"},
	} {
		t.Run(name, func(t *testing.T) {
			var got handed
			answered := p.ask(http.MethodPost, "/oauth/token", test.body, test.header).want(http.StatusOK, &got)
			if got.TokenType != "Bearer" || got.ExpiresIn != 3600 || got.Scope != test.scope {
				t.Errorf("got %+v", got)
			}
			if answered.head.Get("Cache-Control") != "no-store" || answered.head.Get("Pragma") != "no-cache" || answered.head.Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", answered.head)
			}
			p.with(got.AccessToken, http.MethodGet, "/management/signed-links", "").want(http.StatusOK, nil)
		})
	}
	// The token has the specified claims.
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(p.token(id, secret), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"aud": "management", "vendor_id": "acme", "sub": id, "scope": "links:* grants:read", "iss": "gatefold:_system"} {
		if claims[name] != want {
			t.Errorf("%s is %v", name, claims[name])
		}
	}
}

func TestTokenRequestsAreRefused(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "links:read")
	good := []string{"grant_type", "client_credentials", "client_id", id, "client_secret", secret}
	with := func(more ...string) string { return form(append(append([]string{}, good...), more...)...) }
	bearerHeader := isForm.Clone()
	bearerHeader.Set("Authorization", "Bearer x")
	garbled := isForm.Clone()
	garbled.Set("Authorization", "Basic !!!")
	for name, test := range map[string]struct {
		body   string
		header http.Header
		status int
		code   string
	}{
		"no grant":               {form("client_id", id, "client_secret", secret), isForm, 400, "invalid_request"},
		"another grant":          {form("grant_type", "password", "client_id", id, "client_secret", secret), isForm, 400, "unsupported_grant_type"},
		"no secret":              {form("grant_type", "client_credentials", "client_id", id), isForm, 401, "invalid_client"},
		"no client":              {form("grant_type", "client_credentials"), isForm, 401, "invalid_client"},
		"a wrong secret":         {form("grant_type", "client_credentials", "client_id", id, "client_secret", "x"), isForm, 401, "invalid_client"},
		"an unknown client":      {form("grant_type", "client_credentials", "client_id", "client_x", "client_secret", secret), isForm, 401, "invalid_client"},
		"another's scope":        {with("scope", "links:read grants:read"), isForm, 400, "invalid_scope"},
		"more than it has":       {with("scope", "links:*"), isForm, 400, "invalid_scope"},
		"everything":             {with("scope", "*"), isForm, 400, "invalid_scope"},
		"the secret twice":       {with("client_secret", "x"), isForm, 400, "invalid_request"},
		"the grant twice":        {with("grant_type", "client_credentials"), isForm, 400, "invalid_request"},
		"body and header":        {with(), basic(id, secret), 400, "invalid_request"},
		"another id in the body": {form("grant_type", "client_credentials", "client_id", "x"), basic(id, secret), 400, "invalid_request"},
		"a bearer token":         {with(), bearerHeader, 400, "invalid_request"},
		"a header of garbage":    {form("grant_type", "client_credentials"), garbled, 400, "invalid_request"},
		"not a form":             {"%zz=1&;", isForm, 400, "invalid_request"},
		"not JSON":               {"{", isJSON, 400, "invalid_request"},
		"a member twice":         {`{"grant_type":"client_credentials","client_id":"a","client_id":"b"}`, isJSON, 400, "invalid_request"},
		"a secret of numbers":    {`{"grant_type":"client_credentials","client_id":"a","client_secret":1}`, isJSON, 400, "invalid_request"},
		"null":                   {`null`, isJSON, 400, "invalid_request"},
		"plain text":             {with(), http.Header{"Content-Type": {"text/plain"}}, 415, "invalid_request"},
		"too large":              {with("x", strings.Repeat("x", 64<<10)), isForm, 413, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.ask(http.MethodPost, "/oauth/token", test.body, test.header).tokenError(test.status, test.code)
			if strings.Contains(got.body, secret) {
				t.Error("the secret is repeated")
			}
		})
	}
	// A secret in a URL would be logged.
	p.ask(http.MethodPost, "/oauth/token?"+with(), "", isForm).tokenError(http.StatusBadRequest, "invalid_request")
	p.ask(http.MethodGet, "/oauth/token", "", nil).tokenError(http.StatusMethodNotAllowed, "invalid_request")
	got := p.ask(http.MethodPost, "/oauth/token", form("grant_type", "client_credentials"), basic(id, "wrong")).tokenError(http.StatusUnauthorized, "invalid_client")
	if !strings.HasPrefix(got.head.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("no challenge (RFC 6749, section 5.2): %v", got.head)
	}
}

// Tokens of a revoked client, and of a replaced secret, are refused from the next
// call on.
func TestTokensEndWithTheirClient(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "links:read")
	first := p.token(id, secret)
	call := func(token string) answer { return p.with(token, http.MethodGet, "/management/signed-links", "") }
	call(first).want(http.StatusOK, nil)
	_, secret, err := p.store.As(store.Actor{}).RotateClientSecret(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	got := call(first)
	got.refused(http.StatusUnauthorized, "unauthorized", "")
	if !strings.Contains(got.head.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("the challenge is %q", got.head.Get("WWW-Authenticate"))
	}
	second := p.token(id, secret)
	call(second).want(http.StatusOK, nil)
	p.clock = p.clock.Add(59 * time.Minute)
	call(second).want(http.StatusOK, nil)
	if _, err := p.store.As(store.Actor{}).RevokeClient(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	call(second).refused(http.StatusUnauthorized, "unauthorized", "")
	p.ask(http.MethodPost, "/oauth/token", form("grant_type", "client_credentials", "client_id", id, "client_secret", secret), isForm).
		tokenError(http.StatusUnauthorized, "invalid_client")

	other, secret := p.client("acme", "links:read")
	third := p.token(other, secret)
	p.clock = p.clock.Add(time.Hour)
	call(third).refused(http.StatusUnauthorized, "unauthorized", "")
}

// Every other kind of credential is refused as an access token.
func TestOtherTokensAreRefused(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "links:read")
	access := p.token(id, secret)
	ring, err := p.keyring.Ring(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	system, err := p.keyring.Ring(t.Context(), store.SystemPartition)
	if err != nil {
		t.Fatal(err)
	}
	until := p.clock.Add(time.Hour).Unix()
	reader := func(ring *keys.Ring, vendor, site string) string {
		token, err := keys.SignReader(ring, vendor, site, keys.ReaderClaims{UserID: id, ExpiresAt: until}, p.clock)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	link, err := keys.SignLink(ring, keys.LinkClaims{Issuer: "gatefold:acme", ID: "x", SKU: "s", IssuedAt: p.clock.Unix(), ExpiresAt: until})
	if err != nil {
		t.Fatal(err)
	}
	// The token is signed by a vendor's key instead of the system's.
	stolen, err := keys.SignAccess(ring, keys.AccessClaims{Subject: id, ID: "x", Vendor: "acme", Scopes: []string{"links:read"}, Generation: 1, ExpiresAt: until}, p.clock)
	if err != nil {
		t.Fatal(err)
	}
	ghost, err := keys.SignAccess(system, keys.AccessClaims{Subject: "client_x", ID: "x", Vendor: "acme", Scopes: []string{"links:read"}, Generation: 1, ExpiresAt: until}, p.clock)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := keys.SignAccess(system, keys.AccessClaims{Subject: id, ID: "x", Vendor: "other", Scopes: []string{"links:read"}, Generation: 1, ExpiresAt: until}, p.clock)
	if err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string][]string{
		"nothing":                     nil,
		"a reader's token":            {"Bearer " + reader(ring, "acme", "acme")},
		"a reader of management":      {"Bearer " + reader(ring, "acme", "management")},
		"a reader by the system's":    {"Bearer " + reader(system, "acme", "management")},
		"a link's token":              {"Bearer " + link},
		"signed by the vendor":        {"Bearer " + stolen},
		"of no client":                {"Bearer " + ghost},
		"of another vendor":           {"Bearer " + foreign},
		"the client's secret":         {"Bearer " + secret},
		"basic":                       {"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))},
		"two tokens":                  {"Bearer " + access, "Bearer " + access},
		"another scheme":              {"Token " + access},
		"cut":                         {"Bearer " + access[:len(access)-1]},
		"longer":                      {"Bearer " + access + "A"},
		"with a space behind":         {"Bearer " + access + " "},
		"in a list":                   {"Bearer " + access + ", Bearer x"},
		"more than a token may be":    {"Bearer " + strings.Repeat("a", 1<<16)},
		"a million dots":              {"Bearer " + strings.Repeat(".", 1<<20)},
		"nothing but the scheme":      {"Bearer"},
		"nothing behind the scheme":   {"Bearer "},
		"a token of another's scheme": {"DPoP " + access},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.ask(http.MethodGet, "/management/signed-links", "", http.Header{"Authorization": header})
			got.refused(http.StatusUnauthorized, "unauthorized", "")
			if !strings.HasPrefix(got.head.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("the challenge is %q", got.head.Get("WWW-Authenticate"))
			}
		})
	}
	p.ask(http.MethodGet, "/management/signed-links?access_token="+access, "", nil).refused(http.StatusUnauthorized, "unauthorized", "")
	p.ask(http.MethodGet, "/management/signed-links", "", http.Header{"Authorization": {"bearer  " + access}}).want(http.StatusOK, nil)
}

// An attacker guesses secrets. They are limited to ten failures per client and a
// hundred in total, while the client's own program elsewhere is unaffected.
func TestGuessingIsLimited(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "links:read")
	try := func(from, id, secret string) answer {
		header := isForm.Clone()
		header.Set("X-Test-From", from)
		return p.ask(http.MethodPost, "/oauth/token", form("grant_type", "client_credentials", "client_id", id, "client_secret", secret), header)
	}
	const here, there = "192.0.2.1:4000", "198.51.100.7:4000"
	for range 20 { // successes are not counted
		try(here, id, secret).want(http.StatusOK, nil)
	}
	for range 10 {
		try(here, id, "wrong").tokenError(http.StatusUnauthorized, "invalid_client")
	}
	limited := try(here, id, secret).tokenError(http.StatusTooManyRequests, "too_many_requests")
	if seconds, err := strconv.Atoi(limited.head.Get("Retry-After")); err != nil || seconds != 30 {
		t.Errorf("Retry-After is %q", limited.head.Get("Retry-After"))
	}
	try("192.0.2.1:4001", id, secret).tokenError(http.StatusTooManyRequests, "too_many_requests")
	try(there, id, secret).want(http.StatusOK, nil)
	p.clock = p.clock.Add(30 * time.Second)
	try(here, id, secret).want(http.StatusOK, nil)

	// Another unknown client each time, from one network.
	for i := range 100 {
		try("[2001:db8::"+strconv.FormatInt(int64(i+1), 16)+"]:1", "client_"+strconv.Itoa(i), "x").tokenError(http.StatusUnauthorized, "invalid_client")
	}
	try("[2001:db8::ffff:1]:1", "client_new", "x").tokenError(http.StatusTooManyRequests, "too_many_requests")
	try("[2001:db8:0:1::1]:1", "client_new", "x").tokenError(http.StatusUnauthorized, "invalid_client")
	p.clock = p.clock.Add(time.Hour)
	try("[2001:db8::1]:1", id, secret).want(http.StatusOK, nil)
}

// The store fails: no token is issued, no secret is called wrong, and no failure
// is counted.
func TestTokenEndpointWithoutStore(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "links:read")
	token := p.token(id, secret)
	p.closeStore()
	for range 30 {
		got := p.ask(http.MethodPost, "/oauth/token", form("grant_type", "client_credentials", "client_id", id, "client_secret", secret), isForm).
			tokenError(http.StatusServiceUnavailable, "server_error")
		if got.head.Get("Retry-After") == "" {
			t.Errorf("headers %v", got.head)
		}
	}
	got := p.with(token, http.MethodGet, "/management/signed-links", "")
	got.refused(http.StatusServiceUnavailable, "store_unavailable", "")
	if got.head.Get("Retry-After") == "" || len(p.failed) == 0 {
		t.Errorf("headers %v, the log has %v", got.head, p.failed)
	}
}

func TestDiscovery(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "links:read")
	token := p.token(id, secret)
	var found struct {
		Issuer  string
		Token   string   `json:"token_endpoint"`
		JWKS    string   `json:"jwks_uri"`
		Scopes  []string `json:"scopes_supported"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	p.ask(http.MethodGet, "http://api.example/.well-known/openid-configuration", "", nil).want(http.StatusOK, &found)
	if found.Issuer != "http://api.example" || found.Token != "http://api.example/oauth/token" || found.JWKS != "http://api.example/.well-known/jwks.json" || len(found.Methods) != 2 {
		t.Errorf("got %+v", found)
	}
	for _, scope := range found.Scopes {
		if strings.HasPrefix(scope, "clients:") || strings.HasPrefix(scope, "readers:") {
			t.Errorf("the operator's scope %s is offered", scope)
		}
	}
	set := p.ask(http.MethodGet, found.JWKS, "", nil).want(http.StatusOK, nil)
	parsed, dropped, err := keys.ParseJWKS([]byte(set.body))
	if err != nil || len(dropped) != 0 {
		t.Fatal(err, dropped)
	}
	verifier := keys.OwnAccessVerifier()
	if _, err := verifier.Verify(token, parsed, p.clock); err != nil {
		t.Errorf("a token does not verify with the published keys: %v", err)
	}
}

func TestNewAuthorityRequiresIssuer(t *testing.T) {
	p := newPublic(t)
	if _, err := admin.NewAuthority(admin.AuthorityOptions{Store: p.store, Keyring: p.keyring, Now: time.Now}); err == nil {
		t.Error("an authority without issuers was created")
	}
	if _, err := admin.NewAuthority(admin.AuthorityOptions{Own: true}); err == nil {
		t.Error("an authority without options was created")
	}
}

// The vendor's public keys are available without authentication; a request for an
// unknown vendor creates nothing.
func TestVendorKeysArePublic(t *testing.T) {
	p := newPublic(t)
	ring, err := p.keyring.Ring(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	address := func(vendor string) string { return "http://api.example/.well-known/gatefold/" + vendor + "/jwks.json" }
	published := p.ask(http.MethodGet, address("acme"), "", nil).want(http.StatusOK, nil)
	set, dropped, err := keys.ParseJWKS([]byte(published.body))
	if err != nil || dropped != nil || !slices.Equal(set.IDs(), ring.KeySet().IDs()) {
		t.Errorf("%s: %v %v", published.body, dropped, err)
	}
	for _, vendor := range []string{"globex", "_system", "acme2"} {
		p.ask(http.MethodGet, address(vendor), "", nil).refused(http.StatusNotFound, "not_found", "")
	}
	if vendors, err := p.store.Vendors(t.Context()); err != nil || slices.Contains(vendors, "globex") {
		t.Errorf("the vendors are %v, %v", vendors, err)
	}
}

// Under load a token cannot be verified: the client gets 503, not 401, and the
// token works a moment later.
func TestTokensUnderLoad(t *testing.T) {
	was := keys.VerifyLimiter
	defer func() { keys.VerifyLimiter = was }()
	p := newPublic(t)
	id, secret := p.client("acme", "links:read")
	token := p.token(id, secret)
	keys.VerifyLimiter = keys.NewLimiter(1, 0)
	if err := keys.VerifyLimiter.Do(func() error {
		p.with(token, http.MethodGet, "/management/signed-links", "").refused(http.StatusServiceUnavailable, "keys_unavailable", "")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p.with(token, http.MethodGet, "/management/signed-links", "").want(http.StatusOK, nil)
}
