package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const grantsPath = listsPath + "/{id}/grants"

// Grant is a stored grant.
type Grant struct {
	ID     string `json:"id" doc:"The grant's id." example:"grant_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Source string `json:"source" doc:"The id of the access list."`
	GrantFields
	Status           string `json:"status" enum:"ACTIVE,INACTIVE,CANCELED" doc:"Only an ACTIVE grant gives access. INACTIVE and CANCELED ones give none." example:"ACTIVE"`
	ExcludeFromStats bool   `json:"excludeFromStats" doc:"Excludes the record from statistics." example:"false"`

	CreatedAt time.Time `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt time.Time `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
}

// GrantFields are the fields that Grant and GrantBody share.
type GrantFields struct {
	Email               string            `json:"email,omitempty" maxLength:"254" doc:"The reader's e-mail address. It matches only readers whose address is verified." example:"reader@example.com"`
	UserID              string            `json:"userId,omitempty" maxLength:"255" doc:"The reader's user id." example:"user-123"`
	PublisherUserID     string            `json:"publisherUserId,omitempty" maxLength:"255" doc:"The publisher's id of the reader." example:"customer-4711"`
	SKU                 string            `json:"sku" minLength:"1" maxLength:"255" doc:"The SKU that is granted." example:"premium"`
	PurchaseOptionID    string            `json:"poId,omitempty" maxLength:"255" doc:"The id of the purchase option that was bought." example:"po-yearly"`
	StartsAt            *time.Time        `json:"startsAt,omitempty" nullable:"true" doc:"The start of the validity (inclusive). Default: unlimited." example:"2027-01-01T00:00:00Z"`
	EndsAt              *time.Time        `json:"endsAt,omitempty" nullable:"true" doc:"The end of the validity (exclusive)." example:"2037-01-01T00:00:00Z"`
	FirstName           string            `json:"firstName,omitempty" maxLength:"255" doc:"The reader's first name." example:"Ada"`
	LastName            string            `json:"lastName,omitempty" maxLength:"255" doc:"The reader's last name." example:"Lovelace"`
	Phone               string            `json:"phone,omitempty" maxLength:"64" doc:"The reader's phone number." example:"+46 8 123 456"`
	DeliveryAddress     *Address          `json:"deliveryAddress,omitempty" doc:"The delivery address of printed products."`
	BillingAddress      *Address          `json:"billingAddress,omitempty" doc:"The billing address."`
	PublisherPurchaseID string            `json:"publisherPurchaseId,omitempty" maxLength:"255" doc:"The publisher's id of the purchase." example:"order-2027-0815"`
	Notes               string            `json:"notes,omitempty" maxLength:"4096" doc:"The publisher's notes." example:"Moved from the old system"`
	ExtraFields         map[string]string `json:"extraFields,omitempty" maxProperties:"64" doc:"Custom text fields." example:"{\"campaign\": \"autumn\"}"`
}

// Address is a postal address.
type Address struct {
	Street  string `json:"street,omitempty" doc:"Street and number." example:"Main Street 1"`
	City    string `json:"city,omitempty" doc:"City." example:"Stockholm"`
	Zip     string `json:"zip,omitempty" doc:"Postal code." example:"111 22"`
	Country string `json:"country,omitempty" doc:"Country." example:"SE"`
	CO      string `json:"co,omitempty" doc:"Care of (c/o)." example:"Byron"`
}

// GrantBody creates or replaces a grant.
type GrantBody struct {
	GrantFields
	Status           string `json:"status,omitempty" enum:"ACTIVE,INACTIVE,CANCELED" default:"ACTIVE" doc:"Only an ACTIVE grant gives access. INACTIVE and CANCELED ones give none." example:"ACTIVE"`
	ExcludeFromStats bool   `json:"excludeFromStats,omitempty" doc:"Excludes the record from statistics." example:"false"`
	Source           string `json:"source,omitempty" maxLength:"128" doc:"If present, must equal the access list of the path."`
}

// grant returns the grant for an access list.
func (b *GrantBody) grant(list string) (store.Grant, error) {
	if b.Source != "" && b.Source != list {
		return store.Grant{}, invalid("source", "must equal the access list of the path")
	}
	return store.Grant{
		Email: b.Email, UserID: b.UserID, PublisherUserID: b.PublisherUserID,
		SKU: b.SKU, PurchaseOptionID: b.PurchaseOptionID, Status: b.Status, StartsAt: b.StartsAt, EndsAt: b.EndsAt,
		FirstName: b.FirstName, LastName: b.LastName, Phone: b.Phone,
		DeliveryAddress: (*store.Address)(b.DeliveryAddress), BillingAddress: (*store.Address)(b.BillingAddress),
		PublisherPurchaseID: b.PublisherPurchaseID, Notes: b.Notes, ExtraFields: b.ExtraFields,
		ExcludeFromStats: b.ExcludeFromStats,
	}, nil
}

// writtenGrant returns the body that would create a grant.
func writtenGrant(g store.Grant) GrantBody {
	return GrantBody{GrantFields: wireGrant(g).GrantFields, Status: g.Status, ExcludeFromStats: g.ExcludeFromStats}
}

func wireGrant(g store.Grant) Grant {
	return Grant{
		ID: g.ID, Source: g.Source, Status: g.Status, ExcludeFromStats: g.ExcludeFromStats,
		CreatedAt: g.CreatedAt, UpdatedAt: g.UpdatedAt,
		GrantFields: GrantFields{
			Email: g.Email, UserID: g.UserID, PublisherUserID: g.PublisherUserID,
			SKU: g.SKU, PurchaseOptionID: g.PurchaseOptionID, StartsAt: g.StartsAt, EndsAt: g.EndsAt,
			FirstName: g.FirstName, LastName: g.LastName, Phone: g.Phone,
			DeliveryAddress: (*Address)(g.DeliveryAddress), BillingAddress: (*Address)(g.BillingAddress),
			PublisherPurchaseID: g.PublisherPurchaseID, Notes: g.Notes, ExtraFields: g.ExtraFields,
		},
	}
}

// GrantPath identifies a grant in a path.
type GrantPath struct {
	ListPath
	GrantID string `path:"grantId" maxLength:"128" doc:"The grant's id." example:"grant_01kb2m3q4r5s6t7v8w9x0y1z2a"`
}

func (a *api) registerGrants() {
	tags := []string{"Grants"}
	register(a, huma.Operation{
		OperationID: "list-grants", Method: http.MethodGet, Path: grantsPath, Tags: tags, Security: needs("grants:read"),
		Summary: "Lists the grants of an access list, in order of creation",
	}, func(ctx context.Context, c *call, in *struct {
		ListPath
		GrantFilter
		OrderParams
		WholeParams
	},
	) (*wholeListing[Grant], error) {
		return a.findGrants(ctx, c, in.ID, &in.GrantFilter, &in.OrderParams, in.WholeParams)
	})
	register(a, huma.Operation{
		OperationID: "create-grant", Method: http.MethodPost, Path: grantsPath, Tags: tags, Security: needs("grants:write"),
		Summary: "Creates a grant", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer, rebuildKey: rebuild(a.rebuildGrant)},
	}, func(ctx context.Context, c *call, in *struct {
		ListPath
		Body GrantBody
	},
	) (*created[Grant], error) {
		wanted, err := in.Body.grant(in.ID)
		if err != nil {
			return nil, err
		}
		made, err := c.store.CreateGrant(ctx, c.Vendor, in.ID, wanted)
		return newCreated(grantsPath, made.ID, wireGrant(made), err)
	})
	register(a, huma.Operation{
		OperationID: "get-grant", Method: http.MethodGet, Path: grantsPath + "/{grantId}", Tags: tags, Security: needs("grants:read"),
		Summary: "Returns a grant",
	}, func(ctx context.Context, c *call, in *GrantPath) (*record[Grant], error) {
		found, err := c.store.Grant(ctx, c.Vendor, in.ID, in.GrantID)
		return newRecord(wireGrant(found), err)
	})
	register(a, huma.Operation{
		OperationID: "replace-grant", Method: http.MethodPut, Path: grantsPath + "/{grantId}", Tags: tags, Security: needs("grants:write"),
		Summary: "Replaces a grant",
	}, func(ctx context.Context, c *call, in *struct {
		GrantPath
		IfMatch
		RawBody []byte
		Body    GrantBody
	},
	) (*record[Grant], error) {
		updated, err := c.store.UpdateGrant(ctx, c.Vendor, in.ID, in.GrantID, func(g *store.Grant) error {
			if err := in.check(wireGrant(*g)); err != nil {
				return err
			}
			return in.Body.replaceGrant(g, in.ID, namedIn(in.RawBody), a.Now())
		})
		return newRecord(wireGrant(updated), in.changed(err))
	})
	a.registerGrantPatch(tags)
	register(a, huma.Operation{
		OperationID: "delete-grant", Method: http.MethodDelete, Path: grantsPath + "/{grantId}", Tags: tags, Security: needs("grants:write"),
		Summary: "Removes a grant, effective from the next request on", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		GrantPath
		IfMatch
	},
	) (*empty, error) {
		err := c.store.DeleteGrant(ctx, c.Vendor, in.ID, in.GrantID, func(g store.Grant) error { return in.check(wireGrant(g)) })
		return &empty{}, in.changed(err)
	})
}

// replaceGrant replaces a grant of a list by a body, see keepClosed.
func (b *GrantBody) replaceGrant(g *store.Grant, list string, sent named, now time.Time) error {
	next, err := b.grant(list)
	if err != nil {
		return err
	}
	old := *g
	*g = next
	return keepClosed(sent,
		stateMember{name: "status", widens: old.Status != store.StatusActive, keep: func() { g.Status = old.Status }},
		stateMember{
			name: "startsAt", by: "status", keep: func() { g.StartsAt = old.StartsAt },
			widens: old.StartsAt != nil && old.StartsAt.After(now) && g.StartsAt == nil,
		},
		stateMember{name: "endsAt", by: "status", widens: old.EndsAt != nil && g.EndsAt == nil, keep: func() { g.EndsAt = old.EndsAt }},
	)
}

// registerGrantPatch adds the merge patch of a grant.
func (a *api) registerGrantPatch(tags []string) {
	registerMergePatch(a, huma.Operation{
		OperationID: "change-grant", Path: grantsPath + "/{grantId}", Tags: tags, Security: needs("grants:write"),
		Summary: "Changes the named fields of a grant",
	}, "GrantBody", func(ctx context.Context, c *call, bodies *bodyReader[GrantBody], in *struct {
		GrantPath
		IfMatch
		RawBody []byte `contentType:"application/json"`
	},
	) (*record[Grant], error) {
		updated, err := c.store.UpdateGrant(ctx, c.Vendor, in.ID, in.GrantID, func(g *store.Grant) error {
			if err := in.check(wireGrant(*g)); err != nil {
				return err
			}
			patched, err := bodies.patch(writtenGrant(*g), in.RawBody)
			if err != nil {
				return err
			}
			return patched.replaceGrant(g, in.ID, namedIn(in.RawBody), a.Now())
		})
		return newRecord(wireGrant(updated), in.changed(err))
	})
}

// rebuildGrant returns the response for a created grant.
func (a *api) rebuildGrant(ctx context.Context, vendor string, record []string) (rebuilt, error) {
	if len(record) != 2 {
		return rebuilt{}, store.ErrNotFound
	}
	found, err := a.Store.Grant(ctx, vendor, record[0], record[1])
	return rebuilt{status: http.StatusCreated, location: below(grantsPath, found.ID), body: wireGrant(found)}, err
}
