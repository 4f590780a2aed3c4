package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// Contract is what a reader or an organization bought. It gives its items to its owner and to
// those who have a seat in it or come within its site licence, while it is confirmed and now
// is in the half-open interval [StartsAt, end), see Status.
type Contract struct {
	// ID is 32 hexadecimal digits.
	ID    string `json:"id"`
	Name  string `json:"name,omitempty"`
	Promo string `json:"promo,omitempty"`
	// Seller and OrderID name the order: OrderID is unique among those of a seller, which
	// is the client that sent it. OrderHash is that of what was ordered.
	Seller    string `json:"seller,omitempty"`
	OrderID   string `json:"externalOrderId,omitempty"`
	OrderHash string `json:"orderHash,omitempty"`
	// Owner is who reads, Payer who pays.
	Owner Party `json:"owner"`
	Payer Party `json:"payer"`

	Items    []ContractItem `json:"items"`
	Quantity int            `json:"quantity,omitempty"`
	// Seats is the number of seats; zero for a contract that is for its owner alone.
	// SeatsTaken counts those that are taken.
	Seats      int `json:"seats,omitempty"`
	SeatsTaken int `json:"seatsTaken,omitempty"`
	// OwnerSeat reports whether the owner reads only with a seat.
	OwnerSeat bool `json:"ownerSeat,omitempty"`
	// Site is whom a site licence admits, besides those with seats.
	Site *SiteLicence `json:"site,omitempty"`

	// State is what was decided of the contract; Status also says what time did.
	State    string `json:"state"`
	Duration string `json:"contractDuration"`
	// Interval and Times are the length of a period: so many times the interval.
	Interval string `json:"recurringInterval,omitempty"`
	Times    int    `json:"recurringTime,omitempty"`
	// StartsAt and EndsAt bound the access; EndsAt is nil for none, and is moved by a
	// renewal. AbandonAt is when a contract that is not confirmed ends.
	StartsAt  time.Time  `json:"startsAt"`
	EndsAt    *time.Time `json:"expiresAt,omitempty"`
	AbandonAt *time.Time `json:"abandonAt,omitempty"`
	// IssuesRemaining is what is left of a contract that is counted in issues.
	IssuesRemaining *int `json:"issuesRemaining,omitempty"`

	// CancelRequestedAt is when a cancellation was asked for, WillCancelAt when access ends
	// by it.
	CancelRequestedAt *time.Time `json:"cancelRequestedAt,omitempty"`
	WillCancelAt      *time.Time `json:"willCancelAt,omitempty"`
	CancelReason      string     `json:"cancelReason,omitempty"`
	// CancelAtEnd reports whether WillCancelAt is EndsAt, also when that is moved.
	CancelAtEnd bool `json:"cancelAtEnd,omitempty"`
	// DecidedAt is when the newest event of a billing system happened that asked for a
	// cancellation or took it back: older ones do not count.
	DecidedAt *time.Time `json:"decidedAt,omitempty"`
	// CanceledAt is when a contract was canceled at once.
	CanceledAt *time.Time `json:"canceledAt,omitempty"`
	// Renewals are the last renewals that had a reference, so that each is done once.
	Renewals []RenewalNote `json:"renewals,omitempty"`

	// Price, NextPrice and the amounts of bills are decimal text.
	Price      string     `json:"price,omitempty"`
	NextPrice  string     `json:"nextPrice,omitempty"`
	NextBillAt *time.Time `json:"nextBillAt,omitempty"`
	Currency   string     `json:"currency,omitempty"`
	ManageURL  string     `json:"manageUrl,omitempty"`

	PaymentProvider     string            `json:"paymentProvider,omitempty"`
	PaymentMethod       string            `json:"paymentMethod,omitempty"`
	PaymentDescription  string            `json:"paymentDescription,omitempty"`
	PaymentBrand        string            `json:"paymentBrand,omitempty"`
	Discounts           []Discount        `json:"appliedDiscounts,omitempty"`
	VendorData          map[string]string `json:"vendorData,omitempty"`
	ProviderData        map[string]string `json:"providerData,omitempty"`
	ProviderPaymentData map[string]string `json:"providerPaymentData,omitempty"`
	Extra               json.RawMessage   `json:"extra,omitempty"`

	ConfirmedAt *time.Time `json:"confirmedAt,omitempty"`
	CreatedAt   time.Time  `json:"createdAt"`
	UpdatedAt   time.Time  `json:"updatedAt"`
}

// ContractItem is a part of a contract: a SKU that it gives.
type ContractItem struct {
	SKU                string `json:"sku"`
	PurchaseOptionID   string `json:"purchaseOptionId,omitempty"`
	PurchaseOptionName string `json:"purchaseOptionName,omitempty"`
	Name               string `json:"name,omitempty"`
	Cover              string `json:"cover,omitempty"`
	PurchaseType       string `json:"purchaseType,omitempty"`
	// Seats is the number of seats of one such item; zero for an item of one reader.
	Seats int `json:"seats,omitempty"`
}

// Discount is a discount that was applied to a contract.
type Discount struct {
	ID          string `json:"id,omitempty"`
	Code        string `json:"code"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
}

// Party is the payer or the owner of a contract. UserID is empty until the reader is known;
// until then Email, which their login must have verified, names them.
type Party struct {
	UserID      string        `json:"userId,omitempty"`
	Email       string        `json:"email,omitempty"`
	FullName    string        `json:"fullName,omitempty"`
	Phone       string        `json:"phone,omitempty"`
	Address     *PartyAddress `json:"address,omitempty"`
	CompanyName string        `json:"companyName,omitempty"`
	VATNumber   string        `json:"vatNr,omitempty"`
	Gender      string        `json:"gender,omitempty"`
	// Birthday is a date.
	Birthday     string            `json:"birthday,omitempty"`
	InvoiceEmail string            `json:"invoiceEmail,omitempty"`
	ExtraData    map[string]string `json:"extraData,omitempty"`
}

// PartyAddress is an address with the name of who lives there.
type PartyAddress struct {
	Address
	FirstName string `json:"firstName,omitempty"`
	LastName  string `json:"lastName,omitempty"`
}

// SiteLicence admits all readers of an institution: those whose verified e-mail address is in
// one of the domains, and all whose client address is in one of the ranges. A domain that
// begins with `*.` is all those below it.
type SiteLicence struct {
	Domains []string       `json:"domains,omitempty"`
	Ranges  []netip.Prefix `json:"ranges,omitempty"`
}

// Seat is a reader's part in a contract, by user id or by an e-mail address that their login
// must have verified.
type Seat struct {
	ID        string    `json:"id"`
	Contract  string    `json:"contract"`
	UserID    string    `json:"userId,omitempty"`
	Email     string    `json:"email,omitempty"`
	FullName  string    `json:"fullName,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// Bounds of contracts and promos.
const (
	maxContractItems = 64
	maxQuantity      = 100_000
	maxSeats         = 1_000_000
	maxContractTimes = 1200
	maxDiscounts     = 64
	// maxTextMap bounds the members of a map of texts, maxTextMapBytes all of its bytes.
	maxTextMap      = 64
	maxTextMapBytes = 8 << 10
)

var contractKind = &kind[Contract]{
	prefix:    prefixContract,
	path:      func(c *Contract) []string { return []string{c.ID} },
	normalize: (*Contract).normalize,
	keep: func(next, old *Contract) {
		next.ID, next.Promo, next.Seller, next.OrderID = old.ID, old.Promo, old.Seller, old.OrderID
	},
	stamps:  func(c *Contract) (created, updated *time.Time) { return &c.CreatedAt, &c.UpdatedAt },
	check:   checkContract,
	index:   (*Contract).index,
	expires: (*Contract).expires,
	stale:   staleContract,
}

// newContractID returns a unique id of 32 hexadecimal digits: 48 bits of inverted Unix
// milliseconds, then 80 random bits. So the newest contract is read first.
func newContractID(now time.Time) string {
	stamp := ^uint64(now.UnixMilli()) & (1<<48 - 1)
	return fmt.Sprintf("%012x", stamp) + hex.EncodeToString(randomBytes(10))
}

// normalize fills in defaults and checks the contract.
func (c *Contract) normalize() error {
	c.Quantity = cmp.Or(c.Quantity, 1)
	c.StartsAt = *inMilliseconds(&c.StartsAt)
	for _, at := range []**time.Time{&c.EndsAt, &c.AbandonAt, &c.CancelRequestedAt, &c.WillCancelAt, &c.CanceledAt, &c.NextBillAt, &c.ConfirmedAt} {
		*at = inMilliseconds(*at)
	}
	terms := contractTerms{c.Items, c.Duration, c.Interval, &c.Times, c.EndsAt}
	switch {
	case c.Quantity < 1 || c.Quantity > maxQuantity:
		return &FieldError{"quantity", fmt.Sprintf("must be from 1 to %d", maxQuantity)}
	case c.Seats < 0 || c.Seats > maxSeats:
		return &FieldError{"seats", fmt.Sprintf("must be from 0 to %d", maxSeats)}
	case c.EndsAt != nil && !c.EndsAt.After(c.StartsAt):
		return &FieldError{"expiresAt", "must be after startsAt"}
	case c.Owner.UserID == "" && c.Owner.Email == "":
		return &FieldError{"ownerData.email", "is required, or userId: without one of them no reader has the contract"}
	case len(c.Discounts) > maxDiscounts:
		return &FieldError{"appliedDiscounts", fmt.Sprintf("has more than %d", maxDiscounts)}
	}
	if err := cmp.Or(terms.check("expiresAt"), c.Owner.normalize("ownerData"), c.Payer.normalize("userData"), c.checkTexts()); err != nil {
		return err
	}
	if c.Site != nil {
		return c.Site.Normalize()
	}
	return nil
}

func (c *Contract) checkTexts() error {
	for i, d := range c.Discounts {
		if err := checkText(fmt.Sprintf("appliedDiscounts[%d]", i), d.ID+d.Code+d.Name+d.Description, 2048); err != nil {
			return err
		}
	}
	return cmp.Or(
		checkText("name", c.Name, 255), checkText("seller", c.Seller, 255), checkText("externalOrderId", c.OrderID, 255),
		checkText("currency", c.Currency, 3), checkText("manageUrl", c.ManageURL, 2048), checkLines("cancelReason", c.CancelReason, 1024),
		checkText("paymentProvider", c.PaymentProvider, 64), checkText("paymentMethod", c.PaymentMethod, 64),
		checkText("paymentData", c.PaymentDescription+c.PaymentBrand, 1024),
		checkAmount("price", c.Price), checkAmount("nextPrice", c.NextPrice), normalizeExtra(&c.Extra),
		checkTexts("vendorData", c.VendorData), checkTexts("providerData", c.ProviderData), checkTexts("providerPaymentData", c.ProviderPaymentData),
	)
}

// inMilliseconds returns a time rounded down, as decisions count in milliseconds; nil is
// none. The time of the caller, which others may read, stays as it is.
func inMilliseconds(at *time.Time) *time.Time {
	if at == nil {
		return nil
	}
	return new(at.UTC().Truncate(time.Millisecond))
}

var amountPattern = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?$`)

// checkAmount checks an amount: decimal text; empty is none.
func checkAmount(field, amount string) error {
	if amount != "" && !amountPattern.MatchString(amount) {
		return &FieldError{field, "must be an amount such as 99 or 9.90, of at most 15 digits and 4 decimals"}
	}
	return nil
}

// checkTexts checks a map of texts by name.
func checkTexts(field string, texts map[string]string) error {
	if len(texts) > maxTextMap {
		return &FieldError{field, fmt.Sprintf("has more than %d members", maxTextMap)}
	}
	size := 0
	for name, text := range texts {
		size += len(name) + len(text)
		if err := cmp.Or(checkText(field, name, 255), checkLines(field, text, maxTextMapBytes)); err != nil {
			return err
		}
	}
	if size > maxTextMapBytes {
		return &FieldError{field, fmt.Sprintf("has more than %d bytes of names and values", maxTextMapBytes)}
	}
	return nil
}

// normalize checks a party that is in a member of a request.
func (p *Party) normalize(field string) error {
	p.Email, p.InvoiceEmail = strings.TrimSpace(p.Email), strings.TrimSpace(p.InvoiceEmail)
	for name, email := range map[string]string{"email": p.Email, "invoiceEmail": p.InvoiceEmail} {
		if err, ok := checkEmail(email).(*FieldError); ok { //nolint:errorlint // checkEmail wraps nothing
			return &FieldError{field + "." + name, err.Problem}
		}
	}
	address := ""
	if a := p.Address; a != nil {
		address = a.Street + a.City + a.Zip + a.Country + a.CO + a.FirstName + a.LastName
	}
	return cmp.Or(
		checkText(field+".userId", p.UserID, 255), checkText(field+".fullName", p.FullName, 255), checkText(field+".phone", p.Phone, 64),
		checkText(field+".address", address, 2048), checkText(field+".businessDetails", p.CompanyName+p.VATNumber, 512),
		checkText(field+".gender", p.Gender, 16), checkText(field+".birthday", p.Birthday, 16), checkTexts(field+".extraData", p.ExtraData),
	)
}

// identity returns by what a party reads: their user id or, until it is known, their e-mail
// address.
func (p *Party) identity() (user, email string) {
	if p.UserID != "" {
		return p.UserID, ""
	}
	return "", policy.LowerEmail(p.Email)
}

// contractTerms are what promos and contracts have in common.
type contractTerms struct {
	items              []ContractItem
	duration, interval string
	times              *int
	endsAt             *time.Time
}

// Durations of contracts, and intervals of their periods.
const (
	DurationRecurring = "RECURRING"
	DurationRenewable = "RENEWABLE"
	DurationPerpetual = "PERPETUAL"

	IntervalDay   = "DAY"
	IntervalWeek  = "WEEK"
	IntervalMonth = "MONTH"
	IntervalYear  = "YEAR"
)

// check checks the terms; end is the name of the field with the end.
func (t *contractTerms) check(end string) error {
	switch {
	case len(t.items) == 0:
		return &FieldError{"items", "is required: what the contract gives"}
	case len(t.items) > maxContractItems:
		return &FieldError{"items", fmt.Sprintf("has more than %d", maxContractItems)}
	}
	for i := range t.items {
		if err := t.items[i].check(fmt.Sprintf("items[%d]", i)); err != nil {
			return err
		}
	}
	switch t.interval {
	case "", IntervalDay, IntervalWeek, IntervalMonth, IntervalYear:
	default:
		return &FieldError{"recurringInterval", "must be DAY, WEEK, MONTH or YEAR"}
	}
	if t.interval != "" {
		*t.times = cmp.Or(*t.times, 1)
	}
	switch {
	case *t.times < 0 || *t.times > maxContractTimes:
		return &FieldError{"recurringTime", fmt.Sprintf("must be from 1 to %d", maxContractTimes)}
	case *t.times != 0 && t.interval == "":
		return &FieldError{"recurringInterval", "is required with recurringTime"}
	case t.endsAt != nil && t.endsAt.Year() > 9999:
		return &FieldError{end, "is too late"}
	}
	switch t.duration {
	case DurationRecurring:
		if t.interval == "" {
			return &FieldError{"recurringInterval", "is required of a RECURRING contract"}
		}
	case DurationRenewable:
		if t.interval == "" && t.endsAt == nil {
			return &FieldError{end, "is required of a RENEWABLE contract, or recurringInterval"}
		}
	case DurationPerpetual:
		if t.interval != "" || t.endsAt != nil {
			return &FieldError{"contractDuration", "is PERPETUAL, which has neither " + end + " nor recurringInterval: leave them out, or make it RENEWABLE"}
		}
	default:
		return &FieldError{"contractDuration", "must be RECURRING, RENEWABLE or PERPETUAL"}
	}
	return nil
}

func (i *ContractItem) check(field string) error {
	switch {
	case i.SKU == "":
		return &FieldError{field + ".sku", "is required"}
	case i.Seats < 0 || i.Seats > maxSeats:
		return &FieldError{field + ".seats", fmt.Sprintf("must be from 0 to %d", maxSeats)}
	}
	return cmp.Or(
		checkText(field+".sku", i.SKU, 255), checkText(field+".purchaseOptionId", i.PurchaseOptionID, 255),
		checkText(field+".purchaseOptionName", i.PurchaseOptionName, 255), checkText(field+".name", i.Name, 255),
		checkText(field+".cover", i.Cover, 2048), checkText(field+".purchaseType", i.PurchaseType, 64),
	)
}

// seatsOf returns the seats of a quantity of items. Each seat gives all of them, so those of
// several items are not added.
func seatsOf(items []ContractItem, quantity int) (seats int) {
	for _, item := range items {
		seats = max(seats, item.Seats*quantity)
	}
	return seats
}

// checkContract checks a contract against others.
func checkContract(t *transaction, _, next *Contract) error {
	if next == nil || next.Site == nil {
		return nil
	}
	return checkSites(t, next)
}

// ContractRecord returns a contract, or ErrNotFound.
func (s *Store) ContractRecord(ctx context.Context, vendor, id string) (Contract, error) {
	return read(ctx, s, vendor, contractKind, id)
}

// UpdateContract changes a contract: change gets the current one. Its order, owner, state,
// seats and cancellation are changed by other methods only. It returns a *ContractStateError
// for one that has ended.
func (w Writer) UpdateContract(ctx context.Context, vendor, id string, change func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, id, stepChange, func(_ *transaction, next *Contract) error {
		was := *next
		if err := change(next); err != nil {
			return err
		}
		next.Owner.UserID, next.Owner.Email = was.Owner.UserID, was.Owner.Email
		next.OrderHash, next.State, next.Seats, next.SeatsTaken = was.OrderHash, was.State, was.Seats, was.SeatsTaken
		next.CancelRequestedAt, next.WillCancelAt, next.CancelReason, next.CancelAtEnd = was.CancelRequestedAt, was.WillCancelAt, was.CancelReason, was.CancelAtEnd
		next.DecidedAt, next.CanceledAt, next.Renewals = was.DecidedAt, was.CanceledAt, was.Renewals
		next.ConfirmedAt, next.AbandonAt, next.CreatedAt = was.ConfirmedAt, was.AbandonAt, was.CreatedAt
		if next.CancelAtEnd && next.EndsAt != nil {
			next.WillCancelAt = next.EndsAt
		}
		return nil
	})
}

// changeContract changes a contract by a step that its state allows. A change that returns
// errUnchanged is none.
func (w Writer) changeContract(ctx context.Context, vendor, id string, step contractStep, change func(*transaction, *Contract) error) (made Contract, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		old, err := contractKind.need(t, id)
		if err != nil {
			return err
		}
		made = *old
		if done, err := made.allows(step, t.now); err != nil || done {
			return err
		}
		if err := change(t, &made); err != nil {
			return err
		}
		return contractKind.put(t, &made)
	})
	return made, err
}

// staleContract adds what a change of a contract makes stale: its owner, those who have a
// seat, and the vendor's site licences.
func staleContract(change *policy.Invalidation, vendor string, old, next *Contract) {
	staleSites(change, old, next)
	if !bytes.Equal(old.gives().encode(), next.gives().encode()) {
		change.Add(policy.KindContract, vendor, cmp.Or(next, old).ID)
	}
	if bytes.Equal(old.ownerEntry(), next.ownerEntry()) && old.ownedBy() == next.ownedBy() {
		return
	}
	for _, c := range []*Contract{old, next} {
		if c.ownerEntry() != nil {
			user, email := c.Owner.identity()
			change.Add(policy.KindUserID, vendor, user)
			change.Add(policy.KindEmail, vendor, email)
		}
	}
}
