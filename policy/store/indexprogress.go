package store

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// IndexBuild is the progress of a vendor's indexes that this node builds.
type IndexBuild struct {
	Vendor  string
	Since   time.Time
	Records int // read so far
}

// indexBuilds are those in progress. It is safe for concurrent use.
type indexBuilds struct {
	mu sync.Mutex
	of map[string]IndexBuild
}

// add notes a step that was not the last.
func (b *indexBuilds) add(vendor string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string]IndexBuild{}
	}
	build, ok := b.of[vendor]
	if !ok {
		build = IndexBuild{Vendor: vendor, Since: now}
	}
	build.Records += indexStep
	b.of[vendor] = build
}

func (b *indexBuilds) end(vendor string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, vendor)
}

func (b *indexBuilds) has(vendor string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.of[vendor]
	return ok
}

// IndexBuilds returns the builds of indexes of more than one step that are in progress, the
// oldest first.
func (s *Store) IndexBuilds() []IndexBuild {
	s.builds.mu.Lock()
	defer s.builds.mu.Unlock()
	builds := make([]IndexBuild, 0, len(s.builds.of))
	for _, build := range s.builds.of {
		if build.Records > indexStep {
			builds = append(builds, build)
		}
	}
	slices.SortFunc(builds, func(a, b IndexBuild) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Vendor, b.Vendor))
	})
	return builds
}
