package keys

import (
	"crypto/rand"
	"encoding/json"
	"time"
)

// TypeSession is the `typ` of session assertions. An origin must check it: the
// vendor's keys sign other tokens too.
const TypeSession = "gatefold-session+jwt"

// Lifetimes of session tokens.
const (
	// AssertionLifetime is that of an assertion.
	AssertionLifetime = time.Minute
	// SharedSessionLifetime is that of a token under a shared key, as origins
	// for DjaoApp expect it.
	SharedSessionLifetime = 2 * time.Hour
)

// Session is what the gate tells an origin about an allowed request: the reader,
// their entitlements and the link that allowed it.
type Session struct {
	// UserID is the reader's stable key, or "" for an anonymous reader whom a
	// link allowed.
	UserID string
	// Email is a verified address, or "".
	Email string
	// PublisherUserID is the publisher's key of the reader, or "".
	PublisherUserID string
	// Site is the site's slug.
	Site string
	// LastVisited is the reader's first engagement with the tags of the rule, or
	// zero when there was none before.
	LastVisited time.Time
	// Entitlements are the reader's current entitlements. More says that some
	// were omitted to keep the session small.
	Entitlements []SessionEntitlement
	More         bool
	// Roles are the profiles on which the reader has a role, by the role's type. MoreRoles
	// reports that profiles or subscriptions were omitted to keep the session small.
	Roles     map[string][]SessionProfile
	MoreRoles bool
	// Link is the signed link that allowed the request, or nil.
	Link *SessionLink
}

// SessionEntitlement is an entitlement of the reader.
type SessionEntitlement struct {
	SKU string `json:"sku"`
	// EndsAt is the end of the entitlement, or nil when it has none.
	EndsAt *time.Time `json:"ends_at"`
}

// SessionProfile describes a profile on which the reader has a role, with the members of
// DjaoApp's sessions.
type SessionProfile struct {
	Slug          string     `json:"slug"`
	PrintableName string     `json:"printable_name"`
	Type          string     `json:"type"`
	CreatedAt     *time.Time `json:"created_at,omitempty"`
	Email         string     `json:"email,omitempty"`
	// Subscriptions are those of the profile, one for each plan, ended ones included.
	Subscriptions []SessionSubscription `json:"subscriptions"`
}

// SessionSubscription is the last subscription of a profile to a plan.
type SessionSubscription struct {
	Plan string `json:"plan"`
	// EndsAt is the end, which may be past, or nil when there is none.
	EndsAt *time.Time `json:"ends_at"`
}

// SessionLink describes a link to an origin. It does not identify the reader.
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

// sharedSession is a session in DjaoApp's format.
type sharedSession struct {
	LastVisited     *time.Time           `json:"last_visited"`
	Username        string               `json:"username,omitempty"`
	Email           string               `json:"email,omitempty"`
	PublisherUserID string               `json:"publisher_user_id,omitempty"`
	Roles           sessionRoles         `json:"roles"`
	MoreRoles       bool                 `json:"roles_truncated,omitempty"`
	Site            sessionSite          `json:"site"`
	Entitlements    []SessionEntitlement `json:"entitlements"`
	More            bool                 `json:"entitlements_truncated,omitempty"`
	Link            *SessionLink         `json:"link,omitempty"`
	ExpiresAt       int64                `json:"exp,omitempty"`
}

// sessionRoles are encoded as an object, also if there are none.
type sessionRoles map[string][]SessionProfile

func (r sessionRoles) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("{}"), nil
	}
	return encodeClaims(map[string][]SessionProfile(r))
}

type sessionSite struct {
	Slug          string `json:"slug"`
	PrintableName string `json:"printable_name"`
}

// assertion is the payload of a session assertion.
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
	Roles           sessionRoles         `json:"roles"`
	MoreRoles       bool                 `json:"roles_truncated,omitempty"`
	Entitlements    []SessionEntitlement `json:"entitlements"`
	More            bool                 `json:"entitlements_truncated,omitempty"`
	Link            *SessionLink         `json:"link,omitempty"`
}

// SharedJSON returns the session in DjaoApp's format, without `exp`.
func (s *Session) SharedJSON() ([]byte, error) { return encodeClaims(s.shared(0)) }

func (s *Session) shared(expiresAt int64) *sharedSession {
	return &sharedSession{
		LastVisited: optionalTime(s.LastVisited), Username: s.UserID, Email: s.Email, PublisherUserID: s.PublisherUserID,
		Roles: s.Roles, MoreRoles: s.MoreRoles, Site: sessionSite{Slug: s.Site, PrintableName: s.Site},
		Entitlements: s.entitlements(), More: s.More, Link: s.Link, ExpiresAt: expiresAt,
	}
}

// entitlements returns a list that JSON does not encode as null.
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
		LastVisited: optionalTime(s.LastVisited), Roles: s.Roles, MoreRoles: s.MoreRoles, Entitlements: s.entitlements(), More: s.More, Link: s.Link,
	}
}

// AssertionJSON returns the payload that Sign signs.
func (s *Session) AssertionJSON(vendor string, now time.Time) ([]byte, error) {
	return encodeClaims(s.assertion(vendor, now))
}

// Sign returns the session as a compact JWS (RFC 7515), signed with ES256 by a key
// of the vendor's published JWK Set: `iss` is the vendor, `aud` the site.
func (s *Session) Sign(ring *Ring, vendor string, now time.Time) (string, error) {
	return ring.signing.sign(TypeSession, s.assertion(vendor, now))
}

// SignShared returns the session as an HS256 JWT under a key that the site shares
// with its origin, in the format of deployutils' jwt_session_store. It is signed,
// not encrypted.
func (s *Session) SignShared(key SessionKey, now time.Time) (string, error) {
	payload, err := encodeClaims(s.shared(now.Add(SharedSessionLifetime).Unix()))
	if err != nil {
		return "", err
	}
	return key.sign(payload)
}

// SealShared returns the session as a cookie value under a key that the site
// shares with its origin, in the format of deployutils' encrypted_cookies.
//
// Legacy: the format neither expires nor detects alteration. Use another one where
// the origin can read it.
func (s *Session) SealShared(key SessionKey) (string, error) {
	plaintext, err := s.SharedJSON()
	if err != nil {
		return "", err
	}
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails, see crypto/rand
	return key.sealCookie(plaintext, salt)
}
