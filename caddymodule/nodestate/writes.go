package nodestate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// Writes knows whether the writes of a store fail, and whether its file is damaged. It
// is safe for concurrent use.
type Writes struct {
	now func() time.Time
	any atomic.Bool // whether failing has entries: a write that works costs one load

	mu      sync.Mutex
	failing map[string]*failure // by partition
	damage  error               // the first one; lasts until the process ends
	damaged time.Time
	// replaced says that the open file is no longer at its path, since replacedAt.
	replaced   error
	replacedAt time.Time
}

// failure is a write that failed, and those after it.
type failure struct {
	err         error
	since, last time.Time
	works       bool // the newest write works
}

const (
	// heldFor is how long a failed write is shown at least: a disk that is full takes
	// small writes and refuses large ones, and Prometheus must see it.
	heldFor = time.Minute
	// maxFailing bounds the partitions of which failures are known.
	maxFailing = 64
)

// Done records the result of a write.
func (w *Writes) Done(partition string, err error) {
	if err == nil && !w.any.Load() || err != nil && !isFailure(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.failing[partition]
	switch now := w.now(); {
	case err == nil && known != nil:
		known.works = true
	case err == nil:
	case known != nil:
		known.err, known.last, known.works = err, now, false
	case len(w.failing) < maxFailing:
		w.failing[partition] = &failure{err: err, since: now, last: now}
		w.any.Store(true)
	}
}

// Read records the error of a read, which may show damage.
func (w *Writes) Read(err error) {
	if !errors.Is(err, boltengine.ErrDamaged) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.damage == nil {
		w.damage, w.damaged = err, w.now()
	}
}

// Replaced records whether the open file is another than the one at its path.
func (w *Writes) Replaced(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.replaced == nil {
		w.replacedAt = w.now()
	}
	w.replaced = err
}

// isFailure reports whether the store failed, rather than refused a write that must not
// be made. A store that does not answer is another condition, and so is one that evicts.
func isFailure(err error) bool {
	_, check := errors.AsType[*engine.CheckError](err)
	_, bound := errors.AsType[*engine.BoundError](err)
	if check || bound {
		return false
	}
	for _, other := range []error{redisengine.ErrEviction, engine.ErrWentBack, engine.ErrTooLarge, engine.ErrClosed, store.ErrNotFound, store.ErrAway, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

func (w *Writes) findings() []condition.Finding {
	w.mu.Lock()
	defer w.mu.Unlock()
	var findings []condition.Finding
	if w.damage != nil {
		findings = append(findings, condition.Finding{Kind: storeDamaged, Since: w.damaged, What: sentence(w.damage.Error())})
	}
	if w.replaced != nil {
		findings = append(findings, condition.Finding{Kind: storeFileReplaced, Since: w.replacedAt, What: sentence(w.replaced.Error())})
	}
	now := w.now()
	maps.DeleteFunc(w.failing, func(_ string, f *failure) bool { return f.works && now.Sub(f.last).Abs() >= heldFor })
	w.any.Store(len(w.failing) > 0)
	var first *failure
	for _, partition := range slices.Sorted(maps.Keys(w.failing)) {
		if f := w.failing[partition]; first == nil || f.since.Before(first.since) {
			first = f
		}
	}
	if first != nil {
		findings = append(findings, condition.Finding{
			Kind: writesFailing, Since: first.since,
			What: fmt.Sprintf("Writes fail, the last one at %s: %v", first.last.UTC().Format(time.TimeOnly), first.err),
		})
	}
	return findings
}

// broken returns the partitions whose newest write failed.
func (w *Writes) broken() (partitions []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for partition, f := range w.failing {
		if !f.works {
			partitions = append(partitions, partition)
		}
	}
	return partitions
}
