package engine

import "context"

// Dumper is an Engine whose entries can be read with their expiry, for copies.
type Dumper interface {
	Engine
	// Dump returns at most limit entries of a partition with keys after the given
	// one, in ascending order; nil starts at the first. The values of counters are
	// encoded by EncodeCounter. Several calls do not share a snapshot.
	Dump(ctx context.Context, partition string, after []byte, limit int) ([]Put, error)
}
