package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Results of the published implementation for the same input. Its keys are shorter
// than ours may be.
const (
	knownKey    = "m55*tp*jxti7uylwa-"
	knownToken  = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VybmFtZSI6InhpYSIsImV4cCI6NDEwMjQ0NDgwMH0.JXGv-UwrqTfCCOUpIfKLD82Rlry3s2qiSkiXuwYCMPw"
	knownCookie = "U2FsdGVkX18BAgMEBQYHCDdkMwANZocNyUswiFwkhAm4gXuJvdyhpnOdCl+JFzYPCF1xW5WVGa5Z07kea56iJw=="
	// With roles, made by openssl enc -aes-256-cbc -md md5 and openssl dgst -sha256 -hmac.
	rolesPayload = `{"username":"xia","roles":{"manager":[{"slug":"abc","printable_name":"ABC Corp.","type":"organization","subscriptions":[{"plan":"premium","ends_at":"2026-12-23T07:54:21Z"}]}]},"exp":4102444800}`
	rolesToken   = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VybmFtZSI6InhpYSIsInJvbGVzIjp7Im1hbmFnZXIiOlt7InNsdWciOiJhYmMiLCJwcmludGFibGVfbmFtZSI6IkFCQyBDb3JwLiIsInR5cGUiOiJvcmdhbml6YXRpb24iLCJzdWJzY3JpcHRpb25zIjpbeyJwbGFuIjoicHJlbWl1bSIsImVuZHNfYXQiOiIyMDI2LTEyLTIzVDA3OjU0OjIxWiJ9XX1dfSwiZXhwIjo0MTAyNDQ0ODAwfQ.n1kNfyVYCEofeRoxgqyN4glgQXd_bLB93i9EhykwhmE"
	rolesCookie  = "U2FsdGVkX18BAgMEBQYHCHd+WSbHjSB024vGDmEo3kkwoyLHFrBNwwUN6V4r4YKsgO+w3gvLy+WtzCO39jlb6BqMvDwM5BjknEwuQJP0X5OQ9YIHsvQ41V+iF9vTOItpGH6eUA6daEwWpLpWM0QPGhhDTwShwHV4Ta/Avn51WGH9prrZzQ18ssVX9AAuwbwqR4j6Q8T9QNmOgyZlaiFzzSBgYTLkEHD7xTvIf5U+GKvfyB8rXjL67P7jICStiy4BwQovOkmskhDhr/nIqnET6VkKErvTWq2pZ9W7upscTOU="
	knownAES     = "1b93e21131fee31eb4d5ace1d0ebc282f36620ecdc3037b9160c4e69374429c0"
	knownIV      = "ede57cee934482bed22d45db6302ecc7"
)

func TestSharedSessionsKnownAnswers(t *testing.T) {
	key := SessionKey{knownKey}
	// HMAC pads a short key with zeros (RFC 2104, section 2), so this is the same
	// key with the minimum length.
	filled := SessionKey{knownKey + strings.Repeat("\x00", minSessionKey-len(knownKey))}
	if got, err := filled.sign([]byte(`{"username":"xia","exp":4102444800}`)); err != nil || got != knownToken {
		t.Errorf("the token is %s, %v", got, err)
	}
	salt := [saltSize]byte{1, 2, 3, 4, 5, 6, 7, 8}
	if got, err := filled.sign([]byte(rolesPayload)); err != nil || got != rolesToken {
		t.Errorf("the token with roles is %s, %v", got, err)
	}
	if got, err := key.sealCookie([]byte(rolesPayload), salt); err != nil || got != rolesCookie {
		t.Errorf("the cookie with roles is %s, %v", got, err)
	}
	// A session has that shape.
	ends := time.Date(2026, 12, 23, 7, 54, 21, 0, time.UTC)
	session := Session{UserID: "xia", Roles: map[string][]SessionProfile{"manager": {{
		Slug: "abc", PrintableName: "ABC Corp.", Type: "organization", Subscriptions: []SessionSubscription{{Plan: "premium", EndsAt: &ends}},
	}}}}
	if shared, err := session.SharedJSON(); err != nil || !strings.Contains(string(shared), strings.TrimSuffix(strings.TrimPrefix(rolesPayload, "{"), `,"exp":4102444800}`)) {
		t.Errorf("%s, %v", shared, err)
	}
	derived, iv := evpBytesToKey(knownKey, salt)
	if hex.EncodeToString(derived[:]) != knownAES || hex.EncodeToString(iv[:]) != knownIV {
		t.Errorf("the derived key is %x, %x", derived, iv)
	}
	if got, err := key.sealCookie([]byte(`{"username": "xia", "last_visited": null}`), salt); err != nil || got != knownCookie {
		t.Errorf("the cookie is %s, %v", got, err)
	}
}

// fullSession returns a session with every field set.
func fullSession() *Session {
	ends := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	return &Session{
		UserID: "xia", Email: "xia@example.com", PublisherUserID: "p-1", Site: "news", LastVisited: ends.AddDate(-1, 0, 0),
		Roles: map[string][]SessionProfile{
			"manager": {{
				Slug: "abc", PrintableName: "ABC & Co.", Type: "organization", CreatedAt: &ends, Email: "abc@example.com",
				Subscriptions: []SessionSubscription{{Plan: "premium", EndsAt: &ends}, {Plan: "basic"}},
			}},
			"contributor": {{Slug: "xia", PrintableName: "Xia", Type: "personal", Subscriptions: []SessionSubscription{}}},
		},
		MoreRoles:    true,
		Entitlements: []SessionEntitlement{{SKU: "a&b"}, {SKU: "premium", EndsAt: &ends}}, More: true,
		Link: &SessionLink{Issuer: "gatefold:acme", ID: "l1", PublisherContentID: "hello", Scopes: []string{"read"}, Meta: json.RawMessage(`{"n":1}`)},
	}
}

const fullRoles = `{"contributor":[{"slug":"xia","printable_name":"Xia","type":"personal","subscriptions":[]}],` +
	`"manager":[{"slug":"abc","printable_name":"ABC & Co.","type":"organization","created_at":"2027-01-01T00:00:00Z","email":"abc@example.com",` +
	`"subscriptions":[{"plan":"premium","ends_at":"2027-01-01T00:00:00Z"},{"plan":"basic","ends_at":null}]}]}`

const fullShared = `{"last_visited":"2026-01-01T00:00:00Z","username":"xia","email":"xia@example.com","publisher_user_id":"p-1","roles":` + fullRoles + `,"roles_truncated":true,` +
	`"site":{"slug":"news","printable_name":"news"},"entitlements":[{"sku":"a&b","ends_at":null},{"sku":"premium","ends_at":"2027-01-01T00:00:00Z"}],` +
	`"entitlements_truncated":true,"link":{"iss":"gatefold:acme","jti":"l1","publisherContentId":"hello","scopes":["read"],"meta":{"n":1}}}`

// A cookie decrypts with its key and salt. No two cookies are equal.
func TestSessionCookie(t *testing.T) {
	key := GenerateSessionKey()
	seen := make(map[string]bool)
	for range 20 {
		value, err := fullSession().SealShared(key)
		if err != nil || seen[value] {
			t.Fatalf("%s, %v", value, err)
		}
		seen[value] = true
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil || string(raw[:8]) != "Salted__" || len(raw)%aes.BlockSize != 0 {
			t.Fatalf("%x, %v", raw, err)
		}
		derived, iv := evpBytesToKey(key.secret, [saltSize]byte(raw[8:16]))
		block, err := aes.NewCipher(derived[:])
		if err != nil {
			t.Fatal(err)
		}
		text := raw[16:]
		cipher.NewCBCDecrypter(block, iv[:]).CryptBlocks(text, text)
		padding := int(text[len(text)-1])
		if got := string(text[:len(text)-padding]); padding < 1 || padding > aes.BlockSize || got != fullShared {
			t.Fatalf("the session is %s", got)
		}
	}
}

func TestSharedToken(t *testing.T) {
	key, now := GenerateSessionKey(), time.Unix(1_750_000_000, 0)
	token, err := fullSession().SignShared(key, now)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := parsed.Verify([]byte(key.Reveal()))
	if want := strings.TrimSuffix(fullShared, "}") + `,"exp":1750007200}`; err != nil || string(payload) != want {
		t.Errorf("%v\n%s\n%s", err, payload, want)
	}
	header := token[:strings.Index(token, ".")]
	if header != knownToken[:strings.Index(knownToken, ".")] {
		t.Errorf("the header is %s", header)
	}
}

func TestAssertion(t *testing.T) {
	key, err := GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	ring, now := NewRing(key, []PublicKey{key.Public()}), time.Unix(1_750_000_000, 0)
	token, err := fullSession().Sign(ring, "acme", now)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := parsed.Verify(key.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	if header := parsed.Signatures[0].Protected; header.KeyID != key.ID() || header.ExtraHeaders["typ"] != TypeSession {
		t.Errorf("the header is %+v", header)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"iss": "gatefold:acme", "aud": "news", "sub": "xia", "iat": 1.75e9, "exp": 1.75e9 + 60, "email": "xia@example.com",
		"email_verified": true, "publisher_user_id": "p-1", "last_visited": "2026-01-01T00:00:00Z",
	} {
		if !reflect.DeepEqual(claims[name], want) {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if !strings.Contains(string(payload), `"roles":`+fullRoles+`,"roles_truncated":true`) {
		t.Errorf("the roles are not those of the other formats: %s", payload)
	}
	// A session is neither a reader token nor a link.
	issuer := OwnReaderIssuer("acme", "news")
	if _, err := issuer.Verify(token, ring.KeySet(), now); err == nil {
		t.Error("a session identifies a reader")
	}
	if _, err := VerifyLink(token, "gatefold:acme", ring.KeySet(), now); err == nil {
		t.Error("a session is a link")
	}
	if foreign := (&ReaderIssuer{Issuer: "gatefold:acme", Audience: "news", Claims: DefaultClaimNames}); true {
		if _, err := foreign.Verify(token, ring.KeySet(), now); err == nil {
			t.Error("a session is a reader token of another issuer")
		}
	}
	// A reader whom a link allowed is anonymous.
	anonymous, err := (&Session{Site: "news", Link: &SessionLink{ID: "l1"}}).AssertionJSON("acme", now)
	if err != nil || strings.Contains(string(anonymous), `"sub"`) || !strings.Contains(string(anonymous), `"entitlements":[]`) {
		t.Errorf("%s, %v", anonymous, err)
	}
}

func TestSessionKeysAreRandomAndNotPrinted(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		key := GenerateSessionKey()
		text := key.Reveal()
		if len(text) < minSessionKey || seen[text] {
			t.Fatalf("the key %q is short or was generated twice", text)
		}
		seen[text] = true
		encoded, err := json.Marshal(map[string]any{"key": key, "pointer": &key})
		if printed := fmt.Sprintf("%v %+v %#v %s %q %x", key, &key, key, key, key, key) + string(encoded); err != nil || strings.Contains(printed, text) || strings.Contains(printed, hex.EncodeToString([]byte(text))) {
			t.Fatalf("the key is printed: %s, %v", printed, err)
		}
		if again, err := ParseSessionKey(text); err != nil || again != key {
			t.Errorf("%v, %v", again, err)
		}
	}
	if _, err := ParseSessionKey(knownKey); err == nil {
		t.Error("a short key is accepted")
	}
}
