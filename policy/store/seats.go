package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// ErrSeatsTaken is wrapped by a *SeatsError.
var ErrSeatsTaken = errors.New("the contract has not enough seats")

// SeatsError is the error of a contract with too few seats: for readers to add, or of a total
// that is less than what is taken.
type SeatsError struct {
	Contract     string
	Seats, Taken int
	// Missing is how many are missing: of seats to add, or to withdraw first.
	Missing int
}

func (e *SeatsError) Error() string {
	return fmt.Sprintf("the contract %s has %d seats, of which %d are taken: %d too few", e.Contract, e.Seats, e.Taken, e.Missing)
}

// Unwrap returns ErrSeatsTaken.
func (e *SeatsError) Unwrap() error { return ErrSeatsTaken }

// MaxSeatsAdded bounds the seats of one AddSeats.
const MaxSeatsAdded = 500

var seatKind = &kind[Seat]{
	prefix:    prefixSeat,
	path:      func(s *Seat) []string { return []string{s.Contract, s.ID} },
	normalize: (*Seat).normalize,
	stamps:    func(s *Seat) (created, updated *time.Time) { return &s.CreatedAt, &s.UpdatedAt },
	index: func(s *Seat, add func(k, value []byte)) {
		user, email := s.identity()
		if mailed := policy.LowerEmail(s.Email); mailed != "" {
			add(contractKey(contractMailed, mailed, s.Contract, s.ID), nil)
		}
		if user != "" {
			add(contractKey(contractHolder, user, s.Contract, s.ID), []byte{1})
		} else {
			add(contractKey(contractMailed, email, s.Contract, s.ID), []byte{1})
		}
	},
	stale: func(change *policy.Invalidation, vendor string, old, next *Seat) {
		for _, seat := range []*Seat{old, next} {
			if seat != nil {
				user, email := seat.identity()
				change.Add(policy.KindUserID, vendor, user)
				change.Add(policy.KindEmail, vendor, email)
			}
		}
	},
}

// identity returns by what the holder reads: their user id or, without one, their e-mail
// address.
func (s *Seat) identity() (user, email string) {
	return (&Party{UserID: s.UserID, Email: s.Email}).identity()
}

// normalize checks the seat and sets its id.
func (s *Seat) normalize() error {
	s.Email = strings.TrimSpace(s.Email)
	if s.UserID == "" && s.Email == "" {
		return &FieldError{"email", "is required, or userId"}
	}
	s.ID = seatID(s.Contract, s.UserID, s.Email)
	return cmp.Or(checkEmail(s.Email), checkText("userId", s.UserID, 255), checkText("fullName", s.FullName, 255))
}

// seatID returns the id of a reader's seat in a contract, so that a reader has one.
func seatID(contract, user, email string) string {
	of := "u" + user
	if user == "" {
		of = "e" + policy.LowerEmail(email)
	}
	sum := sha256.Sum256(key(0, contract, of))
	id := make([]byte, 26)
	for i := range id {
		id[i] = idDigits[sum[i]&31]
	}
	return "seat_" + string(id)
}

// seatTurns let those who add seats to one contract wait for each other, as each of them
// writes the contract. The seats are exact without.
type seatTurns struct {
	once  sync.Once
	seed  maphash.Seed
	turns [64]sync.Mutex
}

// take waits for the turn of a contract, and returns how to end it.
func (s *seatTurns) take(vendor, contract string) (end func()) {
	s.once.Do(func() { s.seed = maphash.MakeSeed() })
	turn := &s.turns[maphash.String(s.seed, vendor+"\x00"+contract)%uint64(len(s.turns))]
	turn.Lock()
	return turn.Unlock
}

// AddedSeat is a seat that was added, or was there: Created reports which.
type AddedSeat struct {
	Seat
	Created bool
}

// AddSeat gives a reader a seat in a contract, see AddSeats.
func (w Writer) AddSeat(ctx context.Context, vendor, contract string, seat Seat) (Contract, AddedSeat, error) {
	changed, added, err := w.AddSeats(ctx, vendor, contract, []Seat{seat})
	if err != nil {
		return changed, AddedSeat{}, err
	}
	return changed, added[0], nil
}

// AddSeats gives readers seats in a contract: all of them or none, at most MaxSeatsAdded. A
// reader who has one, by user id or e-mail address, keeps it as it is. It returns a
// *SeatsError when there are too few, and a *ContractStateError for a contract that has ended.
func (w Writer) AddSeats(ctx context.Context, vendor, contract string, seats []Seat) (changed Contract, added []AddedSeat, err error) {
	if len(seats) > MaxSeatsAdded {
		return changed, nil, &FieldError{"seats", fmt.Sprintf("are more than %d at once", MaxSeatsAdded)}
	}
	defer w.seatTurns.take(vendor, contract)()
	changed, err = w.changeContract(ctx, vendor, contract, stepSeats, func(t *transaction, c *Contract) error {
		added = make([]AddedSeat, 0, len(seats))
		if err := t.prefetchSeats(c.ID, seats); err != nil {
			return err
		}
		created := 0
		for i, seat := range seats {
			next := Seat{Contract: c.ID, UserID: seat.UserID, Email: seat.Email, FullName: seat.FullName}
			if err := next.normalize(); err != nil {
				return seatError(err, i, len(seats))
			}
			held, err := t.seatOf(&next)
			if err != nil {
				return err
			}
			if held != nil {
				added = append(added, AddedSeat{*held, false})
				continue
			}
			if err := seatKind.put(t, &next); err != nil {
				return err
			}
			created++
			added = append(added, AddedSeat{next, true})
		}
		if missing := c.SeatsTaken + created - c.Seats; created > 0 && missing > 0 {
			return &SeatsError{c.ID, c.Seats, c.SeatsTaken, missing}
		}
		c.SeatsTaken += created
		return nil
	})
	return changed, added, err
}

// seatError names the seat of several whose field is not valid.
func seatError(err error, i, n int) error {
	field, ok := errors.AsType[*FieldError](err)
	if !ok || n == 1 {
		return err
	}
	return &FieldError{fmt.Sprintf("[%d].%s", i, field.Field), field.Problem}
}

// prefetchSeats reads what is known of the seats to add in one round trip.
func (t *transaction) prefetchSeats(contract string, seats []Seat) error {
	ranges := make([][]byte, 0, 2*len(seats))
	for i := range seats {
		ranges = append(ranges, t.seatRanges(contract, &seats[i])...)
	}
	return engine.PrefetchRanges(t.snapshot, ranges...)
}

func (t *transaction) seatRanges(contract string, seat *Seat) (ranges [][]byte) {
	if seat.UserID != "" {
		ranges = append(ranges, contractPrefix(contractHolder, seat.UserID, contract))
	}
	if email := policy.LowerEmail(strings.TrimSpace(seat.Email)); email != "" {
		ranges = append(ranges, contractPrefix(contractMailed, email, contract))
	}
	return ranges
}

// seatOf returns the seat that a reader has in a contract, nil for none. The contract is
// written with every seat, so that no other is added until the commit.
func (t *transaction) seatOf(seat *Seat) (*Seat, error) {
	if held, err := seatKind.get(t, seat.Contract, seat.ID); err != nil || held != nil {
		return held, err
	}
	for _, prefix := range t.seatRanges(seat.Contract, seat) {
		for entry, err := range t.snapshot.Scan(prefix, nil) {
			if err != nil {
				return nil, err
			}
			return seatKind.get(t, seat.Contract, string(entry.Key[len(prefix):]))
		}
	}
	return nil, nil
}

// RemoveSeat withdraws a seat. It returns ErrNotFound when the contract has none with this id.
func (w Writer) RemoveSeat(ctx context.Context, vendor, contract, seat string) (changed Contract, err error) {
	defer w.seatTurns.take(vendor, contract)()
	err = w.transact(ctx, vendor, func(t *transaction) error {
		old, err := contractKind.need(t, contract)
		if err != nil {
			return err
		}
		if err := seatKind.remove(t, contract, seat); err != nil {
			return err
		}
		changed = *old
		changed.SeatsTaken--
		return contractKind.put(t, &changed)
	})
	return changed, err
}

// SetSeats sets the number of seats. It returns a *SeatsError for fewer than are taken, and a
// *ContractStateError for a contract that has ended. Allowed may refuse the contract; nil
// allows it.
func (w Writer) SetSeats(ctx context.Context, vendor, contract string, seats int, allowed func(*Contract) error) (Contract, error) {
	return w.changeContract(ctx, vendor, contract, stepSeats, permittedContract(allowed, func(_ *transaction, c *Contract) error {
		if seats < c.SeatsTaken {
			return &SeatsError{c.ID, seats, c.SeatsTaken, c.SeatsTaken - seats}
		}
		c.Seats = seats
		return nil
	}))
}

// SeatRecord returns a seat, or ErrNotFound.
func (s *Store) SeatRecord(ctx context.Context, vendor, contract, seat string) (Seat, error) {
	return read(ctx, s, vendor, seatKind, contract, seat)
}

// ListSeats lists the seats of a contract by their ids.
func (s *Store) ListSeats(vendor, contract string) Listing[Seat] {
	return listOf(s, vendor, seatKind, keyPrefix(prefixSeat, contract))
}

// FindSeats returns a page of the seats of a contract whose user id, e-mail address or name has
// a text, ignoring case; empty for all. Next, unless empty, is where the search goes on.
func (s *Store) FindSeats(ctx context.Context, vendor, contract, text string, page Page) (found []Seat, next string, err error) {
	prefix := keyPrefix(prefixSeat, contract)
	var after []byte
	if page.From != "" {
		after = append(append([]byte{}, prefix...), page.From...)
	}
	text = strings.ToLower(text)
	found, next, more, err := search(ctx, s, vendor, prefix, after, page.limit(), func(_ string, seat *Seat) (matches, end bool) {
		return strings.Contains(strings.ToLower(seat.UserID+"\x00"+seat.Email+"\x00"+seat.FullName), text), false
	})
	if !more {
		next = ""
	}
	return found, next, err
}
