package store

import (
	"context"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// WebhookState is which node delivers to an endpoint, and how that goes.
type WebhookState struct {
	// Node delivers until Until, unless it renews that; empty for none.
	Node  string    `json:"node,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// Failing is since when every attempt failed; zero if the last one did not.
	Failing time.Time `json:"failing,omitzero"`
	// Failures is the number of attempts that failed since then, and PausedUntil when the
	// next attempt is made.
	Failures    int       `json:"failures,omitempty"`
	PausedUntil time.Time `json:"paused_until,omitzero"`
	// Status and Error are those of the last attempt that failed.
	Status      int       `json:"status,omitempty"`
	Error       string    `json:"error,omitempty"`
	DeliveredAt time.Time `json:"delivered_at,omitzero"`
}

// WebhookState returns the state of an endpoint, the zero one if nothing was delivered.
func (s *Store) WebhookState(ctx context.Context, vendor, id string) (WebhookState, error) {
	state, _, err := s.webhookState(ctx, vendor, id)
	return state, err
}

func (s *Store) webhookState(ctx context.Context, vendor, id string) (state WebhookState, stored []byte, err error) {
	stored, err = s.get(ctx, vendor, key(prefixWebhookState, id), &state)
	if errors.Is(err, ErrNotFound) {
		return state, nil, nil
	}
	return state, stored, err
}

// ErrLeased is returned while another node delivers to an endpoint.
var ErrLeased = errors.New("another node delivers to the webhook")

// Lease makes a node the one that delivers to an endpoint for a time, and changes its state:
// change may be nil. A node that has the lease renews it so; a time of zero ends it. Lease
// returns ErrLeased while another node has it.
func (s *Store) Lease(ctx context.Context, vendor, id, node string, lasts time.Duration, change func(*WebhookState)) (WebhookState, error) {
	for range transactAttempts {
		state, stored, err := s.webhookState(ctx, vendor, id)
		if err != nil {
			return state, err
		}
		if state.Node != node && s.now().Before(state.Until) {
			return state, ErrLeased
		}
		state.Node, state.Until = node, s.now().Add(lasts).UTC()
		if lasts == 0 {
			state.Node, state.Until = "", time.Time{}
		}
		if change != nil {
			change(&state)
		}
		value, err := encode(state)
		if err != nil {
			return state, err
		}
		k := key(prefixWebhookState, id)
		_, err = s.engine.Commit(ctx, vendor, &engine.Batch{
			Checks: []engine.Check{{Key: k, Value: stored}}, Puts: []engine.Put{{Key: k, Value: value, Expires: s.now().Add(Retention)}},
		})
		if _, changed := errors.AsType[*engine.CheckError](err); !changed {
			return state, err
		}
	}
	return WebhookState{}, ErrConflict
}
