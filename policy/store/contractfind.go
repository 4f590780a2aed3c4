package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// The kinds of values in the index of contracts.
const (
	contractAll   = "a"
	contractUser  = "u"
	contractEmail = "e"
	contractSKU   = "s"
	contractPromo = "p"
	contractOrder = "o"
	contractText  = "q"
	seatUser      = "v"
	seatEmail     = "w"
)

// maxFound bounds the contracts that a search by text reads.
const maxFound = 10_000

// MaxContractsOfReader bounds the contracts and seats of one reader that are read.
const maxContractsOfReader = 10_000

// newest returns a part of a key by which later contracts sort first.
func newest(at time.Time) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, ^uint64(at.UnixMilli())))
}

func indexContract(c *Contract, add func(k, value []byte)) {
	at := newest(c.CreatedAt)
	values := map[string][]string{
		contractAll: {""}, contractUser: {c.Owner.UserID}, contractEmail: {c.Owner.Email}, contractPromo: {c.Promo}, contractOrder: {c.OrderID},
		contractText: {c.ID, c.Name, c.OrderID, c.Owner.UserID, c.Owner.Email, c.Owner.FullName, c.Payer.UserID, c.Payer.Email, c.Payer.FullName},
	}
	for _, item := range c.Items {
		values[contractSKU] = append(values[contractSKU], item.SKU)
	}
	for kind, list := range values {
		for _, value := range list {
			if kind == contractText {
				value = searchText(value)
			}
			if value != "" || kind == contractAll {
				add(key(prefixContractIndex, kind, value, at, c.ID), nil)
			}
		}
	}
}

func searchText(text string) string {
	text = strings.ToLower(text)
	return text[:min(len(text), 255)]
}

// ContractQuery selects contracts.
type ContractQuery struct {
	// Q is the begin of a text of the contract, ignoring case.
	Q                                          string
	UserID, Email, SKU, Promo, OrderID, Status string
}

// selects reports whether a contract matches, apart from Q.
func (q *ContractQuery) selects(c *Contract, now time.Time) bool {
	is := func(wanted, value string) bool { return wanted == "" || wanted == value }
	return is(q.UserID, c.Owner.UserID) && is(q.Email, c.Owner.Email) && is(q.Promo, c.Promo) && is(q.OrderID, c.OrderID) && is(q.Status, c.Status(now)) &&
		(q.SKU == "" || slices.ContainsFunc(c.Items, func(i ContractItem) bool { return i.SKU == q.SKU }))
}

// FindContracts lists contracts, the newest first. It returns a *FieldError for a page that
// begins at no contract.
func (s *Store) FindContracts(ctx context.Context, vendor string, q ContractQuery, page Page) (found []Contract, err error) {
	q.Email = policy.LowerEmail(q.Email)
	now := s.now()
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		after := ""
		if page.From != "" {
			var from Contract
			if _, err := getIn(snapshot, contractKind.key(page.From), &from); err != nil {
				return cmp.Or(fromError(err), err)
			}
			after = newest(from.CreatedAt) + "\x00" + from.ID
		}
		places, err := q.places(snapshot, after)
		if err != nil {
			return err
		}
		for _, place := range places {
			_, id, _ := strings.Cut(place, "\x00")
			var c Contract
			if _, err := getIn(snapshot, contractKind.key(id), &c); err != nil {
				return err
			}
			if q.selects(&c, now) {
				if found = append(found, c); len(found) == page.Limit {
					break
				}
			}
		}
		return nil
	})
	return found, err
}

func fromError(err error) error {
	if err == ErrNotFound { //nolint:errorlint // of getIn
		return &FieldError{"from", "is no contract: a page continues after the id of one"}
	}
	return nil
}

// places returns the places in the index that the query selects, those after a place.
func (q *ContractQuery) places(snapshot engine.Snapshot, after string) (places []string, err error) {
	if q.Q != "" {
		prefix := append(key(prefixContractIndex, contractText), 0)
		prefix = append(prefix, searchText(q.Q)...)
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return nil, err
			}
			parts := strings.Split(string(entry.Key), "\x00")
			if place := strings.Join(parts[len(parts)-2:], "\x00"); place > after {
				places = append(places, place)
			}
			if len(places) > maxFound {
				return nil, &FieldError{"q", "matches too many contracts: give more of the text"}
			}
		}
		slices.Sort(places)
		return slices.Compact(places), nil
	}
	kind, value := contractAll, ""
	for _, by := range [][2]string{{contractPromo, q.Promo}, {contractSKU, q.SKU}, {contractEmail, q.Email}, {contractUser, q.UserID}, {contractOrder, q.OrderID}} {
		if by[1] != "" {
			kind, value = by[0], by[1]
		}
	}
	prefix := append(key(prefixContractIndex, kind, value), 0)
	for entry, err := range snapshot.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		if place := string(entry.Key[len(prefix):]); place > after {
			places = append(places, place)
		}
	}
	return places, nil
}

// ReaderContract is a contract by which a reader has something: as its owner, or by a seat.
type ReaderContract struct {
	Contract Contract
	Seat     *Seat
}

// ContractsOf returns the contracts that a reader owns or has a seat in, ended ones too.
func (s *Store) ContractsOf(ctx context.Context, vendor string, reader policy.Reader) (found []ReaderContract, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		found, err = contractsIn(snapshot, reader)
		return err
	})
	return found, err
}

func contractsIn(snapshot engine.Snapshot, reader policy.Reader) (found []ReaderContract, err error) {
	seen := map[string]bool{}
	for _, by := range [][2]string{{contractUser, reader.UserID}, {contractEmail, reader.Email}, {seatUser, reader.UserID}, {seatEmail, reader.Email}} {
		if by[1] == "" {
			continue
		}
		prefix := append(key(prefixContractIndex, by[0], by[1]), 0)
		var places []string
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return nil, err
			}
			places = append(places, string(entry.Key[len(prefix):]))
		}
		for _, place := range places {
			first, last, _ := strings.Cut(place, "\x00")
			id := first
			one := ReaderContract{}
			if by[0] == seatUser || by[0] == seatEmail {
				one.Seat = new(Seat)
				if _, err := getIn(snapshot, seatKind.key(first, last), one.Seat); err != nil {
					return nil, err
				}
			} else {
				id = last
			}
			mark := id
			if one.Seat != nil {
				mark += "." + one.Seat.ID
			}
			if seen[mark] {
				continue
			}
			seen[mark] = true
			if _, err := getIn(snapshot, contractKind.key(id), &one.Contract); err != nil {
				return nil, err
			}
			if one.Seat == nil && one.Contract.OwnerSeat {
				continue
			}
			found = append(found, one)
		}
	}
	return found, nil
}

// addContracts adds what a reader has by contracts.
func addContracts(snapshot engine.Snapshot, reader policy.Reader, records *policy.ReaderRecords) error {
	found, err := contractsIn(snapshot, reader)
	if err != nil {
		return err
	}
	for i := range found {
		c := &found[i].Contract
		if found[i].Seat != nil {
			records.Contracts = append(records.Contracts, c.ID)
		}
		if c.State != StateActive {
			continue
		}
		start, end := c.Window()
		for _, item := range c.Items {
			grant := policy.Grant{ID: "contract:" + c.ID, SKU: item.SKU, Active: true, StartsAt: start.UnixMilli()}
			if end != nil {
				grant.EndsAt = max(end.UnixMilli(), 1)
			}
			records.Grants = append(records.Grants, grant)
		}
	}
	return nil
}
