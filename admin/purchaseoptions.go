package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// PurchaseOption is a way in which a product is sold.
type PurchaseOption struct {
	ID        string    `json:"id" doc:"The option's id." example:"monthly"`
	SKU       string    `json:"sku" doc:"The product." example:"premium"`
	Name      string    `json:"name" doc:"The option's name." example:"Monthly"`
	Price     amount    `json:"price"`
	Currency  string    `json:"currency" doc:"The currency (ISO 4217)." example:"SEK"`
	Type      string    `json:"type" enum:"RECURRING,SINGLE" doc:"Whether it is paid again." example:"RECURRING"`
	Interval  string    `json:"interval" doc:"The unit of a period: DAY, WEEK, MONTH or YEAR; empty for SINGLE." example:"MONTH"`
	Time      int       `json:"time" doc:"The length of a period in this unit." example:"1"`
	Seats     int       `json:"seats" doc:"The number of seats; zero for an option of one reader." example:"0"`
	Active    bool      `json:"active" doc:"Whether it is sold now." example:"true"`
	CreatedAt time.Time `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt time.Time `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
}

// PurchaseOptionFields are the optional fields of a purchase option.
type PurchaseOptionFields struct {
	Currency *string `json:"currency,omitempty" maxLength:"3" doc:"The currency (ISO 4217)." example:"SEK"`
	Type     *string `json:"type,omitempty" enum:"RECURRING,SINGLE" doc:"Whether it is paid again. Default: SINGLE." example:"RECURRING"`
	Interval *string `json:"interval,omitempty" enum:"DAY,WEEK,MONTH,YEAR" doc:"The unit of a period." example:"MONTH"`
	Time     *int    `json:"time,omitempty" minimum:"1" maximum:"1000" doc:"The length of a period in this unit. Default: 1." example:"1"`
	Seats    *int    `json:"seats,omitempty" minimum:"0" maximum:"1000000" doc:"The number of seats; zero for an option of one reader." example:"0"`
	Active   *bool   `json:"active,omitempty" doc:"Whether it is sold now. Default: true." example:"true"`
}

func (f *PurchaseOptionFields) apply(o *store.PurchaseOption) {
	set(&o.Currency, f.Currency)
	set(&o.Type, f.Type)
	set(&o.Interval, f.Interval)
	set(&o.Times, f.Time)
	set(&o.Seats, f.Seats)
	if f.Active != nil {
		o.Inactive = !*f.Active
	}
	if f.Type != nil && *f.Type == store.OptionSingle {
		// A single purchase has no period: what it had is not a mistake of this change.
		if f.Interval == nil && f.Time == nil {
			o.Interval, o.Times = "", 0
		}
	}
}

// optionBody creates a purchase option.
type optionBody struct {
	ID    string     `json:"id,omitempty" maxLength:"128" doc:"The option's id: letters, digits, hyphens and underscores. Default: a new one." example:"monthly"`
	Name  string     `json:"name" minLength:"1" maxLength:"255" doc:"The option's name." example:"Monthly"`
	Price sentAmount `json:"price"`
	PurchaseOptionFields
}

// optionPatch changes the named fields of a purchase option.
type optionPatch struct {
	Name  *string     `json:"name,omitempty" minLength:"1" maxLength:"255" doc:"The option's name." example:"Monthly"`
	Price *sentAmount `json:"price,omitempty"`
	PurchaseOptionFields
}

func wireOption(o store.PurchaseOption) PurchaseOption {
	return PurchaseOption{
		ID: o.ID, SKU: o.SKU, Name: o.Name, Price: amount(o.Price), Currency: o.Currency, Type: o.Type, Interval: o.Interval, Time: o.Times,
		Seats: o.Seats, Active: !o.Inactive, CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt,
	}
}

// Fulfilment is a delivery of a product.
type Fulfilment struct {
	ID         string     `json:"id" doc:"The id of the delivery." example:"d-2027-01"`
	Status     string     `json:"status" doc:"The state of the delivery, in the words of the system that delivers." example:"DELIVERED"`
	UpdatedAt  time.Time  `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
	CreatedAt  time.Time  `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	DeliversAt *time.Time `json:"deliversAt,omitempty" doc:"When it is delivered." example:"2027-01-03T06:00:00Z"`
	SKU        string     `json:"sku" doc:"The product." example:"premium"`
	Title      string     `json:"title" doc:"What is delivered." example:"January issue"`
}

func wireFulfilment(f store.Fulfilment) Fulfilment {
	return Fulfilment{ID: f.ID, Status: f.Status, UpdatedAt: f.UpdatedAt, CreatedAt: f.CreatedAt, DeliversAt: f.DeliversAt, SKU: f.SKU, Title: f.Title}
}

// OptionPath identifies a purchase option in a path.
type OptionPath struct {
	SKUPath
	Option string `path:"option" maxLength:"128" doc:"The id of the purchase option." example:"monthly"`
}

// registerPurchaseOptions adds what is below a product.
func (a *api) registerPurchaseOptions() {
	tags := []string{"Products"}
	options := productsPath + "/{sku}/purchase-options"
	register(a, huma.Operation{
		OperationID: "list-purchase-options", Method: http.MethodGet, Path: options, Tags: tags, Security: needs("products:read"),
		Summary: "Lists the ways in which a product is sold, by id",
	}, func(ctx context.Context, c *call, in *struct {
		SKUPath
		WholeParams
	},
	) (*wholeListing[PurchaseOption], error) {
		// Sellers choose the ids: any is a position.
		return newWholeListing(ctx, a, c, in.WholeParams, byID(func(ctx context.Context, page store.Page) ([]store.PurchaseOption, error) {
			return c.store.PurchaseOptions(ctx, c.Vendor, in.SKU, page)
		}, func(o *store.PurchaseOption) string { return o.ID }), wireOption)
	})
	register(a, huma.Operation{
		OperationID: "create-purchase-option", Method: http.MethodPost, Path: options, Tags: tags, Security: needs("products:write"),
		Summary: "Creates a way in which a product is sold", DefaultStatus: http.StatusCreated,
		Description: "It describes a price and a period. Grants and contracts may name an option that is not stored here.",
		Metadata:    map[string]any{repetitionKey: repeatAnswer},
	}, func(ctx context.Context, c *call, in *struct {
		SKUPath
		Body optionBody
	},
	) (*created[PurchaseOption], error) {
		wanted := store.PurchaseOption{ID: in.Body.ID, SKU: in.SKU, Name: in.Body.Name, Price: string(in.Body.Price)}
		in.Body.apply(&wanted)
		made, err := c.store.CreatePurchaseOption(ctx, c.Vendor, wanted)
		return newCreated(options, made.ID, wireOption(made), err)
	})
	register(a, huma.Operation{
		OperationID: "change-purchase-option", Method: http.MethodPatch, Path: options + "/{option}", Tags: tags, Security: needs("products:write"),
		Summary: "Changes the named fields of a purchase option",
	}, func(ctx context.Context, c *call, in *struct {
		OptionPath
		IfMatch
		Body optionPatch
	},
	) (*record[PurchaseOption], error) {
		changed, err := c.store.UpdatePurchaseOption(ctx, c.Vendor, in.SKU, in.Option, func(o *store.PurchaseOption) error {
			if err := in.check(wireOption(*o)); err != nil {
				return err
			}
			set(&o.Name, in.Body.Name)
			set(&o.Price, (*string)(in.Body.Price))
			in.Body.apply(o)
			return nil
		})
		return newRecord(wireOption(changed), in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-purchase-option", Method: http.MethodDelete, Path: options + "/{option}", Tags: tags, Security: needs("products:write"),
		Summary: "Removes a purchase option; grants and contracts that name it stay as they are", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, c *call, in *struct {
		OptionPath
		IfMatch
	},
	) (*empty, error) {
		err := c.store.DeletePurchaseOption(ctx, c.Vendor, in.SKU, in.Option, func(o store.PurchaseOption) error { return in.check(wireOption(o)) })
		return &empty{}, in.changed(err)
	})
	register(a, huma.Operation{
		OperationID: "list-fulfilments", Method: http.MethodGet, Path: productsPath + "/{sku}/fulfillments", Tags: tags, Security: needs("bills:read"),
		Summary: "Lists the deliveries of a product, the newest first", Description: "They are imported, see `POST /management/records/fulfilments/import`.",
	}, func(ctx context.Context, c *call, in *struct {
		SKUPath
		PageParams
	},
	) (*listing[Fulfilment], error) {
		found, next, err := c.store.FindFulfilments(ctx, c.Vendor, in.SKU, in.page())
		return newSentListing(c, in.Limit, wireAll(found, wireFulfilment), next, err)
	})
}
