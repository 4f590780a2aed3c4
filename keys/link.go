package keys

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// typeLink is the `typ` of our link tokens.
const typeLink = "gatefold-link+jwt"

// LinkClaims are the claims of a link token. A link opens a resource when each
// of URL, SKU and PublisherContentID that it carries matches.
type LinkClaims struct {
	Issuer string `json:"iss"`
	// ID is the link's tokenId: with the issuer, it is what uses and
	// revocation are kept by.
	ID string `json:"jti"`
	// IssuedAt, NotBefore and ExpiresAt are in Unix seconds.
	IssuedAt           int64  `json:"iat"`
	NotBefore          int64  `json:"nbf,omitempty"`
	ExpiresAt          int64  `json:"exp"`
	URL                string `json:"url,omitempty"`
	SKU                string `json:"sku,omitempty"`
	PurchaseOption     string `json:"purchaseOption,omitempty"`
	PublisherContentID string `json:"publisherContentId,omitempty"`
	// Subject is the user that the link was made for. It never makes the
	// visitor that user.
	Subject string `json:"sub,omitempty"`
	// MaxUses is how often the link may be redeemed; zero means that its uses
	// are not counted.
	MaxUses int64 `json:"maxUses,omitempty"`
	// Meta is a JSON object of the issuer's own; nil when there is none.
	Meta json.RawMessage `json:"meta,omitempty"`
	// ContentNames and Scopes are what a publisher's share token names of the
	// resource, for the origin; one of them is empty. Our own links have none.
	ContentNames []string `json:"contentNames,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
}

// Bounds of a link's claims.
const (
	MaxLinkURL  = 2048
	MaxLinkText = 255
	MaxLinkID   = 128
	MaxLinkMeta = 1024
	MaxMaxUses  = 1<<31 - 1
)

// linkNames are the claims that have a meaning in a link.
var linkNames = [...]string{"url", "sku", "purchaseOption", "publisherContentId", "maxUses", "meta"}

// VendorIssuer returns the `iss` of what a vendor's own keys sign.
func VendorIssuer(vendor string) string { return "gatefold:" + vendor }

// CheckLink says whether SignLink would sign a link: an error that is ErrClaims
// where VerifyLink would not accept its claims, or the token would be too long.
func CheckLink(claims *LinkClaims) error {
	if err := claims.check(); err != nil {
		return err
	}
	if claims.ExpiresAt <= max(claims.IssuedAt, claims.NotBefore) {
		return &claimError{"exp", "is not after iat and nbf"}
	}
	encoded, err := encodeClaims(claims)
	if err != nil {
		return err
	}
	// The header and the signature take less than 300 bytes.
	if base64.RawURLEncoding.EncodedLen(len(encoded)) > MaxTokenSize-300 {
		return fmt.Errorf("%w: the token would be longer than %d bytes", ErrClaims, MaxTokenSize)
	}
	read, ok := readObject(encoded)
	if !ok {
		return fmt.Errorf("%w: they do not make a token", ErrClaims)
	}
	_, err = readLinkClaims(read)
	return err
}

// SignLink signs a link with a vendor's key. Claims that VerifyLink would not
// accept are refused with an error that is ErrClaims.
func SignLink(ring *Ring, claims LinkClaims) (string, error) {
	if err := CheckLink(&claims); err != nil {
		return "", err
	}
	return ring.signing.sign(typeLink, claims)
}

// VerifyLink verifies a link that a vendor signed: `typ`, a known `kid`, `iss`
// and time first, then the signature. The claims are genuine and within bounds
// when the error is nil, and only then.
func VerifyLink(raw, issuer string, set KeySet, now time.Time) (LinkClaims, error) {
	token, err := Scan(raw)
	if err != nil {
		return LinkClaims{}, err
	}
	key, err := token.ownKey(typeLink, set)
	if err != nil {
		return LinkClaims{}, err
	}
	claims, err := readLinkClaims(token.claims)
	if err != nil {
		return LinkClaims{}, err
	}
	if claims.Issuer != issuer {
		return LinkClaims{}, ErrIssuer
	}
	if err := (times{claims.IssuedAt, claims.NotBefore, claims.ExpiresAt}).check(now.Unix()); err != nil {
		return LinkClaims{}, err
	}
	if err := token.verify(key); err != nil {
		return LinkClaims{}, err
	}
	return claims, nil
}

// ownKey returns the key that must have signed a token of ours, which always
// names one and is always ES256.
func (t *Token) ownKey(typ string, set KeySet) (*PublicKey, error) {
	switch {
	case t.Header.Type != typ:
		return nil, ErrType
	case t.Header.Algorithm != string(jose.ES256):
		return nil, ErrAlgorithm
	case t.Header.KeyID == "":
		return nil, ErrUnknownKey
	}
	return set.find(t.Header)
}

func readLinkClaims(o object) (LinkClaims, error) {
	c, err := readLinkFields(o)
	if err != nil {
		return LinkClaims{}, err
	}
	return c, c.check()
}

// readLinkFields reads the claims of a link, each of the right type.
func readLinkFields(o object) (LinkClaims, error) {
	if o.ambiguous(linkNames[:]) {
		return LinkClaims{}, ErrMalformed
	}
	var c LinkClaims
	var err error
	for _, text := range []struct {
		name string
		to   *string
		max  int
	}{
		{"iss", &c.Issuer, MaxLinkText},
		{"jti", &c.ID, MaxLinkID},
		{"url", &c.URL, MaxLinkURL},
		{"sku", &c.SKU, MaxLinkText},
		{"purchaseOption", &c.PurchaseOption, MaxLinkText},
		{"publisherContentId", &c.PublisherContentID, MaxLinkText},
		{"sub", &c.Subject, MaxLinkText},
	} {
		if *text.to, err = o.optionalText(text.name, text.max); err != nil {
			return LinkClaims{}, err
		}
	}
	t, err := o.times()
	if err != nil {
		return LinkClaims{}, err
	}
	c.IssuedAt, c.NotBefore, c.ExpiresAt = t.issuedAt, t.notBefore, t.expiresAt
	if c.MaxUses, err = o.positive("maxUses", MaxMaxUses); err != nil {
		return LinkClaims{}, err
	}
	if meta := o.find("meta"); meta != nil {
		c.Meta = append(json.RawMessage(nil), meta...)
	}
	return c, nil
}

// check judges what makes a link, whoever writes or reads it.
func (c *LinkClaims) check() error {
	switch {
	case c.Issuer == "":
		return &claimError{"iss", "is missing"}
	case c.ID == "" || !isPrintable(c.ID):
		return &claimError{"jti", "is missing, or not printable ASCII"}
	case c.URL == "" && c.SKU == "" && c.PublisherContentID == "":
		return &claimError{"url", "is missing, and so are sku and publisherContentId: one must say what the link opens"}
	case len(c.Meta) > MaxLinkMeta:
		return &claimError{"meta", "is too long"}
	case len(c.Meta) > 0 && c.Meta[0] != '{':
		return &claimError{"meta", "is not a JSON object"}
	}
	return nil
}

func isPrintable(text string) bool {
	for i := range len(text) {
		if text[i] <= 0x20 || text[i] >= 0x7f {
			return false
		}
	}
	return true
}
