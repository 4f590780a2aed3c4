package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// snapshotPage is how many entries are read at once for a table.
const snapshotPage = 500

// buildTables writes the tables of a partition again when they need it.
func (k *keeper) buildTables(ctx context.Context) {
	for {
		pause(ctx, k.options.Every)
		if ctx.Err() != nil {
			return
		}
		for table := readerTable; table >= sharedTable; table-- {
			if k.due(table, k.follower.options.Now()) {
				k.fail(k.buildInTurn(ctx, table))
			}
		}
	}
}

// due reports whether a table must be written.
func (k *keeper) due(table int, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired || k.state.heard.IsZero() || time.Now().Before(k.next[table]) {
		return false
	}
	changed := 0
	if table == readerTable {
		changed = k.state.changed.count
	}
	return k.state.tables[table] == "" || k.state.stale[table] || changed >= snapshotStripes || changed > 0 && now.Sub(k.built[table]) >= snapshotAge
}

func (k *keeper) buildInTurn(ctx context.Context, table int) error {
	select {
	case k.building <- struct{}{}:
		defer func() { <-k.building }()
	case <-ctx.Done():
		return nil
	}
	began, at := time.Now(), k.follower.options.Now()
	err := k.build(ctx, table)
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range table + 1 {
		k.built[i] = at
	}
	k.next[table] = began.Add(snapshotShare * time.Since(began))
	switch {
	case ctx.Err() != nil || errors.Is(err, engine.ErrUnavailable):
		return nil // a condition of its own
	case err != nil:
		if soon := began.Add(time.Minute); k.next[table].Before(soon) {
			k.next[table] = soon
		}
	}
	return err
}

// build reads the entries of a table from the store, not all at one moment, and writes them.
// What changes meanwhile is noted, and refused as what changes later is.
func (k *keeper) build(ctx context.Context, table int) error {
	k.mu.Lock()
	k.begun = snapshotState{}
	k.mu.Unlock()
	var written [snapshotTables]string
	var sizes [snapshotTables]int64
	// Some shared records change stripe by stripe as well: where the stripes are forgotten,
	// both tables are new.
	for i := table; i >= sharedTable; i-- {
		var err error
		if written[i], sizes[i], err = k.buildTable(ctx, i); err != nil {
			return errors.Join(err, k.remove(written))
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired {
		return k.remove(written)
	}
	var old [snapshotTables]string
	for i, name := range tableFiles(&written) {
		old[i] = k.state.tables[i]
		k.state.tables[i], k.state.stale[i], k.sizes[i] = name, k.begun.stale[i], sizes[i]
	}
	if table == readerTable {
		k.state.changed = k.begun.changed
	}
	if err := k.restart(); err != nil {
		k.journal = nil
		return errors.Join(err, os.Remove(k.journalFile(k.partition)))
	}
	return k.remove(old)
}

// remove removes tables that are not in use.
func (k *keeper) remove(names [snapshotTables]string) (err error) {
	for _, name := range tableFiles(&names) {
		err = errors.Join(err, ignoreAbsent(os.Remove(filepath.Join(k.options.Folder, name))))
	}
	return err
}

func ignoreAbsent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (k *keeper) buildTable(ctx context.Context, table int) (name string, size int64, err error) {
	w, err := nodefile.NewTable(k.options.Folder, k.key, k.room(table))
	if err != nil {
		return "", 0, err
	}
	for _, prefix := range snapshotPrefixes[table] {
		if err := k.copyRange(ctx, w, prefix); err != nil {
			return "", 0, errors.Join(err, w.Abort())
		}
	}
	name = fmt.Sprintf("%s-%d-%s.table", snapshotName(k.partition), table, randomDigits(idRandomDigits))
	size, err = w.Commit(filepath.Join(k.options.Folder, name))
	return name, size, err
}

// copyRange copies the entries with a prefix. Between pages it rests as long as a page takes,
// so that the store has time for others.
func (k *keeper) copyRange(ctx context.Context, w *nodefile.TableWriter, prefix string) error {
	for after := keyBefore(prefix); ; {
		began := time.Now()
		page, err := k.dumper.Dump(ctx, k.partition, after, snapshotPage)
		if err != nil {
			return err
		}
		for _, entry := range page {
			switch name := string(entry.Key); {
			case strings.HasPrefix(name, prefix):
				err = w.Add(entry.Key, entry.Value)
			case name > prefix:
				return nil
			}
			if err != nil {
				return err
			}
		}
		if len(page) < snapshotPage {
			return nil
		}
		after = page[len(page)-1].Key
		pause(ctx, time.Since(began))
	}
}

// room returns how large a table may be.
func (k *keeper) room(table int) int64 {
	room := k.options.MaxBytes
	for _, other := range k.all() {
		other.mu.Lock()
		for i, size := range other.sizes {
			if other != k || i != table {
				room -= size
			}
		}
		other.mu.Unlock()
	}
	return room
}

func (s *snapshots) all() []*keeper {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*keeper, 0, len(s.keepers))
	for _, k := range s.keepers {
		list = append(list, k)
	}
	return list
}

// SnapshotState is what a node has on its disk.
type SnapshotState struct {
	// Bytes is the size of the tables.
	Bytes int64
	// Usable reports that the node could start from all of them now, and Age is the time
	// since the store was last heard, of the oldest one.
	Usable bool
	Age    time.Duration
	// Changed is the share of readers and links, from 0 to 1, that changed after the tables
	// were written and are refused until they are written again; of the worst partition.
	Changed float64
}

// Snapshots returns the state of the node's snapshots, false if it keeps none.
func (f *Follower) Snapshots() (state SnapshotState, kept bool) {
	if f.snapshots == nil {
		return state, false
	}
	now := f.options.Now()
	list := f.snapshots.all()
	state.Usable = len(list) > 0
	for _, k := range list {
		k.mu.Lock()
		for _, size := range k.sizes {
			state.Bytes += size
		}
		state.Usable = state.Usable && k.journal != nil && !k.saved.IsZero() && k.state.usable(now, f.options.StaleFor) == nil
		state.Changed = max(state.Changed, float64(k.state.changed.count)/(1<<16))
		if !k.saved.IsZero() {
			state.Age = max(state.Age, now.Sub(k.saved))
		}
		k.mu.Unlock()
	}
	return state, true
}
