package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Follower is the Engine of a node that shares its records with other nodes. It follows
// the change feed of a Watcher, and invalidates what this node has cached when another
// node changes it.
//
// A partition is followed from its first read on, beginning before that read, so that
// nothing is cached whose invalidation could be missed. One goroutine per partition
// waits for events, and another polls the position of the feed, which bounds how long a
// missed event goes unnoticed.
//
// While the store is unavailable, calls fail at once, and caches may be used as long as
// Fresh reports so.
type Follower struct {
	engine.Watcher
	options FollowOptions

	whole *Feed // of no partition: whether the store answers

	memory memory // of what the store may lose

	feeds   sync.Map   // partition -> *Feed
	mu      sync.Mutex // guards closed, and adding to feeds
	closed  bool
	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
}

// FollowOptions are the options of Follow.
type FollowOptions struct {
	// Versions are bumped by the events.
	Versions *policy.Versions
	// Refresh compiles the shared records of a vendor again; "" is all vendors.
	Refresh func(ctx context.Context, vendor string)
	// StaleFor is how long caches may be used while the store is unavailable.
	StaleFor time.Duration
	// Check inspects the store, periodically and after an outage. Optional.
	Check func(context.Context)
	// Changed is called with an error when the store becomes unavailable, and with
	// nil when it is available again. Optional.
	Changed func(partition string, err error)
	// Rewrite makes removals again that the store lost, and returns how many. Optional:
	// without it the store is not watched for losses.
	Rewrite func(ctx context.Context, partition string, list []Removal) (int, error)
	// MemoryFile keeps what the node saw of the store, over a restart. Optional.
	MemoryFile string
	// MemoryFailed is called when the file cannot be read or written. Optional.
	MemoryFailed func(error)
	// Now is the clock.
	Now func() time.Time
}

const (
	// pollEvery is how often the position of a feed is read. With the time that an
	// answer may take, a missed event is noticed within a second.
	pollEvery = 200 * time.Millisecond
	// awayAfter is how long the store must fail to answer to count as unavailable: a
	// single late answer is not an outage.
	awayAfter = 2 * time.Second
	// checkEvery is the interval of FollowOptions.Check.
	checkEvery = 10 * time.Second
	// waitMost bounds one wait for an event.
	waitMost = 5 * time.Second
	// feedPage is how many events are read at once.
	feedPage = 512
)

// Feed is the change feed of one partition, as far as this node followed it.
type Feed struct {
	follower  *Follower
	partition string

	mu     sync.Mutex // serializes invalidation
	cursor engine.Cursor

	heard atomic.Pointer[time.Time] // when the feed was last followed to its end; nil for never
	away  atomic.Pointer[awayError]

	breaker breaker
}

// Follow returns a follower of an engine, which it closes when it is closed. The store
// counts as unavailable until it first answers; see Connect.
func Follow(backend engine.Watcher, options FollowOptions) *Follower {
	f := &Follower{Watcher: backend, options: options}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.whole = &Feed{follower: f}
	f.whole.away.Store(&awayError{cause: errors.New("no answer yet"), since: options.Now()})
	f.remember(backend)
	f.running.Go(func() { f.whole.poll(f.ctx) })
	return f
}

// Connect checks once whether the store answers.
func (f *Follower) Connect(ctx context.Context) error {
	err := f.whole.ask(ctx)
	if err != nil {
		f.whole.away.Store(&awayError{cause: err, since: f.options.Now()})
	}
	return err
}

// Close stops following, and closes the engine.
func (f *Follower) Close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	err := f.Watcher.Close()
	f.running.Wait()
	return err
}

// awayError is the error of calls while the store is unavailable. It matches
// engine.ErrUnavailable and ErrAway.
type awayError struct {
	cause error
	since time.Time
}

func (e *awayError) Error() string {
	return fmt.Sprintf("the store is unavailable since %s: %v", e.since.UTC().Format(time.RFC3339), e.cause)
}
func (e *awayError) Unwrap() error { return e.cause }
func (e *awayError) Is(target error) bool {
	return target == engine.ErrUnavailable || target == ErrAway
}

// ErrAway is returned while a store that nodes share does not answer.
var ErrAway = errors.New("the store is unavailable")

// View implements Engine.
func (f *Follower) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	feed, err := f.feed(ctx, partition)
	if err != nil {
		return err
	}
	if away := feed.away.Load(); away != nil && ctx.Value(refreshing{}) == nil {
		return away
	}
	err = f.Watcher.View(ctx, partition, fn)
	feed.answered(err)
	return err
}

// Commit implements Engine.
func (f *Follower) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	removed := f.memory.removals.of(partition, batch, f.options.Now().UTC().Truncate(time.Millisecond))
	if batch.Event != nil && len(removed) > 0 {
		told := *batch
		told.Event, told.Closes = withRemovals(batch.Event, removed), closes(batch, removed)
		batch = &told
	}
	commit := func() (engine.Committed, error) { return f.Watcher.Commit(ctx, partition, batch) }
	var committed engine.Committed
	var err error
	if engine.IsRepairing(ctx) {
		committed, err = commit()
	} else {
		committed, err = guard(f.known(partition), commit)
	}
	f.known(partition).answered(err)
	if err == nil || errors.Is(err, engine.ErrNotAcknowledged) {
		f.memory.removals.add(partition, removed)
	}
	return committed, err
}

// Sweep implements Engine.
func (f *Follower) Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error) {
	return guard(f.known(partition), func() (int, error) { return f.Watcher.Sweep(ctx, partition, before, limit) })
}

// Position implements Engine.
func (f *Follower) Position(ctx context.Context, partition string) (uint64, error) {
	return guard(f.known(partition), func() (uint64, error) { return f.Watcher.Position(ctx, partition) })
}

// Partitions implements Engine.
func (f *Follower) Partitions(ctx context.Context) ([]string, error) {
	return guard(f.whole, func() ([]string, error) { return f.Watcher.Partitions(ctx) })
}

// guard makes a call unless the store is unavailable.
func guard[T any](feed *Feed, call func() (T, error)) (result T, err error) {
	if away := feed.away.Load(); away != nil {
		return result, away
	}
	return call()
}

// refreshing marks the context of reads that refresh caches after an outage.
type refreshing struct{}

// refresh refreshes compiled records, before the store counts as available again.
func (f *Follower) refresh(ctx context.Context, vendor string) {
	f.options.Refresh(context.WithValue(ctx, refreshing{}, true), vendor)
}

// known returns the feed of a partition, or whole when it is not followed.
func (f *Follower) known(partition string) *Feed {
	if feed, ok := f.feeds.Load(partition); ok {
		return feed.(*Feed)
	}
	return f.whole
}

// feed returns the feed of a partition, and follows it from the first call on.
func (f *Follower) feed(ctx context.Context, partition string) (*Feed, error) {
	feed := f.known(partition)
	if feed != f.whole {
		return feed, nil
	}
	if away := f.whole.away.Load(); away != nil {
		return nil, away
	}
	asked := f.options.Now()
	cursors, err := f.Cursors(ctx, []string{partition})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, engine.ErrClosed
	}
	if feed := f.known(partition); feed != f.whole {
		return feed, nil // added concurrently; this call has read nothing yet
	}
	feed = &Feed{follower: f, partition: partition, cursor: cursors[0]}
	feed.heard.Store(&asked)
	f.feeds.Store(partition, feed)
	f.running.Go(func() { feed.poll(f.ctx) })
	f.running.Go(func() { feed.listen(f.ctx) })
	return feed, nil
}

// Fresh reports whether what is cached of a partition may be used. Of a partition that
// was never read nothing is cached, so it is fresh.
func (f *Follower) Fresh(partition string, now time.Time) bool {
	feed := f.known(partition)
	return feed == f.whole || feed.lag(now) < f.options.StaleFor
}

// lag returns the time since the feed was last followed to its end: the maximum by the
// wall clock, which may be set, and the monotonic clock, which may stop while the
// machine sleeps.
func (f *Feed) lag(now time.Time) time.Duration {
	heard := f.heard.Load()
	if heard == nil {
		return math.MaxInt64
	}
	return max(now.Sub(*heard), now.Round(0).Sub(heard.Round(0)))
}

// poll reads the position of the feed periodically.
func (f *Feed) poll(ctx context.Context) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var checked time.Time
	for {
		err := f.ask(ctx)
		if f.partition == "" && err == nil && f.follower.options.Check != nil && time.Since(checked) >= checkEvery {
			f.follower.options.Check(ctx)
			checked = time.Now()
		}
		if err != nil {
			checked = time.Time{}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// ask follows the feed to its end. When it returns nil, all commits before the call
// have been applied to the caches.
func (f *Feed) ask(ctx context.Context) error {
	asked := f.follower.options.Now()
	err := f.followToEnd(ctx)
	if err != nil {
		f.onError(ctx, err)
		return err
	}
	f.heard.Store(&asked)
	f.breaker.timeouts.Store(0)
	f.follower.memory.sampled(f.partition, asked)
	if f.away.Swap(nil) != nil {
		f.changed(nil)
	}
	return nil
}

func (f *Feed) followToEnd(ctx context.Context) error {
	if f.partition == "" {
		_, err := f.follower.Cursors(ctx, nil)
		return err
	}
	cursors, err := f.follower.Cursors(ctx, []string{f.partition})
	if err != nil {
		return err
	}
	if err := f.follower.repair(ctx, f.partition); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if cursors[0] == f.cursor {
		return nil
	}
	return f.catchUp(ctx)
}

// onError records that the store is unavailable once it did not answer for awayAfter.
func (f *Feed) onError(ctx context.Context, err error) {
	now := f.follower.options.Now()
	if ctx.Err() != nil || f.lag(now) < awayAfter {
		return
	}
	since := now
	if heard := f.heard.Load(); heard != nil {
		since = *heard
	}
	if f.away.CompareAndSwap(nil, &awayError{cause: err, since: since}) {
		f.changed(err)
	}
}

func (f *Feed) changed(err error) {
	if f.follower.options.Changed != nil {
		f.follower.options.Changed(f.partition, err)
	}
}

// listen waits for events and applies them.
func (f *Feed) listen(ctx context.Context) {
	for ctx.Err() == nil {
		f.mu.Lock()
		position := f.cursor.Position
		f.mu.Unlock()
		err := f.follower.Wait(ctx, f.partition, position, waitMost)
		if err == nil {
			f.mu.Lock()
			err = f.catchUp(ctx)
			f.mu.Unlock()
		}
		if err != nil {
			pause(ctx, pollEvery/3)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// catchUp applies the events after the cursor. When events are missing or belong to
// another feed, it invalidates everything. The caller holds mu.
func (f *Feed) catchUp(ctx context.Context) error {
	for {
		events, last, err := f.follower.EventsAfter(ctx, f.partition, f.cursor, feedPage)
		if errors.Is(err, engine.ErrFeedGap) {
			return f.invalidateAll(ctx)
		}
		if err != nil || len(events) == 0 {
			return err
		}
		if err := f.apply(ctx, events); err != nil {
			return f.invalidateAll(ctx)
		}
		f.cursor = last
	}
}

// apply bumps the versions that events invalidate. It returns an error when an event
// cannot be decoded.
func (f *Feed) apply(ctx context.Context, events []engine.Event) error {
	var all policy.Invalidation
	for _, event := range events {
		payload, removed, err := cutRemovals(event.Payload)
		if err != nil {
			return err
		}
		change, err := policy.DecodeInvalidation(payload)
		if err != nil {
			return err
		}
		f.follower.memory.removals.add(f.partition, removed)
		all.Join(change)
	}
	f.follower.options.Versions.Bump(all)
	if all.Shared {
		f.follower.refresh(ctx, f.partition)
	}
	return nil
}

// invalidateAll invalidates all caches, and moves the cursor to the end of the feed.
// Earlier events need not be applied, as everything is read again.
func (f *Feed) invalidateAll(ctx context.Context) error {
	cursors, err := f.follower.Cursors(ctx, []string{f.partition})
	if err != nil {
		return err
	}
	f.follower.options.Versions.Bump(policy.Invalidation{Shared: true, AllPages: true})
	f.follower.refresh(ctx, "")
	f.cursor = cursors[0]
	return nil
}

// Interface guard
var _ engine.Engine = (*Follower)(nil)
