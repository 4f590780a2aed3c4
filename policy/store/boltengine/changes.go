package boltengine

import "sync"

// changes are the keys that were written since a compaction began, by partition. A partition
// without keys has a new event. The committer adds to them after each transaction, so that a
// change is in a later snapshot or in them.
type changes struct {
	mu   sync.Mutex
	keys map[string]map[string]struct{}
	n    int
}

func newChanges() *changes { return &changes{keys: map[string]map[string]struct{}{}} }

// note adds keys of a partition.
func (c *changes) note(partition string, keys ...[]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.keys[partition]
	if set == nil {
		set = map[string]struct{}{}
		c.keys[partition] = set
	}
	before := len(set)
	for _, key := range keys {
		set[string(key)] = struct{}{}
	}
	c.n += len(set) - before
}

// take returns the changes, and begins with none.
func (c *changes) take() map[string]map[string]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.keys
	c.keys, c.n = map[string]map[string]struct{}{}, 0
	return taken
}

// count returns the number of keys.
func (c *changes) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// note adds what the writes of a group changed.
func (e *Engine) note(group []*job) {
	changes := e.changes.Load()
	if changes == nil {
		return
	}
	for _, j := range group {
		if j.err == nil {
			partition, keys := j.write.changed()
			changes.note(partition, keys...)
		}
	}
}
