package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// entitlement is a SKU that a reader has access to, and its source.
type entitlement struct {
	ID                 string     `json:"id" doc:"The entitlement's id: the id of its grant, or that of its contract, seat or subscription with the SKU." example:"grant_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	SKU                string     `json:"sku" doc:"The id of what is sold or granted." example:"premium"`
	PurchaseOption     string     `json:"purchaseOption,omitempty" doc:"The purchase option." example:"po-yearly"`
	Cover              string     `json:"cover,omitempty" doc:"The URL of an image. This and the fields up to type come from the SKU's product, if there is one." example:"https://news.example.com/covers/hello.jpg"`
	Title              string     `json:"title" doc:"A name for people." example:"Hello, reader"`
	URL                string     `json:"url,omitempty" doc:"The URL of the page." example:"https://news.example.com/articles/hello"`
	PresentationURL    string     `json:"presentationUrl,omitempty" doc:"The URL at which the content is presented." example:"https://news.example.com/articles/hello"`
	PublisherContentID string     `json:"publisherContentId,omitempty" doc:"The publisher's id of the content, as captured by the rule of its page." example:"hello"`
	Type               string     `json:"type" doc:"The product's type." example:"article"`
	Origin             origin     `json:"origin" doc:"The source of the entitlement."`
	HasAccess          bool       `json:"hasAccess" doc:"Whether the entitlement is in effect now." example:"true"`
	CreatedAt          time.Time  `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt          time.Time  `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
	Token              string     `json:"token,omitempty" doc:"A JWT (typ gatefold-entitlement+jwt) that states the entitlement to other services, signed by the vendor's key and valid for at most an hour. The gate does not accept it. Absent if hasAccess is false, or the user id is not known." example:"eyJhbGciOiJFUzI1NiIsInR5cCI6ImdhdGVmb2xkLWxpbmsrand0Iiwia2lkIjoi…"`
	StartsAt           *time.Time `json:"startsAt,omitempty" doc:"The start of the validity (inclusive)." example:"2027-01-01T00:00:00Z"`
	ExpiresAt          *time.Time `json:"expiresAt,omitempty" doc:"The end of the validity (exclusive)." example:"2037-01-08T09:30:00Z"`

	user string // whom the token names; empty for none
}

// origin is the source of an entitlement.
type origin struct {
	Type       string `json:"type" enum:"EXTERNAL,PAYMENTS" doc:"The kind of source: EXTERNAL is a grant of an access list, PAYMENTS a contract or a subscription." example:"EXTERNAL"`
	ID         string `json:"id" doc:"The id of the grant, the contract, the seat in a contract, or the subscription." example:"grant_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	ListID     string `json:"listId" doc:"The id of the access list; empty without one." example:"src_default"`
	Name       string `json:"name" doc:"The name of the access list or the contract, or the title of the plan." example:"Subscribers"`
	ContractID string `json:"contractId,omitempty" doc:"Of a contract: its id." example:"1d78271264b9c76d5842911dd70b4353"`
	Profile    string `json:"profile,omitempty" doc:"Of a subscription: the slug of the subscribed profile, on which the reader has a role." example:"xia"`
	Plan       string `json:"plan,omitempty" doc:"Of a subscription: the slug of the plan." example:"open-space"`
}

func wireEntitlement(found store.FoundGrant, now time.Time) entitlement {
	g := found.Grant
	return entitlement{
		ID: g.ID, SKU: g.SKU, PurchaseOption: g.PurchaseOptionID,
		Origin:    origin{Type: originExternal, ID: g.ID, ListID: g.Source, Name: found.List.Name},
		HasAccess: found.Counts(now), user: g.UserID,
		CreatedAt: g.CreatedAt, UpdatedAt: g.UpdatedAt, StartsAt: g.StartsAt, ExpiresAt: g.EndsAt,
	}
}

// describe sets what the product of the SKU says.
func (e *entitlement) describe(product *store.Product) {
	e.Cover, e.Title, e.URL, e.PresentationURL = product.Cover, product.Title, product.URL, product.PresentationURL
	e.PublisherContentID, e.Type = product.PublisherContentID, product.Type
}

// entitlementParams select entitlements.
type entitlementParams struct {
	UserID string `query:"userId" maxLength:"255" doc:"The reader's user id. It or email is required; with both, the entitlements of either." example:"user-123"`
	Email  string `query:"email" maxLength:"254" doc:"The reader's e-mail address, ignoring case. These entitlements apply to a reader whose address is verified." example:"reader@example.com"`
	Type   string `query:"type" enum:"article,audiobook,ebook,bundle,podcast,pass,publication,physical_issue" doc:"Only entitlements whose product has this type. A SKU without a product has none."`
	SKU    string `query:"sku" maxLength:"255" doc:"Only entitlements that include this SKU, directly or through a collection." example:"premium"`
	Q      string `query:"q" maxLength:"255" doc:"Only entitlements whose SKU or title contains this text, ignoring case." example:"hello"`
	List   string `query:"list" maxLength:"128" doc:"Only entitlements by grants of this access list." example:"src_default"`
	URL    string `query:"url" maxLength:"2048" doc:"Only entitlements whose product has exactly this url." example:"https://news.example.com/articles/hello"`
	Access string `query:"hasAccess" enum:"true,false" doc:"Only entitlements that are in effect now, or only others."`
	OrderParams
	Limit int    `query:"limit" minimum:"1" maximum:"1000" doc:"The maximum number of records to return. Default: all."`
	From  string `query:"from" maxLength:"384" doc:"Continue after the entitlement with this id, which may have ended since."`
}

func (a *api) registerEntitlements() {
	register(a, huma.Operation{
		OperationID: "list-entitlements", Method: http.MethodGet, Path: "/management/entitlements", Tags: []string{"Entitlements"}, Security: needs("entitlements:read"),
		Summary: "Lists a reader's entitlements by user id or e-mail address",
		Description: "Those by grants, those by contracts that the reader owns or has a seat in, and those by the subscriptions of the profiles on which the user has a role. " +
			"The entitlements of a subscription last as long as both it and the role.",
	}, a.listEntitlements)
}

func (a *api) listEntitlements(ctx context.Context, c *call, in *entitlementParams) (*listing[entitlement], error) {
	if in.UserID == "" && in.Email == "" {
		return nil, invalidAt("query.userId", "is required, or email")
	}
	created, err := in.created()
	if err != nil {
		return nil, err
	}
	after, err := in.position()
	if err != nil {
		return nil, err
	}
	found, err := a.entitlementsOf(ctx, c, in)
	if err != nil {
		return nil, err
	}
	selection := entitlementSelection{
		call: c, in: in, q: strings.ToLower(in.Q), created: created,
		giving: []string{in.SKU}, products: map[string]store.Product{},
	}
	if in.SKU != "" {
		containers, err := c.store.Containers(ctx, c.Vendor, in.SKU)
		if err != nil {
			return nil, err
		}
		selection.giving = append(selection.giving, containers...)
	}
	if in.ordered() {
		slices.SortFunc(found, func(a, b entitlement) int { return placeOf(&a).compare(placeOf(&b), created.Order) })
	}
	entitlements := []entitlement{}
	for i := range found {
		if after != nil && placeOf(&found[i]).compare(*after, created.Order) <= 0 {
			continue
		}
		if in.Limit > 0 && len(entitlements) == in.Limit {
			break
		}
		selected, err := selection.selects(ctx, &found[i])
		if err != nil {
			return nil, err
		}
		if selected {
			entitlements = append(entitlements, found[i])
		}
	}
	if err := a.signEntitlements(ctx, c, entitlements); err != nil {
		return nil, err
	}
	page := &listing[entitlement]{Body: entitlements}
	if in.Limit > 0 && len(entitlements) == in.Limit {
		last := placeOf(&entitlements[in.Limit-1])
		page.Link = c.nextLink(in.Limit, last.position(in.ordered()))
	}
	return page, nil
}

// entitlementsOf returns a reader's entitlements by grants, contracts and subscriptions, by id.
func (a *api) entitlementsOf(ctx context.Context, c *call, in *entitlementParams) ([]entitlement, error) {
	reader := policy.Reader{UserID: in.UserID, Email: policy.LowerEmail(in.Email)}
	grants, err := c.store.GrantsOf(ctx, c.Vendor, reader)
	if err != nil {
		return nil, err
	}
	now := a.Now()
	all := wireAll(grants, func(found store.FoundGrant) entitlement { return wireEntitlement(found, now) })
	contracted, err := a.entitlementsByContract(ctx, c, reader, now)
	if err != nil {
		return nil, err
	}
	all = append(all, contracted...)
	if in.UserID != "" {
		subscribed, err := a.entitlementsBySubscription(ctx, c, in.UserID, now)
		if err != nil {
			return nil, err
		}
		all = append(all, subscribed...)
	}
	for i := range all {
		all[i].user = cmp.Or(in.UserID, all[i].user)
	}
	slices.SortFunc(all, func(a, b entitlement) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// entitlementSelection selects entitlements and caches their products.
type entitlementSelection struct {
	call     *call
	in       *entitlementParams
	q        string
	created  store.Created
	giving   []string // in.SKU and the SKUs that include it
	products map[string]store.Product
}

// selects reports whether an entitlement is one of the results, and describes it.
func (s *entitlementSelection) selects(ctx context.Context, e *entitlement) (bool, error) {
	if (!s.created.CreatedFrom.IsZero() && e.CreatedAt.Before(s.created.CreatedFrom) || !s.created.CreatedTo.IsZero() && !e.CreatedAt.Before(s.created.CreatedTo)) ||
		s.in.List != "" && e.Origin.ListID != s.in.List || s.in.Access != "" && s.in.Access != strconv.FormatBool(e.HasAccess) {
		return false, nil
	}
	if s.in.SKU != "" && !slices.Contains(s.giving, e.SKU) {
		return false, nil
	}
	product, known := s.products[e.SKU]
	if !known {
		var err error
		product, err = s.call.store.Product(ctx, s.call.Vendor, e.SKU)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		s.products[e.SKU] = product
	}
	e.describe(&product)
	return (s.in.Type == "" || s.in.Type == product.Type) && (s.in.URL == "" || s.in.URL == product.URL) &&
		(strings.Contains(strings.ToLower(e.SKU), s.q) || strings.Contains(strings.ToLower(product.Title), s.q)), nil
}

// signEntitlements sets the token of those that are in effect and whose user is known.
func (a *api) signEntitlements(ctx context.Context, c *call, entitlements []entitlement) error {
	if !slices.ContainsFunc(entitlements, func(e entitlement) bool { return e.HasAccess }) {
		return nil
	}
	ring, err := a.Keyring.RingFor(ctx, c.store, c.Vendor)
	if err != nil {
		return err
	}
	for i := range entitlements {
		e := &entitlements[i]
		if !e.HasAccess || e.user == "" {
			continue
		}
		e.Token, err = keys.SignEntitlement(ring, c.Vendor, keys.EntitlementClaims{
			ID: e.ID, UserID: e.user, SKU: e.SKU, EndsAt: e.ExpiresAt,
		}, a.Now())
		if err != nil {
			return err
		}
	}
	return nil
}
