package store

import (
	"encoding/json"
	"net/netip"
	"time"
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
	UserID       string            `json:"userId,omitempty"`
	Email        string            `json:"email,omitempty"`
	FullName     string            `json:"fullName,omitempty"`
	Phone        string            `json:"phone,omitempty"`
	Address      *PartyAddress     `json:"address,omitempty"`
	CompanyName  string            `json:"companyName,omitempty"`
	VATNumber    string            `json:"vatNr,omitempty"`
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
