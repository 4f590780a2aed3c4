package engine

import "context"

// Dumper is an Engine whose entries can be read as they were put, with when they
// expire.
type Dumper interface {
	Engine
	// Dump returns at most limit entries of a partition behind a key, in the order
	// of their keys; nil is before the first. Counters come with their values as
	// EncodeCounter writes them. Several calls are not one snapshot.
	Dump(ctx context.Context, partition string, after []byte, limit int) ([]Put, error)
}
