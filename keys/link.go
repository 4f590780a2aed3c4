package keys

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// typeLink is the `typ` of our link tokens.
const typeLink = "gatefold-link+jwt"

// LinkClaims are the claims of a link token. URL says where the link lands, and
// PublisherContentID what it opens; without it the link opens the content of the page
// at URL. A SKU restricts the link to pages that ask for it.
type LinkClaims struct {
	Issuer string `json:"iss"`
	// ID is the link's tokenId. Uses and revocations are recorded under the
	// issuer and this id.
	ID string `json:"jti"`
	// IssuedAt, NotBefore and ExpiresAt are in Unix seconds.
	IssuedAt           int64  `json:"iat"`
	NotBefore          int64  `json:"nbf,omitempty"`
	ExpiresAt          int64  `json:"exp"`
	URL                string `json:"url,omitempty"`
	SKU                string `json:"sku,omitempty"`
	PurchaseOption     string `json:"purchaseOption,omitempty"`
	PublisherContentID string `json:"publisherContentId,omitempty"`
	// ContentSpace is the space of PublisherContentID, empty for that of the url's page
	// or the vendor's default.
	ContentSpace string `json:"contentSpace,omitempty"`
	// Subject is the user for whom the link was made. It does not identify the
	// visitor.
	Subject string `json:"sub,omitempty"`
	// MaxUses is the maximum number of redemptions; zero means that they are
	// not counted.
	MaxUses int64 `json:"maxUses,omitempty"`
	// MaxDevices is the maximum number of devices that open the link, over its whole
	// life; zero means that they are not counted.
	MaxDevices int64 `json:"maxDevices,omitempty"`
	// MaxNetworks is the number of networks from which the link may be opened within an
	// hour before it counts as leaked; zero for that of the site.
	MaxNetworks int64 `json:"maxNetworks,omitempty"`
	// IPPrefix is the network from which the link opens pages, as ParseNetwork prints it;
	// empty for every network.
	IPPrefix string `json:"ipPrefix,omitempty"`
	// PerReader reports whether the link opens pages to identified readers only, each of
	// whom is one use.
	PerReader bool `json:"perReader,omitempty"`
	// Meta is a JSON object that the issuer defines, or nil.
	Meta json.RawMessage `json:"meta,omitempty"`
	// ContentNames and Scopes are the parts of the resource that a publisher's
	// share token names, for the origin. Exactly one is set in a share token,
	// none in our own links.
	ContentNames []string `json:"contentNames,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
}

// Maximum lengths of a link's claims in bytes, and the maximum of MaxUses and MaxDevices.
const (
	MaxLinkURL  = 2048
	MaxLinkText = 255
	MaxLinkID   = 128
	MaxLinkMeta = 1024
	MaxMaxUses  = 1<<31 - 1
	// MaxLinkNetworks bounds MaxNetworks, and so what the store keeps of a link: at most
	// 9 KiB.
	MaxLinkNetworks = 256
)

// linkClaims are the private claims of a link.
var linkClaims = [...]string{"url", "sku", "purchaseOption", "publisherContentId", "contentSpace", "maxUses", "maxDevices", "maxNetworks", "ipPrefix", "perReader", "meta"}

// VendorIssuer returns the `iss` of tokens that a vendor's own keys sign.
func VendorIssuer(vendor string) string { return "gatefold:" + vendor }

// CheckLink returns an error that wraps ErrClaims when VerifyLink would refuse
// the claims, or their token would exceed MaxOwnTokenSize.
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
	if base64.RawURLEncoding.EncodedLen(len(encoded)) > MaxOwnTokenSize-300 {
		return errTokenTooLong
	}
	read, ok := readObject(encoded)
	if !ok {
		return errNoToken
	}
	_, err = readLinkClaims(read)
	return err
}

// SignLink signs a link with a vendor's key. It returns an error that wraps
// ErrClaims when CheckLink does.
func SignLink(ring *Ring, claims LinkClaims) (string, error) {
	if err := CheckLink(&claims); err != nil {
		return "", err
	}
	return ring.signing.sign(typeLink, claims)
}

// VerifyLink returns the claims of a link that a vendor signed, or an error that
// wraps one of the errors of this package. It checks `typ`, `kid`, `iss` and
// times before the signature.
func VerifyLink(raw, issuer string, set KeySet, now time.Time) (LinkClaims, error) {
	return verifyToken(raw, signer{own: true, typ: typeLink}, set, func(o object) (LinkClaims, error) {
		claims, err := readLinkClaims(o)
		switch {
		case err != nil:
			return LinkClaims{}, err
		case claims.Issuer != issuer:
			return LinkClaims{}, ErrIssuer
		}
		return claims, claims.checkTimes(now)
	})
}

func readLinkClaims(o object) (LinkClaims, error) {
	c, err := readLinkFields(o)
	if err != nil {
		return LinkClaims{}, err
	}
	return c, c.check()
}

// readLinkFields reads the claims of a link and checks their types and lengths.
func readLinkFields(o object) (LinkClaims, error) {
	if o.hasCaseVariant(linkClaims[:]) {
		return LinkClaims{}, ErrMalformed
	}
	var c LinkClaims
	err := o.readTextFields(
		textField{"iss", MaxLinkText, &c.Issuer}, textField{"jti", MaxLinkID, &c.ID}, textField{"url", MaxLinkURL, &c.URL},
		textField{"sku", MaxLinkText, &c.SKU}, textField{"purchaseOption", MaxLinkText, &c.PurchaseOption},
		textField{"publisherContentId", MaxLinkText, &c.PublisherContentID}, textField{"contentSpace", MaxLinkText, &c.ContentSpace}, textField{"sub", MaxLinkText, &c.Subject},
		textField{"ipPrefix", maxNetwork, &c.IPPrefix},
	)
	if err != nil {
		return LinkClaims{}, err
	}
	t, err := o.times()
	if err != nil {
		return LinkClaims{}, err
	}
	c.IssuedAt, c.NotBefore, c.ExpiresAt = t.issuedAt, t.notBefore, t.expiresAt
	if c.MaxUses, err = o.positive("maxUses", MaxMaxUses); err != nil {
		return LinkClaims{}, err
	}
	if c.MaxDevices, err = o.positive("maxDevices", MaxMaxUses); err != nil {
		return LinkClaims{}, err
	}
	if c.MaxNetworks, err = o.positive("maxNetworks", MaxLinkNetworks); err != nil {
		return LinkClaims{}, err
	}
	if c.PerReader, err = o.boolean("perReader"); err != nil {
		return LinkClaims{}, err
	}
	if meta := o.find("meta"); meta != nil {
		c.Meta = slices.Clone(meta)
	}
	return c, nil
}

func (c *LinkClaims) checkTimes(now time.Time) error {
	return times{c.IssuedAt, c.NotBefore, c.ExpiresAt}.check(now.Unix())
}

// check checks the claims that every link needs, of ours or of a publisher.
func (c *LinkClaims) check() error {
	switch {
	case c.Issuer == "":
		return &claimError{"iss", "is missing"}
	case c.ID == "" || !isPrintable(c.ID):
		return &claimError{"jti", "is missing, or not printable ASCII"}
	case c.URL == "" && c.SKU == "" && c.PublisherContentID == "":
		return &claimError{"url", "is missing, and so are sku and publisherContentId: set one of them"}
	case c.ContentSpace != "" && c.PublisherContentID == "":
		return &claimError{"contentSpace", "is without publisherContentId"}
	case len(c.Meta) > MaxLinkMeta:
		return &claimError{"meta", "is too long"}
	case len(c.Meta) > 0 && c.Meta[0] != '{':
		return &claimError{"meta", "is not a JSON object"}
	}
	return c.checkNetwork()
}

// isPrintable reports whether a text is printable ASCII without spaces.
func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}
