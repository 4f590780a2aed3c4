package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Delivery is an event in the queue of an endpoint.
type Delivery struct {
	ID   string          `json:"id"` // the webhook-id, the same for every attempt
	Type string          `json:"type"`
	At   time.Time       `json:"at"` // of the change
	Body json.RawMessage `json:"body,omitempty"`
	// Attempts is the number of attempts. Status is that of the last answer, zero if
	// there was none, and Error why the attempt failed.
	Attempts int       `json:"attempts,omitempty"`
	Status   int       `json:"status,omitempty"`
	Error    string    `json:"error,omitempty"`
	TriedAt  time.Time `json:"tried_at,omitzero"`
	// NextAt is when the event is delivered again.
	NextAt time.Time `json:"next_at,omitzero"`

	key []byte
}

// The states of a delivery.
const (
	DeliveryWaiting   = "waiting"   // was not attempted yet
	DeliveryRetrying  = "retrying"  // is attempted again
	DeliveryDead      = "dead"      // was attempted as often as it is
	DeliveryDelivered = "delivered" // was answered 2xx
)

var deliveryStates = map[string]string{DeliveryWaiting: "w", DeliveryRetrying: "r", DeliveryDead: "d", DeliveryDelivered: "k"}

// Retention of events, which bounds the queues.
const (
	// EventRetention is how long an event is kept that is not delivered, and a dead letter.
	EventRetention = 14 * 24 * time.Hour
	// DeliveredRetention is how long it is known that an event was delivered.
	DeliveredRetention = 24 * time.Hour
	// WebhookPatience is how long nothing is delivered until an endpoint is disabled.
	WebhookPatience = 5 * 24 * time.Hour
)

func deliveryPrefix(endpoint, state string) []byte {
	return append(keyPrefix(prefixDelivery, endpoint), deliveryStates[state]...)
}

func (d *Delivery) keyIn(endpoint, state string) []byte {
	k := deliveryPrefix(endpoint, state)
	switch state {
	case DeliveryRetrying:
		k = binary.BigEndian.AppendUint64(k, uint64(d.NextAt.UnixMilli())) //nolint:gosec // G115: not before 1970
	case DeliveryDelivered: // the newest is read first
		k = binary.BigEndian.AppendUint64(k, ^uint64(d.TriedAt.UnixMilli())) //nolint:gosec // G115: not before 1970
	}
	return append(k, d.ID...)
}

func (d *Delivery) putIn(endpoint, state string, expires time.Time) (engine.Put, error) {
	value, err := encode(d)
	return engine.Put{Key: d.keyIn(endpoint, state), Value: value, Expires: expires}, err
}

func (d *Delivery) waitingPut(endpoint string, now time.Time) (engine.Put, error) {
	return d.putIn(endpoint, DeliveryWaiting, now.Add(EventRetention))
}

// Deliveries returns deliveries of an endpoint in one state: the oldest first, of those that
// are attempted again the next first, of delivered ones the newest first.
func (s *Store) Deliveries(ctx context.Context, vendor, endpoint, state string, limit int) (found []Delivery, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		found, err = deliveriesIn(snapshot, endpoint, state, limit, time.Time{})
		return err
	})
	return found, err
}

// deliveriesIn returns deliveries of a state; of those that are attempted again, the ones
// that are due at a time, unless that is zero.
func deliveriesIn(snapshot engine.Snapshot, endpoint, state string, limit int, due time.Time) ([]Delivery, error) {
	found := []Delivery{}
	for entry, err := range snapshot.Scan(deliveryPrefix(endpoint, state), nil) {
		if err != nil {
			return nil, err
		}
		d := Delivery{key: append([]byte{}, entry.Key...)}
		if err := decode(entry.Key, entry.Value, &d); err != nil {
			return nil, err
		}
		if !due.IsZero() && d.NextAt.After(due) {
			break
		}
		if found = append(found, d); len(found) == limit {
			break
		}
	}
	return found, nil
}

// DueDeliveries returns the events of an endpoint that are to be delivered now, at most
// limit: those that failed before, then the oldest.
func (s *Store) DueDeliveries(ctx context.Context, vendor, endpoint string, limit int) (due []Delivery, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		due, err = deliveriesIn(snapshot, endpoint, DeliveryRetrying, limit, s.now())
		if err != nil || len(due) == limit {
			return err
		}
		fresh, err := deliveriesIn(snapshot, endpoint, DeliveryWaiting, limit-len(due), time.Time{})
		due = append(due, fresh...)
		return err
	})
	return due, err
}

// Settle stores the results of attempts, each by its new state. An event that is no longer in
// the queue is not put back: its person was erased meanwhile, or another node settled it.
func (s *Store) Settle(ctx context.Context, vendor, endpoint string, results map[string][]Delivery) error {
	gone := map[string]bool{}
	for {
		batch := new(engine.Batch)
		for state, deliveries := range results {
			for _, d := range deliveries {
				expires := s.now().Add(EventRetention)
				if state == DeliveryDelivered {
					d.Body, expires = nil, s.now().Add(DeliveredRetention)
				}
				batch.Deletes = append(batch.Deletes, d.key)
				if gone[string(d.key)] {
					continue
				}
				if state != DeliveryDelivered {
					batch.Checks = append(batch.Checks, engine.Check{Key: d.key, Present: true})
				}
				put, err := d.putIn(endpoint, state, expires)
				if err != nil {
					return err
				}
				batch.Puts = append(batch.Puts, put)
			}
		}
		if len(batch.Deletes) == 0 {
			return nil
		}
		_, err := s.engine.Commit(ctx, vendor, batch)
		failed, missing := errors.AsType[*engine.CheckError](err)
		if !missing {
			return err
		}
		gone[string(batch.Checks[failed.Index].Key)] = true
	}
}

// maxReplay bounds the dead letters that one call replays.
const maxReplay = 500

// Replay queues dead letters of an endpoint again: the one with an id, or, for an empty
// id, at most 500. It returns how many, and ErrNotFound for an unknown id. Their attempts
// are counted from zero again.
func (w Writer) Replay(ctx context.Context, vendor, endpoint, id string) (replayed int, err error) {
	var dead []Delivery
	err = w.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		if id == "" {
			dead, err = deliveriesIn(snapshot, endpoint, DeliveryDead, maxReplay, time.Time{})
			return err
		}
		d := Delivery{key: (&Delivery{ID: id}).keyIn(endpoint, DeliveryDead)}
		_, err := getIn(snapshot, d.key, &d)
		dead = []Delivery{d}
		return err
	})
	if err != nil || len(dead) == 0 {
		return 0, err
	}
	batch := new(engine.Batch)
	for _, d := range dead {
		d.Attempts, d.Status, d.Error, d.NextAt = 0, 0, "", time.Time{}
		put, err := d.waitingPut(endpoint, w.now())
		if err != nil {
			return 0, err
		}
		batch.Checks = append(batch.Checks, engine.Check{Key: d.key, Present: true})
		batch.Deletes, batch.Puts = append(batch.Deletes, d.key), append(batch.Puts, put)
	}
	if _, err := w.engine.Commit(ctx, vendor, batch); err != nil {
		return 0, conflict(err)
	}
	w.waiting.add(vendor)
	return len(dead), nil
}

// TestDelivery returns an event for a test of an endpoint, which no queue holds.
func (s *Store) TestDelivery(endpoint string) (Delivery, error) {
	made, err := s.As(Actor{}).newEvent(TestEvent, map[string]any{"webhook": endpoint})
	return Delivery{ID: newID(eventPrefix, s.now()), Type: made.Type, At: s.timestamp(), Body: made.Body}, err
}
