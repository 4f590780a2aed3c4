package admin

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const linksPath = "/management/signed-links"

// LinkParam is the query parameter of the token in signed URLs.
const LinkParam = "token"

// LinkBody is the request for a signed link.
type LinkBody struct {
	URL                string `json:"url,omitempty" maxLength:"2048" doc:"The page on which the link lands; the token is appended to it. Without publisherContentId the link opens the content of that page, or the page alone if it has none." example:"https://news.example.com/articles/hello"`
	SKU                string `json:"sku,omitempty" maxLength:"255" doc:"The link opens only pages that ask for this SKU: all of them, unless url or publisherContentId is given."`
	PurchaseOption     string `json:"purchaseOption,omitempty" maxLength:"255" doc:"The purchase option."`
	PublisherContentID string `json:"publisherContentId,omitempty" maxLength:"255" doc:"The content that the link opens."`
	ContentSpace       string `json:"contentSpace,omitempty" maxLength:"255" doc:"The space of publisherContentId, as rules name it with content_space. Default: that of the url's page, or else the one that the vendor declared."`
	UserID             string `json:"userId,omitempty" maxLength:"255" doc:"The user for whom the link is made, for the record. It does not identify the visitor." example:"user-123"`
	LinkLimits
	ExpiresIn Lifetime       `json:"expiresIn,omitzero" required:"false"`
	Meta      map[string]any `json:"meta,omitempty" maxProperties:"32" doc:"Strings, numbers and booleans to store with the link." example:"{\"campaign\": \"autumn\"}"`
}

// Lifetime is how long a token is valid: digits and one of s, m, h, d. In JSON it
// may also be a number of seconds.
type Lifetime string

// Schema implements huma.SchemaProvider.
func (Lifetime) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "A number of seconds, or digits and one of s, m, h, d. At most 366 days.",
		Examples:    []any{"7d", 3600},
		OneOf: []*huma.Schema{
			{Type: huma.TypeInteger},
			{Type: huma.TypeString, MinLength: new(1), MaxLength: new(12)},
		},
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Lifetime) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return stdjson.Unmarshal(data, (*string)(l))
	}
	*l = Lifetime(data) + "s"
	return nil
}

// or returns the duration, or a default when the lifetime is absent.
func (l Lifetime) or(absent time.Duration) (time.Duration, error) {
	if l == "" {
		return absent, nil
	}
	duration, err := keys.ParseExpiresIn(string(l))
	if err != nil {
		return 0, invalid("expiresIn", err.Error())
	}
	return duration, nil
}

// CreatedLink is the answer to a LinkBody. The token is not stored.
type CreatedLink struct {
	SignedURL          string    `json:"signedUrl,omitempty" doc:"The URL with the token appended, in printable ASCII: blanks and other characters are percent-encoded, so that it survives a mail. Absent if the link has no url." example:"https://news.example.com/articles/hello?token=eyJhbGciOiJFUzI1NiIs…"`
	PathURL            string    `json:"pathUrl,omitempty" doc:"The URL with the token in its path, for programs that keep no cookies and resolve relative URLs, such as players of HLS: they keep the token. Absent if the link has no url." example:"https://news.example.com/.gatefold/l/eyJhbGciOiJFUzI1NiIs…/articles/hello"`
	Token              string    `json:"token" doc:"The signed token. It is not stored." example:"eyJhbGciOiJFUzI1NiIsInR5cCI6ImdhdGVmb2xkLWxpbmsrand0Iiwia2lkIjoi…"`
	TokenID            string    `json:"tokenId" doc:"The link's id." example:"link_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	ExpiresAt          time.Time `json:"expiresAt" doc:"The end of the validity (exclusive)." example:"2037-01-08T09:30:00Z"`
	SKU                string    `json:"sku,omitempty" doc:"The SKU that the link opens." example:"premium"`
	PublisherContentID string    `json:"publisherContentId,omitempty" doc:"The publisher's id of the content, as captured by the rule of its page." example:"hello"`
	ContentSpace       string    `json:"contentSpace,omitempty" doc:"The space of publisherContentId; absent if it is that of the url's page, or if neither the link nor the vendor names one: then it is that of the site's first rule with content ids." example:"news"`
	LinkLimits
}

// SignedLink is a stored link, without its token.
type SignedLink struct {
	TokenID            string `json:"tokenId" doc:"The link's id." example:"link_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Status             string `json:"status" enum:"active,scheduled,used_up,expired,revoked" doc:"The link's state. A scheduled one opens pages from startsAt on." example:"active"`
	URL                string `json:"url,omitempty" doc:"The page that the link opens." example:"https://news.example.com/articles/hello"`
	SKU                string `json:"sku,omitempty" doc:"The SKU that the link opens." example:"premium"`
	PurchaseOption     string `json:"purchaseOption,omitempty" doc:"The purchase option." example:"po-yearly"`
	PublisherContentID string `json:"publisherContentId,omitempty" doc:"The publisher's id of the content, as captured by the rule of its page." example:"hello"`
	ContentSpace       string `json:"contentSpace,omitempty" doc:"The space of publisherContentId." example:"news"`
	UserID             string `json:"userId,omitempty" doc:"The user for whom the link was made." example:"user-123"`
	LinkLimits
	Uses       int64              `json:"uses" doc:"The number of redemptions." example:"2"`
	Devices    int64              `json:"devices,omitempty" doc:"The number of devices, if they are counted." example:"2"`
	Meta       stdjson.RawMessage `json:"meta,omitempty" doc:"The metadata stored with the link."`
	CreatedAt  time.Time          `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	ExpiresAt  time.Time          `json:"expiresAt" doc:"The end of the validity (exclusive)." example:"2037-01-08T09:30:00Z"`
	RevokedAt  *time.Time         `json:"revokedAt,omitempty" doc:"The time of revocation."`
	RevokedFor string             `json:"revokedFor,omitempty" enum:"leak" doc:"Why Gatefold revoked the link itself: leak, if it was opened from more networks than link_networks allows. Absent if a caller revoked it." example:"leak"`
}

func (a *api) wireLink(link store.SignedLink) SignedLink {
	claims := link.Claims
	shown := SignedLink{
		TokenID: claims.ID, URL: claims.URL, SKU: claims.SKU, PurchaseOption: claims.PurchaseOption,
		PublisherContentID: claims.PublisherContentID, ContentSpace: claims.ContentSpace, UserID: claims.Subject, LinkLimits: wireLimits(&claims),
		Uses: link.Uses, Devices: link.Devices, Meta: claims.Meta, CreatedAt: link.CreatedAt, ExpiresAt: time.Unix(claims.ExpiresAt, 0).UTC(),
	}
	if shown.Status = link.State(a.Now()); shown.Status == store.LinkRevoked {
		shown.RevokedAt, shown.RevokedFor = &link.RevokedAt, link.RevokedFor
	}
	return shown
}

// LinkID identifies a signed link in a path.
type LinkID struct {
	ID string `path:"id" maxLength:"128" doc:"The link's tokenId." example:"link_01kb2m3q4r5s6t7v8w9x0y1z2a"`
}

// ContentSpace is the space of content ids that come without one.
type ContentSpace struct {
	ContentSpace string `json:"contentSpace" maxLength:"63" doc:"The name that rules have as content_space; empty if none is declared: then it is the space of the site's first rule with content ids." example:"news"`
}

// registerContentSpace registers the vendor's declaration.
func (a *api) registerContentSpace() {
	const path = "/management/content-space"
	tags := []string{"Links"}
	register(a, huma.Operation{
		OperationID: "get-content-space", Method: http.MethodGet, Path: path, Tags: tags, Security: needs("links:read"),
		Summary: "Returns the content space of links that name a content id without url and space",
	}, func(ctx context.Context, c *call, _ *struct{}) (*record[ContentSpace], error) {
		name, err := c.store.DefaultSpace(ctx, c.Vendor)
		return newRecord(ContentSpace{name}, err)
	})
	register(a, huma.Operation{
		OperationID: "put-content-space", Method: http.MethodPut, Path: path, Tags: tags, Security: needs("links:write"),
		Summary:     "Declares that content space",
		Description: "New links get it as their contentSpace. Links that have none, those of publishers among them, open it from the next request on.",
	}, func(ctx context.Context, c *call, in *body[ContentSpace]) (*record[ContentSpace], error) {
		err := c.store.DeclareDefaultSpace(ctx, c.Vendor, in.Body.ContentSpace)
		return newRecord(in.Body, err)
	})
}

func (a *api) registerLinks() {
	a.registerContentSpace()
	tags := []string{"Links"}
	register(a, huma.Operation{
		OperationID: "create-signed-link", Method: http.MethodPost, Path: "/management/create-signed-link", Tags: tags, Security: needs("links:write"),
		Summary: "Creates a signed link",
		Description: "The link lands on url, and opens every page of one piece of content: of publisherContentId, or else of the content of the page at url, " +
			"until it expires, is used up or is revoked. It opens GET and HEAD, unless a rule says otherwise.",
		Metadata: map[string]any{repetitionKey: repeatRebuild, rebuildKey: rebuild(a.rebuildLink)},
	}, a.createLink)
	register(a, huma.Operation{
		OperationID: "list-signed-links", Method: http.MethodGet, Path: linksPath, Tags: tags, Security: needs("links:read"),
		Summary:     "Lists signed links, in order of creation",
		Description: "A search by user, content or whole url reads no other links than those. Without limit, all that match. With limit, a page may have fewer links, even none, and still have a next page: a call examines at most 20,000 links.",
	}, func(ctx context.Context, c *call, in *struct {
		LinkFilter
		OrderParams
		WholeParams
	},
	) (*wholeListing[SignedLink], error) {
		query, err := in.query(store.Page{})
		if err == nil {
			query.Created, err = in.created()
		}
		if err == nil {
			err = checkFrom(in.From, "link_")
		}
		if err != nil {
			return nil, err
		}
		return newWholeListing(ctx, a, c, in.WholeParams, func(ctx context.Context, page store.Page) ([]store.SignedLink, string, bool, error) {
			part := query
			part.Page = page
			return c.store.FindLinks(ctx, c.Vendor, keys.VendorIssuer(c.Vendor), part)
		}, a.wireLink)
	})
	register(a, huma.Operation{
		OperationID: "get-signed-link", Method: http.MethodGet, Path: linksPath + "/{id}", Tags: tags, Security: needs("links:read"),
		Summary: "Returns a signed link and its number of uses",
	}, func(ctx context.Context, c *call, in *LinkID) (*record[SignedLink], error) {
		link, err := c.store.SignedLink(ctx, c.Vendor, keys.VendorIssuer(c.Vendor), in.ID)
		return newRecord(a.wireLink(link), err)
	})
	a.registerLinkUses()
	register(a, huma.Operation{
		OperationID: "revoke-signed-link", Method: http.MethodDelete, Path: linksPath + "/{id}", Tags: tags, Security: needs("links:write"),
		Summary:       "Revokes a signed link and every browser session that it opened",
		DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *LinkID) (*empty, error) {
		_, err := c.store.RevokeLink(ctx, c.Vendor, keys.VendorIssuer(c.Vendor), in.ID)
		return &empty{}, err
	})
	a.registerLinkRevocation()
}

// createLink signs a link and stores it before it responds: the gate refuses links
// that are not stored.
func (a *api) createLink(ctx context.Context, c *call, in *body[LinkBody]) (*body[CreatedLink], error) {
	space, err := c.store.DefaultSpace(ctx, c.Vendor)
	if err != nil {
		return nil, err
	}
	claims, err := a.linkClaims(c.Vendor, space, &in.Body, a.Now())
	if err != nil {
		return nil, err
	}
	ring, err := a.Keyring.RingFor(ctx, c.store, c.Vendor)
	if err != nil {
		return nil, err
	}
	made, err := signLink(ring, claims)
	if err != nil {
		return nil, err
	}
	if _, err := c.store.CreateLink(ctx, c.Vendor, claims); err != nil {
		return nil, err
	}
	return &body[CreatedLink]{Body: made}, nil
}

// rebuildLink returns the response for a stored link, with a newly signed token.
func (a *api) rebuildLink(ctx context.Context, vendor string, record []string) (rebuilt, error) {
	if len(record) != 2 {
		return rebuilt{}, store.ErrNotFound
	}
	link, err := a.Store.SignedLink(ctx, vendor, record[0], record[1])
	if err != nil {
		return rebuilt{}, err
	}
	ring, err := a.Keyring.Ring(ctx, vendor)
	if err != nil {
		return rebuilt{}, err
	}
	made, err := signLink(ring, link.Claims)
	return rebuilt{status: http.StatusOK, body: made}, err
}

// signLink returns a link with its token.
func signLink(ring *keys.Ring, claims keys.LinkClaims) (CreatedLink, error) {
	token, err := keys.SignLink(ring, claims)
	if errors.Is(err, keys.ErrClaims) {
		return CreatedLink{}, invalidBody("", err.Error())
	}
	if err != nil {
		return CreatedLink{}, err
	}
	made := CreatedLink{
		Token: token, TokenID: claims.ID, ExpiresAt: time.Unix(claims.ExpiresAt, 0).UTC(),
		SKU: claims.SKU, PublisherContentID: claims.PublisherContentID, ContentSpace: claims.ContentSpace, LinkLimits: wireLimits(&claims),
	}
	if claims.URL != "" {
		made.SignedURL = keys.AppendToken(claims.URL, LinkParam, token)
		made.PathURL = keys.InsertToken(claims.URL, token)
	}
	return made, nil
}

// linkClaims returns the validated claims of a requested link, issued at a time. Space is
// the vendor's default.
func (a *api) linkClaims(vendor, space string, in *LinkBody, at time.Time) (keys.LinkClaims, error) {
	expiresIn, err := in.ExpiresIn.or(keys.DefaultExpiresIn)
	if err != nil {
		return keys.LinkClaims{}, err
	}
	now := at.Unix()
	claims := keys.LinkClaims{
		Issuer: keys.VendorIssuer(vendor), ID: a.Store.NewLinkID(),
		IssuedAt: now, ExpiresAt: now + int64(expiresIn/time.Second),
		URL: in.URL, SKU: in.SKU, PurchaseOption: in.PurchaseOption, PublisherContentID: in.PublisherContentID, ContentSpace: in.ContentSpace,
		Subject: in.UserID,
	}
	if err := in.apply(&claims, at); err != nil {
		return claims, err
	}
	if in.ContentSpace != "" && in.PublisherContentID == "" {
		return claims, invalid("contentSpace", "is the space of publisherContentId, which is missing")
	}
	if in.URL == "" && in.PublisherContentID != "" && in.ContentSpace == "" {
		claims.ContentSpace = space
	}
	if in.URL == "" && in.SKU == "" && in.PublisherContentID == "" {
		return claims, invalid("url", "is required, unless sku or publisherContentId is given")
	}
	for field, text := range map[string]string{
		"url": in.URL, "sku": in.SKU, "purchaseOption": in.PurchaseOption,
		"publisherContentId": in.PublisherContentID, "contentSpace": in.ContentSpace, "userId": in.UserID,
	} {
		if err := checkLinkText(field, text); err != nil {
			return claims, err
		}
	}
	if claims.Meta, err = linkMeta(in.Meta); err != nil {
		return claims, err
	}
	if err := policy.CheckLinkTarget(&claims); err != nil {
		return claims, invalid("url", err.Error())
	}
	// The gate refuses URLs with two tokens.
	if parsed, err := url.Parse(in.URL); err != nil || parsed.Query().Has(LinkParam) {
		return claims, invalid("url", "has the parameter "+LinkParam+", which is reserved for the link's token")
	}
	if err := keys.CheckLink(&claims); err != nil {
		return claims, invalidBody("", err.Error())
	}
	return claims, nil
}

// checkLinkText bounds a text in bytes, whereas the schema counts characters.
func checkLinkText(field, text string) error {
	limit := keys.MaxLinkText
	if field == "url" {
		limit = keys.MaxLinkURL
	}
	if len(text) > limit {
		return invalid(field, "is too long in bytes of UTF-8")
	}
	if strings.ContainsFunc(text, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
		return invalid(field, "contains a control character")
	}
	return nil
}

// linkMeta returns the JSON of a link's metadata, or nil.
func linkMeta(meta map[string]any) (stdjson.RawMessage, error) {
	if len(meta) == 0 {
		return nil, nil
	}
	for name, value := range meta {
		switch value.(type) {
		case string, bool, float64:
		default:
			return nil, invalid("meta."+name, "must be a string, a number or a boolean")
		}
	}
	encoded, err := stdjson.Marshal(meta)
	if err != nil {
		return nil, err
	}
	if len(encoded) > keys.MaxLinkMeta {
		return nil, invalid("meta", "is too long")
	}
	return encoded, nil
}
