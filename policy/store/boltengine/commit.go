package boltengine

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"go.etcd.io/bbolt"
)

// maxGroup is how many writes share one transaction at the most. It bounds how
// long the first of them waits.
const maxGroup = 256

// write is what a caller wants written, in two steps. It may be run again, in a
// new transaction, when the one it was run in had to be given up.
type write interface {
	// prepare only reads. Its error is for the caller of this one write, and
	// says that nothing was written; otherwise it says whether there is
	// anything to apply.
	prepare(tx *bbolt.Tx) (changes bool, err error)
	// apply writes. After an error the whole transaction has to be given up.
	apply(tx *bbolt.Tx) error
}

// job is a write on its way through the committer.
type job struct {
	write write
	err   error         // what the caller is told; set before done is closed
	done  chan struct{} // closed when err is final
}

// submit hands a write to the committer and waits until it is durable. If ctx
// ends before the committer takes the write up, it was not done. After that ctx
// does not matter: what is being done must not be reported as not done.
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

// commitLoop is the committer: it takes what is queued, writes it in one
// transaction, and begins again. While the disk is busy with one group the next
// one gathers, so groups are as large as the load makes them, and a writer that
// is alone waits for nobody.
//
// The queue is a channel without a buffer: whoever is not taken up yet still
// blocks in submit, where leaving needs no agreement with the committer.
func (e *Engine) commitLoop() {
	defer close(e.stopped)
	for first := range e.queue {
		group := e.gather(first)
		e.run(group)
		for _, j := range group {
			close(j.done)
		}
	}
}

// gather adds to first whatever else is waiting.
func (e *Engine) gather(first *job) []*job {
	// Those whose writes were just acknowledged are runnable, and many have the
	// next one at hand. To let them queue it takes microseconds, and would
	// otherwise cost every other group its company.
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

// run writes a group. When that fails it writes them one by one, so that only
// those fail that cannot be written.
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

// transact runs a group in one transaction. A nil error means that all is durable
// and that each job's own error is set.
func (e *Engine) transact(group []*job) error {
	if e.broken != nil {
		return e.broken
	}
	id, err := e.update(group)
	switch {
	case err == nil, errors.Is(err, errUnchanged):
		return nil
	case errors.Is(err, errDamaged):
		e.broken = explain(e.path, err)
		return e.broken
	case e.landed(id):
		// The last fsync failed after the new state was in place. Nobody knows
		// whether it will be there after a power cut, and doing the writes again
		// would count twice. So stop here, as databases do.
		e.broken = fmt.Errorf("the disk of database %s failed (%w); repair it and start again: what was written last may be lost", e.path, err)
		return e.broken
	}
	return explainWrite(e.path, err)
}

// errUnchanged ends a transaction that wrote nothing, without the cost of a
// commit: all were refused, or had happened already.
var errUnchanged = errors.New("nothing was written")

func (e *Engine) update(group []*job) (id int, err error) {
	defer guard(&err)
	err = e.db.Update(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return applyAll(tx, group)
	})
	return id, err
}

// landed says whether a transaction that failed can be seen nevertheless.
func (e *Engine) landed(id int) bool {
	newest := -1
	err := e.db.View(func(tx *bbolt.Tx) error {
		newest = tx.ID()
		return nil
	})
	return err == nil && id > 0 && newest >= id
}

// applyAll runs a group's writes one after another, each with the effects of
// those before it.
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
