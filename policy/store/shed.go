package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// A store that is nearly full removes what it can spare, before the room that is kept for
// removals and revocations is needed: records whose retention is over, then what only support,
// repeated calls and operators read.

const (
	// shedPage is how many records one step of shedding reads, so that other writes are not
	// held up.
	shedPage = 500
	// shedBytes bounds the values of one step.
	shedBytes = 1 << 20
	// shedSteps bounds the steps of one call of Shedder.Shed.
	shedSteps = 100
	// shedAfter is how old a refusal is that can be spared, and how long ago a grant ended: support
	// is asked about the last day.
	shedAfter = 24 * time.Hour
	// shedCallsAfter is the same for an idempotency record: a client repeats a call soon.
	shedCallsAfter = time.Hour
)

// shedKind is a kind of records that can be spared before their retention is over.
type shedKind struct {
	name   string
	prefix byte
	// spared reports whether a record can be spared, and returns its entries in indexes. One
	// that cannot be read stays.
	spared func(value []byte, now time.Time) (index [][]byte, ok bool)
}

// shedKinds are in the order in which they are removed.
var shedKinds = [...]shedKind{
	{"support_code", prefixRefusal, spareRefusal},
	{"repeated_call", prefixIdempotency, spareCall},
	{"ended_grant", prefixGrant, spareGrant},
}

func spareRefusal(value []byte, now time.Time) (index [][]byte, ok bool) {
	var refusal Refusal
	if json.Unmarshal(value, &refusal) != nil || now.Sub(refusal.At) < shedAfter {
		return nil, false
	}
	if refusal.UserID != "" {
		index = [][]byte{refusalOfKey(refusal.UserID, refusal.Code)}
	}
	return index, true
}

func spareCall(value []byte, now time.Time) (index [][]byte, ok bool) {
	var call CompletedCall
	return nil, json.Unmarshal(value, &call) == nil && now.Sub(call.At) >= shedCallsAfter
}

func spareGrant(value []byte, now time.Time) (index [][]byte, ok bool) {
	var grant Grant
	if json.Unmarshal(value, &grant) != nil || grant.EndsAt == nil || now.Sub(*grant.EndsAt) < shedAfter {
		return nil, false
	}
	return grant.index(), true
}

// Shed returns how many records of each kind Shedders of this process have removed.
func (s *Store) Shed() map[string]uint64 {
	counts := make(map[string]uint64, len(shedKinds))
	for i := range shedKinds {
		counts[shedKinds[i].name] = s.shed[i].Load()
	}
	return counts
}

// Shedder removes what a store can spare, in steps: from all vendors of one kind, then of the
// next. It is not safe for concurrent use.
type Shedder struct {
	store *Store
	// kind is the index in shedKinds plus one; zero are the entries whose retention is over.
	kind      int
	partition string
	after     []byte // key of the record that was read last
}

// NewShedder returns a Shedder that begins with the first kind.
func (s *Store) NewShedder() *Shedder { return &Shedder{store: s} }

// Shed goes on where the last call ended. It removes records while full reports that the store
// has too little room, and returns how many, and whether it came to the end: the next call
// then begins again. One call reads a bounded number of records.
func (s *Shedder) Shed(ctx context.Context, full func() bool) (removed int, end bool, err error) {
	partitions, err := s.store.engine.Partitions(ctx)
	if err != nil {
		return 0, false, err
	}
	steps := 0
	for ; s.kind <= len(shedKinds); s.kind, s.partition = s.kind+1, "" {
		for _, partition := range partitions {
			if partition < s.partition {
				continue
			}
			if partition > s.partition {
				s.partition, s.after = partition, nil
			}
			for more := true; more; steps++ {
				if steps == shedSteps || !full() {
					return removed, false, nil
				}
				began := time.Now()
				var n int
				n, more, err = s.step(ctx)
				removed += n
				if err == nil {
					err = rest(ctx, time.Since(began))
				}
				if err != nil {
					return removed, false, err
				}
			}
		}
	}
	s.kind = 0
	return removed, true, nil
}

// step removes the next records. It reports whether there may be more in the partition.
func (s *Shedder) step(ctx context.Context) (removed int, more bool, err error) {
	if s.kind == 0 {
		removed, err = s.store.sweepStep(ctx, s.partition)
		return removed, removed == sweepBatch, err
	}
	batch, last, more, err := s.read(ctx, &shedKinds[s.kind-1])
	if err != nil {
		return 0, false, err
	}
	if removed = len(batch.Checks); removed > 0 {
		// No event: nothing that is removed decides.
		_, err = s.store.engine.Commit(ctx, s.partition, batch)
		if errors.Is(conflict(err), ErrConflict) {
			removed, err = 0, nil // the next pass reads these records again
		}
	}
	if err != nil {
		return 0, false, err
	}
	s.after = last
	s.store.shed[s.kind-1].Add(uint64(removed)) //nolint:gosec // never negative
	return removed, more, nil
}

// read reads the next records of a kind, and returns the batch that removes those that can be
// spared, unless they are changed meanwhile.
func (s *Shedder) read(ctx context.Context, kind *shedKind) (batch *engine.Batch, last []byte, more bool, err error) {
	now := s.store.now()
	err = s.store.engine.View(ctx, s.partition, func(snapshot engine.Snapshot) error {
		batch, last, more = &engine.Batch{Closes: true, Spares: true}, s.after, false
		read, size := 0, 0
		for entry, err := range snapshot.Scan([]byte{kind.prefix}, s.after) {
			if err != nil {
				return err
			}
			last = bytes.Clone(entry.Key)
			if index, ok := kind.spared(entry.Value, now); ok {
				batch.Checks = append(batch.Checks, engine.Check{Key: last, Value: bytes.Clone(entry.Value)})
				batch.Deletes = append(append(batch.Deletes, last), index...)
			}
			size += len(entry.Value)
			if read++; read == shedPage || size >= shedBytes {
				more = true
				return nil
			}
		}
		return nil
	})
	return batch, last, more, err
}
