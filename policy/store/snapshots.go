package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// A node that shares its store keeps a snapshot of the records from which it decides, and
// starts from it while the store is away: reads that decide about requests are answered from
// the snapshot, within StaleFor of when the store was last heard. It is used as a cached
// value is, by what changed since it was written; what changed is refused. The first answer
// of the store ends that for good.

// SnapshotOptions are the options of a node's snapshots.
type SnapshotOptions struct {
	// Folder has the files of the snapshots of one store, and of nothing else.
	Folder string
	// SeenFile has the id of the node and how far its snapshots were written, so that older
	// ones are refused.
	SeenFile string
	// Key seals the files.
	Key nodefile.Key
	// MaxBytes bounds the tables of all partitions together.
	MaxBytes int64
	// Every is how often the time of the feed is noted. Default: a second.
	Every time.Duration
	// Failed is called when a snapshot cannot be written, and with nil when it can again.
	Failed func(partition string, err error)
	// Restored is called when the node begins to use a snapshot of that age, Refused when it
	// does not because of an error.
	Restored func(partition string, age time.Duration)
	Refused  func(partition string, err error)

	fault func() error // of the disk of Folder, in tests
}

const (
	// snapshotEvery is the default of SnapshotOptions.Every.
	snapshotEvery = time.Second
	// snapshotShare is the share of time that writing snapshots takes at the most: one of so
	// many.
	snapshotShare = 10
	// snapshotStripes is how many stripes may change before the table of readers is written
	// again: less than one in a hundred.
	snapshotStripes = 512
	// snapshotAge is when a table of readers is written again if anything changed, so that
	// records that were removed leave it.
	snapshotAge = 6 * time.Hour
	// snapshotJournal is the size from which a journal is begun again, in bytes.
	snapshotJournal = 1 << 20
	// snapshotLeft is when the files of partitions that are not in use are removed.
	snapshotLeft = 25 * time.Hour
)

// snapshots are those of all partitions of a Follower. It is safe for concurrent use; a nil
// one keeps nothing.
type snapshots struct {
	options  SnapshotOptions
	follower *Follower
	dumper   engine.Dumper
	building chan struct{} // one at a time

	saving  sync.Mutex // held while SeenFile is written
	mu      sync.Mutex
	seen    seenFile
	keepers map[string]*keeper
	retired bool // another Follower writes into the folder

	using sync.RWMutex // held for reading by reads of a snapshot
	left  bool         // the store answered
	used  atomic.Bool
	found map[string]*restored // by partition; nil for one that must not be used
}

// seenFile is the content of SnapshotOptions.SeenFile.
type seenFile struct {
	Node string            `json:"node"`
	Seen map[string]uint64 `json:"seen"` // the number of the newest record, by partition
}

// restored is the snapshot of an earlier run that is in use.
type restored struct {
	snapshotState
	files [snapshotTables]*nodefile.Table
}

// newSnapshots returns the snapshots of a follower, nil without options.
func newSnapshots(f *Follower, options *SnapshotOptions) *snapshots {
	dumper, ok := f.Watcher.(engine.Dumper)
	if options == nil || !ok {
		return nil
	}
	s := &snapshots{
		options: *options, follower: f, dumper: dumper, building: make(chan struct{}, 1),
		keepers: make(map[string]*keeper), found: make(map[string]*restored),
	}
	if s.options.Every == 0 {
		s.options.Every = snapshotEvery
	}
	if other, ok := folders.Swap(s.options.Folder, s); ok {
		other.(*snapshots).retire()
	}
	err := os.MkdirAll(s.options.Folder, 0o700)
	content, readErr := os.ReadFile(s.options.SeenFile)
	if readErr == nil {
		readErr = json.Unmarshal(content, &s.seen)
	}
	if readErr != nil || s.seen.Node == "" {
		// Without it nothing that is in the folder can be opened.
		s.seen = seenFile{Node: randomDigits(idRandomDigits)}
	}
	if s.seen.Seen == nil {
		s.seen.Seen = make(map[string]uint64)
	}
	if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
		err = errors.Join(err, readErr)
	}
	if err != nil {
		s.options.Failed("", err)
	}
	f.running.Go(func() { s.beat(f.ctx) })
	return s
}

// VoidSnapshots makes the snapshots of earlier runs unusable for good, wherever they are: what
// is removed while a node keeps none must not be open after it keeps them again. It also ends
// those of a Follower of this process.
func VoidSnapshots(seenFile string) error {
	folders.Range(func(_, other any) bool {
		if s := other.(*snapshots); s.options.SeenFile == seenFile {
			s.retire()
			s.saving.Lock() // what is being written is removed, too
			defer s.saving.Unlock()
		}
		return true
	})
	return ignoreAbsent(os.Remove(seenFile))
}

func (s *snapshots) seenNumber(partition string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.Seen[partition]
}

// view answers a read from the snapshot of a partition while the store is away. It returns
// away if there is none that may be used.
func (s *snapshots) view(ctx context.Context, partition string, away error, fn func(engine.Snapshot) error) error {
	if s == nil || ctx.Value(deciding{}) == nil || !errors.Is(away, ErrAway) {
		return away
	}
	s.using.RLock()
	defer s.using.RUnlock()
	found := s.open(partition)
	if found == nil || found.age(s.follower.options.Now()) >= s.follower.options.StaleFor {
		return away
	}
	read := &keptRecords{tables: &found.files, changed: &found.changed}
	if err := fn(read); err != nil {
		return err
	}
	return read.done()
}

// open returns the snapshot of a partition, nil if there is none that may be used. The caller
// holds using for reading.
func (s *snapshots) open(partition string) *restored {
	if s.left {
		return nil
	}
	s.mu.Lock()
	found, known := s.found[partition]
	_, written := s.seen.Seen[partition]
	s.mu.Unlock()
	if known || !written {
		return found
	}
	found, err := s.load(partition)
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, known := s.found[partition]; known {
		found.close()
		return other
	}
	s.found[partition] = found
	if err != nil {
		s.options.Refused(partition, err)
		return nil
	}
	s.used.Store(true)
	s.options.Restored(partition, found.age(s.follower.options.Now()))
	return found
}

func (s *snapshots) load(partition string) (*restored, error) {
	state, err := s.readSnapshot(partition)
	if err != nil {
		return nil, err
	}
	now := s.follower.options.Now()
	if err := state.usable(now, s.follower.options.StaleFor); err != nil {
		return nil, err
	}
	// Where neither the folder nor this file could be written, the snapshot has nothing of what
	// was removed since, and could not be made unusable.
	if err := s.saveSeen(); err != nil {
		return nil, fmt.Errorf("this node cannot write its file, so removals may be missing in it: %w", err)
	}
	// From here on time passes by the monotonic clock, too.
	state.heard = now.Add(-now.Sub(state.heard))
	key, err := s.key(partition)
	if err != nil {
		return nil, err
	}
	found := &restored{snapshotState: *state}
	for table, name := range state.tables {
		if found.files[table], err = nodefile.OpenTable(filepath.Join(s.options.Folder, name), key); err != nil {
			found.close()
			return nil, err
		}
	}
	return found, nil
}

func (r *restored) close() {
	if r == nil {
		return
	}
	for _, file := range r.files {
		if file != nil {
			_ = file.Close() // it was only read
		}
	}
}

func (r *restored) age(now time.Time) time.Duration {
	return max(now.Sub(r.heard), now.Round(0).Sub(r.heard.Round(0)))
}

// partitions returns those that a snapshot may have.
func (s *snapshots) partitions(ctx context.Context, away error) ([]string, error) {
	if s == nil || ctx.Value(deciding{}) == nil || !errors.Is(away, ErrAway) {
		return nil, away
	}
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.seen.Seen))
	s.mu.Unlock()
	s.using.RLock()
	defer s.using.RUnlock()
	names = slices.DeleteFunc(names, func(name string) bool { return s.open(name) == nil })
	if len(names) == 0 {
		return nil, away
	}
	return names, nil
}

// fresh reports whether what was read from the snapshot of a partition may be used.
func (s *snapshots) fresh(partition string, now time.Time) bool {
	if s == nil || !s.used.Load() {
		return true
	}
	s.using.RLock()
	defer s.using.RUnlock()
	found := s.open(partition)
	return s.left || found == nil || found.age(now) < s.follower.options.StaleFor
}

// ageOf returns the age of the snapshot of a partition, if it is used.
func (s *snapshots) ageOf(partition string, now time.Time) (time.Duration, bool) {
	if s == nil || !s.used.Load() {
		return 0, false
	}
	s.using.RLock()
	defer s.using.RUnlock()
	found := s.open(partition)
	if s.left || found == nil {
		return 0, false
	}
	return found.age(now), true
}

// leave ends the use of snapshots for good. It reports whether one was used.
func (s *snapshots) leave() bool {
	if s == nil {
		return false
	}
	s.using.Lock()
	defer s.using.Unlock()
	if s.left {
		return false
	}
	s.left = true
	for _, found := range s.found {
		found.close()
	}
	clear(s.found)
	return s.used.Load()
}

// restoredAge returns the age of the oldest snapshot in use, false if none is.
func (s *snapshots) restoredAge(now time.Time) (age time.Duration, inUse bool) {
	if s == nil || !s.used.Load() {
		return 0, false
	}
	s.using.RLock()
	defer s.using.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, found := range s.found {
		if found != nil {
			age, inUse = max(age, found.age(now)), true
		}
	}
	return age, inUse && !s.left
}
