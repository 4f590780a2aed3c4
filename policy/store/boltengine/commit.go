package boltengine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// maxGroup bounds the writes that share a transaction, and so the latency of the first
// of them.
const maxGroup = 256

// write is a write in two steps. It may be run again, in a new transaction, when the
// first one was rolled back.
type write interface {
	// prepare only reads, and returns whether there is anything to apply. Its error
	// is the result of this write alone.
	prepare(tx *bbolt.Tx) (changes bool, err error)
	// apply writes. An error rolls the whole transaction back.
	apply(tx *bbolt.Tx) error
	// changed returns the partition and the keys that apply wrote or removed. Only an event,
	// or nothing, has none.
	changed() (partition string, keys [][]byte)
}

// job is a write that the committer is to execute.
type job struct {
	write write
	err   error         // the result; set before done is closed
	done  chan struct{} // closed when err is final
}

// submit sends a write to the committer and waits until it is durable. When ctx ends
// before the committer receives the write, submit returns ctx.Err() and the write is
// not executed. Afterwards ctx has no effect, as the write may succeed.
func (e *Engine) submit(ctx context.Context, w write) error {
	j := &job{write: w, done: make(chan struct{})}
	select {
	case e.queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-j.done
	return j.err
}

// commitLoop is the committer: it executes all queued writes in one transaction, in a
// loop. Writes queue while the disk is busy with a group, so the size of groups adapts to
// the load, and a single writer never waits for others.
//
// The queue is unbuffered: a write that is not received yet is still blocked in submit,
// where it can be cancelled without the committer.
func (e *Engine) commitLoop() {
	defer close(e.stopped)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // see guard
	for {
		select {
		case fn := <-e.single:
			fn()
		case first, open := <-e.queue:
			if !open {
				return
			}
			group := e.gather(first)
			e.run(group)
			for _, j := range group {
				close(j.done)
			}
		}
	}
}

// alone runs fn in the committer, while nothing is written, and returns its error. When ctx
// ends before, alone returns ctx.Err() and fn does not run.
func (e *Engine) alone(ctx context.Context, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	result := make(chan error, 1)
	select {
	case e.single <- func() { result <- fn() }:
		return <-result
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gather returns first and all other queued writes.
func (e *Engine) gather(first *job) []*job {
	// Writers that were just acknowledged are runnable, and often submit another
	// write at once. Letting them run takes microseconds, and makes groups larger.
	runtime.Gosched()
	group := []*job{first}
	for len(group) < maxGroup {
		select {
		case j, open := <-e.queue:
			if !open {
				return group
			}
			group = append(group, j)
		default:
			return group
		}
	}
	return group
}

// run executes a group. When that fails, it executes the writes one by one, so that only
// those fail that cause the error.
func (e *Engine) run(group []*job) {
	err := e.transact(group)
	switch {
	case err == nil:
	case len(group) == 1 || e.broken != nil:
		for _, j := range group {
			j.err = err
		}
	default:
		for i := range group {
			e.run(group[i : i+1])
		}
	}
}

// transact runs a group in one transaction. When it returns nil, all writes are durable,
// and the error of each job is set.
func (e *Engine) transact(group []*job) error {
	if e.broken != nil {
		return e.broken
	}
	if err := e.admit(group); err != nil {
		return explainWrite(e.path, err)
	}
	id, err := e.update(group)
	if err != nil && len(group) == 1 && diskFull(err) && !e.committed(id) && mayUseReserve(group[0].write) && e.giveUpReserve() {
		id, err = e.update(group)
	}
	switch {
	case err == nil:
		e.note(group)
		return nil
	case errors.Is(err, errUnchanged):
		return nil
	case errors.Is(err, ErrDamaged):
		e.broken = explain(e.path, err)
		return e.broken
	case e.committed(id):
		// The last fsync failed after the new state became visible. It may be lost
		// in a power cut, and repeating the writes would count twice. So stop
		// writing, as databases do.
		e.broken = fmt.Errorf("the disk of database %s failed (%w); repair it and restart: the last writes may be lost", e.path, err)
		return e.broken
	}
	return explainWrite(e.path, err)
}

// errUnchanged rolls back a transaction without changes, which saves the commit.
var errUnchanged = errors.New("nothing was written")

func (e *Engine) update(group []*job) (id int, err error) {
	defer guard(&err)
	err = e.db.Update(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return applyAll(tx, group)
	})
	return id, err
}

// committed reports whether a transaction that failed is visible nevertheless.
func (e *Engine) committed(id int) bool {
	newest := -1
	err := e.db.View(func(tx *bbolt.Tx) error {
		newest = tx.ID()
		return nil
	})
	return err == nil && id > 0 && newest >= id
}

// applyAll runs the writes of a group in order; each sees the effects of the previous
// ones.
func applyAll(tx *bbolt.Tx, group []*job) error {
	changed := false
	for _, j := range group {
		changes, err := j.write.prepare(tx)
		j.err = err
		if err != nil || !changes {
			continue
		}
		if err := j.write.apply(tx); err != nil {
			return err
		}
		changed = true
	}
	if !changed {
		return errUnchanged
	}
	return nil
}
