package store

import (
	"github.com/gatefold/gatefold/policy/store/engine"
)

// prefetch tells a snapshot which keys will be read next.
func prefetch(snapshot engine.Snapshot, keys ...[]byte) error {
	if p, ok := snapshot.(engine.Prefetcher); ok {
		return p.Prefetch(keys...)
	}
	return nil
}
