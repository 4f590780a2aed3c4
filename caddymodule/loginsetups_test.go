package caddymodule

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys/keystest"
)

// loginSetUp is a set-up of docs/login.md, and what its provider sends besides what all send.
type loginSetUp struct {
	heading string
	subject string
	claims  map[string]any
	// header are members of the JOSE header of its ID tokens.
	header map[string]any
	// user and email are the reader's.
	user, email string
}

const entraObject = "7f3c0f0e-8f0a-4a52-9d8c-0b6a7c1f2e11"

var loginSetUps = []loginSetUp{
	{"Keycloak", "f:8a1c:ann", map[string]any{
		"typ": "ID", "azp": loginClient, "acr": "1", "session_state": "a-session", "preferred_username": "ann", "auth_time": 1,
		"realm_access": map[string]any{"roles": []string{"offline_access", "default-roles-news"}}, "resource_access": map[string]any{"account": map[string]any{"roles": []string{"view-profile"}}},
	}, nil, "f:8a1c:ann", "f:8a1c:ann@example.com"},
	{"Authelia", "ann", map[string]any{
		"email": nil, "email_verified": nil, "sid": nil, "amr": []string{"pwd", "otp", "mfa"}, "azp": loginClient, "client_id": loginClient, "jti": "a", "rat": 1,
	}, nil, "ann", "info@example.com"},
	{"Auth0", "auth0|64f0c1d2", map[string]any{
		"nickname": "ann", "name": "ann@example.com", "picture": "https://s.gravatar.com/a.png", "updated_at": "2027-01-01T09:30:00.000Z", "email": "ann@example.com",
		"org_id": "org_1", "https://news.example.com/roles": []string{"editor"},
	}, nil, "auth0|64f0c1d2", "ann@example.com"},
	{"Entra", "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", map[string]any{
		"email_verified": nil, "oid": entraObject, "tid": "11111111-2222-3333-4444-555555555555", "ver": "2.0", "uti": "u", "rh": "0.A", "aio": "x", "idp": "live.com",
		"groups": strings.Split(strings.Repeat(entraObject+" ", 199)+entraObject, " "), "wids": []string{entraObject}, "_claim_names": map[string]any{"groups": "src1"},
	}, map[string]any{"x5t": "kgcgxLxEIuUJ_PLqDQCPqFRfXFM", "xms_x": 1}, entraObject, ""},
}

// The set-ups of docs/login.md log readers in at providers that send what these do: other
// claims, many groups, members of the header, issuers with a path or a slash. Names are the
// documented ones, and an address counts only if it is said to be verified.
func TestLoginSetUps(t *testing.T) {
	text, err := os.ReadFile("../docs/login.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newLoginSite(t, "")
	for _, setUp := range loginSetUps {
		_, section, found := strings.Cut(string(text), "\n## "+setUp.heading+"\n")
		_, section, hasBlock := strings.Cut(section, "```caddyfile\n")
		section, _, _ = strings.Cut(section, "```")
		identify := regexp.MustCompile(`(?s)identify oidc \{.*?\n\t\t\}`).FindString(section)
		named := regexp.MustCompile(`issuer +(\S+)`).FindStringSubmatch(identify)
		if !found || !hasBlock || named == nil {
			t.Fatalf("docs/login.md has no block for %s", setUp.heading)
		}
		documented, err := url.Parse(named[1])
		if err != nil {
			t.Fatal(err)
		}
		issuer := providerIssuer + documented.Path
		p := s.provider
		p.do(func() {
			p.subject, p.claims, p.signer = setUp.subject, map[string]any{"iss": issuer}, nil
			maps.Copy(p.claims, setUp.claims)
			if setUp.header != nil {
				p.signer = func(claims map[string]any) string { return s.signWithHeader(claims, setUp.header) }
			}
			p.answers = map[string]http.HandlerFunc{strings.TrimSuffix(documented.Path, "/") + keystest.ConfigurationPath: func(w http.ResponseWriter, _ *http.Request) {
				p.answer(w, http.StatusOK, map[string]any{
					"issuer": issuer, "jwks_uri": providerIssuer + "/jwks", "authorization_endpoint": providerIssuer + "/authorize?tenant=1",
					"token_endpoint": providerIssuer + "/token", "userinfo_endpoint": providerIssuer + "/userinfo",
				})
			}}
		})
		config := s.config("servers {\ntrusted_proxies static 127.0.0.1/32\n}", strings.Replace(identify, named[1], issuer, 1)+loginRules, "")
		s.load(strings.Replace(config, "store bolt", "jwks {\nca "+p.WriteRoots(t)+"\n}\nstore bolt", 1))
		b := s.browser()
		b.open(withParam(t, p.authorize(b.begin("/account")), "iss", issuer)).to()
		b.loggedIn()
		sessions, err := s.running().Store.LoginSessionsOf(t.Context(), defaultVendor, setUp.user)
		if err != nil || len(sessions) != 1 || sessions[0].Email != setUp.email || sessions[0].Issuer != issuer {
			t.Errorf("%s: the sessions are %+v, %v", setUp.heading, sessions, err)
		}
	}
}

// signWithHeader signs claims as the provider, with further members of the header.
func (s *loginSite) signWithHeader(claims, header map[string]any) string {
	s.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "k1")
	for name, value := range header {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	return signWithOptions(s, jose.SigningKey{Algorithm: jose.ES256, Key: s.provider.key}, options, claims)
}
