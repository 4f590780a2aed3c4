package keys

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// signer selects the keys and token types that a verifier accepts.
type signer struct {
	own  bool       // the token is one of ours
	typ  string     // its `typ`, if it is one of ours
	kind signedKind // of the tokens of other issuers
}

// signedKind is what a token of another issuer must be.
type signedKind byte

const (
	signsReader signedKind = iota // identifies its bearer
	signsID                       // an ID token alone
	signsLogout                   // a logout token
)

// key returns the key that must have signed a token. Our tokens always name
// their key, are always ES256 and in strictForm. A token of another issuer identifies its bearer
// only as an ID token or an access token (RFC 9068); every other type, such as
// `logout+jwt` or `secevent+jwt`, is made for another use.
func (s signer) key(t *Token, set KeySet) (*PublicKey, error) {
	switch {
	case !s.own && !t.isOf(s.kind), s.own && t.Header.Type != s.typ:
		return nil, ErrType
	case s.own && t.Header.Algorithm != algES256:
		return nil, ErrAlgorithm
	case s.own && t.Header.KeyID == "":
		return nil, ErrUnknownKey
	case s.own:
		if err := t.strictForm(); err != nil {
			return nil, err
		}
	}
	return set.find(t.Header)
}

// identifies reports whether a token of another issuer may identify its bearer. A
// token with `events` is a security event or a logout token, whatever its `typ` (RFC
// 8417, section 2.2; OpenID Connect Back-Channel Logout 1.0, section 2.4).
func (t *Token) identifies() bool {
	switch t.mediaType() {
	case "", "jwt", "at+jwt":
		return t.claims.find("events") == nil
	default:
		return false
	}
}

// isOf reports whether a token of another issuer may be one of a kind.
func (t *Token) isOf(kind signedKind) bool {
	switch kind {
	case signsID:
		return t.identifies() && t.mediaType() != "at+jwt"
	case signsLogout:
		switch t.mediaType() {
		case "", "jwt", "logout+jwt":
			return t.claims.find("events") != nil
		}
		return false
	default:
		return t.identifies()
	}
}

// mediaType returns `typ` in lower case and without the prefix `application/`,
// which is optional (RFC 7515, section 4.1.9).
func (t *Token) mediaType() string {
	return strings.TrimPrefix(strings.ToLower(t.Header.Type), "application/")
}

// verifyToken returns the claims of a token, as read returns them. The signature
// is verified last because it costs most; no claim is returned before.
func verifyToken[C any](raw string, by signer, set KeySet, read func(object) (C, error)) (C, error) {
	var none C
	token, err := Scan(raw)
	if err != nil {
		return none, err
	}
	key, err := by.key(&token, set)
	if err != nil {
		return none, err
	}
	claims, err := read(token.claims)
	if err != nil {
		return none, err
	}
	err = token.verify(key)
	switch {
	case errors.Is(err, ErrSignature) && (token.Header.KeyID == "" || key.ID == ""):
		return none, errUnnamedKey
	case err != nil:
		return none, err
	}
	return claims, nil
}

// verify checks the signature of a token with a key. It waits for VerifyLimiter
// and returns ErrSignature, or ErrBusy when too many callers wait.
func (t *Token) verify(key *PublicKey) error {
	if t.Header.Algorithm == string(algEd25519) {
		return t.verifyEd25519(key)
	}
	signed, err := jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.Header.Algorithm)})
	if err != nil {
		return ErrMalformed
	}
	return VerifyLimiter.Do(func() error {
		if _, err := signed.Verify(key.Key); err != nil {
			return ErrSignature
		}
		return nil
	})
}

// verifyEd25519 is verify for a token whose `alg` is Ed25519 (RFC 9864, section 2.2).
func (t *Token) verifyEd25519(key *PublicKey) error {
	end := strings.LastIndexByte(t.raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(t.raw[end+1:])
	public, ok := key.Key.(ed25519.PublicKey)
	if err != nil || !ok {
		return ErrMalformed
	}
	return VerifyLimiter.Do(func() error {
		if !ed25519.Verify(public, []byte(t.raw[:end]), signature) {
			return ErrSignature
		}
		return nil
	})
}
