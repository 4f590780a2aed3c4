package store

import (
	"bytes"
	"context"
	"errors"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// rowKey returns the key by which an import recognizes the grant of a row: the
// publisher's id of the purchase or, without one, the reader and the sku. The reader is
// the first of user id, publisher user id and e-mail address.
func (g *Grant) rowKey() string {
	const separator = "\x01" // not in texts, see checkText
	switch {
	case g.PublisherPurchaseID != "":
		return purchaseKey(g.PublisherPurchaseID)
	case g.UserID != "":
		return indexUserID + g.UserID + separator + g.SKU
	case g.PublisherUserID != "":
		return indexPublisherUserID + g.PublisherUserID + separator + g.SKU
	default:
		return indexEmail + policy.LowerEmail(g.Email) + separator + g.SKU
	}
}

func purchaseKey(id string) string { return "o" + id }

// grantIndexState is the state of the index by sku and by row key. Databases of earlier
// versions do not have this index: it is built from their grants, in steps. Every grant
// that this version writes is in it, even while it is built.
type grantIndexState struct {
	// After is the key of the last grant that is in the index.
	After []byte `json:"after,omitempty"`
	Done  bool   `json:"done"`
	// Expiring reports that every grant has its expiry: earlier versions kept ended grants
	// for ever. They get it in the same steps.
	Expiring bool `json:"expiring,omitempty"`
}

// grantIndexStep is how many grants one step of building the index reads, so that other
// writes are not held up.
const grantIndexStep = 1000

// indexGrants builds the rest of the index, unless it is complete. It can be interrupted
// at any time.
func (s *Store) indexGrants(ctx context.Context, vendor string) error {
	for {
		done, err := s.indexStep(ctx, vendor)
		switch {
		case errors.Is(err, ErrConflict): // another node made the step
		case done || err != nil:
			return err
		}
	}
}

// indexStep adds the next grants to the index, and their expiry to them. An entry of a
// grant that is changed at the same time is superfluous: who reads the index compares the
// grant.
func (s *Store) indexStep(ctx context.Context, vendor string) (done bool, err error) {
	var state grantIndexState
	k := []byte{prefixGrantIndex}
	batch := new(engine.Batch)
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		stored, err := getIn(snapshot, k, &state)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if state.Done && state.Expiring {
			return nil
		}
		batch.Checks = []engine.Check{{Key: k, Value: stored}}
		read := 0
		for entry, err := range snapshot.Scan([]byte{prefixGrant}, state.After) {
			var grant Grant
			if err == nil {
				err = decode(entry.Key, entry.Value, &grant)
			}
			if err != nil {
				return err
			}
			for _, at := range grant.index() {
				batch.Puts = append(batch.Puts, engine.Put{Key: at, Value: []byte{}, Expires: grant.expires()})
			}
			if grant.EndsAt != nil {
				batch.Checks = append(batch.Checks, engine.Check{Key: bytes.Clone(entry.Key), Value: bytes.Clone(entry.Value)})
				batch.Puts = append(batch.Puts, engine.Put{Key: bytes.Clone(entry.Key), Value: bytes.Clone(entry.Value), Expires: grant.expires()})
			}
			state.After = append(state.After[:0], entry.Key...)
			if read++; read == grantIndexStep {
				return nil
			}
		}
		state = grantIndexState{Done: true, Expiring: true}
		return nil
	})
	if err != nil || len(batch.Checks) == 0 {
		return state.Expiring, err
	}
	stored, err := encode(state)
	if err != nil {
		return false, err
	}
	batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: stored})
	// No event: no cache depends on this index.
	_, err = s.engine.Commit(ctx, vendor, batch)
	return state.Expiring, conflict(err)
}

// grantsIndexed reports whether the index by sku and by row key is complete.
func grantsIndexed(snapshot engine.Snapshot) (bool, error) {
	var state grantIndexState
	_, err := getIn(snapshot, []byte{prefixGrantIndex}, &state)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return state.Done, err
}
