package admin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	contractsPath = "/management/contracts"
	contractPath  = contractsPath + "/{id}"
)

// Contract is a stored contract.
type Contract struct {
	ID              string  `json:"id" doc:"The contract's id: 32 hexadecimal digits." example:"1d78271264b9c76d5842911dd70b4353"`
	PromoCode       string  `json:"promoCode,omitempty" doc:"The promo code by which it was sold; absent for one that a back office made." example:"TELECOM-2027"`
	ExternalOrderID string  `json:"externalOrderId,omitempty" doc:"The seller's id of the order." example:"order-2027-0815"`
	UserID          string  `json:"userId" doc:"The owner's user id; empty while the owner is known by e-mail address only." example:"user-123"`
	UserData        Party   `json:"userData" doc:"The payer."`
	OwnerData       Party   `json:"ownerData" doc:"The owner, who reads."`
	Quantity        int     `json:"quantity" doc:"The ordered quantity." example:"1"`
	Seats           int     `json:"seats" doc:"The number of seats; 0 for a contract that is its owner's alone." example:"0"`
	SeatsTaken      int     `json:"seatsTaken" doc:"The number of seats that readers have." example:"0"`
	Price           amount  `json:"price" doc:"The price of a period, with the digits that were sent. Amounts are data: the gate moves no money." example:"9.90"`
	NextPrice       *amount `json:"nextPrice" nullable:"true" doc:"The price of the next period; null for none." example:"12.90"`
	Status          string  `json:"status" enum:"UNCONFIRMED,ABANDONED,ACTIVE,CANCEL_REQUESTED,CANCELED,EXPIRED" doc:"The state now, see docs/contracts.md." example:"ACTIVE"`
	IsActive        bool    `json:"isActive" doc:"Whether the contract gives access now." example:"true"`
	ContractTerms

	CreatedAt         time.Time  `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	ConfirmedAt       *time.Time `json:"confirmedAt,omitempty" doc:"The time of the confirmation." example:"2027-01-01T09:31:00Z"`
	UpdatedAt         time.Time  `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
	AbandonAt         *time.Time `json:"abandonAt,omitempty" doc:"When a contract that is not confirmed ends." example:"2027-01-31T09:30:00Z"`
	WillCancelAt      *time.Time `json:"willCancelAt" nullable:"true" doc:"When access ends by a cancellation (exclusive); null for none." example:"2027-02-01T00:00:00Z"`
	CancelRequestedAt *time.Time `json:"cancelRequestedAt,omitempty" doc:"When the cancellation was asked for." example:"2027-01-15T08:00:00Z"`
	CancelReason      string     `json:"cancelReason,omitempty" doc:"The reason of the cancellation." example:"moved abroad"`

	ProviderPaymentData textMap `json:"providerPaymentData,omitempty" doc:"The payment provider's data, as it was confirmed." example:"{\"reference\": \"pay-1\"}"`
}

// ContractTerms are what a back office sets of a contract.
type ContractTerms struct {
	Name              string         `json:"name" required:"false" maxLength:"255" doc:"A name for people." example:"Telecom bundle 2027"`
	Items             []ContractItem `json:"items" minItems:"1" maxItems:"64" nullable:"false" doc:"What the contract gives."`
	ContractDuration  string         `json:"contractDuration" enum:"RECURRING,RENEWABLE,PERPETUAL" doc:"RECURRING by periods, RENEWABLE until its end, which a renewal moves, PERPETUAL without an end." example:"RECURRING"`
	RecurringInterval string         `json:"recurringInterval,omitempty" enum:"DAY,WEEK,MONTH,YEAR" doc:"The unit of a period." example:"MONTH"`
	RecurringTime     int            `json:"recurringTime,omitempty" minimum:"1" maximum:"1200" doc:"The number of those units in a period." example:"1"`
	StartsAt          *time.Time     `json:"startsAt,omitempty" nullable:"true" doc:"The start of the access (inclusive). Default: the creation." example:"2026-01-01T00:00:00Z"`
	ExpiresAt         *time.Time     `json:"expiresAt,omitempty" nullable:"true" doc:"The end of the access (exclusive), which a renewal moves. Absent: none." example:"2037-01-01T00:00:00Z"`
	IssuesRemaining   *int           `json:"issuesRemaining,omitempty" nullable:"true" minimum:"0" maximum:"1000000" doc:"What is left of a contract that is counted in issues." example:"12"`
	NextBillAt        *time.Time     `json:"nextBillAt" required:"false" nullable:"true" doc:"The time of the next bill; null for none." example:"2027-02-01T00:00:00Z"`
	Currency          string         `json:"currency" required:"false" pattern:"^([A-Z]{3})?$" patternDescription:"a currency of three capital letters (ISO 4217)" doc:"The currency (ISO 4217)." example:"SEK"`
	ManageURL         string         `json:"manageUrl,omitempty" maxLength:"2048" doc:"Where the owner manages the contract." example:"https://billing.example.com/contracts/4711"`
	OwnerSeat         bool           `json:"ownerSeat,omitempty" doc:"Whether the owner reads only with a seat." example:"false"`
	SiteLicence       *ContractSite  `json:"siteLicence,omitempty" doc:"All whom the contract admits besides its owner and its seats."`
	PaymentProvider   string         `json:"paymentProvider,omitempty" enum:"KLARNA,STRIPE,BILLOGRAM,SESAMY" doc:"The payment provider." example:"SESAMY"`
	PaymentData       *PaymentData   `json:"paymentData,omitempty" doc:"How the contract is paid."`
	AppliedDiscounts  []Discount     `json:"appliedDiscounts" required:"false" maxItems:"32" nullable:"false" doc:"The discounts that were applied."`
	VendorData        textMap        `json:"vendorData,omitempty" doc:"The seller's own data: at most 64 texts and 8 KiB." example:"{\"campaign\": \"autumn\"}"`
	ProviderData      textMap        `json:"providerData,omitempty" doc:"The payment provider's data of the order." example:"{\"checkout\": \"c-1\"}"`
}

// ContractSite is a site licence on the wire.
type ContractSite struct {
	Domains []string `json:"domains,omitempty" maxItems:"1000" nullable:"false" doc:"E-mail domains: readers with a verified address in one are admitted. *.example.edu is all domains below example.edu." example:"[\"library.example.edu\"]"`
	Ranges  []string `json:"ranges,omitempty" maxItems:"10000" nullable:"false" doc:"Address ranges (CIDR): clients with an address in one are admitted." example:"[\"192.0.2.0/24\"]"`
}

// PaymentData is how a contract is paid.
type PaymentData struct {
	Method      string `json:"method,omitempty" maxLength:"64" doc:"The payment method." example:"INVOICE"`
	Description string `json:"description,omitempty" maxLength:"255" doc:"A description for people." example:"Invoice by mail"`
	Brand       string `json:"brand,omitempty" maxLength:"64" doc:"The brand, as of a card." example:"visa"`
}

// Discount is a discount that was applied to a contract.
type Discount struct {
	Code        string `json:"code" minLength:"1" maxLength:"128" doc:"The discount code." example:"AUTUMN"`
	Name        string `json:"name,omitempty" maxLength:"255" doc:"A name for people." example:"Autumn campaign"`
	Description string `json:"description,omitempty" maxLength:"1024" doc:"A description for people." example:"The first month at half price"`
	ID          string `json:"id,omitempty" maxLength:"128" doc:"The discount's id." example:"disc_1"`
}

func wireContract(c *store.Contract, now time.Time) Contract {
	return Contract{
		ID: c.ID, PromoCode: c.Promo, ExternalOrderID: c.OrderID, UserID: c.Owner.UserID,
		UserData: wireParty(c.Payer), OwnerData: wireParty(c.Owner), Quantity: max(c.Quantity, 1), Seats: c.Seats, SeatsTaken: c.SeatsTaken,
		Price: amount(c.Price), NextPrice: amountOf(c.NextPrice), Status: c.Status(now), IsActive: c.Active(now), ContractTerms: wireTerms(c),
		CreatedAt: c.CreatedAt, ConfirmedAt: c.ConfirmedAt, UpdatedAt: c.UpdatedAt, AbandonAt: c.AbandonAt,
		WillCancelAt: c.WillCancelAt, CancelRequestedAt: c.CancelRequestedAt, CancelReason: c.CancelReason,
		ProviderPaymentData: c.ProviderPaymentData,
	}
}

func wireTerms(c *store.Contract) ContractTerms {
	terms := ContractTerms{
		Name: c.Name, Items: wireAll(c.Items, wireItem), ContractDuration: c.Duration, RecurringInterval: c.Interval, RecurringTime: c.Times,
		StartsAt: &c.StartsAt, ExpiresAt: c.EndsAt, IssuesRemaining: c.IssuesRemaining, NextBillAt: c.NextBillAt, Currency: c.Currency,
		ManageURL: c.ManageURL, OwnerSeat: c.OwnerSeat, PaymentProvider: c.PaymentProvider,
		AppliedDiscounts: wireAll(c.Discounts, func(d store.Discount) Discount {
			return Discount{ID: d.ID, Code: d.Code, Name: d.Name, Description: d.Description}
		}),
		VendorData: c.VendorData, ProviderData: c.ProviderData,
	}
	if pays := (PaymentData{c.PaymentMethod, c.PaymentDescription, c.PaymentBrand}); pays != (PaymentData{}) {
		terms.PaymentData = &pays
	}
	if c.Site != nil {
		terms.SiteLicence = &ContractSite{Domains: c.Site.Domains, Ranges: wireAll(c.Site.Ranges, netip.Prefix.String)}
	}
	return terms
}

// apply sets the terms of a contract.
func (t *ContractTerms) apply(c *store.Contract) error {
	for field, data := range map[string]textMap{"vendorData": t.VendorData, "providerData": t.ProviderData} {
		if err := data.checkSize(field); err != nil {
			return err
		}
	}
	c.Name, c.Items, c.Duration, c.Interval, c.Times = t.Name, wireAll(t.Items, ContractItem.item), t.ContractDuration, t.RecurringInterval, t.RecurringTime
	if t.StartsAt != nil {
		c.StartsAt = *t.StartsAt
	}
	c.EndsAt, c.IssuesRemaining, c.NextBillAt, c.Currency, c.ManageURL = t.ExpiresAt, t.IssuesRemaining, t.NextBillAt, t.Currency, t.ManageURL
	c.OwnerSeat, c.PaymentProvider, c.VendorData, c.ProviderData = t.OwnerSeat, t.PaymentProvider, t.VendorData, t.ProviderData
	c.PaymentMethod, c.PaymentDescription, c.PaymentBrand = "", "", ""
	if p := t.PaymentData; p != nil {
		c.PaymentMethod, c.PaymentDescription, c.PaymentBrand = p.Method, p.Description, p.Brand
	}
	c.Discounts = nil
	for _, d := range t.AppliedDiscounts {
		c.Discounts = append(c.Discounts, store.Discount{ID: d.ID, Code: d.Code, Name: d.Name, Description: d.Description})
	}
	c.Site = nil
	if t.SiteLicence == nil {
		return nil
	}
	c.Site = &store.SiteLicence{Domains: t.SiteLicence.Domains}
	for _, text := range t.SiteLicence.Ranges {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return invalid("siteLicence.ranges", "must each be an address range such as 192.0.2.0/24 or 2001:db8::/32")
		}
		c.Site.Ranges = append(c.Site.Ranges, prefix)
	}
	return nil
}

// ContractPath identifies a contract in a path.
type ContractPath struct {
	ID string `path:"id" maxLength:"128" doc:"The contract's id." example:"1d78271264b9c76d5842911dd70b4353"`
}

// ContractFilter selects contracts.
type ContractFilter struct {
	Q               string `query:"q" maxLength:"254" doc:"Only contracts whose id, name, promo code, order id, or whose owner's or payer's user id, e-mail address or name begins with this text, ignoring case." example:"reader@example.com"`
	UserID          string `query:"userId" maxLength:"255" doc:"Only contracts whose owner has this user id." example:"user-123"`
	Email           string `query:"email" maxLength:"254" doc:"Only contracts whose owner has this e-mail address, ignoring case." example:"reader@example.com"`
	PayerEmail      string `query:"payerEmail" maxLength:"254" doc:"Only contracts whose payer has this e-mail address, ignoring case." example:"payer@example.com"`
	SKU             string `query:"sku" maxLength:"255" doc:"Only contracts that give this SKU." example:"premium"`
	Promo           string `query:"promo" maxLength:"128" doc:"Only contracts that were sold by this promo code." example:"TELECOM-2027"`
	ExternalOrderID string `query:"externalOrderId" maxLength:"255" doc:"Only the contracts of this order; sellers may have orders with the same id." example:"order-2027-0815"`
	Status          string `query:"status" enum:"UNCONFIRMED,ABANDONED,ACTIVE,CANCEL_REQUESTED,CANCELED,EXPIRED" doc:"Only contracts in this state now."`
}

func (f *ContractFilter) query() store.ContractQuery {
	return store.ContractQuery{
		Text: f.Q, UserID: f.UserID, Email: f.Email, PayerEmail: f.PayerEmail, SKU: f.SKU, Promo: f.Promo, OrderID: f.ExternalOrderID, Status: f.Status,
	}
}

// contractRecord returns the response with a contract, or err. The validator is that of
// what is stored, which time does not change.
func (a *api) contractRecord(c store.Contract, err error) (*record[Contract], error) {
	if err != nil {
		return nil, err
	}
	return &record[Contract]{ETag: etagOf(c), Body: wireContract(&c, a.Now())}, nil
}

func (a *api) registerContracts() {
	tags := []string{"Contracts"}
	register(a, huma.Operation{
		OperationID: "list-contracts", Method: http.MethodGet, Path: contractsPath, Tags: tags, Security: needs("contracts:read"),
		Summary: "Lists contracts, the newest first",
		Description: "A page continues after the contract that `from` names, and is stable while others are made. A `from` that is no contract's id is refused. " +
			"A search reads a bounded number of contracts in one call, so that a page may have fewer than `limit`: follow `Link` to its end.",
	}, func(ctx context.Context, c *call, in *struct {
		ContractFilter
		PageParams
	},
	) (*listing[Contract], error) {
		now := a.Now()
		found, next, err := c.store.FindContracts(ctx, c.Vendor, in.query(), in.page())
		if field, ok := errors.AsType[*store.FieldError](err); ok {
			err = invalidAt("query."+field.Field, field.Problem)
		}
		if err != nil {
			return nil, err
		}
		page := &listing[Contract]{Body: wireAll(found, func(found store.Contract) Contract { return wireContract(&found, now) })}
		if next != "" {
			page.Link = c.nextLink(in.Limit, next)
		}
		return page, nil
	})
	register(a, huma.Operation{
		OperationID: "get-contract", Method: http.MethodGet, Path: contractPath, Tags: tags, Security: needs("contracts:read"),
		Summary: "Returns a contract",
	}, func(ctx context.Context, c *call, in *ContractPath) (*record[Contract], error) {
		return a.contractRecord(c.store.ContractRecord(ctx, c.Vendor, in.ID))
	})
	a.registerContractChanges(tags)
	a.registerContractEnds(tags)
	a.registerLicenses(tags)
}
