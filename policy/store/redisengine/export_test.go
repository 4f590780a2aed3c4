package redisengine

import (
	"context"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Outcome is what came out of a batch.
type Outcome struct {
	Committed engine.Committed
	Err       error
}

// Together commits uses in one script, whatever else is under way. The outcomes are
// those of the batches in the order in which the script takes them, which are
// returned with them.
func (e *Engine) Together(partition string, batches []*engine.Batch) ([]*engine.Batch, []Outcome) {
	group := make([]*use, len(batches))
	for i, batch := range batches {
		if !isUse(batch) {
			panic("not a use")
		}
		group[i] = &use{batch: batch, err: errReply, until: time.Now().Add(e.options.RedeemTimeout)}
	}
	var ordered []*use
	for _, s := range subjectsOf(group) {
		ordered = append(ordered, s.uses...)
	}
	e.send(partition, group)
	outcomes := make([]Outcome, len(ordered))
	taken := make([]*engine.Batch, len(ordered))
	for i, u := range ordered {
		taken[i], outcomes[i] = u.batch, Outcome{u.committed, u.err}
	}
	return taken, outcomes
}

// Alone commits a batch as those are that are no uses.
func (e *Engine) Alone(partition string, batch *engine.Batch) Outcome {
	reply, err := e.writeOnce(context.Background(), commitScript, partition, e.commitArgs(newCommitID(), partition, batch))
	if err != nil {
		return Outcome{Err: e.fail(context.Background(), err)}
	}
	committed, err := e.readCommitted(partition, reply)
	return Outcome{committed, err}
}

// Gathered says how many uses of a partition wait.
func (e *Engine) Gathered(partition string) int {
	found, ok := e.gatherings.Load(partition)
	if !ok {
		return 0
	}
	g := found.(*gathering)
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}
