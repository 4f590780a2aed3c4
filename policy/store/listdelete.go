package store

import (
	"context"
	"errors"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// ErrBuiltIn says that a record cannot be removed because every vendor has it.
var ErrBuiltIn = errors.New("every vendor has this record")

const (
	// purgeBatch is how many grants of a removed list are removed in one step, so
	// that other writes come in between.
	purgeBatch = 500
	// purgeAtOnce bounds how many of them DeleteList removes itself; Sweep
	// removes the others.
	purgeAtOnce = 20 * purgeBatch
)

// DeleteList removes an access list, unless allowed, which gets it as it is,
// returns an error; nil allows it. It returns ErrBuiltIn for the list that every
// vendor has.
//
// All grants of the list end with it, at once: a grant gives nothing without its
// list, and is not found any more. Their records are removed behind that, in steps,
// the rest of many by Sweep. In the step that removes the list a mark is set that
// its grants are yet to be removed; so a crash leaves none behind.
func (w Writer) DeleteList(ctx context.Context, vendor, id string, allowed func(AccessList) error) error {
	list, stored, err := w.list(ctx, vendor, id)
	if err != nil {
		return err
	}
	if id == DefaultList {
		return ErrBuiltIn
	}
	if allowed != nil {
		if err := allowed(list); err != nil {
			return err
		}
	}
	k := key(prefixList, id)
	batch := &engine.Batch{
		Checks:  []engine.Check{{Key: k, Value: stored}},
		Deletes: [][]byte{k},
		Puts:    []engine.Put{{Key: key(prefixPurge, id), Value: []byte{}}},
	}
	if err := w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true, SameDomains: true}); err != nil {
		return err
	}
	// The list is gone, whatever becomes of this: Sweep tries again.
	_, _ = w.purgeList(ctx, vendor, id, purgeAtOnce)
	return nil
}

// purge removes grants whose lists were removed, and says how many that were.
func (s *Store) purge(ctx context.Context, vendor string) (int, error) {
	var lists []string
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan([]byte{prefixPurge}, nil) {
			if err != nil {
				return err
			}
			lists = append(lists, string(entry.Key[1:]))
		}
		return nil
	})
	total := 0
	for _, list := range lists {
		if err != nil {
			break
		}
		var removed int
		removed, err = s.purgeList(ctx, vendor, list, 0)
		total += removed
	}
	return total, err
}

// purgeList removes grants of a list that was removed, atMost of them, zero for
// all, and the mark behind the last one.
func (s *Store) purgeList(ctx context.Context, vendor, list string, atMost int) (removed int, err error) {
	for atMost == 0 || removed < atMost {
		batch := new(engine.Batch)
		found := 0
		err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
			for entry, err := range snapshot.Scan(keyPrefix(prefixGrant, list), nil) {
				if err != nil {
					return err
				}
				var grant Grant
				if err := decode(entry.Key, entry.Value, &grant); err != nil {
					return err
				}
				batch.Deletes = append(batch.Deletes, append([]byte(nil), entry.Key...))
				batch.Deletes = append(batch.Deletes, grant.index()...)
				if found++; found == purgeBatch {
					break
				}
			}
			return nil
		})
		if err != nil {
			return removed, err
		}
		if found < purgeBatch {
			batch.Deletes = append(batch.Deletes, key(prefixPurge, list))
		}
		// Nothing in memory depends on grants without a list: there is no event
		// to tell. Nor does anybody write such grants meanwhile.
		if _, err := s.engine.Commit(ctx, vendor, batch); err != nil {
			return removed, err
		}
		removed += found
		if found < purgeBatch {
			break
		}
	}
	return removed, nil
}
