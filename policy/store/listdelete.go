package store

import (
	"context"
	"errors"
	"math"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// ErrBuiltIn is returned for a record that cannot be removed because every vendor
// has it.
var ErrBuiltIn = errors.New("every vendor has this record")

const (
	// purgeBatch is how many grants of a removed list one step removes, so that
	// other writes are not held up.
	purgeBatch = 500
	// purgeAtOnce is how many grants DeleteList removes itself; Sweep removes the
	// others.
	purgeAtOnce = 20 * purgeBatch
)

// DeleteList removes an access list, unless allowed returns an error, which may be
// nil to allow it. It returns ErrBuiltIn for the default list.
//
// All grants of the list end at once, as a grant without its list is ignored. Their
// records are removed afterwards, in steps, and by Sweep. The step that removes the
// list also writes a marker for that, so a crash leaves no grant behind.
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
	// The list is removed, and Sweep retries this.
	_, _ = w.purgeList(ctx, vendor, id, purgeAtOnce)
	return nil
}

// purge removes the grants of removed lists, and returns how many.
func (s *Store) purge(ctx context.Context, vendor string) (int, error) {
	var lists []string
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) (err error) {
		lists, err = removedLists(snapshot)
		return err
	})
	total := 0
	for _, list := range lists {
		if err != nil {
			break
		}
		var removed int
		removed, err = s.purgeList(ctx, vendor, list, math.MaxInt)
		total += removed
	}
	return total, err
}

// removedLists returns the removed lists that still have grants.
func removedLists(snapshot engine.Snapshot) (lists []string, err error) {
	for entry, err := range snapshot.Scan([]byte{prefixPurge}, nil) {
		if err != nil {
			return nil, err
		}
		lists = append(lists, string(entry.Key[1:]))
	}
	return lists, nil
}

// purgeList removes about most grants of a removed list, and the marker after the
// last one.
func (s *Store) purgeList(ctx context.Context, vendor, list string, most int) (removed int, err error) {
	for last := false; !last && removed < most; {
		var grants []Grant
		err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) (err error) {
			grants, err = pageIn[Grant](snapshot, keyPrefix(prefixGrant, list), Page{Limit: purgeBatch})
			return err
		})
		if err != nil {
			return removed, err
		}
		batch := new(engine.Batch)
		for i := range grants {
			batch.Deletes = append(batch.Deletes, key(prefixGrant, list, grants[i].ID))
			batch.Deletes = append(batch.Deletes, grants[i].index()...)
		}
		if last = len(grants) < purgeBatch; last {
			batch.Deletes = append(batch.Deletes, key(prefixPurge, list), key(prefixImportTurn, list))
		}
		// No event: grants without a list are in no cache. No grant is
		// added to a removed list, as that checks the list.
		if _, err := s.engine.Commit(ctx, vendor, batch); err != nil {
			return removed, err
		}
		removed += len(grants)
	}
	return removed, nil
}
