package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// entitlement is what a reader may have, and where that comes from.
type entitlement struct {
	ID             string     `json:"id"`
	SKU            string     `json:"sku"`
	PurchaseOption string     `json:"purchaseOption,omitempty"`
	Origin         origin     `json:"origin"`
	HasAccess      bool       `json:"hasAccess" doc:"Whether it counts at this moment."`
	CreatedAt      time.Time  `json:"createdAt"`
	UpdatedAt      time.Time  `json:"updatedAt"`
	StartsAt       *time.Time `json:"startsAt,omitempty"`
	ExpiresAt      *time.Time `json:"expiresAt,omitempty"`
}

// origin is where an entitlement comes from.
type origin struct {
	Type   string `json:"type" enum:"access_list"`
	ID     string `json:"id" doc:"The grant."`
	ListID string `json:"listId" doc:"The access list in which it stands."`
	Name   string `json:"name" doc:"The name of that list."`
}

func wireEntitlement(found store.FoundGrant, now time.Time) entitlement {
	g := found.Grant
	return entitlement{
		ID: g.ID, SKU: g.SKU, PurchaseOption: g.PurchaseOptionID,
		Origin:    origin{Type: "access_list", ID: g.ID, ListID: g.Source, Name: found.List.Name},
		HasAccess: found.Counts(now),
		CreatedAt: g.CreatedAt, UpdatedAt: g.UpdatedAt, StartsAt: g.StartsAt, ExpiresAt: g.EndsAt,
	}
}

// entitlementParams select entitlements.
type entitlementParams struct {
	UserID string `query:"userId" required:"true" minLength:"1" maxLength:"255"`
	Type   string `query:"type" enum:"article,audiobook,ebook,bundle,podcast,pass,publication,physical_issue" doc:"Only those whose product is of this type. A sku without a product is of none."`
	SKU    string `query:"sku" maxLength:"255"`
	Q      string `query:"q" maxLength:"255" doc:"Only those whose sku holds this text."`
	PageParams
}

func (p *entitlementParams) selects(g *store.Grant) bool {
	return p.Type == "" && (p.SKU == "" || p.SKU == g.SKU) && (p.From == "" || g.ID > p.From) &&
		strings.Contains(strings.ToLower(g.SKU), strings.ToLower(p.Q))
}

func (a *api) registerEntitlements() {
	register(a, huma.Operation{
		OperationID: "list-entitlements", Method: http.MethodGet, Path: "/management/entitlements", Tags: []string{"Entitlements"}, Security: needs("entitlements:read"),
		Summary: "Lists what a reader may have, by the grants to the reader's user id",
	}, func(ctx context.Context, vendor string, in *entitlementParams) (*listing[entitlement], error) {
		found, err := a.Store.GrantsOf(ctx, vendor, policy.Reader{UserID: in.UserID})
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(found, func(f store.FoundGrant) bool { return !in.selects(&f.Grant) })
		slices.SortFunc(found, func(a, b store.FoundGrant) int { return strings.Compare(a.Grant.ID, b.Grant.ID) })
		found = found[:min(len(found), in.Limit)]
		entitlements := make([]entitlement, len(found))
		for i := range found {
			entitlements[i] = wireEntitlement(found[i], a.Now())
		}
		return newListing(ctx, entitlements, in.Limit, func(e entitlement) string { return e.ID }), nil
	})
}
