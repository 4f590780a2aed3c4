package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// BillQuery selects bills, transactions or fulfilments: those that match all of what is not
// empty. Status is that of bills, BillID and TransactionID are those of transactions, and SKU
// that of fulfilments, of which it is required.
type BillQuery struct {
	ContractID, UserID, Status, BillID, TransactionID, SKU string
	// Text begins the id, or an id or name that the record has. Case does not matter.
	Text string
	// From and To bound the time of creation: From <= it < To. Zero: no bound.
	From, To time.Time
}

// sentKind is how the records of a kind are found.
type sentKind[T any] struct {
	kind *kind[T]
	// indexes are the kinds of the index for a query, of which the first with a value is read.
	indexes func(q *BillQuery) [][2]string
	// path returns the path of the record with an id.
	path    func(q *BillQuery, id string) []string
	created func(*T) time.Time
	matches func(q *BillQuery, record *T) bool
	texts   func(*T) []string
}

func ownID(_ *BillQuery, id string) []string { return []string{id} }

func is(wanted, value string) bool { return wanted == "" || wanted == value }

var (
	sentBills = sentKind[Bill]{
		kind: billKind, path: ownID, created: func(b *Bill) time.Time { return b.CreatedAt },
		indexes: func(q *BillQuery) [][2]string {
			return [][2]string{{billOfContract, q.ContractID}, {billOfUser, q.UserID}, {billWithStatus, q.Status}, {billAll, ""}}
		},
		matches: func(q *BillQuery, b *Bill) bool {
			return is(q.ContractID, b.ContractID) && is(q.UserID, b.UserID) && is(q.Status, b.Status)
		},
		texts: func(b *Bill) []string {
			texts := append(make([]string, 0, 3+2*len(b.Items)), b.ID, b.ContractID, b.UserID)
			for i := range b.Items {
				texts = append(texts, b.Items[i].SKU, b.Items[i].Title)
			}
			return texts
		},
	}
	sentTransactions = sentKind[Transaction]{
		kind: transactionKind, path: ownID, created: func(t *Transaction) time.Time { return t.CreatedAt },
		indexes: func(q *BillQuery) [][2]string {
			return [][2]string{{transactionOfBill, q.BillID}, {transactionOfContract, q.ContractID}, {transactionOfUser, q.UserID}, {transactionAll, ""}}
		},
		matches: func(q *BillQuery, t *Transaction) bool {
			return is(q.BillID, t.BillID) && is(q.ContractID, t.ContractID) && is(q.UserID, t.UserID) && is(q.TransactionID, t.ID)
		},
		texts: func(t *Transaction) []string { return []string{t.ID, t.ContractID, t.UserID, t.BillID} },
	}
	sentFulfilments = sentKind[Fulfilment]{
		kind: fulfilmentKind, created: func(f *Fulfilment) time.Time { return f.CreatedAt },
		path:    func(q *BillQuery, id string) []string { return []string{q.SKU, id} },
		indexes: func(q *BillQuery) [][2]string { return [][2]string{{fulfilmentOfSKU, q.SKU}} },
		matches: func(*BillQuery, *Fulfilment) bool { return true },
		texts:   func(f *Fulfilment) []string { return []string{f.ID, f.Title} },
	}
)

// FindBills returns a page of bills, the newest first. A page starts after the bill with the
// id page.From; it returns a *FieldError when there is none. Next, unless empty, is where the
// search goes on: it ended at the limit, or after it read maxSearch bills.
func (s *Store) FindBills(ctx context.Context, vendor string, query BillQuery, page Page) (found []Bill, next string, err error) {
	return findSent(ctx, s, vendor, &sentBills, &query, page, func(b *Bill) string { return b.ID })
}

// FindTransactions returns a page of transactions, as FindBills does of bills.
func (s *Store) FindTransactions(ctx context.Context, vendor string, query BillQuery, page Page) (found []Transaction, next string, err error) {
	if query.TransactionID == "" {
		return findSent(ctx, s, vendor, &sentTransactions, &query, page, func(t *Transaction) string { return t.ID })
	}
	one, err := s.TransactionRecord(ctx, vendor, query.TransactionID)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && (page.From != "" || !sentTransactions.selects(&query, &one)):
		return []Transaction{}, "", nil
	case err != nil:
		return nil, "", err
	}
	return []Transaction{one}, "", nil
}

// FindFulfilments returns a page of the fulfilments of a SKU, as FindBills does of bills.
func (s *Store) FindFulfilments(ctx context.Context, vendor, sku string, page Page) (found []Fulfilment, next string, err error) {
	return findSent(ctx, s, vendor, &sentFulfilments, &BillQuery{SKU: sku}, page, func(f *Fulfilment) string { return f.ID })
}

func (k *sentKind[T]) selects(q *BillQuery, record *T) bool {
	at := k.created(record)
	if !q.From.IsZero() && at.Before(q.From) || !q.To.IsZero() && !at.Before(q.To) || !k.matches(q, record) {
		return false
	}
	text := strings.ToLower(q.Text)
	for _, of := range k.texts(record) {
		if strings.HasPrefix(strings.ToLower(of), text) {
			return true
		}
	}
	return false
}

func findSent[T any](ctx context.Context, s *Store, vendor string, k *sentKind[T], q *BillQuery, page Page, id func(*T) string) (found []T, next string, err error) {
	found = []T{}
	read := 0
	for record, err := range listSent(s, vendor, k, q, page.From).All(ctx) {
		if err != nil {
			return nil, "", err
		}
		if len(found) == page.limit() || read == maxSearch {
			return found, next, nil
		}
		if !q.From.IsZero() && k.created(&record).Before(q.From) {
			break // and so are all that follow
		}
		if k.selects(q, &record) {
			found = append(found, record)
		}
		next, read = id(&record), read+1
	}
	return found, "", nil
}

// listSent lists the records that may match, after the one with an id, by the index.
func listSent[T any](s *Store, vendor string, k *sentKind[T], q *BillQuery, from string) Listing[T] {
	return Listing[T]{store: s, vendor: vendor, kind: k.kind, ranges: func(snapshot engine.Snapshot) ([]listingRange, error) {
		var prefix []byte
		for _, of := range k.indexes(q) {
			if of[1] != "" || len(of[0]) == 1 {
				prefix = contractPrefix(of[0], of[1])
				break
			}
		}
		found := listingRange{prefix: prefix, place: func(rest string) []string { return strings.Split(rest[8:], "\x00") }}
		switch {
		case from != "":
			path := k.path(q, from)
			var last T
			_, err := getIn(snapshot, k.kind.key(path...), &last)
			if errors.Is(err, ErrNotFound) {
				return nil, &FieldError{"from", "is no id of these records: send that of the last record of a page"}
			}
			if err != nil {
				return nil, err
			}
			found.after = append(byTime(prefix, k.created(&last)), key(0, path...)[1:]...)
		case !q.To.IsZero():
			// Keys after this one are those of earlier times.
			found.after = byTime(prefix, q.To.Add(-time.Millisecond))
		}
		return []listingRange{found}, nil
	}}
}

// byTime returns the key of the index at a time, without what follows it.
func byTime(prefix []byte, at time.Time) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(prefix), ^uint64(at.UnixMilli()))
}
