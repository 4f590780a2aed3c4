package keys

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"time"
)

// Client verifies what an OpenID provider signs for one of its clients: ID tokens and logout
// tokens.
type Client struct {
	// Issuer is the required `iss`. ID must be one of `aud`.
	Issuer, ID string
	// Claims are the names of the claims that identify the reader, and IntegerIDs as in
	// ReaderIssuer.
	Claims     ClaimNames
	IntegerIDs bool
}

// IDToken is a verified ID token (OpenID Connect Core 1.0, section 2).
type IDToken struct {
	// Subject is `sub`, and SessionID `sid`, or "".
	Subject, SessionID string
	// ExpiresAt, IssuedAt and AuthTime are in Unix seconds; AuthTime is zero if it is absent.
	ExpiresAt, IssuedAt, AuthTime int64

	algorithm string
	claims    object
}

// VerifyID verifies an ID token of a login with a nonce. The error wraps one of this package.
func (c *Client) VerifyID(raw string, set KeySet, nonce string, now time.Time) (IDToken, error) {
	token, err := c.verifyID(raw, set, now)
	if err != nil {
		return IDToken{}, err
	}
	got, err := token.claims.text("nonce", maxNonce)
	if err == nil && subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1 {
		err = &claimError{"nonce", "is not that of this login"}
	}
	if err != nil {
		return IDToken{}, err
	}
	return token, nil
}

// VerifyRenewed verifies an ID token that came with renewed tokens (OpenID Connect Core 1.0,
// section 12.2): it need not have a nonce, and is of the same subject.
func (c *Client) VerifyRenewed(raw string, set KeySet, subject string, now time.Time) (IDToken, error) {
	token, err := c.verifyID(raw, set, now)
	if err == nil && token.Subject != subject {
		err = &claimError{"sub", "is that of another reader"}
	}
	if err != nil {
		return IDToken{}, err
	}
	return token, nil
}

const maxNonce = 255

func (c *Client) verifyID(raw string, set KeySet, now time.Time) (IDToken, error) {
	var algorithm string
	token, err := verifyToken(raw, signer{kind: signsID}, set, func(o object) (token IDToken, err error) {
		if o.hasCaseVariant([]string{"nonce", "azp", "sid", c.Claims.UserID, c.Claims.Email, c.Claims.EmailVerified, c.Claims.PublisherUserID}) {
			return token, ErrMalformed
		}
		t, err := o.checkIdentity(c.Issuer, c.ID, now.Unix())
		if err != nil {
			return token, err
		}
		if t.issuedAt == 0 {
			return token, &claimError{"iat", "is missing"}
		}
		token = IDToken{ExpiresAt: t.expiresAt, IssuedAt: t.issuedAt, claims: o}
		if token.Subject, err = c.subject(o); err != nil {
			return token, err
		}
		if token.SessionID, err = o.optionalText("sid", 255); err != nil {
			return token, err
		}
		if token.AuthTime, _, err = o.date("auth_time", true); err != nil {
			return token, err
		}
		return token, o.checkAuthorizedParty(c.ID)
	})
	if err != nil {
		return IDToken{}, err
	}
	if scanned, err := Scan(raw); err == nil {
		algorithm = scanned.Header.Algorithm
	}
	token.algorithm = algorithm
	return token, nil
}

// subject returns `sub`, which some providers write as an integer.
func (c *Client) subject(o object) (string, error) {
	if c.IntegerIDs {
		return o.textOrInteger("sub", 255)
	}
	return o.text("sub", 255)
}

// checkAuthorizedParty checks `azp` (OpenID Connect Core 1.0, section 3.1.3.7): a token that
// was made for another client is not accepted, although this one is among the audiences.
func (o object) checkAuthorizedParty(client string) error {
	party, err := o.optionalText("azp", 512)
	if err != nil {
		return err
	}
	audiences, several := readTexts(o.find("aud"), 64)
	switch {
	case party != "" && party != client:
		return &claimError{"azp", "is another client"}
	case party == "" && several && slices.ContainsFunc(audiences, func(a string) bool { return a != client }):
		return &claimError{"azp", "is missing, and the token is for others as well"}
	}
	return nil
}

// FitsAccessToken reports whether the token's `at_hash`, if it has one, is that of an access
// token (OpenID Connect Core 1.0, section 3.1.3.6).
func (t *IDToken) FitsAccessToken(access string) bool {
	hash, err := t.claims.optionalText("at_hash", 128)
	if err != nil || hash == "" {
		return err == nil
	}
	var sum []byte
	switch digits := t.algorithm[max(0, len(t.algorithm)-3):]; digits {
	case "384":
		s := sha512.Sum384([]byte(access))
		sum = s[:]
	case "256":
		s := sha256.Sum256([]byte(access))
		sum = s[:]
	default: // 512, and Ed25519
		s := sha512.Sum512([]byte(access))
		sum = s[:]
	}
	return subtle.ConstantTimeCompare([]byte(hash), []byte(base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]))) == 1
}

// Lacks reports whether the token lacks a claim that userinfo may have: the reader's id, if
// it is not `sub`, or their address.
func (c *Client) Lacks(t *IDToken) bool {
	return t.claims.find(c.Claims.UserID) == nil || t.claims.find(c.Claims.Email) == nil ||
		c.Claims.PublisherUserID != DefaultClaimNames.PublisherUserID && t.claims.find(c.Claims.PublisherUserID) == nil
}

// Reader returns the reader of an ID token. Claims that it lacks are read of the body of a
// userinfo response (OpenID Connect Core 1.0, section 5.3.2), which must be of the same
// subject; nil for none.
func (c *Client) Reader(t *IDToken, userinfo []byte) (ReaderClaims, error) {
	claims := slices.Clone(t.claims)
	if userinfo != nil {
		more, ok := readObjectUpTo(userinfo, maxClaims)
		if !ok {
			return ReaderClaims{}, ErrMalformed
		}
		// Without this check a response about another reader would change who logged in.
		if subject, err := c.subject(more); err != nil || subject != t.Subject {
			return ReaderClaims{}, &claimError{"sub", "of userinfo is that of another reader"}
		}
		names := []string{c.Claims.UserID, c.Claims.PublisherUserID}
		if claims.find(c.Claims.Email) == nil { // an address counts with the word of the same source
			names = append(names, c.Claims.Email, c.Claims.EmailVerified)
			claims = slices.DeleteFunc(claims, func(m member) bool { return m.name == c.Claims.EmailVerified })
		}
		for _, name := range names {
			if value := more.find(name); value != nil && claims.find(name) == nil {
				claims = append(claims, member{name, value})
			}
		}
	}
	issuer := ReaderIssuer{Issuer: c.Issuer, Audience: c.ID, Claims: c.Claims, IntegerIDs: c.IntegerIDs}
	return issuer.read(claims, t.IssuedAt)
}

// LogoutToken is a verified logout token (OpenID Connect Back-Channel Logout 1.0, section
// 2.4).
type LogoutToken struct {
	// ID is `jti`. Of Subject and SessionID one may be empty.
	ID, Subject, SessionID string
	// ExpiresAt is in Unix seconds, at most a day ahead.
	ExpiresAt int64
}

// logoutEvent is the member of `events` that makes a token a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// maxLogoutAge is the most that `exp` of a logout token may be ahead: for so long
// its `jti` is remembered.
const maxLogoutAge = 24 * time.Hour

// VerifyLogout verifies a logout token. That it was not used before is for the caller to
// check. The error wraps one of this package.
func (c *Client) VerifyLogout(raw string, set KeySet, now time.Time) (LogoutToken, error) {
	return verifyToken(raw, signer{kind: signsLogout}, set, func(o object) (token LogoutToken, err error) {
		if o.hasCaseVariant([]string{"nonce", "events", "sid"}) {
			return token, ErrMalformed
		}
		t, err := o.checkIdentity(c.Issuer, c.ID, now.Unix())
		switch {
		case err != nil:
			return token, err
		case t.issuedAt == 0:
			return token, &claimError{"iat", "is missing"}
		case t.expiresAt > now.Add(maxLogoutAge).Unix():
			return token, &claimError{"exp", "is more than a day ahead"}
		case o.find("nonce") != nil:
			return token, &claimError{"nonce", "must not be in a logout token"}
		}
		events, ok := readObject(o.find("events"))
		if !ok {
			return token, &claimError{"events", "is not an object"}
		}
		if value := events.find(logoutEvent); len(value) == 0 || value[0] != '{' {
			return token, &claimError{"events", "is not that of a logout"}
		}
		token.ExpiresAt = t.expiresAt
		if token.ID, err = o.text("jti", 255); err != nil {
			return token, err
		}
		if o.find("sub") != nil {
			if token.Subject, err = c.subject(o); err != nil {
				return token, err
			}
		}
		if token.SessionID, err = o.optionalText("sid", 255); err != nil {
			return token, err
		}
		if token.Subject == "" && token.SessionID == "" {
			return token, &claimError{"sub", "is missing, and so is sid"}
		}
		return token, nil
	})
}
