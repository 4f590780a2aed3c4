package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Errors of seats.
var (
	ErrNoSeat     = errors.New("the contract has no free seat")
	ErrSeatsTaken = errors.New("readers have more seats than that")
)

var seatKind = &kind[Seat]{
	prefix:    prefixSeat,
	path:      func(s *Seat) []string { return []string{s.Contract, s.ID} },
	normalize: (*Seat).normalize,
	stamps:    func(s *Seat) (created, updated *time.Time) { return &s.CreatedAt, &s.UpdatedAt },
	index: func(s *Seat, add func(k, value []byte)) {
		if s.UserID != "" {
			add(key(prefixContractIndex, seatUser, s.UserID, s.Contract, s.ID), nil)
		}
		if s.Email != "" {
			add(key(prefixContractIndex, seatEmail, s.Email, s.Contract, s.ID), nil)
		}
	},
	stale: func(change *policy.Invalidation, vendor string, old, next *Seat) {
		for _, s := range []*Seat{old, next} {
			if s != nil && s.UserID != "" {
				change.Add(policy.KindUserID, vendor, s.UserID)
			}
			if s != nil && s.Email != "" {
				change.Add(policy.KindEmail, vendor, s.Email)
			}
		}
	},
}

func (s *Seat) normalize() error {
	s.Email = policy.LowerEmail(s.Email)
	if s.UserID == "" && s.Email == "" {
		return &FieldError{"email", "is required, or userId"}
	}
	s.ID = s.id()
	return cmp.Or(checkEmail(s.Email), checkText("userId", s.UserID, 255), checkText("fullName", s.FullName, 255))
}

// id returns the id of a reader's seat, so that there is one.
func (s *Seat) id() string {
	sum := sha256.Sum256(key(0, s.Contract, s.UserID, s.Email))
	id := make([]byte, 26)
	for i := range id {
		id[i] = idDigits[sum[i]&31]
	}
	return "seat_" + string(id)
}

// AssignSeat gives a seat to a reader; isNew is false for one who has it already. It returns
// ErrNoSeat, ErrContractEnded, ErrNotFound or *FieldError.
func (w Writer) AssignSeat(ctx context.Context, vendor, contract string, seat Seat) (c Contract, made Seat, isNew bool, err error) {
	c, err = w.changeContract(ctx, vendor, contract, nil, func(t *transaction, c *Contract) error {
		made, isNew = seat, false
		made.Contract = contract
		if err := made.normalize(); err != nil {
			return err
		}
		if old, err := seatKind.get(t, contract, made.ID); err != nil || old != nil {
			if old != nil {
				made = *old
			}
			return err
		}
		switch status := c.Status(t.now); {
		case status != StateActive && status != StatusCancelRequested && status != StateUnconfirmed:
			return ErrContractEnded
		case c.SeatsTaken >= c.Seats:
			return ErrNoSeat
		}
		isNew = true
		c.SeatsTaken++
		return seatKind.put(t, &made)
	})
	return c, made, isNew, err
}

// WithdrawSeat removes a seat, or returns ErrNotFound.
func (w Writer) WithdrawSeat(ctx context.Context, vendor, contract, seat string) error {
	_, err := w.changeContract(ctx, vendor, contract, nil, func(t *transaction, c *Contract) error {
		c.SeatsTaken--
		return seatKind.remove(t, contract, seat)
	})
	return err
}

// SetSeats changes the number of seats. It returns ErrSeatsTaken when readers have more.
func (w Writer) SetSeats(ctx context.Context, vendor, contract string, seats int, check func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, contract, check, func(t *transaction, c *Contract) error {
		if seats < c.SeatsTaken {
			return ErrSeatsTaken
		}
		c.Seats = seats
		return nil
	})
}

// Seats lists the seats of a contract, by their ids.
func (s *Store) Seats(ctx context.Context, vendor, contract, q string, page Page) (found []Seat, err error) {
	q = strings.ToLower(q)
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		prefix := append(seatKind.key(contract), 0)
		for seat, err := range records[Seat](snapshot, prefix, "") {
			if err != nil {
				return err
			}
			if seat.ID > page.From && strings.Contains(strings.ToLower(seat.UserID+"\x00"+seat.Email+"\x00"+seat.FullName), q) {
				if found = append(found, seat); len(found) == page.Limit {
					return nil
				}
			}
		}
		return nil
	})
	return found, err
}
