package admin

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const vendorsPath = "/management/vendors"

// vendorID is the pattern of VendorBody.
var vendorID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Vendor is a vendor.
type Vendor struct {
	ID      string `json:"id" doc:"The vendor's id: lower-case letters, digits and hyphens." example:"acme"`
	Name    string `json:"name" doc:"The vendor's name." example:"Acme Publishing"`
	Logo    string `json:"logo" doc:"The URL of an image." example:"https://news.example.com/logo.svg"`
	Website string `json:"website" doc:"The vendor's web site." example:"https://news.example.com"`
	Country string `json:"country" doc:"Country." example:"SE"`
}

func wireVendor(v store.Vendor) Vendor {
	return Vendor{ID: v.ID, Name: v.Name, Logo: v.Logo, Website: v.Website, Country: v.Country}
}

// VendorBody creates a vendor.
type VendorBody struct {
	ID      string `json:"id" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"The id by which sites, clients and tokens refer to the vendor. It cannot be changed." example:"acme"`
	Name    string `json:"name" minLength:"1" maxLength:"255" doc:"The vendor's name." example:"Acme Publishing"`
	Logo    string `json:"logo,omitempty" maxLength:"2048" doc:"The URL of the vendor's logo." example:"https://news.example.com/logo.svg"`
	Website string `json:"website,omitempty" maxLength:"2048" doc:"The vendor's web site." example:"https://news.example.com"`
	Country string `json:"country,omitempty" maxLength:"64" doc:"Country." example:"SE"`
}

// registerVendors adds the operations of callers that belong to no vendor.
func (a *api) registerVendors() {
	tags := []string{"Vendors"}
	register(a, huma.Operation{
		OperationID: "list-vendors", Method: http.MethodGet, Path: vendorsPath, Tags: tags, Security: needs("vendors:read"),
		Summary:     "Lists the vendors by id",
		Description: "Vendors that have records but were never created are listed with their id as name. A vendor's own client gets its vendor only.",
		Metadata:    map[string]any{ownVendor: true},
	}, func(ctx context.Context, c *call, in *struct{ WholeParams }) (*wholeListing[Vendor], error) {
		if in.From != "" && !vendorID.MatchString(in.From) {
			return nil, notAPosition()
		}
		list := c.store.VendorList
		if c.Vendor != "" && !c.Unlimited {
			list = func(ctx context.Context, page store.Page) ([]store.Vendor, error) { return a.ownVendor(ctx, c, page) }
		}
		return newWholeListing(ctx, a, c, in.WholeParams, byID(list, func(v *store.Vendor) string { return v.ID }), wireVendor)
	})
	register(a, huma.Operation{
		OperationID: "get-vendor", Method: http.MethodGet, Path: vendorsPath + "/{vendorId}", Tags: tags, Security: needs("vendors:read"),
		Summary:     "Returns a vendor",
		Description: "A vendor's own client may read its vendor; any other id is refused with 403, whether there is such a vendor or not.",
		Middlewares: huma.Middlewares{a.ofOwnVendor}, Metadata: map[string]any{ownVendor: true},
	}, func(ctx context.Context, c *call, in *struct {
		VendorID string `path:"vendorId" maxLength:"63" doc:"The vendor's id." example:"acme"`
	},
	) (*record[Vendor], error) {
		found, err := a.vendorRecord(ctx, c, in.VendorID)
		return newRecord(wireVendor(found), err)
	})
	register(a, huma.Operation{
		OperationID: "create-vendor", Method: http.MethodPost, Path: vendorsPath, Tags: tags, Security: needs("vendors:write"),
		Summary: "Creates a vendor", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer, rebuildKey: rebuild(func(ctx context.Context, _ string, record []string) (rebuilt, error) {
			found, err := a.Store.Vendor(ctx, record[0])
			return rebuilt{status: http.StatusCreated, body: wireVendor(found)}, err
		})},
	}, func(ctx context.Context, c *call, in *body[VendorBody]) (*record[Vendor], error) {
		for field, address := range map[string]string{"logo": in.Body.Logo, "website": in.Body.Website} {
			if err := checkAddress(field, address); err != nil {
				return nil, err
			}
		}
		made, err := c.store.CreateVendor(ctx, store.Vendor{
			ID: in.Body.ID, Name: in.Body.Name, Logo: in.Body.Logo, Website: in.Body.Website, Country: in.Body.Country,
		})
		return newRecord(wireVendor(made), err)
	})
}

// ofOwnVendor is the middleware that refuses a vendor's client another vendor, before anything
// is read.
func (a *api) ofOwnVendor(ctx huma.Context, next func(huma.Context)) {
	if c := callOf(ctx.Context()); c.Vendor != "" && !c.Unlimited && c.Vendor != ctx.Param("vendorId") {
		answerProblem(ctx, newProblem(http.StatusForbidden, "The access token is not that of this vendor."))
		return
	}
	next(ctx)
}

// vendorRecord returns a vendor. One that was never created has its id as name, for its own
// clients and if it has records.
func (a *api) vendorRecord(ctx context.Context, c *call, id string) (store.Vendor, error) {
	found, err := c.store.Vendor(ctx, id)
	if !errors.Is(err, store.ErrNotFound) {
		return found, err
	}
	if c.Vendor != "" && !c.Unlimited {
		return store.Vendor{ID: id, Name: id}, nil
	}
	known, err := c.store.Vendors(ctx)
	if err == nil && !slices.Contains(known, id) {
		err = store.ErrNotFound
	}
	return store.Vendor{ID: id, Name: id}, err
}

// ownVendor returns the page of vendors that a vendor's client may see.
func (a *api) ownVendor(ctx context.Context, c *call, page store.Page) ([]store.Vendor, error) {
	if page.From >= c.Vendor {
		return nil, nil
	}
	found, err := a.vendorRecord(ctx, c, c.Vendor)
	return []store.Vendor{found}, err
}
