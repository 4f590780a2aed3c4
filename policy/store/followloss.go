package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// A store that nodes share may come back without writes that it acknowledged: restarted
// from a snapshot, emptied, or after a failover to a replica that had not received them. Its
// engine notices that, see engine.LossDetector. The Follower then makes the removals again
// that this node remembers, before it lets anything be read, and counted links stay refused
// until an operator accepts the loss.

// PartitionLoss is the loss of a partition, as far as this node knows it.
type PartitionLoss struct {
	engine.Loss
	Partition string
	// After and Before are the times between which the lost writes were made; zero if
	// this node did not run then.
	After, Before time.Time
	// Rewritten is the number of lost removals that this node made again.
	Rewritten int
}

const (
	// saveEvery is how often a node writes what it remembers into its file.
	saveEvery = time.Second
	// maxSamples bounds the times of revisions that a node remembers of a partition.
	maxSamples = 600
)

// memory is what a node remembers of its store.
type memory struct {
	detector engine.LossDetector // nil if the engine cannot lose writes
	removals removals
	file     string

	mu        sync.Mutex
	samples   map[string][]sample // by partition, the oldest first
	rewritten map[string]int

	saved        map[string]engine.Mark // and the changes of removals, by saveMemory only
	savedChanges uint64
}

// sample is when a revision was the newest one.
type sample struct {
	revision uint64
	at       time.Time
}

// memoryFile is the content of the file.
type memoryFile struct {
	Marks    map[string]engine.Mark `json:"marks"`
	Removals map[string][]Removal   `json:"removals"`
}

// remember begins to remember, with what the file has of an earlier run.
func (f *Follower) remember(backend engine.Watcher) {
	m := &f.memory
	m.samples, m.rewritten = map[string][]sample{}, map[string]int{}
	detector, ok := backend.(engine.LossDetector)
	if !ok || f.options.Rewrite == nil {
		return
	}
	m.detector, m.file = detector, f.options.MemoryFile
	var known memoryFile
	if m.file != "" {
		content, err := os.ReadFile(m.file)
		if err == nil {
			err = json.Unmarshal(content, &known)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			f.memoryFailed(err)
			known = memoryFile{}
		}
	}
	for partition, list := range known.Removals {
		m.removals.add(partition, slices.DeleteFunc(list, func(r Removal) bool { return len(r.Key) == 0 }))
	}
	detector.Guard(known.Marks)
	if m.file != "" {
		f.running.Go(func() { f.saveMemory(f.ctx) })
	}
}

func (f *Follower) memoryFailed(err error) {
	if f.options.MemoryFailed != nil {
		f.options.MemoryFailed(err)
	}
}

// saveMemory saves what the node remembers every second while it changes.
func (f *Follower) saveMemory(ctx context.Context) {
	failed := false
	for ctx.Err() == nil {
		pause(ctx, saveEvery)
		err := f.memory.save(f.options.Now())
		if err != nil && !failed {
			f.memoryFailed(err)
		}
		failed = err != nil
	}
}

func (m *memory) save(now time.Time) error {
	marks := m.detector.Marks()
	for partition := range marks {
		if m.detector.Behind(partition) {
			return nil // until the removals are made again
		}
	}
	list, changes := m.removals.all(now)
	same := len(marks) == len(m.saved)
	for partition, mark := range marks {
		same = same && m.saved[partition] == mark
	}
	if same && changes == m.savedChanges {
		return nil
	}
	content, err := json.Marshal(memoryFile{marks, list})
	if err != nil {
		return err
	}
	if err := replaceFile(m.file, content); err != nil {
		return err
	}
	m.saved, m.savedChanges = marks, changes
	return nil
}

// replaceFile replaces the content of a file atomically, for its owner alone.
func replaceFile(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nodefile.SyncFolder(file)
}

// sampled notes when a partition was followed to its end.
func (m *memory) sampled(partition string, at time.Time) {
	if m.detector == nil {
		return
	}
	revision := m.detector.Marks()[partition].Revision
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.samples[partition]
	if n := len(list); n > 0 && (list[n-1].revision == revision || n > 1 && at.Sub(list[n-2].at) < time.Second) {
		list[n-1] = sample{revision, at} // so the newest time of each revision is kept
		return
	}
	if len(list) >= maxSamples {
		list = append(list[:0:0], list[maxSamples/2:]...)
	}
	m.samples[partition] = append(list, sample{revision, at})
}

// repair makes removals again in a partition that is behind what this node saw, and
// invalidates what it cached. Until then nothing is read from the partition.
func (f *Follower) repair(ctx context.Context, partition string) error {
	m := &f.memory
	if m.detector == nil || !m.detector.Behind(partition) {
		return nil
	}
	ctx = engine.Repairing(context.WithValue(ctx, refreshing{}, true))
	rewritten, err := f.options.Rewrite(ctx, partition, m.removals.list(partition, f.options.Now()))
	m.mu.Lock()
	m.rewritten[partition] += rewritten
	m.mu.Unlock()
	if err != nil {
		return err
	}
	f.snapshots.note(partition, new(policy.Invalidation), true)
	f.options.Versions.Bump(policy.Invalidation{Shared: true, AllPages: true})
	f.options.Refresh(ctx, "")
	m.detector.Adopt(partition)
	return nil
}

// Losses returns the losses that no operator accepted, by partition, of those that this node
// follows.
func (f *Follower) Losses() (losses []PartitionLoss) {
	if f.memory.detector == nil {
		return nil
	}
	f.feeds.Range(func(name, _ any) bool {
		if loss, lost := f.memory.lossOf(name.(string)); lost {
			losses = append(losses, loss)
		}
		return true
	})
	slices.SortFunc(losses, func(a, b PartitionLoss) int { return cmp.Compare(a.Partition, b.Partition) })
	return losses
}

func (m *memory) lossOf(partition string) (found PartitionLoss, lost bool) {
	loss, lost := m.detector.Loss(partition)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !lost {
		delete(m.rewritten, partition)
		return found, false
	}
	found = PartitionLoss{Loss: loss, Partition: partition, Rewritten: m.rewritten[partition]}
	for _, s := range m.samples[partition] {
		switch {
		case s.at.After(loss.At):
		case s.revision <= loss.From:
			found.After = s.at
		case s.revision <= loss.To:
			found.Before = s.at
		}
	}
	return found, true
}

// AcceptLoss ends all losses, for all nodes, and returns them: no more is accepted than what is
// returned. It looks at each partition first, also at those that this node does not follow.
func (f *Follower) AcceptLoss(ctx context.Context) (accepted []PartitionLoss, err error) {
	if f.memory.detector == nil {
		return nil, nil
	}
	partitions, err := f.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	for partition := range f.memory.detector.Marks() {
		if !slices.Contains(partitions, partition) { // all of it was lost
			partitions = append(partitions, partition)
		}
	}
	slices.Sort(partitions)
	for _, partition := range partitions {
		loss, lost, err := f.acceptLoss(ctx, partition)
		if err != nil {
			return accepted, err
		}
		if lost {
			accepted = append(accepted, loss)
		}
	}
	return accepted, nil
}

// acceptAttempts bounds how often another node may notice more while a loss is accepted.
const acceptAttempts = 10

func (f *Follower) acceptLoss(ctx context.Context, partition string) (loss PartitionLoss, lost bool, err error) {
	for range acceptAttempts {
		if _, err := f.Cursors(ctx, []string{partition}); err != nil {
			return loss, false, err
		}
		if loss, lost = f.memory.lossOf(partition); !lost {
			return loss, false, nil
		}
		if err = f.memory.detector.AcceptLoss(ctx, partition); !errors.Is(err, engine.ErrOtherLoss) {
			break
		}
	}
	if errors.Is(err, engine.ErrNoLoss) { // another node accepted it
		err = nil
	}
	return loss, err == nil, err
}
