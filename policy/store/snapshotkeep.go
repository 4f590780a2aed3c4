package store

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// keeper keeps the snapshot of one partition. It is safe for concurrent use.
type keeper struct {
	*snapshots
	partition string
	key       nodefile.Key

	mu      sync.Mutex
	state   snapshotState
	journal *nodefile.Journal // nil after an error
	written time.Time         // heard, as the journal has it
	saved   time.Time         // heard, as the disk has it, and SeenFile too
	begun   snapshotState     // what changed since a table is being written
	sizes   [snapshotTables]int64
	built   [snapshotTables]time.Time // when a table was begun
	next    [snapshotTables]time.Time // when it may be written again, of the machine
	failing bool
	retired bool
}

// keep begins to keep the snapshot of a partition whose feed is at a cursor, and returns from
// which cursor on the feed must be followed: the one of an earlier run, if the snapshot goes
// on.
func (s *snapshots) keep(partition string, at engine.Cursor) engine.Cursor {
	if s == nil {
		return at
	}
	k := &keeper{snapshots: s, partition: partition}
	var err error
	if k.key, err = s.key(partition); err != nil {
		s.options.Failed(partition, err)
		return at
	}
	if state, err := s.readSnapshot(partition); err == nil && !state.heard.IsZero() {
		k.state = *state
		at = state.cursor
		for table, name := range state.tables {
			if info, err := os.Stat(filepath.Join(s.options.Folder, name)); err == nil && name != "" {
				k.sizes[table], k.built[table] = info.Size(), info.ModTime()
			}
		}
	}
	k.state.number = max(k.state.number, s.seenNumber(partition))
	s.mu.Lock()
	k.retired = s.retired
	s.keepers[partition] = k
	s.mu.Unlock()
	k.mu.Lock()
	k.failed(k.restart())
	k.mu.Unlock()
	s.follower.running.Go(func() { k.buildTables(s.follower.ctx) })
	return at
}

// restart begins the journal again. The caller holds mu.
func (k *keeper) restart() error {
	if k.retired {
		return nil
	}
	k.state.number++
	first := k.state.first()
	err := k.fault()
	var journal *nodefile.Journal
	if err == nil {
		journal, err = nodefile.CreateJournal(k.journalFile(k.partition), k.key, first.encode())
	}
	if err != nil {
		return errors.Join(err, k.discard())
	}
	if k.journal != nil {
		_ = k.journal.Close() // it was replaced
	}
	k.journal, k.written = journal, k.state.heard
	return nil
}

// append appends a record to the journal. After an error there is no snapshot until it can be
// written again. The caller holds mu.
func (k *keeper) append(record journalRecord) error {
	if k.retired {
		return nil
	}
	if k.journal == nil {
		return k.restart()
	}
	k.state.number++
	record.Number = k.state.number
	err := k.fault()
	if err == nil {
		err = k.journal.Append(record.encode())
	}
	if err == nil && k.journal.Size() > snapshotJournal {
		err = k.restart()
	}
	if err != nil && k.journal != nil {
		err = errors.Join(err, k.discard())
	}
	return err
}

// discard makes the journal on the disk unusable, also that of an earlier run: it lacks what is
// seen from now on. On a disk that takes no change, SeenFile says so, which may be on another
// one. The caller holds mu.
func (k *keeper) discard() error {
	var closing error
	if k.journal != nil {
		closing = k.journal.Close()
		k.journal = nil
	}
	err := k.removeJournal()
	if err == nil {
		return closing
	}
	k.state.number++
	k.snapshots.mu.Lock()
	k.seen.Seen[k.partition] = k.state.number // no record of the journal has this number
	k.snapshots.mu.Unlock()
	return errors.Join(closing, err, k.saveSeen())
}

// removeJournal removes the journal or what is in it.
func (k *keeper) removeJournal() error {
	if err := k.fault(); err != nil {
		return err
	}
	name := k.journalFile(k.partition)
	err := os.Remove(name)
	if err == nil || errors.Is(err, os.ErrNotExist) || os.Truncate(name, 0) == nil {
		return nil
	}
	return err
}

// fault returns the error of the disk of the folder that a test asks for.
func (s *snapshots) fault() error {
	if s.options.fault == nil {
		return nil
	}
	return s.options.fault()
}

// failed reports that the snapshot cannot be written, once, and that it can again. The caller
// holds mu.
func (k *keeper) failed(err error) {
	if failing := err != nil; failing != k.failing {
		k.failing = failing
		k.options.Failed(k.partition, err)
	}
}

// note notes what changed in a partition, before the caches are invalidated: a node that was
// killed has not forgotten what it saw.
func (s *snapshots) note(partition string, change *policy.Invalidation, everything bool) {
	k := s.keeper(partition)
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begun.change(change, everything)
	if record, changed := k.state.change(change, everything); changed {
		k.failed(k.append(record))
	}
}

func (s *snapshots) keeper(partition string) *keeper {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keepers[partition]
}

// noteCommit notes what a commit of this node changed, also if it is not known whether it was
// applied.
func (s *snapshots) noteCommit(partition string, event []byte, err error) {
	var check *engine.CheckError
	var bound *engine.BoundError
	if s == nil || event == nil || errors.As(err, &check) || errors.As(err, &bound) {
		return
	}
	change, err := policy.DecodeInvalidation(event)
	s.note(partition, &change, err != nil)
}

// heard notes that the feed of a partition was followed to its end.
func (s *snapshots) heard(partition string, at time.Time, cursor engine.Cursor) {
	k := s.keeper(partition)
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.heard, k.state.cursor = at.Round(0), cursor
}

// beat writes periodically until when each feed was followed. It takes no more than its share
// of the time.
func (s *snapshots) beat(ctx context.Context) {
	nodefile.RemoveUnfinished(s.options.Folder)
	var tidied time.Time
	var took time.Duration
	for ctx.Err() == nil {
		pause(ctx, max(s.options.Every, (snapshotShare-1)*took))
		began := time.Now()
		keepers := s.all()
		written := false
		for _, k := range keepers {
			if number, ok := k.writeHeard(); ok {
				written = true
				s.mu.Lock()
				s.seen.Seen[k.partition] = max(number, s.seen.Seen[k.partition]) // see discard
				s.mu.Unlock()
			}
		}
		if written {
			err := s.saveSeen()
			for _, k := range keepers {
				k.savedSeen(err)
			}
			if time.Since(tidied) > time.Hour {
				s.tidy(keepers)
				tidied = time.Now()
			}
		}
		took = time.Since(began)
	}
	s.close()
}

func (k *keeper) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed(err)
}

// savedSeen notes the result of saveSeen.
func (k *keeper) savedSeen(err error) {
	if err != nil {
		k.fail(err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.saved = k.written
}

// writeHeard writes until when the feed was followed, and returns the number of that record.
func (k *keeper) writeHeard() (uint64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired || k.state.heard.Equal(k.written) {
		return 0, false
	}
	var record journalRecord
	record.setHeard(&k.state)
	err := k.append(record)
	if err == nil {
		err = k.journal.Sync()
	}
	k.failed(err)
	k.written = k.state.heard
	return k.state.number, err == nil
}

func (s *snapshots) saveSeen() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	if s.retired {
		s.mu.Unlock()
		return nil
	}
	content, err := json.Marshal(s.seen)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return replaceFile(s.options.SeenFile, content)
}

// tidy removes the files of partitions that are not in use any more.
func (s *snapshots) tidy(keepers []*keeper) {
	used := make(map[string]bool)
	for _, k := range keepers {
		k.mu.Lock()
		used[filepath.Base(k.journalFile(k.partition))] = true
		for _, name := range tableFiles(&k.state.tables) {
			used[name] = true
		}
		k.mu.Unlock()
	}
	entries, _ := os.ReadDir(s.options.Folder) // next time
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && !used[entry.Name()] && time.Since(info.ModTime()) > snapshotLeft {
			_ = os.Remove(filepath.Join(s.options.Folder, entry.Name())) // next time
		}
	}
}

// folders has the snapshots that write into each folder.
var folders sync.Map // string -> *snapshots

// retire ends writing: after a reload with other settings, another Follower of this process
// keeps the snapshots in the folder.
func (s *snapshots) retire() {
	s.mu.Lock()
	s.retired = true
	s.mu.Unlock()
	for _, k := range s.all() {
		k.mu.Lock()
		k.retired = true
		if k.journal != nil {
			_ = k.journal.Close() // every record is written
			k.journal = nil
		}
		k.mu.Unlock()
	}
}

// close ends the use of the folder.
func (s *snapshots) close() {
	s.leave()
	s.retire()
	folders.CompareAndDelete(s.options.Folder, s)
}
