package boltengine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"go.etcd.io/bbolt"
)

// ErrCompacting is returned by a second compaction at the same time.
var ErrCompacting = errors.New("the database is being compacted already")

// Compacted is the result of a compaction: the length of the file, and what is free in it,
// before and after it, in bytes.
type Compacted struct{ Before, FreeBefore, After, FreeAfter int64 }

const (
	// compactSuffix is that of the name of the new file while it is written. One that a
	// killed process left is removed when the database is opened.
	compactSuffix = ".compact"
	// A step of a copy reads at most so many entries and bytes of them, so that its
	// transaction is short, and so is that in which writes wait for the end of the copy.
	compactEntries, compactBytes = 2000, 1 << 20
	// compactRounds bounds how often the changes made during the copy are copied, until few
	// enough are left that writes can wait for them.
	compactRounds, compactLast = 20, 1000
	// compactGrow is how much the new file grows at a time, in bytes.
	compactGrow = 256 << 10
	// compactRoom is what the disk must have beside the new file, in bytes.
	compactRoom = 16 << 20
)

// Compact replaces the file by one without free pages, while it is in use: what was removed
// leaves pages that only the same file can use again. Reads go on, and so do writes, but for
// the copy of the last changes and two fsyncs, usually some tens of milliseconds.
//
// The new file is complete, verified as Verify does, and synced before it gets the name of the
// database, in one step; no write is acknowledged between that and the sync of the directory. A
// process that is killed at any moment leaves one complete database at its path.
//
// Compact needs room for the new file beside the old one, and begins nothing without it. It
// returns ErrCompacting when a compaction runs already, ctx.Err() when ctx ends, and
// engine.ErrClosed when the engine is closed; the database is as it was then.
func (e *Engine) Compact(ctx context.Context, record RecordCheck) (Compacted, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return Compacted{}, err
	}
	defer e.calls.Leave()
	changes := newChanges()
	if !e.changes.CompareAndSwap(nil, changes) {
		return Compacted{}, ErrCompacting
	}
	defer e.changes.Store(nil)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.closing, func() { cancel(errStopped) })()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // see guard

	result, err := e.compact(ctx, changes, record)
	if err != nil {
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case diskFull(err):
			err = &fullError{fmt.Errorf("no space for the new file (%w): free some on its disk; nothing was changed", err)}
		}
		return Compacted{}, fmt.Errorf("compacting database %s: %w", e.path, err)
	}
	return result, nil
}

// compactPhase is called when a phase of a compaction has ended: tests kill the process there.
var compactPhase = func(string) {}

// errStopped ends a compaction when the engine is closed.
var errStopped = errors.New("it was stopped, and changed nothing")

func (e *Engine) compact(ctx context.Context, changes *changes, record RecordCheck) (result Compacted, err error) {
	if err := e.Replaced(); err != nil {
		return result, err
	}
	before, free, err := e.Size(ctx)
	if err != nil {
		return result, err
	}
	if total, available, err := e.DiskSpace(); err == nil && total > 0 {
		if needed := uint64(max(before-free, 0)) + compactRoom; available < needed {
			return result, &fullError{fmt.Errorf("its folder has %d MiB of free space, and the new file needs %d MiB: free some first; nothing was changed", available>>20, needed>>20+1)}
		}
	}
	// Beside the database itself: its path may be a symbolic link to another disk.
	real, err := filepath.EvalSymlinks(e.path)
	if err != nil {
		return result, err
	}
	path := real + compactSuffix
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return result, err
	}
	target, err := openBolt(path, options())
	if err != nil {
		return result, err
	}
	// It is synced as a whole, and grows in small steps until then, so that it ends full.
	grow := target.AllocSize
	target.NoSync, target.NoGrowSync, target.AllocSize = true, true, compactGrow
	c := &compaction{engine: e, target: target, path: path, real: real, grow: grow, changes: changes}
	defer func() {
		if target != nil {
			_ = target.Close()
			_ = os.Remove(path)
		}
	}()
	err = claim(target)
	if err == nil {
		err = c.copy(ctx)
	}
	compactPhase("copied")
	if err == nil {
		err = c.verify(record)
	}
	compactPhase("verified")
	if err == nil {
		err = c.follow(ctx) // what was written during the verification
	}
	if err != nil {
		return result, err
	}
	var old *bbolt.DB
	err = e.alone(ctx, func() (err error) {
		old, err = c.finish()
		return err
	})
	if old == nil {
		return result, err
	}
	target = nil // it is the database now
	// Its space is free once the views that have it end.
	if closing := old.Close(); err == nil {
		err = closing
	}
	after, freeAfter, sizing := e.Size(context.WithoutCancel(ctx))
	return Compacted{before, free, after, freeAfter}, errors.Join(err, sizing)
}

// compaction is the copy of a database to another file.
type compaction struct {
	engine  *Engine
	target  *bbolt.DB
	path    string // of the target
	real    string // of the database
	grow    int    // how much the target grows at a time once it is in use, in bytes
	changes *changes
}

// copy copies all entries and the changes that are made meanwhile.
func (c *compaction) copy(ctx context.Context) error {
	partitions, err := c.engine.Partitions(ctx)
	if err != nil {
		return err
	}
	for _, partition := range partitions {
		for after := []byte(nil); ; {
			entries, err := c.slice(ctx, partition, after)
			if err != nil {
				return err
			}
			if len(entries) == 0 {
				break
			}
			if err := c.write(partition, entries); err != nil {
				return err
			}
			after = entries[len(entries)-1].key
		}
		c.changes.note(partition) // its feed
	}
	return c.follow(ctx)
}

// storedEntry is an entry of the data bucket as it is stored; nil for one that is not there.
type storedEntry struct{ key, stored []byte }

// slice returns the next entries of a partition.
func (c *compaction) slice(ctx context.Context, partition string, after []byte) (entries []storedEntry, err error) {
	err = c.engine.read(ctx, func(tx *bbolt.Tx) (err error) {
		defer guard(&err)
		data := bucketOf(tx, partition, dataBucket)
		if data == nil {
			return nil
		}
		cursor := data.Cursor()
		key, stored := cursor.Seek(after)
		if after != nil && bytes.Equal(key, after) {
			key, stored = cursor.Next()
		}
		for size := 0; key != nil && len(entries) < compactEntries && size < compactBytes; key, stored = cursor.Next() {
			entries = append(entries, storedEntry{bytes.Clone(key), bytes.Clone(stored)})
			size += len(key) + len(stored)
		}
		return nil
	})
	return entries, err
}

// write writes entries of a partition to the target.
func (c *compaction) write(partition string, entries []storedEntry) error {
	return c.target.Update(func(tx *bbolt.Tx) (err error) {
		defer guard(&err)
		p, err := openPartition(tx, partition)
		if err != nil {
			return err
		}
		p.data.FillPercent = 0.9 // the keys are in order
		for _, entry := range entries {
			if err := p.copyEntry(entry.key, entry.stored); err != nil {
				return err
			}
		}
		return nil
	})
}

// copyEntry writes an entry as another file has it, or removes it if stored is nil.
func (p partition) copyEntry(key, stored []byte) error {
	if stored == nil {
		return p.remove(key)
	}
	if _, _, err := decode(stored); err != nil {
		return err
	}
	if err := p.unindex(key); err != nil {
		return err
	}
	if expiry := binary.BigEndian.Uint64(stored); expiry != 0 {
		if err := p.expiry.Put(indexKey(expiry, key), nil); err != nil {
			return err
		}
	}
	return p.data.Put(key, stored)
}

// follow copies changes until few are left.
func (c *compaction) follow(ctx context.Context) error {
	for range compactRounds {
		if err := c.copyChanges(ctx, c.changes.take()); err != nil {
			return err
		}
		if c.changes.count() <= compactLast {
			return nil
		}
	}
	return errBusy
}

// errBusy ends a compaction that is slower than the writes.
var errBusy = errors.New("too much is written at the moment: nothing was changed; compact at a quieter time")

// copyChanges copies the present state of keys, and of the feeds of their partitions.
func (c *compaction) copyChanges(ctx context.Context, changed map[string]map[string]struct{}) error {
	for partition, set := range changed {
		keys := make([]string, 0, len(set))
		for key := range set {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for part := range slices.Chunk(keys, compactEntries) {
			entries := make([]storedEntry, 0, len(part))
			err := c.engine.read(ctx, func(tx *bbolt.Tx) (err error) {
				defer guard(&err)
				data := bucketOf(tx, partition, dataBucket)
				for _, key := range part {
					entry := storedEntry{key: []byte(key)}
					if data != nil {
						entry.stored = bytes.Clone(data.Get(entry.key))
					}
					entries = append(entries, entry)
				}
				return nil
			})
			if err == nil {
				err = c.write(partition, entries)
			}
			if err != nil {
				return err
			}
		}
		if err := c.copyFeed(ctx, partition); err != nil {
			return err
		}
	}
	return nil
}

// copyFeed copies the events that the target does not have, and drops those that the feed has
// no more.
func (c *compaction) copyFeed(ctx context.Context, name string) error {
	return c.engine.read(ctx, func(from *bbolt.Tx) (err error) {
		defer guard(&err)
		feed := bucketOf(from, name, feedBucket)
		if feed == nil {
			return nil
		}
		return c.target.Update(func(tx *bbolt.Tx) error {
			p, err := openPartition(tx, name)
			if err != nil {
				return err
			}
			cursor := feed.Cursor()
			oldest, _ := cursor.First()
			if oldest != nil {
				if err := p.trim(binary.BigEndian.Uint64(oldest) - 1); err != nil {
					return err
				}
			}
			for key, payload := cursor.Seek(positionKey(p.feed.Sequence() + 1)); key != nil; key, payload = cursor.Next() {
				if err := p.feed.Put(bytes.Clone(key), bytes.Clone(payload)); err != nil {
					return err
				}
			}
			return p.feed.SetSequence(feed.Sequence())
		})
	})
}

// verify reads the whole target.
func (c *compaction) verify(record RecordCheck) error {
	if err := c.target.Sync(); err != nil {
		return err
	}
	file, err := os.Open(c.path)
	if err != nil {
		return err
	}
	defer file.Close()
	err = c.target.View(func(tx *bbolt.Tx) error { return verify(tx, file, record) })
	if err != nil {
		return fmt.Errorf("the new file is not intact: %w", err)
	}
	return nil
}

// finish copies the last changes and makes the target the database, while nothing else is
// written. It returns the database that the target replaced, nil if it is still in use.
func (c *compaction) finish() (old *bbolt.DB, err error) {
	e := c.engine
	if e.broken != nil {
		return nil, e.broken
	}
	if err := e.Replaced(); err != nil {
		return nil, err
	}
	if err := c.copyChanges(context.Background(), c.changes.take()); err != nil {
		return nil, err
	}
	if err := c.target.Sync(); err != nil {
		return nil, err
	}
	c.target.NoSync, c.target.NoGrowSync, c.target.AllocSize = false, false, c.grow
	compactPhase("synced")
	file, err := os.Stat(c.path)
	if err != nil {
		return nil, err
	}
	e.swap.Lock()
	if err = os.Rename(c.path, c.real); err == nil {
		old, e.db, e.file = e.db, c.target, file
	}
	e.swap.Unlock()
	if err != nil {
		return nil, err
	}
	compactPhase("exchanged")
	if err := syncDir(filepath.Dir(c.real)); err != nil {
		e.broken = fmt.Errorf("the disk of database %s failed (%w); repair it and restart: the last writes may be lost", e.path, err)
		return old, e.broken
	}
	return old, nil
}
