package usage

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// Options configure a Recorder.
type Options struct {
	Store *store.Store
	// Interval is the time between two writes.
	Interval time.Duration
	// Failed is called with an error of the store, at most once per interval. Optional.
	Failed func(error)
}

// Stats counts, since the start, the requests that were stored, dropped because the buffer
// was full, and lost because the store failed.
type Stats struct{ Stored, Dropped, Lost uint64 }

const (
	// maxPeriods bounds the contracts whose uses are buffered, in about 10 MB.
	maxPeriods = 1 << 15
	// maxReaders bounds the readers that are buffered, in about 8 MB.
	maxReaders = 1 << 16
	// recentReaders is the number of readers of whom a node knows that it counted them: 512
	// KiB.
	recentReaders = 1 << 16
	// writeTimeout bounds one write.
	writeTimeout = 10 * time.Second
	// closeTimeout bounds how long Close waits for the last writes.
	closeTimeout = 5 * time.Second
)

// Recorder buffers uses and refusals, and writes them. It is safe for concurrent use.
type Recorder struct {
	options Options
	seed    maphash.Seed
	// recent has a hash of readers who were counted, at an index derived from the hash: one
	// who comes again costs a lookup. One whose hash was overwritten is looked up in the
	// store.
	recent [recentReaders]atomic.Uint64
	// failures is part of these hashes: readers who were lost are counted when they come
	// again.
	failures atomic.Uint64

	mu      sync.Mutex
	counts  map[period]*count
	readers int // in counts

	stop    context.CancelFunc
	stopped chan struct{}

	stored, dropped, lost atomic.Uint64
}

// period is a contract in a month, which is counted from the year 0.
type period struct {
	vendor, contract string
	months           int
}

func periodOf(vendor, contract string, at time.Time) period {
	year, month, _ := at.UTC().Date()
	return period{vendor, contract, 12*year + int(month) - 1}
}

func (p *period) month() string {
	return time.Date(p.months/12, time.Month(p.months%12+1), 1, 0, 0, 0, 0, time.UTC).Format(store.MonthLayout)
}

// count is what is buffered of a period.
type count struct {
	pages, refused int64
	readers        map[string]struct{}
}

// New returns a recorder that writes at every interval, until it is closed.
func New(options Options) *Recorder {
	ctx, stop := context.WithCancel(context.Background())
	r := &Recorder{options: options, seed: maphash.MakeSeed(), counts: map[period]*count{}, stop: stop, stopped: make(chan struct{})}
	go r.run(ctx)
	return r
}

// Page counts a request that a contract allowed, and its reader. It does not block.
func (r *Recorder) Page(vendor, contract string, at time.Time, use *Use) {
	of := periodOf(vendor, contract, at)
	var space [128]byte
	sum := r.sum(&of, use.identity(space[:0]))
	place := &r.recent[sum%recentReaders]
	reader := ""
	if place.Load() != sum {
		reader = use.hash(&of)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	counted := r.count(of)
	if counted == nil {
		return
	}
	counted.pages++
	switch {
	case reader == "":
	case r.readers >= maxReaders:
		r.dropped.Add(1) // the reader; they are counted when they come again
	default:
		place.Store(sum)
		if _, known := counted.readers[reader]; !known {
			if counted.readers == nil {
				counted.readers = map[string]struct{}{}
			}
			counted.readers[reader] = struct{}{}
			r.readers++
		}
	}
}

// Refused counts a request that nothing allowed, although its reader is one of the
// contract's. It does not block. What a flood of them costs is a number in memory, and one
// write of the contract in each interval.
func (r *Recorder) Refused(vendor, contract string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if counted := r.count(periodOf(vendor, contract, at)); counted != nil {
		counted.refused++
	}
}

// maxRefusing bounds the contracts that one refusal counts for.
const maxRefusing = 16

// Refuses reports whether a denial is for want of a sku, as COUNTER's No_License is.
func Refuses(reason policy.Reason) bool {
	switch reason {
	case policy.ReasonNotEntitled, policy.ReasonLoginRequired, policy.ReasonBadCredential, policy.ReasonNotSubscribed:
		return true
	default:
		return false
	}
}

// RefusedAll is Refused for the contracts of the reader of a denied request.
func (r *Recorder) RefusedAll(vendor string, request *policy.Request) {
	n := 0
	request.EachContract(func(contract string) bool {
		r.Refused(vendor, contract, request.Now)
		n++
		return n < maxRefusing
	})
}

// count returns what is buffered of a period, or nil if the buffer is full.
func (r *Recorder) count(of period) *count {
	counted := r.counts[of]
	if counted != nil {
		return counted
	}
	if len(r.counts) >= maxPeriods {
		r.dropped.Add(1)
		return nil
	}
	of.contract = strings.Clone(of.contract) // it may be a part of a longer string
	counted = new(count)
	r.counts[of] = counted
	return counted
}

func (r *Recorder) sum(of *period, reader []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	for _, text := range [...]string{of.vendor, of.contract} {
		_, _ = h.WriteString(text)
		_ = h.WriteByte(0)
	}
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:], uint64(of.months)) //nolint:gosec // G115: any number will do
	binary.BigEndian.PutUint64(numbers[8:], r.failures.Load())
	_, _ = h.Write(numbers[:])
	_, _ = h.Write(reader)
	return h.Sum64()
}

// run writes until it is stopped, and then once more.
func (r *Recorder) run(ctx context.Context) {
	defer close(r.stopped)
	ticker := time.NewTicker(r.options.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			r.flush()
			return
		case <-ticker.C:
			r.flush()
		}
	}
}

// flush writes what is buffered, in batches of one vendor each.
func (r *Recorder) flush() {
	r.mu.Lock()
	counts := r.counts
	r.counts, r.readers = map[period]*count{}, 0
	r.mu.Unlock()
	var failure error
	var waiting []store.ContractUse
	vendor, size := "", 0
	write := func() {
		if len(waiting) == 0 {
			return
		}
		if err := r.write(vendor, waiting); err != nil {
			failure = err
		}
		waiting, size = nil, 0
	}
	for _, of := range slices.SortedFunc(maps.Keys(counts), func(a, b period) int {
		return cmp.Or(strings.Compare(a.vendor, b.vendor), strings.Compare(a.contract, b.contract), cmp.Compare(a.months, b.months))
	}) {
		if of.vendor != vendor {
			write()
			vendor = of.vendor
		}
		counted := counts[of]
		use := store.ContractUse{Contract: of.contract, Month: of.month(), Pages: counted.pages, Refused: counted.refused}
		readers := slices.Sorted(maps.Keys(counted.readers))
		for {
			if size+1 >= store.MaxUses {
				write()
			}
			n := min(len(readers), store.MaxUses-size-1)
			use.Readers, readers = readers[:n], readers[n:]
			waiting, size = append(waiting, use), size+1+n
			if len(readers) == 0 {
				break
			}
			use.Pages, use.Refused = 0, 0 // a batch has a contract once
			write()
		}
	}
	write()
	if failure != nil {
		r.failures.Add(1)
		if r.options.Failed != nil {
			r.options.Failed(failure)
		}
	}
}

func (r *Recorder) write(vendor string, uses []store.ContractUse) error {
	var requests uint64
	for i := range uses {
		requests += uint64(uses[i].Pages + uses[i].Refused) //nolint:gosec // G115: neither is negative
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	err := r.options.Store.RecordUsage(ctx, vendor, uses)
	if err != nil {
		r.lost.Add(requests)
	} else {
		r.stored.Add(requests)
	}
	return err
}

// Stats returns the counts since the start.
func (r *Recorder) Stats() Stats {
	return Stats{Stored: r.stored.Load(), Dropped: r.dropped.Load(), Lost: r.lost.Load()}
}

// Close writes what is buffered. It waits for that a few seconds at most. Closing again is
// no error.
func (r *Recorder) Close() {
	r.stop()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case <-r.stopped:
	case <-timeout.C:
	}
}
