package admin

import (
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// BillRow is a bill in a stream of bills.
type BillRow struct {
	ID string `json:"id" minLength:"1" maxLength:"255" doc:"The seller's id of the bill: the key of the row." example:"1d78271264b9c76d5842911dd70b4353"`
	BillFields
}

// TransactionRow is a transaction in a stream of transactions.
type TransactionRow struct {
	ID string `json:"id" minLength:"1" maxLength:"255" doc:"The seller's id of the transaction: the key of the row." example:"1d78271264b9c76d5842911dd70b4353"`
	TransactionFields
}

// FulfilmentRow is a fulfilment in a stream of fulfilments.
type FulfilmentRow struct {
	ID         string     `json:"id" minLength:"1" maxLength:"255" doc:"The id of the delivery: the key of the row, with sku." example:"d-2027-01"`
	SKU        string     `json:"sku" minLength:"1" maxLength:"255" doc:"The product." example:"premium"`
	Status     string     `json:"status" minLength:"1" maxLength:"64" doc:"The state of the delivery, in the words of the system that delivers." example:"DELIVERED"`
	Title      string     `json:"title,omitempty" maxLength:"255" doc:"What is delivered." example:"January issue"`
	UserID     string     `json:"userId,omitempty" maxLength:"255" doc:"The reader who gets it." example:"user-123"`
	ContractID string     `json:"contractId,omitempty" maxLength:"255" doc:"The contract." example:"a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6"`
	DeliversAt *time.Time `json:"deliversAt,omitempty" doc:"When it is delivered." example:"2027-01-03T06:00:00Z"`
	SentTimes
}

func billOf(r *BillRow) *store.Bill { return new(r.bill(r.ID)) }

func billRow(b *store.Bill) BillRow {
	return BillRow{ID: b.ID, BillFields: BillFields{
		ContractID: b.ContractID, UserID: b.UserID, Items: wireBill(*b).Items, Price: sentAmount(b.Price), Currency: b.Currency, ReceiptURL: b.ReceiptURL,
		PaymentProvider: b.PaymentProvider, PaymentMethod: b.PaymentMethod, Status: b.Status, SentTimes: sentTimes(b.CreatedAt, b.UpdatedAt),
	}}
}

func transactionOf(r *TransactionRow) *store.Transaction { return new(r.transaction(r.ID)) }

func transactionRow(t *store.Transaction) TransactionRow {
	return TransactionRow{ID: t.ID, TransactionFields: TransactionFields{
		Amount: sentAmount(t.Amount), Currency: t.Currency, ContractID: t.ContractID, IsRefund: t.IsRefund, UserID: t.UserID, BillID: t.BillID,
		SentTimes: sentTimes(t.CreatedAt, t.UpdatedAt),
	}}
}

func fulfilmentOf(r *FulfilmentRow) *store.Fulfilment {
	created, updated := r.times()
	return &store.Fulfilment{
		ID: r.ID, SKU: r.SKU, Status: r.Status, Title: r.Title, UserID: r.UserID, ContractID: r.ContractID, DeliversAt: r.DeliversAt,
		CreatedAt: created, UpdatedAt: updated,
	}
}

func fulfilmentRow(f *store.Fulfilment) FulfilmentRow {
	return FulfilmentRow{
		ID: f.ID, SKU: f.SKU, Status: f.Status, Title: f.Title, UserID: f.UserID, ContractID: f.ContractID, DeliversAt: f.DeliversAt,
		SentTimes: sentTimes(f.CreatedAt, f.UpdatedAt),
	}
}
