package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// transaction reads one snapshot of a partition and collects writes, which are committed
// in one batch. What load and has read is checked by the batch, so it is still so when
// the writes take effect; what a scan finds is not. Later reads see earlier writes.
type transaction struct {
	snapshot engine.Snapshot
	vendor   string
	now      time.Time
	cells    map[string]*cell
	order    []string // the keys of cells, in the order of their first use
	change   policy.Invalidation
	counters []engine.Counter // counted if the transaction writes
	// written has the cells of writes as they were before, for undo.
	written []cellBefore
}

type cellBefore struct {
	cell *cell
	was  cell
}

// cell is a key that a transaction read or writes.
type cell struct {
	stored, value   []byte // before and after; nil for none
	loaded, present bool   // check the stored bytes, or that there are some
	written         bool
	expires         time.Time
}

// transactAttempts bounds the attempts to commit when records change concurrently. Of
// writers that conflict, one succeeds in each round.
const transactAttempts = 20

// transact calls change with a transaction and commits what it wrote, and repeats that
// while records that it read are changed concurrently. It commits nothing when change
// returns an error or wrote nothing that is not stored already.
func (w Writer) transact(ctx context.Context, vendor string, change func(*transaction) error) error {
	return w.Store.transact(ctx, vendor, change, w.commit)
}

// transact is that of a Writer, with how a batch is committed.
func (s *Store) transact(ctx context.Context, vendor string, change func(*transaction) error,
	commit func(context.Context, string, *engine.Batch, policy.Invalidation) error,
) error {
	for range transactAttempts {
		t := &transaction{vendor: vendor, now: s.timestamp(), cells: map[string]*cell{}}
		err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
			t.snapshot = snapshot
			return change(t)
		})
		if err != nil {
			return err
		}
		batch := t.batch()
		if batch == nil {
			return nil
		}
		if err := commit(ctx, vendor, batch, t.change); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return ErrConflict
}

func (t *transaction) cell(k []byte) *cell {
	c := t.cells[string(k)]
	if c == nil {
		c = new(cell)
		t.cells[string(k)] = c
		t.order = append(t.order, string(k))
	}
	return c
}

// load returns the value of a key, nil for none.
func (t *transaction) load(k []byte) ([]byte, error) {
	c := t.cell(k)
	if c.loaded {
		return c.value, nil
	}
	stored, err := t.snapshot.Get(k)
	if err != nil {
		return nil, err
	}
	if stored != nil {
		c.stored = append([]byte{}, stored...)
	}
	c.loaded = true
	if !c.written {
		c.value = c.stored
	}
	return c.value, nil
}

// scanned notes an entry of a scan as if load had read it.
func (t *transaction) scanned(entry engine.Entry) {
	if c := t.cell(entry.Key); !c.loaded && !c.written {
		c.stored = append([]byte{}, entry.Value...)
		c.value, c.loaded = c.stored, true
	}
}

// has reports whether a key has a value. Unlike load, it lets the value change.
func (t *transaction) has(k []byte) (bool, error) {
	c := t.cell(k)
	if c.loaded || c.written {
		return c.value != nil, nil
	}
	if c.present {
		return true, nil
	}
	stored, err := t.snapshot.Get(k)
	if err != nil {
		return false, err
	}
	c.present, c.loaded = stored != nil, stored == nil
	return c.present, nil
}

// set writes a value, or removes the key if it is nil.
func (t *transaction) set(k, value []byte, expires time.Time) {
	c := t.cell(k)
	t.written = append(t.written, cellBefore{c, *c})
	c.value, c.written, c.expires = value, true, expires
}

// undo takes back the writes after the first n. What was read is still checked.
func (t *transaction) undo(n int) {
	for _, before := range slices.Backward(t.written[n:]) {
		c := before.cell
		loaded, present, stored := c.loaded, c.present, c.stored
		if *c = before.was; loaded && !c.loaded {
			c.loaded, c.stored = true, stored
			if !c.written {
				c.value = stored
			}
		}
		c.present = present
	}
	t.written = t.written[:n]
}

// batch returns what the transaction writes, or nil.
func (t *transaction) batch() *engine.Batch {
	batch := &engine.Batch{Counters: t.counters}
	for _, k := range t.order {
		c := t.cells[k]
		switch {
		case c.loaded:
			batch.Checks = append(batch.Checks, engine.Check{Key: []byte(k), Value: c.stored})
		case c.present:
			batch.Checks = append(batch.Checks, engine.Check{Key: []byte(k), Present: true})
		}
		switch {
		case !c.written, c.loaded && (c.value == nil) == (c.stored == nil) && bytes.Equal(c.value, c.stored):
		case c.value == nil:
			batch.Deletes = append(batch.Deletes, []byte(k))
		default:
			batch.Puts = append(batch.Puts, engine.Put{Key: []byte(k), Value: c.value, Expires: c.expires})
		}
	}
	if len(batch.Puts)+len(batch.Deletes) == 0 {
		return nil
	}
	return batch
}

// scan returns the keys of a prefix without the prefix, until there are limit of them.
func (t *transaction) scan(prefix []byte, limit int) ([]string, error) {
	var found []string
	for entry, err := range t.snapshot.Scan(prefix, nil) {
		if err != nil {
			return nil, err
		}
		if found = append(found, string(entry.Key[len(prefix):])); len(found) == limit {
			break
		}
	}
	return found, nil
}
