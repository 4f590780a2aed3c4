package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5" //nolint:gosec // the format of existing origins asks for it, see SealSessionCookie
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TypeSession is the `typ` of the assertion by which an origin learns who asks.
// An origin must ask for it: what else the vendor's keys sign is no session.
const TypeSession = "gatefold-session+jwt"

// How long a session says that it is good for.
const (
	// AssertionLifetime is that of an assertion, in its `exp`.
	AssertionLifetime = time.Minute
	// SharedSessionLifetime is that of a token under a shared key: what DjaoApp's
	// origins are used to.
	SharedSessionLifetime = 2 * time.Hour
)

// Session is what an origin is told of a request that was allowed: who asks, and
// by what she was let in.
type Session struct {
	// UserID is the reader's stable key; empty when nobody is identified, and
	// the request was let in by a link.
	UserID string
	// Email is a verified address; empty when there is none.
	Email string
	// PublisherUserID is the publisher's own key; empty when there is none.
	PublisherUserID string
	// Site is the site's slug.
	Site string
	// LastVisited is when the reader first had to do with what the rule's tags
	// name; zero when she has not before.
	LastVisited time.Time
	// Entitlements are what the reader may have now; More says that some were
	// left out, for want of room.
	Entitlements []SessionEntitlement
	More         bool
	// Link is the signed link that let the request in, nil when none did.
	Link *SessionLink
}

// SessionEntitlement is one thing that a reader may have.
type SessionEntitlement struct {
	SKU string `json:"sku"`
	// EndsAt is nil when there is no end.
	EndsAt *time.Time `json:"ends_at"`
}

// SessionLink is what an origin is told of a link. It makes nobody a user.
type SessionLink struct {
	Issuer             string          `json:"iss"`
	ID                 string          `json:"jti"`
	SKU                string          `json:"sku,omitempty"`
	PurchaseOption     string          `json:"purchaseOption,omitempty"`
	PublisherContentID string          `json:"publisherContentId,omitempty"`
	ContentNames       []string        `json:"contentNames,omitempty"`
	Scopes             []string        `json:"scopes,omitempty"`
	Meta               json.RawMessage `json:"meta,omitempty"`
}

// sharedSession is a session in DjaoApp's words. Roles are always empty: which
// roles a user has on which accounts is not known here.
type sharedSession struct {
	LastVisited     *time.Time           `json:"last_visited"`
	Username        string               `json:"username,omitempty"`
	Email           string               `json:"email,omitempty"`
	PublisherUserID string               `json:"publisher_user_id,omitempty"`
	Roles           map[string]struct{}  `json:"roles"`
	Site            sessionSite          `json:"site"`
	Entitlements    []SessionEntitlement `json:"entitlements"`
	More            bool                 `json:"entitlements_truncated,omitempty"`
	Link            *SessionLink         `json:"link,omitempty"`
	ExpiresAt       int64                `json:"exp,omitempty"`
}

type sessionSite struct {
	Slug          string `json:"slug"`
	PrintableName string `json:"printable_name"`
}

// assertion is the payload of a session in our own words.
type assertion struct {
	Issuer          string               `json:"iss"`
	Audience        string               `json:"aud"`
	Subject         string               `json:"sub,omitempty"`
	IssuedAt        int64                `json:"iat"`
	ExpiresAt       int64                `json:"exp"`
	Email           string               `json:"email,omitempty"`
	EmailVerified   bool                 `json:"email_verified,omitempty"`
	PublisherUserID string               `json:"publisher_user_id,omitempty"`
	LastVisited     *time.Time           `json:"last_visited,omitempty"`
	Entitlements    []SessionEntitlement `json:"entitlements"`
	More            bool                 `json:"entitlements_truncated,omitempty"`
	Link            *SessionLink         `json:"link,omitempty"`
}

// SharedJSON writes the session in DjaoApp's words, without an end.
func (s *Session) SharedJSON() ([]byte, error) { return encodeClaims(s.shared(0)) }

func (s *Session) shared(expiresAt int64) *sharedSession {
	return &sharedSession{
		LastVisited: optionalTime(s.LastVisited), Username: s.UserID, Email: s.Email, PublisherUserID: s.PublisherUserID,
		Roles: map[string]struct{}{}, Site: sessionSite{Slug: s.Site, PrintableName: s.Site},
		Entitlements: s.entitlements(), More: s.More, Link: s.Link, ExpiresAt: expiresAt,
	}
}

// entitlements are a list, however empty.
func (s *Session) entitlements() []SessionEntitlement {
	if s.Entitlements == nil {
		return []SessionEntitlement{}
	}
	return s.Entitlements
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (s *Session) assertion(vendor string, now time.Time) *assertion {
	return &assertion{
		Issuer: VendorIssuer(vendor), Audience: s.Site, Subject: s.UserID,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(AssertionLifetime).Unix(),
		Email: s.Email, EmailVerified: s.Email != "", PublisherUserID: s.PublisherUserID,
		LastVisited: optionalTime(s.LastVisited), Entitlements: s.entitlements(), More: s.More, Link: s.Link,
	}
}

// AssertionJSON writes the session as Sign signs it.
func (s *Session) AssertionJSON(vendor string, now time.Time) ([]byte, error) {
	return encodeClaims(s.assertion(vendor, now))
}

// Sign makes an ES256 assertion of the session (RFC 7515), which whoever has the
// vendor's JWK Set can verify: `iss` is the vendor, `aud` the site.
func (s *Session) Sign(ring *Ring, vendor string, now time.Time) (string, error) {
	return ring.signing.sign(TypeSession, s.assertion(vendor, now))
}

// SignShared makes an HS256 token of the session under a key that the site shares
// with its origin, as deployutils' jwt_session_store reads it. It is signed, and
// readable by whoever sees it.
func (s *Session) SignShared(key SessionKey, now time.Time) (string, error) {
	payload, err := encodeClaims(s.shared(now.Add(SharedSessionLifetime).Unix()))
	if err != nil {
		return "", err
	}
	return key.sign(payload)
}

// SealShared makes a cookie value of the session under a key that the site shares
// with its origin, as deployutils' encrypted_cookies reads it.
//
// Legacy: the format has neither an end nor a check against alteration. Where the
// origin can read another one, use that.
func (s *Session) SealShared(key SessionKey) (string, error) {
	plaintext, err := s.SharedJSON()
	if err != nil {
		return "", err
	}
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails, see crypto/rand
	return key.sealCookie(plaintext, salt)
}

// SessionKey is a secret that a site shares with its origin. It prints as
// nothing of itself; Reveal is the one way to see it.
type SessionKey struct{ secret string }

// minSessionKey is the shortest key that is accepted, in bytes: RFC 7518,
// section 3.2, for HS256.
const minSessionKey = 32

// GenerateSessionKey makes a key of 256 random bits. Its text is ASCII without
// blanks, so that it can stand in an environment variable.
func GenerateSessionKey() SessionKey {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return SessionKey{base64.RawURLEncoding.EncodeToString(random[:])}
}

// ParseSessionKey reads a key as Reveal gives it.
func ParseSessionKey(text string) (SessionKey, error) {
	if len(text) < minSessionKey {
		return SessionKey{}, fmt.Errorf("a session key is shorter than %d bytes", minSessionKey)
	}
	return SessionKey{text}, nil
}

// Reveal returns the key itself, for whoever must give it to the origin, and for
// sealing it.
func (k SessionKey) Reveal() string { return k.secret }

// Format keeps the key out of whatever prints it.
func (k SessionKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "session key") }

// MarshalJSON keeps the key out of JSON.
func (k SessionKey) MarshalJSON() ([]byte, error) { return json.Marshal("session key") }

func (k SessionKey) sign(payload []byte) (string, error) {
	options := (&jose.SignerOptions{}).WithType("JWT")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(k.secret)}, options)
	if err != nil {
		return "", errors.New("making a signer of a session key failed")
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", errors.New("signing a session failed")
	}
	return signed.CompactSerialize()
}

const saltSize = 8

// sealCookie is OpenSSL's `enc -aes-256-cbc -md md5 -a -A`: base64 of "Salted__",
// the salt and the text under AES-256-CBC with PKCS #7 padding, key and
// initialization vector from EVP_BytesToKey with MD5 and one round.
func (k SessionKey) sealCookie(plaintext []byte, salt [saltSize]byte) (string, error) {
	key, iv := opensslKey(k.secret, salt)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return "", errors.New("making a cipher of a session key failed")
	}
	padding := aes.BlockSize - len(plaintext)%aes.BlockSize
	const magic = "Salted__"
	sealed := make([]byte, 0, len(magic)+saltSize+len(plaintext)+padding)
	sealed = append(append(sealed, magic...), salt[:]...)
	body := append(sealed, plaintext...)[len(sealed):]
	for range padding {
		body = append(body, byte(padding))
	}
	cipher.NewCBCEncrypter(block, iv[:]).CryptBlocks(body, body)
	return base64.StdEncoding.EncodeToString(append(sealed, body...)), nil
}

// opensslKey is EVP_BytesToKey: D1 = MD5(secret, salt), Dn = MD5(Dn-1, secret,
// salt), until there is enough for a key and an initialization vector.
func opensslKey(secret string, salt [saltSize]byte) (key [32]byte, iv [aes.BlockSize]byte) {
	var derived, last []byte
	for len(derived) < len(key)+len(iv) {
		h := md5.New() //nolint:gosec // as above
		h.Write(last)
		h.Write([]byte(secret))
		h.Write(salt[:])
		last = h.Sum(nil)
		derived = append(derived, last...)
	}
	copy(key[:], derived)
	copy(iv[:], derived[len(key):])
	return key, iv
}
