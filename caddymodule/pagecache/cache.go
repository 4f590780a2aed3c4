package pagecache

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// Purges has the versions of purges: policy.Versions implements it.
type Purges interface {
	// Pages returns the stamps of a page with these slots, see policy.Versions.
	Pages(slots []uint16) (hard, soft uint64)
	// PagesVersion grows with each purge of anything.
	PagesVersion() uint64
}

// Options configure a Cache.
type Options struct {
	// Memory bounds what pages take, in bytes.
	Memory int64
	// MaxSize is the largest body that is stored, in bytes.
	MaxSize int64
	// StaleIfError is how long a page is used after it expired while the origin fails,
	// unless the origin says otherwise.
	StaleIfError time.Duration
	// Headers are the canonical names of request headers that are sent to the origin, and
	// by which pages are distinguished.
	Headers []string
	// IgnoreQuery are the parameters that are neither sent nor distinguish pages.
	IgnoreQuery []string
	// Now is the clock.
	Now func() time.Time
	// Purges has the versions of purges.
	Purges Purges
}

// MinMemory is the smallest memory of a cache, in bytes.
const MinMemory = 8 << 20

// Cache is a shared cache of pages in memory (RFC 9111). It is safe for concurrent use.
type Cache struct {
	options Options
	index   *index
	flights flights
	running sync.WaitGroup
	finding sync.Mutex // one Find at a time
	counts  struct{ full, stored atomic.Uint64 }
	stale   staleness
}

// New returns a cache. Close releases its memory.
func New(options Options) (*Cache, error) {
	if options.Memory < MinMemory {
		return nil, errors.New("the memory of the page cache must be at least 8MiB")
	}
	index, err := newIndex(options.Memory)
	if err != nil {
		return nil, err
	}
	return &Cache{options: options, index: index}, nil
}

// Close releases the memory, once no request uses it any more. Fetches that run are
// cancelled, and requests that come later pass.
func (c *Cache) Close() {
	c.flights.mu.Lock()
	c.flights.closed = true
	for f := range c.flights.all { // those too that cannot be joined any more
		f.cancel()
	}
	c.flights.mu.Unlock()
	c.running.Wait()
	c.index.close()
}

// Request is a request that was allowed, and whose rule lets its page be stored.
type Request struct {
	Target Target
	// TTL is how long a page is fresh for which the origin does not say it; zero for not
	// at all.
	TTL time.Duration
	// Caller has what the cache asks of the one who makes the request. A hit asks nothing.
	Caller Caller
	// Stored reports whether the feed of purges is followed, so that stored pages may be
	// used.
	Stored bool
	// StatusField adds Cache-Status to the response (RFC 9211).
	StatusField bool
	// Result is set to what became of the request, before its response is written.
	Result *Result

	found entry // the stored page, while the request is served; it saves an allocation
}

// Caller is what the cache asks of the one who makes a request.
type Caller interface {
	// Fetcher returns a function that makes requests without the reader. It is called after
	// the request has ended, too.
	Fetcher() Fetcher
	// Pass passes the request on as it is.
	Pass(http.ResponseWriter) error
	// Again decides once more, after a fetch took time, and reports whether the reader may
	// still have the page.
	Again() bool
	// Purge purges pages on this node, after an unsafe request changed them.
	Purge(*policy.PagePurge)
}

// Fetcher makes a request without a reader, and writes its response.
type Fetcher func(context.Context, Anonymous, http.ResponseWriter) error

// ErrDenied is returned for a request that Again denied. Nothing was written.
var ErrDenied = errors.New("the decision changed while the page was fetched")

// Result is what became of a request.
type Result struct {
	// What is the outcome, from a closed list.
	What Outcome
	// Why is why the page was not answered from memory, or was not stored.
	Why Why
}

// String returns the outcome, with why the page is not from memory behind a colon.
func (r Result) String() string {
	if r.Why == WhyNone {
		return string(r.What)
	}
	return string(r.What) + ":" + string(r.Why)
}

// Outcome is how a request was answered, from a closed list.
type Outcome string

// The outcomes.
const (
	Hit         Outcome = "hit"         // from memory
	Stale       Outcome = "stale"       // from memory, expired, while the origin fails or is asked
	Revalidated Outcome = "revalidated" // from memory, confirmed by the origin
	Miss        Outcome = "miss"        // from a fetch that this request began
	Collapsed   Outcome = "collapsed"   // from a fetch that another request began
	Pass        Outcome = "pass"        // by the origin, as without a cache
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome { return []Outcome{Hit, Stale, Revalidated, Miss, Collapsed, Pass} }

// Stats is the state of a cache.
type Stats struct {
	// Pages and Bytes are what is stored. MaxBytes bounds the bytes.
	Pages, Bytes, MaxBytes int64
	// Evicted counts pages that made room for others, Refused those that were not stored
	// because others are asked for more often, or for want of memory.
	Evicted, Refused uint64
	// Fetches is the number of fetches that run or whose response is still sent, Waiting that
	// of the requests that wait for one that runs, and FillBytes what they have of bodies.
	Fetches, Waiting int
	FillBytes        int64
	// Stale is the use of expired pages because the origin failed.
	Stale Staleness
}

// Stats returns the state of the cache.
func (c *Cache) Stats() Stats {
	pages := c.index.entries.live.Load()
	stats := Stats{
		Pages: pages, Bytes: c.index.entries.arena.inUse() + pages*entryCost, MaxBytes: c.options.Memory,
		Evicted: c.index.evicted.Load(), Refused: c.index.rejected.Load() + c.counts.full.Load(),
	}
	stats.Stale = c.stale.get()
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	stats.Fetches, stats.FillBytes = len(c.flights.all), c.flights.bytes
	for _, f := range c.flights.byKey {
		f.mu.Lock()
		stats.Waiting += len(f.readers)
		f.mu.Unlock()
	}
	return stats
}
