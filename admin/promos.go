package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	promosPath = "/management/promos"
	promoPath  = promosPath + "/{promoCode}"
)

// Values of a promo's status on the wire.
const (
	promoActive = "ACTIVE"
	promoEnded  = "ENDED"
)

// Promo is a stored promo: the base contract that a promo code sells.
type Promo struct {
	Code string `json:"code" doc:"The promo code, which names the promo in paths." example:"TELECOM-2027"`
	PromoFields
	Price  *amount `json:"price,omitempty" doc:"The price of a period, as a decimal number of the currency, with the digits that were sent. Amounts are data: the gate moves no money." example:"9.90"`
	Status string  `json:"status" enum:"ACTIVE,ENDED" doc:"Whether the promo sells: ENDED sells nothing." example:"ACTIVE"`
	// Sold is not part of the validator, because each sale changes it.
	Sold      int64     `json:"sold" doc:"The number of contracts that were made of the promo. It does not count for the ETag." example:"0"`
	CreatedAt time.Time `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	UpdatedAt time.Time `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
}

// PromoFields are what callers set of a promo.
type PromoFields struct {
	Name              string         `json:"name,omitempty" maxLength:"255" doc:"A name for people, which contracts take over." example:"Telecom bundle 2027"`
	Items             []ContractItem `json:"items" minItems:"1" maxItems:"64" nullable:"false" doc:"What a contract gives."`
	ContractDuration  string         `json:"contractDuration" enum:"RECURRING,RENEWABLE,PERPETUAL" doc:"How a contract goes on: RECURRING by periods, RENEWABLE until its end, which a renewal moves, PERPETUAL without an end." example:"RECURRING"`
	RecurringInterval string         `json:"recurringInterval,omitempty" enum:"DAY,WEEK,MONTH,YEAR" doc:"The unit of a period; required of RECURRING." example:"MONTH"`
	RecurringTime     int            `json:"recurringTime,omitempty" minimum:"1" maximum:"1200" doc:"The number of those units in a period." example:"1"`
	EndsAt            *time.Time     `json:"endsAt,omitempty" nullable:"true" doc:"The end of all contracts (exclusive), in place of one that is counted from their start." example:"2037-01-01T00:00:00Z"`
	Currency          string         `json:"currency,omitempty" pattern:"^[A-Z]{3}$" patternDescription:"a currency of three capital letters (ISO 4217)" doc:"The currency (ISO 4217)." example:"SEK"`
	MaxQuantity       int            `json:"maxQuantity,omitempty" minimum:"1" maximum:"100000" default:"1" doc:"The largest quantity of an order." example:"1"`
	PaymentProviders  []string       `json:"paymentProviders,omitempty" maxItems:"16" nullable:"false" enum:"KLARNA,STRIPE,BILLOGRAM,SESAMY" doc:"The accepted payment providers; none means any." example:"[\"SESAMY\"]"`
	PaymentMethods    []string       `json:"paymentMethods,omitempty" maxItems:"16" nullable:"false" enum:"BANKGIRO,EXTERNAL,INVOICE,SWISH,CARD,FREE" doc:"The accepted payment methods; none means any." example:"[\"EXTERNAL\",\"INVOICE\"]"`
	Sellers           []string       `json:"sellers,omitempty" maxItems:"64" nullable:"false" doc:"The ids of the clients that may sell by the code; none means all that have sales:write." example:"[]"`
	MaxContracts      int            `json:"maxContracts,omitempty" minimum:"1" maximum:"100000000" doc:"How many contracts are sold at most. Default: no bound." example:"50000"`
	ConfirmWithinDays int            `json:"confirmWithinDays,omitempty" minimum:"1" maximum:"365" default:"30" doc:"After how many days a contract that is not confirmed ends." example:"30"`
	Keeps             []string       `json:"keeps,omitempty" maxItems:"3" nullable:"false" enum:"gender,birthday,vatNr" doc:"Which of these members of payers and owners are kept. The others are checked and dropped: they have no use at a gate." example:"[\"vatNr\"]"`
	ValidFrom         *time.Time     `json:"validFrom,omitempty" nullable:"true" doc:"The start of the sale (inclusive). Default: unlimited." example:"2026-01-01T00:00:00Z"`
	ValidUntil        *time.Time     `json:"validUntil,omitempty" nullable:"true" doc:"The end of the sale (exclusive). Default: unlimited." example:"2036-01-01T00:00:00Z"`
}

// ContractItem is a part of a promo or a contract: a SKU that it gives.
type ContractItem struct {
	SKU                string `json:"sku" minLength:"1" maxLength:"255" doc:"The SKU." example:"premium"`
	PurchaseOptionID   string `json:"purchaseOptionId,omitempty" maxLength:"255" doc:"The id of the purchase option." example:"po-monthly"`
	PurchaseOptionName string `json:"purchaseOptionName,omitempty" maxLength:"255" doc:"The name of the purchase option." example:"Monthly"`
	Name               string `json:"name" maxLength:"255" required:"false" doc:"A name for people." example:"Premium"`
	Cover              string `json:"cover,omitempty" maxLength:"2048" doc:"The URL of an image." example:"https://news.example.com/covers/premium.jpg"`
	PurchaseType       string `json:"purchaseType,omitempty" maxLength:"64" doc:"How the item is bought, such as SUBSCRIPTION or SINGLE." example:"SUBSCRIPTION"`
	Seats              int    `json:"seats,omitempty" minimum:"1" maximum:"1000000" doc:"The seats of one such item. Default: none, the item is the owner's alone." example:"25"`
	IsMultiseat        bool   `json:"isMultiseat" required:"false" readOnly:"true" doc:"Whether the item has seats. Derived from seats: what is sent is ignored." example:"false"`
}

func wireItem(item store.ContractItem) ContractItem {
	return ContractItem{
		SKU: item.SKU, PurchaseOptionID: item.PurchaseOptionID, PurchaseOptionName: item.PurchaseOptionName, Name: item.Name,
		Cover: item.Cover, PurchaseType: item.PurchaseType, Seats: item.Seats, IsMultiseat: item.Seats > 0,
	}
}

func (i ContractItem) item() store.ContractItem {
	return store.ContractItem{
		SKU: i.SKU, PurchaseOptionID: i.PurchaseOptionID, PurchaseOptionName: i.PurchaseOptionName, Name: i.Name,
		Cover: i.Cover, PurchaseType: i.PurchaseType, Seats: i.Seats,
	}
}

// PromoBody creates a promo.
type PromoBody struct {
	Code string `json:"code" minLength:"1" maxLength:"128" pattern:"^[-a-zA-Z0-9_.]+$" patternDescription:"letters, digits, hyphens, underscores and dots" doc:"The promo code." example:"TELECOM-2027"`
	PromoChange
}

// PromoChange is a promo as it is changed.
type PromoChange struct {
	PromoFields
	Price  *sentAmount `json:"price,omitempty" doc:"The price of a period, as a decimal number of the currency." example:"9.90"`
	Status string      `json:"status,omitempty" enum:"ACTIVE,ENDED" default:"ACTIVE" doc:"Whether the promo sells: ENDED sells nothing." example:"ACTIVE"`
}

func (p *PromoChange) apply(to *store.Promo) error {
	if err := p.Price.check("price"); err != nil {
		return err
	}
	*to = store.Promo{
		Code: to.Code, CreatedAt: to.CreatedAt, UpdatedAt: to.UpdatedAt,
		Name: p.Name, Items: wireAll(p.Items, ContractItem.item), Duration: p.ContractDuration, Interval: p.RecurringInterval, Times: p.RecurringTime,
		EndsAt: p.EndsAt, Price: p.Price.text(), Currency: p.Currency, MaxQuantity: p.MaxQuantity,
		Providers: p.PaymentProviders, Methods: p.PaymentMethods, Sellers: p.Sellers, MaxContracts: p.MaxContracts, Keeps: p.Keeps,
		ConfirmWithin: p.ConfirmWithinDays, ValidFrom: p.ValidFrom, ValidUntil: p.ValidUntil, Ended: p.Status == promoEnded,
	}
	return nil
}

func wirePromo(p store.Promo) Promo {
	status := promoActive
	if p.Ended {
		status = promoEnded
	}
	return Promo{
		Code: p.Code, Price: amountOf(p.Price), Status: status, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
		PromoFields: PromoFields{
			Name: p.Name, Items: wireAll(p.Items, wireItem), ContractDuration: p.Duration, RecurringInterval: p.Interval, RecurringTime: p.Times,
			EndsAt: p.EndsAt, Currency: p.Currency, MaxQuantity: p.MaxQuantity,
			PaymentProviders: p.Providers, PaymentMethods: p.Methods, Sellers: p.Sellers, MaxContracts: p.MaxContracts, Keeps: p.Keeps,
			ConfirmWithinDays: p.ConfirmWithin, ValidFrom: p.ValidFrom, ValidUntil: p.ValidUntil,
		},
	}
}

// PromoPath identifies a promo in a path.
type PromoPath struct {
	Code string `path:"promoCode" maxLength:"128" doc:"The promo code." example:"TELECOM-2027"`
}

// promoRecord returns the response with a promo, or err.
func (c *call) promoRecord(ctx context.Context, p store.Promo, err error) (*record[Promo], error) {
	if err != nil {
		return nil, err
	}
	answer := &record[Promo]{ETag: etagOf(wirePromo(p)), Body: wirePromo(p)}
	answer.Body.Sold, err = c.store.PromoSold(ctx, c.Vendor, p.Code)
	return answer, err
}

func (a *api) registerPromos() {
	tags := []string{"Promos"}
	register(a, huma.Operation{
		OperationID: "list-promos", Method: http.MethodGet, Path: promosPath, Tags: tags, Security: needs("contracts:read"),
		Summary: "Lists promos by their codes",
	}, func(ctx context.Context, c *call, in *struct{ WholeParams }) (*wholeListing[Promo], error) {
		// Any code is a position.
		return newWholeListing(ctx, a, c, in.WholeParams, byID(func(ctx context.Context, page store.Page) ([]Promo, error) {
			found, _, err := c.store.ListPromos(c.Vendor).Where(func(p *store.Promo) bool { return p.Code > page.From }).Page(ctx, 0, page.Limit)
			part := wireAll(found, wirePromo)
			for i := 0; err == nil && i < len(part); i++ {
				part[i].Sold, err = c.store.PromoSold(ctx, c.Vendor, part[i].Code)
			}
			return part, err
		}, func(p *Promo) string { return p.Code }), func(p Promo) Promo { return p })
	})
	register(a, huma.Operation{
		OperationID: "create-promo", Method: http.MethodPost, Path: promosPath, Tags: tags, Security: needs("contracts:write"),
		Summary: "Creates a promo", DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{repetitionKey: repeatAnswer, rebuildKey: rebuild(func(ctx context.Context, vendor string, record []string) (rebuilt, error) {
			found, err := a.Store.PromoRecord(ctx, vendor, record[0])
			return rebuilt{status: http.StatusCreated, location: below(promosPath, found.Code), body: wirePromo(found)}, err
		})},
	}, func(ctx context.Context, c *call, in *body[PromoBody]) (*created[Promo], error) {
		wanted := store.Promo{Code: in.Body.Code}
		if err := in.Body.apply(&wanted); err != nil {
			return nil, err
		}
		made, err := c.store.CreatePromo(ctx, c.Vendor, wanted)
		return newCreated(promosPath, made.Code, wirePromo(made), err)
	})
	register(a, huma.Operation{
		OperationID: "get-promo", Method: http.MethodGet, Path: promoPath, Tags: tags, Security: needs("contracts:read"),
		Summary: "Returns a promo",
	}, func(ctx context.Context, c *call, in *PromoPath) (*record[Promo], error) {
		found, err := c.store.PromoRecord(ctx, c.Vendor, in.Code)
		return c.promoRecord(ctx, found, err)
	})
	a.registerPromoChanges(tags)
}

// registerPromoChanges adds the operations that change a promo.
func (a *api) registerPromoChanges(tags []string) {
	patch := newPatcher[PromoChange](a, "status", "validFrom", "validUntil", "endsAt", "maxContracts", "sellers", "paymentProviders", "paymentMethods")
	patch.counters = []string{"sold"}
	register(a, huma.Operation{
		OperationID: "change-promo", Method: http.MethodPatch, Path: promoPath, Tags: tags, Security: needs("contracts:write"),
		Summary:     "Changes the named fields of a promo",
		Description: "The body is a JSON merge patch (RFC 7396). Contracts that were sold before stay as they are.",
		RequestBody: patch.requestBody(), SkipValidateBody: true,
	}, func(ctx context.Context, c *call, in *struct {
		PromoPath
		IfMatch
		RawBody []byte `contentType:"application/json"`
	},
	) (*record[Promo], error) {
		changed, err := c.store.UpdatePromo(ctx, c.Vendor, in.Code, func(p *store.Promo) error {
			shown := wirePromo(*p)
			if err := in.check(shown); err != nil {
				return err
			}
			wanted, err := patch.apply(shown, &PromoChange{PromoFields: shown.PromoFields, Price: (*sentAmount)(shown.Price), Status: shown.Status}, in.RawBody)
			if err != nil {
				return err
			}
			return wanted.apply(p)
		})
		return c.promoRecord(ctx, changed, in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "end-promo", Method: http.MethodPost, Path: promoPath + "/end", Tags: tags, Security: needs("contracts:write"),
		Summary:     "Ends a promo, which sells nothing from the next order on",
		Description: "The contracts that were sold go on, and those that wait can be confirmed. Ending an ended promo changes nothing.",
		Metadata:    map[string]any{repetitionKey: repeatCall},
	}, func(ctx context.Context, c *call, in *struct {
		PromoPath
		IfMatch
	},
	) (*record[Promo], error) {
		changed, err := c.store.UpdatePromo(ctx, c.Vendor, in.Code, func(p *store.Promo) error {
			if err := in.check(wirePromo(*p)); err != nil {
				return err
			}
			p.Ended = true
			return nil
		})
		return c.promoRecord(ctx, changed, in.changed(err))
	})
}
