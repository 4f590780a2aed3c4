package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// indexBuild builds an index that databases of earlier versions do not have from their
// records, in steps. Every record that this version writes is in it, even while it is built.
type indexBuild struct {
	state   []byte // the key of an indexState
	records []byte // prefix of the records
	// entries returns the entries of a record; the record itself may be the last one.
	entries func(k, value []byte) ([]engine.Put, error)
	// with is an index of the same records and entries, which is complete with this one.
	with *indexBuild
}

// indexState is how far an index is built.
type indexState struct {
	// After is the key of the last record that is in the index.
	After []byte `json:"after,omitempty"`
	Done  bool   `json:"done"`
}

// indexStep is how many records one step reads, so that other writes are not held up.
const indexStep = 1000

// ErrIndexBuilding is the error of a call that needs an index which is not complete yet: that of
// a database of an earlier version, which is built in the background.
var ErrIndexBuilding = errors.New("an index of the grants is being built, as the database is of an earlier version")

// The indexes that are built. That by creation came later than the others of grants.
var (
	grantIndex = indexBuild{
		state: []byte{prefixGrantIndex}, records: []byte{prefixGrant}, entries: grantEntries,
	}
	createdIndex = indexBuild{
		state: key(prefixGrantIndex, indexCreated), records: []byte{prefixGrant}, entries: grantEntries, with: &grantIndex,
	}
	// grantExpiry is no index: grants of earlier versions have no expiry, so that those that
	// ended stayed for ever.
	grantExpiry = indexBuild{
		state: key(prefixGrantIndex, "expiry"), records: []byte{prefixGrant}, entries: expiringGrant,
	}
)

func grantEntries(k, value []byte) (puts []engine.Put, err error) {
	var grant Grant
	if err := decode(k, value, &grant); err != nil {
		return nil, err
	}
	for _, at := range grant.index() {
		puts = append(puts, engine.Put{Key: at, Value: []byte{}, Expires: grant.expires()})
	}
	return puts, nil
}

// expiringGrant returns a grant that ends, and its index, with their expiry.
func expiringGrant(k, value []byte) ([]engine.Put, error) {
	var grant Grant
	if err := decode(k, value, &grant); err != nil || grant.EndsAt == nil {
		return nil, err
	}
	puts, err := grantEntries(k, value)
	return append(puts, engine.Put{Key: bytes.Clone(k), Value: bytes.Clone(value), Expires: grant.expires()}), err
}

// BuildIndexes builds the indexes that databases of earlier versions do not have, and adds new
// links to theirs, in steps. It can be interrupted at any time.
func (s *Store) BuildIndexes(ctx context.Context) error {
	partitions, err := s.Vendors(ctx)
	for _, vendor := range partitions {
		err = cmp.Or(err, s.buildIndexes(ctx, vendor))
	}
	return err
}

// buildIndexes builds all indexes of a vendor.
func (s *Store) buildIndexes(ctx context.Context, vendor string) error {
	defer s.builds.end(vendor)
	steps := make([]func() (bool, error), 0, 4)
	for _, b := range []*indexBuild{&createdIndex, &grantIndex, &grantExpiry} {
		steps = append(steps, func() (bool, error) { return s.buildStep(ctx, vendor, b) })
	}
	steps = append(steps, func() (bool, error) { return s.extendLinkIndex(ctx, vendor) })
	for _, step := range steps {
		for {
			began := time.Now()
			done, err := step()
			if err != nil && !errors.Is(err, ErrConflict) { // else another node made the step
				return err
			}
			if done {
				break
			}
			s.builds.add(vendor, s.now())
			if err := rest(ctx, time.Since(began)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest waits as long as a step took, so that other writes have the half of the time.
func rest(ctx context.Context, took time.Duration) error {
	timer := time.NewTimer(took)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// stepsInCall is how many steps of an index a call makes that needs it.
const stepsInCall = 2

// complete completes an index within a call if few records are missing. Otherwise it returns
// ErrIndexBuilding.
func (s *Store) complete(ctx context.Context, vendor string, b *indexBuild) error {
	for steps, conflicts := 0, 0; steps < stepsInCall && conflicts < transactAttempts; {
		done, err := s.buildStep(ctx, vendor, b)
		switch {
		case errors.Is(err, ErrConflict): // another call or node made the step
			conflicts++
			continue
		case done || err != nil:
			return err
		}
		steps++
		if s.builds.has(vendor) {
			break // in the background
		}
	}
	return ErrIndexBuilding
}

// buildStep adds the next records to an index. An entry of a record that is changed at
// the same time is superfluous: who reads the index compares the record.
func (s *Store) buildStep(ctx context.Context, vendor string, b *indexBuild) (done bool, err error) {
	var state indexState
	batch := new(engine.Batch)
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		stored, err := getIn(snapshot, b.state, &state)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if state.Done {
			return nil
		}
		batch.Checks = []engine.Check{{Key: b.state, Value: stored}}
		read := 0
		for entry, err := range snapshot.Scan(b.records, state.After) {
			if err != nil {
				return err
			}
			puts, err := b.entries(entry.Key, entry.Value)
			if err != nil {
				return err
			}
			batch.Puts = append(batch.Puts, puts...)
			if len(puts) > 0 && bytes.Equal(puts[len(puts)-1].Key, entry.Key) { // the record itself, which must not have changed
				batch.Checks = append(batch.Checks, engine.Check{Key: puts[len(puts)-1].Key, Value: puts[len(puts)-1].Value})
			}
			state.After = append(state.After[:0], entry.Key...)
			if read++; read == indexStep {
				return nil
			}
		}
		state = indexState{Done: true}
		return nil
	})
	if err != nil || len(batch.Checks) == 0 {
		return state.Done, err
	}
	stored, err := encode(state)
	if err != nil {
		return false, err
	}
	batch.Puts = append(batch.Puts, engine.Put{Key: b.state, Value: stored})
	if state.Done && b.with != nil {
		batch.Puts = append(batch.Puts, engine.Put{Key: b.with.state, Value: stored})
	}
	// No event: no cache depends on this index.
	_, err = s.engine.Commit(ctx, vendor, batch)
	return state.Done, conflict(err)
}

// built reports whether an index is complete.
func (b *indexBuild) built(snapshot engine.Snapshot) (bool, error) {
	var state indexState
	_, err := getIn(snapshot, b.state, &state)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return state.Done, err
}
