package store

import (
	"context"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// SnapshotName is the beginning of the names of a partition's files.
var SnapshotName = snapshotName

// Fault makes the disk of the folder fail with an error, while there is one.
func (o *SnapshotOptions) Fault(fault func() error) { o.fault = fault }

// Tell makes what changed stale on all nodes.
func Tell(ctx context.Context, w Writer, vendor string, change policy.Invalidation) error {
	return w.commit(ctx, vendor, new(engine.Batch), change)
}

// PutContract stores a contract, in any state, in place of the one with its id.
func (w Writer) PutContract(ctx context.Context, vendor string, c Contract) error {
	return w.transact(ctx, vendor, func(t *transaction) error { return contractKind.put(t, &c) })
}

// RemoveContract removes a contract.
func (w Writer) RemoveContract(ctx context.Context, vendor, id string) error {
	return w.transact(ctx, vendor, func(t *transaction) error { return contractKind.remove(t, id) })
}

// Remembered returns how many removals a node remembers of a partition.
func (f *Follower) Remembered(partition string) int {
	return len(f.memory.removals.list(partition, f.options.Now()))
}

// Mark returns the newest revision that a node saw of a partition.
func (f *Follower) Mark(partition string) uint64 {
	return f.memory.detector.Marks()[partition].Revision
}
