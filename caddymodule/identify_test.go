package caddymodule

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

var linkForAnything = keys.LinkClaims{}

// expiredReader returns a reader token that has just expired.
func expiredReader(s *testSite) string {
	s.Helper()
	token := s.reader(keys.ReaderClaims{UserID: "u", ExpiresAt: clock.Now().Unix() + 1})
	clock.Advance(1e9)
	return token
}

func TestReaderByHeaderAndCookie(t *testing.T) {
	s := newTestSite(t, standardRules)
	token := s.reader(keys.ReaderClaims{UserID: "u"})
	s.get("/account", "Authorization", "Bearer "+token).page()
	s.get("/account", "Authorization", "bearer  "+token).page()
	s.get("/account", "Cookie", "a=1; reader="+token).page()
	// Of cookies that differ none counts: a sibling domain may have set one. One that is sent
	// twice counts once.
	other := s.reader(keys.ReaderClaims{UserID: "other"})
	s.get("/account", "Cookie", "reader="+token+"; reader="+other).denied(http.StatusUnauthorized, "login_required")
	s.get("/account", "Cookie", "reader="+token+"; reader="+token).page()
	s.get("/account", "Cookie", "other="+token).denied(http.StatusUnauthorized, "login_required")
	s.get("/account?access_token="+token).denied(http.StatusUnauthorized, "login_required")
}

// A failed credential identifies no reader: public pages are served as to an anonymous
// reader, other pages report the failure.
func TestBadCredentials(t *testing.T) {
	s := newTestSite(t, standardRules)
	good := s.reader(keys.ReaderClaims{UserID: "u"})
	expired := expiredReader(s)
	link, _ := s.link(linkForAnything)
	_, linkToken, _ := strings.Cut(link, "token=")
	for name, bad := range map[string]string{"expired": expired, "forged": good[:len(good)-6] + "AAAAAA", "a link": linkToken} {
		t.Run(name, func(t *testing.T) {
			got := s.get("/account", "Authorization", "Bearer "+bad)
			got.denied(http.StatusUnauthorized, "bad_credential")
			if got.Header.Get("WWW-Authenticate") != `Bearer realm="default", error="invalid_token"` {
				t.Errorf("the challenge is %q", got.Header.Get("WWW-Authenticate"))
			}
			s.get("/articles/hello", "Cookie", "reader="+bad).denied(http.StatusUnauthorized, "bad_credential")
			s.get("/public/x", "Authorization", "Bearer "+bad).page()
			s.get("/public/x", "Cookie", "reader="+bad).page()
		})
	}
	s.get("/account", "Cookie", "reader=garbage").denied(http.StatusUnauthorized, "bad_credential")
}

// An Authorization header that is not of a configured issuer belongs to the origin: it
// is forwarded unchanged, and the reader is anonymous.
func TestOtherAuthorizationIsTheOrigins(t *testing.T) {
	s := newTestSite(t, standardRules)
	foreign, _ := foreignToken(t, "https://unknown.example.com", "news", map[string]any{"sub": "u"})
	for _, value := range []string{"Basic dTpw", "Bearer opaque-token", "Bearer " + foreign, "Digest x", "Bearer", "AWS4-HMAC-SHA256 x"} {
		s.get("/public/x", "Authorization", value).page()
		if got := s.origin.Last(t).Header.Get("Authorization"); got != value {
			t.Errorf("%q reached the origin as %q", value, got)
		}
		s.get("/account", "Authorization", value).denied(http.StatusUnauthorized, "login_required")
	}
	s.origin.WantNone(t)
}

// foreignToken returns a token of another issuer, and the key set that verifies it.
func foreignToken(t *testing.T, issuer, audience string, claims map[string]any) (token string, jwks []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signForeign(t, jose.EdDSA, private, issuer, audience, claims), keySet(t, private.Public(), jose.EdDSA)
}

func signForeign(t *testing.T, algorithm jose.SignatureAlgorithm, private any, issuer, audience string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: private, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": issuer, "aud": audience, "iat": clock.Now().Unix(), "exp": clock.Now().Unix() + 3600}
	maps.Copy(all, claims)
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func keySet(t *testing.T, public any, algorithm jose.SignatureAlgorithm) []byte {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "k1", Algorithm: string(algorithm), Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// The keys of another issuer are in a file.
func TestReaderOfAnotherIssuer(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, keySet(t, private.Public(), jose.ES256), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTestSite(t, `identify jwt {
			issuer https://id.example.com
			jwks `+file+`
			audience news
			cookie id
			claim user_id uid
			claim publisher_user_id customer
		}`+standardRules)
	s.grant(store.Grant{UserID: "u-1", SKU: "premium"})
	s.grant(store.Grant{PublisherUserID: "c-9", SKU: "premium"})
	s.grant(store.Grant{Email: "Reader@Example.com", SKU: "premium"})
	token := func(audience string, claims map[string]any) string {
		return signForeign(t, jose.ES256, private, "https://id.example.com", audience, claims)
	}
	for _, test := range []struct {
		name   string
		token  string
		status int
		code   string
	}{
		{"by user id", token("news", map[string]any{"uid": "u-1"}), 200, ""},
		{"by publisher user id", token("news", map[string]any{"uid": "x", "customer": "c-9"}), 200, ""},
		{"by verified e-mail", token("news", map[string]any{"uid": "x", "email": "reader@example.com", "email_verified": true}), 200, ""},
		{"by unverified e-mail", token("news", map[string]any{"uid": "x", "email": "reader@example.com"}), 403, "not_entitled"},
		{"by e-mail verified as text", token("news", map[string]any{"uid": "x", "email": "reader@example.com", "email_verified": "true"}), 200, ""},
		{"by e-mail that text calls unverified", token("news", map[string]any{"uid": "x", "email": "reader@example.com", "email_verified": "false"}), 403, "not_entitled"},
		{"with 10 KiB of groups", token("news", map[string]any{"uid": "u-1", "groups": strings.Repeat("g", 10<<10)}), 200, ""},
		{"with more than is read", token("news", map[string]any{"uid": "u-1", "groups": strings.Repeat("g", 14<<10)}), 401, "bad_credential"},
		{"an integer as the user id", token("news", map[string]any{"uid": 1}), 401, "bad_credential"},
		{"another audience", token("sport", map[string]any{"uid": "u-1"}), 401, "bad_credential"},
		{"no user id", token("news", map[string]any{"sub": "u-1"}), 401, "bad_credential"},
		{"expired", token("news", map[string]any{"uid": "u-1", "exp": clock.Now().Unix()}), 401, "bad_credential"},
	} {
		for _, headers := range [][]string{{"Authorization", "Bearer " + test.token}, {"Cookie", "id=" + test.token}} {
			got := s.get("/articles/hello", headers...)
			got.t = t
			if got.StatusCode != test.status {
				t.Errorf("%s: %d %s", test.name, got.StatusCode, got.body)
			}
			if test.status == 200 {
				got.page()
			} else {
				got.denied(test.status, test.code)
			}
		}
	}
	// A browser may send one cookie twice, from two paths. Two that differ are none: a
	// sibling site may have set one of them.
	one, other := token("news", map[string]any{"uid": "u-1"}), token("news", map[string]any{"uid": "u-2"})
	s.get("/articles/hello", "Cookie", "id="+one+"; id="+one).page()
	s.get("/articles/hello", "Cookie", "id="+one+"; id="+other).denied(401, "login_required")
	// Tokens of both issuers are accepted.
	s.get("/account", "Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "u"})).page()
}

// The first source for which a request carries a credential decides.
func TestFirstSourceDecides(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("hiccup"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s := newTestSiteWith(t, "", `identify http_auth
		identify jwt {
			issuer self
			cookie reader
		}
		rule / authenticated`, `basic_auth {
		alice `+string(hash)+`
	}
	header >X-User {http.gatefold.user.id}`)
	token := s.reader(keys.ReaderClaims{UserID: "bob"})
	if got := s.get("/", "Authorization", "Basic YWxpY2U6aGljY3Vw", "Cookie", "reader="+token).page(); got.Header.Get("X-User") != "alice" {
		t.Errorf("the reader is %q", got.Header.Get("X-User"))
	}
	second := newTestSiteWith(t, "", standardRules+"\n\t\tidentify http_auth", "header >X-User {http.gatefold.user.id}")
	token = second.reader(keys.ReaderClaims{UserID: "bob"})
	other := second.reader(keys.ReaderClaims{UserID: "carol"})
	if got := second.get("/account", "Authorization", "Bearer "+token, "Cookie", "reader="+other).page(); got.Header.Get("X-User") != "bob" {
		t.Errorf("the reader is %q", got.Header.Get("X-User"))
	}
}

// Several spaces may precede a token, which then contains none.
func TestBearerToken(t *testing.T) {
	for value, want := range map[string]string{
		"Bearer a.b.c": "a.b.c", "bearer a.b.c": "a.b.c", "BEARER   a.b.c": "a.b.c",
		"Bearer": "", "Bearer ": "", "Bearer    ": "", "Basic a.b.c": "", "a.b.c": "",
		"Bearer a.b.c ": "a.b.c ", "Bearer a b": "a b", "Bearer  a b": "", "Bearer a\tb": "a\tb",
		"Bearer " + strings.Repeat(" ", 4000) + "x": "x",
	} {
		if got := bearerToken([]string{value}); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
	if got := bearerToken([]string{"Bearer a", "Bearer a"}); got != "" {
		t.Errorf("of two headers: got %q", got)
	}
}
