package store

import "context"

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
