package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bill is what is owed for a contract, as the seller's system has it. It is read only: no
// bill changes a contract, or what a reader has.
type Bill struct {
	// ID is the seller's own.
	ID         string     `json:"id"`
	ContractID string     `json:"contractId,omitempty"`
	UserID     string     `json:"userId,omitempty"`
	Items      []BillItem `json:"items,omitempty"`
	// Price is decimal text.
	Price           string    `json:"price"`
	Currency        string    `json:"currency,omitempty"`
	ReceiptURL      string    `json:"receiptUrl,omitempty"`
	PaymentProvider string    `json:"paymentProvider,omitempty"`
	PaymentMethod   string    `json:"paymentMethod,omitempty"`
	Status          string    `json:"status"`
	CreatedAt       time.Time `json:"createdAt"`
	UpdatedAt       time.Time `json:"updatedAt"`
}

// BillItem is a part of a bill.
type BillItem struct {
	SKU              string `json:"sku"`
	Title            string `json:"title,omitempty"`
	PurchaseOptionID string `json:"purchaseOptionId,omitempty"`
}

// Transaction is what was paid or refunded, as the seller's system has it.
type Transaction struct {
	// ID is the seller's own.
	ID string `json:"id"`
	// Amount is decimal text. It is never negative, see IsRefund.
	Amount     string    `json:"amount"`
	Currency   string    `json:"currency,omitempty"`
	ContractID string    `json:"contractId,omitempty"`
	IsRefund   bool      `json:"isRefund"`
	UserID     string    `json:"userId,omitempty"`
	BillID     string    `json:"billId,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
	UpdatedAt  time.Time `json:"updatedAt"`
}

// Fulfilment is a delivery of a product, such as a printed issue.
type Fulfilment struct {
	// ID is that of the system that delivers.
	ID         string     `json:"id"`
	SKU        string     `json:"sku"`
	Title      string     `json:"title,omitempty"`
	Status     string     `json:"status"`
	UserID     string     `json:"userId,omitempty"`
	ContractID string     `json:"contractId,omitempty"`
	DeliversAt *time.Time `json:"deliversAt,omitempty"`
	CreatedAt  time.Time  `json:"createdAt"`
	UpdatedAt  time.Time  `json:"updatedAt"`
}

// BillStatuses are the states of a bill.
var BillStatuses = []string{"DRAFT", "PENDING", "PAID", "RETRYING", "OVERDUE", "CANCELED", "EXPIRED", "DELETED", "VOIDED"}

// maxBillItems bounds the items of a bill.
const maxBillItems = 100

// The kinds of values in the index of what a seller sent, in which the newest is first.
const (
	billAll               = "B"
	billOfContract        = "Bc"
	billOfUser            = "Bu"
	billWithStatus        = "Bs"
	transactionAll        = "T"
	transactionOfContract = "Tc"
	transactionOfUser     = "Tu"
	transactionOfBill     = "Tb"
	fulfilmentOfSKU       = "Fs"
	fulfilmentOfUser      = "Fu"
)

var billKind = &kind[Bill]{
	prefix: prefixBill, path: func(b *Bill) []string { return []string{b.ID} }, normalize: (*Bill).normalize,
	check: checkTimes(func(b *Bill) (created, updated *time.Time) { return &b.CreatedAt, &b.UpdatedAt }),
	index: func(b *Bill, add func(k, value []byte)) {
		addByTime(add, b.CreatedAt, []string{b.ID}, [][2]string{{billAll, ""}, {billOfContract, b.ContractID}, {billOfUser, b.UserID}, {billWithStatus, b.Status}})
	},
}

var transactionKind = &kind[Transaction]{
	prefix: prefixTransaction, path: func(t *Transaction) []string { return []string{t.ID} }, normalize: (*Transaction).normalize,
	check: checkTimes(func(t *Transaction) (created, updated *time.Time) { return &t.CreatedAt, &t.UpdatedAt }),
	index: func(t *Transaction, add func(k, value []byte)) {
		addByTime(add, t.CreatedAt, []string{t.ID}, [][2]string{
			{transactionAll, ""}, {transactionOfContract, t.ContractID}, {transactionOfUser, t.UserID}, {transactionOfBill, t.BillID},
		})
	},
}

var fulfilmentKind = &kind[Fulfilment]{
	prefix: prefixFulfilment, path: func(f *Fulfilment) []string { return []string{f.SKU, f.ID} }, normalize: (*Fulfilment).normalize,
	check: checkTimes(func(f *Fulfilment) (created, updated *time.Time) { return &f.CreatedAt, &f.UpdatedAt }),
	index: func(f *Fulfilment, add func(k, value []byte)) {
		addByTime(add, f.CreatedAt, []string{f.SKU, f.ID}, [][2]string{{fulfilmentOfSKU, f.SKU}, {fulfilmentOfUser, f.UserID}})
	},
}

// addByTime adds a record to the index, under each kind whose value is not empty and under
// the kinds of all records.
func addByTime(add func(k, value []byte), at time.Time, path []string, kinds [][2]string) {
	for _, of := range kinds {
		if of[1] != "" || len(of[0]) == 1 {
			k := binary.BigEndian.AppendUint64(contractPrefix(of[0], of[1]), ^uint64(at.UnixMilli()))
			add(append(k, key(0, path...)[1:]...), nil)
		}
	}
}

// checkTimes returns the check of a record with times of the seller. A time that is not
// given stays, or is now; so a record that is sent again is not a change.
func checkTimes[T any](times func(*T) (created, updated *time.Time)) func(t *transaction, old, next *T) error {
	return func(t *transaction, old, next *T) error {
		if next == nil {
			return nil
		}
		created, updated := times(next)
		given := !updated.IsZero()
		if old != nil {
			createdBefore, updatedBefore := times(old)
			if created.IsZero() {
				*created = *createdBefore
			}
			if !given {
				*updated = *updatedBefore
			}
			was, err := encode(old)
			is, err2 := encode(next)
			if err != nil || err2 != nil || bytes.Equal(was, is) || given {
				return errors.Join(err, err2)
			}
			*updated = t.now
			return nil
		}
		if created.IsZero() {
			*created = t.now
		}
		if !given {
			*updated = t.now
		}
		return nil
	}
}

// checkSent checks what a seller's record has in common, and cuts its times to milliseconds.
func checkSent(id, contract, user string, times ...*time.Time) error {
	for i, at := range times {
		if at == nil || at.IsZero() {
			continue
		}
		if *at = *inMilliseconds(at); at.Year() < 1970 || at.Year() > 9999 {
			return &FieldError{[]string{"createdAt", "updatedAt", "deliversAt"}[i], "must be from 1970 to 9999"}
		}
	}
	if id == "" {
		return &FieldError{"id", "is required"}
	}
	return cmp.Or(checkText("id", id, 255), checkText("contractId", contract, 255), checkText("userId", user, 255))
}

func (b *Bill) normalize() error {
	if err := checkSent(b.ID, b.ContractID, b.UserID, &b.CreatedAt, &b.UpdatedAt); err != nil {
		return err
	}
	switch {
	case b.Price == "":
		return &FieldError{"price", "is required"}
	case !slices.Contains(BillStatuses, b.Status):
		return &FieldError{"status", "is not a state of bills"}
	case len(b.Items) > maxBillItems:
		return &FieldError{"items", fmt.Sprintf("are more than %d", maxBillItems)}
	}
	for i, item := range b.Items {
		field := fmt.Sprintf("items[%d].", i)
		if item.SKU == "" {
			return &FieldError{field + "sku", "is required"}
		}
		if err := cmp.Or(checkText(field+"sku", item.SKU, 255), checkText(field+"title", item.Title, 255), checkText(field+"purchaseOptionId", item.PurchaseOptionID, 255)); err != nil {
			return err
		}
	}
	return cmp.Or(
		checkAmount("price", b.Price), checkText("currency", b.Currency, 3), checkText("receiptUrl", b.ReceiptURL, 2048),
		checkText("paymentProvider", b.PaymentProvider, 64), checkText("paymentMethod", b.PaymentMethod, 64),
	)
}

func (t *Transaction) normalize() error {
	if err := checkSent(t.ID, t.ContractID, t.UserID, &t.CreatedAt, &t.UpdatedAt); err != nil {
		return err
	}
	if t.Amount == "" {
		return &FieldError{"amount", "is required"}
	}
	return cmp.Or(checkAmount("amount", t.Amount), checkText("currency", t.Currency, 3), checkText("billId", t.BillID, 255))
}

func (f *Fulfilment) normalize() error {
	f.DeliversAt = inMilliseconds(f.DeliversAt)
	if err := checkSent(f.ID, f.ContractID, f.UserID, &f.CreatedAt, &f.UpdatedAt, f.DeliversAt); err != nil {
		return err
	}
	switch {
	case f.SKU == "":
		return &FieldError{"sku", "is required"}
	case f.Status == "":
		return &FieldError{"status", "is required"}
	}
	return cmp.Or(checkText("sku", f.SKU, 255), checkText("status", f.Status, 64), checkText("title", f.Title, 255))
}

// PutBill stores a bill in place of the one with its id. Allowed, unless it is nil, gets the
// stored bill, nil for none, and may refuse the change.
func (w Writer) PutBill(ctx context.Context, vendor string, bill Bill, allowed func(*Bill) error) (Bill, error) {
	return upsert(ctx, w, vendor, billKind, bill, allowed)
}

// PutTransaction stores a transaction as PutBill does a bill.
func (w Writer) PutTransaction(ctx context.Context, vendor string, transaction Transaction, allowed func(*Transaction) error) (Transaction, error) {
	return upsert(ctx, w, vendor, transactionKind, transaction, allowed)
}

func upsert[T any](ctx context.Context, w Writer, vendor string, k *kind[T], record T, allowed func(*T) error) (T, error) {
	var made T
	err := w.transact(ctx, vendor, func(t *transaction) error {
		made = record
		if err := k.normalize(&made); err != nil {
			return err
		}
		if allowed != nil {
			old, err := k.get(t, k.path(&made)...)
			if err = cmp.Or(err, allowed(old)); err != nil {
				return err
			}
		}
		return k.put(t, &made)
	})
	return made, err
}

// BillRecord returns a bill, or ErrNotFound.
func (s *Store) BillRecord(ctx context.Context, vendor, id string) (Bill, error) {
	return read(ctx, s, vendor, billKind, id)
}

// TransactionRecord returns a transaction, or ErrNotFound.
func (s *Store) TransactionRecord(ctx context.Context, vendor, id string) (Transaction, error) {
	return read(ctx, s, vendor, transactionKind, id)
}

// showSent returns a record as the API has it, but for amounts, which are text.
func showSent[T any](_ *eventReader, record *T) (map[string]any, error) { return members(record) }
