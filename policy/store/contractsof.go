package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// ReaderContract is a contract by which a reader has something: as the owner or, with Seat, by
// a seat. Items are what it gives them.
type ReaderContract struct {
	Contract Contract
	Seat     *Seat
	Items    []ContractItem
}

// Window returns the half-open interval in which a confirmed contract gives access; end is nil
// for none.
func (c *Contract) Window() (start time.Time, end *time.Time) {
	if end = c.EndsAt; c.WillCancelAt != nil && (end == nil || c.WillCancelAt.Before(*end)) {
		end = c.WillCancelAt
	}
	return c.StartsAt, end
}

// SeatItems returns the items that a seat gives: those that have seats or, if none has, all.
func (c *Contract) SeatItems() []ContractItem {
	with := slices.DeleteFunc(slices.Clone(c.Items), func(i ContractItem) bool { return i.Seats == 0 })
	if len(with) == 0 {
		return c.Items
	}
	return with
}

// ContractsOf returns the contracts that a reader owns or has a seat in, those that have ended
// too. It reads what decisions read, so that both agree.
func (s *Store) ContractsOf(ctx context.Context, vendor string, reader policy.Reader) (found []ReaderContract, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		owned, seated := contractRanges(&reader)
		for i, prefix := range append(owned, seated...) {
			var places []string
			for entry, err := range snapshot.Scan(prefix, nil) {
				if err != nil {
					return err
				}
				if len(found)+len(places) == maxGrantsOfReader {
					return errManyContracts
				}
				if i < len(owned) || len(entry.Value) > 0 {
					places = append(places, string(entry.Key[len(prefix):]))
				}
			}
			for _, place := range places {
				one, err := contractAt(snapshot, &reader, place)
				if err != nil {
					return err
				}
				if one != nil {
					found = append(found, *one)
				}
			}
		}
		return nil
	})
	return found, err
}

// contractAt returns the contract of an entry of the index, nil if it gives the reader nothing.
func contractAt(snapshot engine.Snapshot, reader *policy.Reader, place string) (*ReaderContract, error) {
	id, seat, seated := strings.Cut(place, "\x00")
	one := new(ReaderContract)
	if _, err := getIn(snapshot, contractKind.key(id), &one.Contract); err != nil {
		return nil, ignoreMissing(err)
	}
	if !seated {
		user, email := one.Contract.Owner.identity()
		if one.Contract.OwnerSeat || user != "" && user != reader.UserID || email != "" && email != reader.Email {
			return nil, nil
		}
		one.Items = one.Contract.Items
		return one, nil
	}
	one.Seat, one.Items = new(Seat), one.Contract.SeatItems()
	if _, err := getIn(snapshot, seatKind.key(id, seat), one.Seat); err != nil {
		return nil, ignoreMissing(err)
	}
	return one, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
