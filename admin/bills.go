package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	billsPath        = "/management/bills"
	transactionsPath = "/management/transactions"
)

// Bill is what is owed for a contract.
type Bill struct {
	ID              string     `json:"id" doc:"The seller's id of the bill." example:"1d78271264b9c76d5842911dd70b4353"`
	ContractID      string     `json:"contractId" doc:"The contract, if there is one." example:"a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6"`
	UserID          string     `json:"userId" doc:"The reader who owes, if known." example:"user-123"`
	Items           []BillItem `json:"items" doc:"What was sold."`
	Price           amount     `json:"price"`
	Currency        string     `json:"currency" doc:"The currency (ISO 4217)." example:"SEK"`
	ReceiptURL      string     `json:"receiptUrl" doc:"The URL of the receipt." example:"https://billing.example.com/receipts/1"`
	PaymentProvider string     `json:"paymentProvider" doc:"Who collects the money." example:"KLARNA"`
	PaymentMethod   string     `json:"paymentMethod" doc:"How it is paid." example:"INVOICE"`
	Status          string     `json:"status" doc:"The state of the bill." enum:"DRAFT,PENDING,PAID,RETRYING,OVERDUE,CANCELED,EXPIRED,DELETED,VOIDED" example:"PAID"`
	UpdatedAt       time.Time  `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
	CreatedAt       time.Time  `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
}

// BillItem is a part of a bill.
type BillItem struct {
	SKU              string `json:"sku" minLength:"1" maxLength:"255" doc:"The SKU that was sold." example:"premium"`
	Title            string `json:"title,omitempty" maxLength:"255" doc:"Its title." example:"Premium"`
	PurchaseOptionID string `json:"purchaseOptionId,omitempty" maxLength:"255" doc:"The purchase option." example:"monthly"`
}

// BillFields are what a seller sends of a bill.
type BillFields struct {
	ContractID      string     `json:"contractId,omitempty" maxLength:"255" doc:"The contract. It is not changed by its bills." example:"a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6"`
	UserID          string     `json:"userId,omitempty" maxLength:"255" doc:"The reader who owes. What is kept about them includes their bills." example:"user-123"`
	Items           []BillItem `json:"items,omitempty" maxItems:"100" doc:"What was sold."`
	Price           sentAmount `json:"price"`
	Currency        string     `json:"currency,omitempty" maxLength:"3" doc:"The currency (ISO 4217)." example:"SEK"`
	ReceiptURL      string     `json:"receiptUrl,omitempty" maxLength:"2048" doc:"The URL of the receipt." example:"https://billing.example.com/receipts/1"`
	PaymentProvider string     `json:"paymentProvider,omitempty" maxLength:"64" doc:"Who collects the money." example:"KLARNA"`
	PaymentMethod   string     `json:"paymentMethod,omitempty" maxLength:"64" doc:"How it is paid." example:"INVOICE"`
	Status          string     `json:"status" doc:"The state of the bill." enum:"DRAFT,PENDING,PAID,RETRYING,OVERDUE,CANCELED,EXPIRED,DELETED,VOIDED" example:"PAID"`
	SentTimes
}

// SentTimes are the times of a record at the seller.
type SentTimes struct {
	CreatedAt *time.Time `json:"createdAt,omitempty" doc:"The time of creation at the seller. Default: as it was, or now." example:"2027-01-01T09:30:00Z"`
	UpdatedAt *time.Time `json:"updatedAt,omitempty" doc:"The time of the last change at the seller. Default: now, if something changes." example:"2027-01-02T10:00:00Z"`
}

func (t *SentTimes) times() (created, updated time.Time) {
	if t.CreatedAt != nil {
		created = *t.CreatedAt
	}
	if t.UpdatedAt != nil {
		updated = *t.UpdatedAt
	}
	return created, updated
}

func sentTimes(created, updated time.Time) SentTimes { return SentTimes{&created, &updated} }

// Transaction is what was paid or refunded.
type Transaction struct {
	ID         string    `json:"id" doc:"The seller's id of the transaction." example:"1d78271264b9c76d5842911dd70b4353"`
	Amount     amount    `json:"amount"`
	Currency   string    `json:"currency" doc:"The currency (ISO 4217)." example:"SEK"`
	ContractID string    `json:"contractId" doc:"The contract, if there is one." example:"a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6"`
	IsRefund   bool      `json:"isRefund" doc:"Whether the money went back." example:"false"`
	UserID     string    `json:"userId" doc:"The reader who paid, if known." example:"user-123"`
	BillID     string    `json:"billId" doc:"The bill, if there is one." example:"1d78271264b9c76d5842911dd70b4353"`
	UpdatedAt  time.Time `json:"updatedAt" doc:"The time of the last change." example:"2027-01-02T10:00:00Z"`
	CreatedAt  time.Time `json:"createdAt" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
}

// TransactionFields are what a seller sends of a transaction.
type TransactionFields struct {
	Amount     sentAmount `json:"amount"`
	Currency   string     `json:"currency,omitempty" maxLength:"3" doc:"The currency (ISO 4217)." example:"SEK"`
	ContractID string     `json:"contractId,omitempty" maxLength:"255" doc:"The contract. It is not changed by its transactions." example:"a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6"`
	IsRefund   bool       `json:"isRefund,omitempty" doc:"Whether the money went back." example:"false"`
	UserID     string     `json:"userId,omitempty" maxLength:"255" doc:"The reader who paid. What is kept about them includes their transactions." example:"user-123"`
	BillID     string     `json:"billId,omitempty" maxLength:"255" doc:"The bill." example:"1d78271264b9c76d5842911dd70b4353"`
	SentTimes
}

// SentPath identifies what a seller sent by the seller's own id.
type SentPath struct {
	ID string `path:"id" maxLength:"255" doc:"The seller's id of the record." example:"1d78271264b9c76d5842911dd70b4353"`
}

// SentID is the id of a body, which may repeat that of the path.
type SentID struct {
	ID string `json:"id,omitempty" maxLength:"255" doc:"The id of the path, if it is given." example:"1d78271264b9c76d5842911dd70b4353"`
}

func (s *SentID) check(path string) error {
	if s.ID != "" && s.ID != path {
		return invalid("id", "must be the id of the path")
	}
	return nil
}

func wireBill(b store.Bill) Bill {
	items := make([]BillItem, len(b.Items))
	for i, item := range b.Items {
		items[i] = BillItem(item)
	}
	return Bill{
		ID: b.ID, ContractID: b.ContractID, UserID: b.UserID, Items: items, Price: amount(b.Price), Currency: b.Currency, ReceiptURL: b.ReceiptURL,
		PaymentProvider: b.PaymentProvider, PaymentMethod: b.PaymentMethod, Status: b.Status, UpdatedAt: b.UpdatedAt, CreatedAt: b.CreatedAt,
	}
}

func (f *BillFields) bill(id string) store.Bill {
	items := make([]store.BillItem, len(f.Items))
	for i, item := range f.Items {
		items[i] = store.BillItem(item)
	}
	created, updated := f.times()
	return store.Bill{
		ID: id, ContractID: f.ContractID, UserID: f.UserID, Items: items, Price: string(f.Price), Currency: f.Currency, ReceiptURL: f.ReceiptURL,
		PaymentProvider: f.PaymentProvider, PaymentMethod: f.PaymentMethod, Status: f.Status, UpdatedAt: updated, CreatedAt: created,
	}
}

func wireTransaction(t store.Transaction) Transaction {
	return Transaction{
		ID: t.ID, Amount: amount(t.Amount), Currency: t.Currency, ContractID: t.ContractID, IsRefund: t.IsRefund, UserID: t.UserID, BillID: t.BillID,
		UpdatedAt: t.UpdatedAt, CreatedAt: t.CreatedAt,
	}
}

func (f *TransactionFields) transaction(id string) store.Transaction {
	created, updated := f.times()
	return store.Transaction{
		ID: id, Amount: string(f.Amount), Currency: f.Currency, ContractID: f.ContractID, IsRefund: f.IsRefund, UserID: f.UserID, BillID: f.BillID,
		UpdatedAt: updated, CreatedAt: created,
	}
}

const aboutSent = "Gatefold moves no money: this is what the seller's system sent, and no contract and no reader's access is changed by it."

// registerBills adds bills and transactions.
func (a *api) registerBills() {
	tags := []string{"Bills"}
	register(a, huma.Operation{
		OperationID: "list-bills", Method: http.MethodGet, Path: billsPath, Tags: tags, Security: needs("bills:read"),
		Summary: "Lists bills, the newest first", Description: aboutSent + " A search reads at most 20,000 bills: a page may be short and have a next one.",
	}, func(ctx context.Context, c *call, in *struct {
		PageParams
		BillParams
		Status string `query:"status" enum:"DRAFT,PENDING,PAID,RETRYING,OVERDUE,CANCELED,EXPIRED,DELETED,VOIDED" doc:"Only bills in this state." example:"OVERDUE"`
	},
	) (*listing[Bill], error) {
		query, err := in.query()
		if err != nil {
			return nil, err
		}
		query.Status = in.Status
		found, next, err := c.store.FindBills(ctx, c.Vendor, query, in.page())
		return newSentListing(c, in.Limit, wireAll(found, wireBill), next, err)
	})
	register(a, huma.Operation{
		OperationID: "get-bill", Method: http.MethodGet, Path: billsPath + "/{id}", Tags: tags, Security: needs("bills:read"),
		Summary: "Returns a bill",
	}, func(ctx context.Context, c *call, in *SentPath) (*record[Bill], error) {
		found, err := c.store.BillRecord(ctx, c.Vendor, in.ID)
		return newRecord(wireBill(found), err)
	})
	register(a, huma.Operation{
		OperationID: "replace-bill", Method: http.MethodPut, Path: billsPath + "/{id}", Tags: tags, Security: needs("bills:write"),
		Summary: "Stores a bill in place of the one with its id, or as a new one", Description: aboutSent,
	}, func(ctx context.Context, c *call, in *struct {
		SentPath
		IfMatch
		Body struct {
			SentID
			BillFields
		}
	},
	) (*record[Bill], error) {
		if err := errors.Join(in.Body.check(in.ID), checkAddress("receiptUrl", in.Body.ReceiptURL)); err != nil {
			return nil, err
		}
		made, err := c.store.PutBill(ctx, c.Vendor, in.Body.bill(in.ID), allowedPut(in.IfMatch, wireBill))
		return newRecord(wireBill(made), in.changed(err))
	})
	a.registerTransactions(tags)
}

func (a *api) registerTransactions(tags []string) {
	register(a, huma.Operation{
		OperationID: "list-transactions", Method: http.MethodGet, Path: transactionsPath, Tags: tags, Security: needs("bills:read"),
		Summary: "Lists transactions, the newest first", Description: aboutSent + " A search reads at most 20,000 transactions: a page may be short and have a next one.",
	}, func(ctx context.Context, c *call, in *struct {
		PageParams
		BillParams
		TransactionID string `query:"transactionId" maxLength:"255" doc:"Only the transaction with this id." example:"1d78271264b9c76d5842911dd70b4353"`
		BillID        string `query:"billId" maxLength:"255" doc:"Only transactions of this bill." example:"1d78271264b9c76d5842911dd70b4353"`
	},
	) (*listing[Transaction], error) {
		query, err := in.query()
		if err != nil {
			return nil, err
		}
		query.TransactionID, query.BillID = in.TransactionID, in.BillID
		found, next, err := c.store.FindTransactions(ctx, c.Vendor, query, in.page())
		return newSentListing(c, in.Limit, wireAll(found, wireTransaction), next, err)
	})
	register(a, huma.Operation{
		OperationID: "get-transaction", Method: http.MethodGet, Path: transactionsPath + "/{id}", Tags: tags, Security: needs("bills:read"),
		Summary: "Returns a transaction",
	}, func(ctx context.Context, c *call, in *SentPath) (*record[Transaction], error) {
		found, err := c.store.TransactionRecord(ctx, c.Vendor, in.ID)
		return newRecord(wireTransaction(found), err)
	})
	register(a, huma.Operation{
		OperationID: "replace-transaction", Method: http.MethodPut, Path: transactionsPath + "/{id}", Tags: tags, Security: needs("bills:write"),
		Summary: "Stores a transaction in place of the one with its id, or as a new one", Description: aboutSent,
	}, func(ctx context.Context, c *call, in *struct {
		SentPath
		IfMatch
		Body struct {
			SentID
			TransactionFields
		}
	},
	) (*record[Transaction], error) {
		if err := in.Body.check(in.ID); err != nil {
			return nil, err
		}
		made, err := c.store.PutTransaction(ctx, c.Vendor, in.Body.transaction(in.ID), allowedPut(in.IfMatch, wireTransaction))
		return newRecord(wireTransaction(made), in.changed(err))
	})
}

// allowedPut returns the check of a precondition of a PUT that may create its record.
func allowedPut[R, T any](match IfMatch, wire func(R) T) func(*R) error {
	return func(old *R) error {
		if old == nil {
			return match.absent()
		}
		return match.check(wire(*old))
	}
}

// BillParams select bills and transactions.
type BillParams struct {
	Q          string `query:"q" maxLength:"255" doc:"Only records of which an id, a SKU or a title begins with this text, in any case." example:"1d78"`
	ContractID string `query:"contractId" maxLength:"255" doc:"Only those of this contract." example:"a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6"`
	UserID     string `query:"userId" maxLength:"255" doc:"Only those of this reader." example:"user-123"`
	PeriodOfCreation
}

func (p *BillParams) query() (query store.BillQuery, err error) {
	query = store.BillQuery{Text: p.Q, ContractID: p.ContractID, UserID: p.UserID}
	query.From, query.To, err = p.period()
	return query, err
}

// newSentListing returns a page that continues after next, or err.
func newSentListing[T any](c *call, limit int, found []T, next string, err error) (*listing[T], error) {
	if field, ok := errors.AsType[*store.FieldError](err); ok {
		return nil, invalidAt("query."+field.Field, field.Problem)
	}
	if err != nil {
		return nil, err
	}
	page := &listing[T]{Body: found}
	if next != "" {
		page.Link = c.nextLink(limit, next)
	}
	return page, nil
}
