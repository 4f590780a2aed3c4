package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

// Follower is the Engine of a node that shares its records with others: a Watcher
// whose change feed it follows, so that what the others write makes stale what this
// node has in memory.
//
// A partition is followed from the first time that it is read, and before that, so
// that nothing is in memory whose change would not be heard of. Two things listen
// to each: one waits for the next event, and one asks every now and then how far the
// feed is, so that an event which was not heard cannot stay so.
//
// While the store does not answer, calls fail at once. What is in memory may be
// used until Feed.FreshUntil.
type Follower struct {
	engine.Watcher
	options FollowOptions

	whole *Feed // what concerns no partition: is the store there

	feeds   sync.Map   // partition -> *Feed
	mu      sync.Mutex // guards closed, and that a feed is followed once
	closed  bool
	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
}

// FollowOptions are what Follow needs.
type FollowOptions struct {
	// Versions are bumped by what is heard.
	Versions *policy.Versions
	// Refresh makes anew what was compiled from the shared records of a vendor; ""
	// stands for all vendors.
	Refresh func(ctx context.Context, vendor string)
	// StaleFor is how long what is in memory may be used without hearing from the
	// store.
	StaleFor time.Duration
	// Check looks at the store as a whole, now and then, and after it was away. Nil:
	// nothing does.
	Check func(context.Context)
	// Changed is told when the store went away, with why, and when it is back, with
	// nil. Nil: nobody is.
	Changed func(partition string, err error)
	// Now is the clock.
	Now func() time.Time
}

const (
	// pollEvery is how often a feed is asked how far it is. What was not heard is
	// found so, within a second together with the time an answer may take.
	pollEvery = 200 * time.Millisecond
	// awayAfter is how long a store must not answer to be taken for away: one
	// answer that comes late is not enough.
	awayAfter = 2 * time.Second
	// checkEvery is how often the store as a whole is looked at.
	checkEvery = 10 * time.Second
	// waitMost is how long one wait for an event lasts.
	waitMost = 5 * time.Second
	// feedPage is how many events are read at once.
	feedPage = 512
)

// Feed is one partition's change feed, as far as this node has followed it.
type Feed struct {
	follower  *Follower
	partition string

	mu   sync.Mutex // one at a time makes stale what changed
	mark engine.Cursor

	heard atomic.Pointer[time.Time] // when it was last known to be followed to its end; nil for never
	away  atomic.Pointer[awayError]
}

// Follow follows an engine, and closes it when it is closed itself. The store counts
// as away until it first answers; see Connect.
func Follow(backend engine.Watcher, options FollowOptions) *Follower {
	f := &Follower{Watcher: backend, options: options}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.whole = &Feed{follower: f}
	f.whole.away.Store(&awayError{cause: errors.New("it was not asked yet"), since: options.Now()})
	f.running.Go(func() { f.whole.poll(f.ctx) })
	return f
}

// Connect asks the store once, now.
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

// awayError says that the store is away. It is engine.ErrUnavailable.
type awayError struct {
	cause error
	since time.Time
}

func (e *awayError) Error() string {
	return fmt.Sprintf("the store is away since %s: %v", e.since.UTC().Format(time.RFC3339), e.cause)
}
func (e *awayError) Unwrap() error { return e.cause }
func (e *awayError) Is(target error) bool {
	return target == engine.ErrUnavailable || target == ErrAway
}

// ErrAway is what an error is when a store that others share does not answer.
var ErrAway = errors.New("the store is away")

// View implements Engine.
func (f *Follower) View(ctx context.Context, partition string, fn func(engine.Snapshot) error) error {
	feed, err := f.feed(ctx, partition)
	if err != nil {
		return err
	}
	if away := feed.away.Load(); away != nil && ctx.Value(refreshing{}) == nil {
		return away
	}
	return f.Watcher.View(ctx, partition, fn)
}

// Commit implements Engine.
func (f *Follower) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	if away := f.known(partition).away.Load(); away != nil {
		return engine.Committed{}, away
	}
	return f.Watcher.Commit(ctx, partition, batch)
}

// Sweep implements Engine.
func (f *Follower) Sweep(ctx context.Context, partition string, before time.Time, limit int) (int, error) {
	if away := f.known(partition).away.Load(); away != nil {
		return 0, away
	}
	return f.Watcher.Sweep(ctx, partition, before, limit)
}

// Position implements Engine.
func (f *Follower) Position(ctx context.Context, partition string) (uint64, error) {
	if away := f.known(partition).away.Load(); away != nil {
		return 0, away
	}
	return f.Watcher.Position(ctx, partition)
}

// Partitions implements Engine.
func (f *Follower) Partitions(ctx context.Context) ([]string, error) {
	if away := f.whole.away.Load(); away != nil {
		return nil, away
	}
	return f.Watcher.Partitions(ctx)
}

// refreshing marks the context of reads that belong to coming back.
type refreshing struct{}

// refresh makes anew what was compiled, before the store counts as back.
func (f *Follower) refresh(ctx context.Context, vendor string) {
	f.options.Refresh(context.WithValue(ctx, refreshing{}, true), vendor)
}

// known returns a partition's feed, or the store as a whole where it is not followed.
func (f *Follower) known(partition string) *Feed {
	if feed, ok := f.feeds.Load(partition); ok {
		return feed.(*Feed)
	}
	return f.whole
}

// feed returns a partition's feed. The first call begins to follow it.
func (f *Follower) feed(ctx context.Context, partition string) (*Feed, error) {
	feed := f.known(partition)
	if feed != f.whole {
		return feed, nil
	}
	if away := f.whole.away.Load(); away != nil {
		return nil, away
	}
	asked := f.options.Now()
	marks, err := f.Cursors(ctx, []string{partition})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, engine.ErrClosed
	}
	if feed := f.known(partition); feed != f.whole {
		return feed, nil // somebody else was faster; nothing is read yet
	}
	feed = &Feed{follower: f, partition: partition, mark: marks[0]}
	feed.heard.Store(&asked)
	f.feeds.Store(partition, feed)
	f.running.Go(func() { feed.poll(f.ctx) })
	f.running.Go(func() { feed.listen(f.ctx) })
	return feed, nil
}

// Fresh says whether what is in memory of a partition may be used. It may where
// nothing of it was ever read.
func (f *Follower) Fresh(partition string, now time.Time) bool {
	feed := f.known(partition)
	return feed == f.whole || feed.silence(now) < f.options.StaleFor
}

// silence returns how long nothing was heard of the feed. The clock that is set and
// the one that is not both count: one may have been moved, and the other stands
// still while the machine sleeps.
func (f *Feed) silence(now time.Time) time.Duration {
	heard := f.heard.Load()
	if heard == nil {
		return math.MaxInt64
	}
	return max(now.Sub(*heard), now.Round(0).Sub(heard.Round(0)))
}

// The states of a node towards its store.
const (
	// StateFollowing: everything that is in memory is as new as the store.
	StateFollowing = "following"
	// StateStale: the store is away, and what is in memory is used for a while.
	StateStale = "stale"
	// StateClosed: the store is away for so long that nothing is answered from
	// memory any more.
	StateClosed = "closed"
)

// FollowState says how a node stands towards its store.
type FollowState struct {
	State string
	// Error says why the store is away, Since since when.
	Error error
	Since time.Time
	// Left is for how long what is in memory may still be used.
	Left time.Duration
}

// State returns the worst state of all that is followed.
func (f *Follower) State() FollowState {
	feeds := []*Feed{f.whole}
	f.feeds.Range(func(_, feed any) bool {
		feeds = append(feeds, feed.(*Feed))
		return true
	})
	now := f.options.Now()
	worst := FollowState{State: StateFollowing, Left: f.options.StaleFor}
	for _, feed := range feeds {
		worst.Left = min(worst.Left, max(f.options.StaleFor-feed.silence(now), 0))
		if away := feed.away.Load(); away != nil && worst.Error == nil {
			worst.State, worst.Error, worst.Since = StateStale, away.cause, away.since
		}
	}
	if worst.Left == 0 {
		worst.State = StateClosed
	}
	return worst
}

// poll asks every now and then how far the feed is.
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

// ask asks how far the feed is, and follows it to there. When it returns nil,
// everything that was committed before it was called is known of.
func (f *Feed) ask(ctx context.Context) error {
	asked := f.follower.options.Now()
	err := f.reach(ctx)
	if err != nil {
		f.lost(ctx, err)
		return err
	}
	f.heard.Store(&asked)
	if f.away.Swap(nil) != nil {
		f.changed(nil)
	}
	return nil
}

func (f *Feed) reach(ctx context.Context) error {
	if f.partition == "" {
		_, err := f.follower.Cursors(ctx, nil)
		return err
	}
	marks, err := f.follower.Cursors(ctx, []string{f.partition})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if marks[0] == f.mark {
		return nil
	}
	return f.catchUp(ctx)
}

// lost takes note that the store did not answer.
func (f *Feed) lost(ctx context.Context, err error) {
	now := f.follower.options.Now()
	silence := f.silence(now)
	if ctx.Err() != nil || silence < awayAfter {
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

// listen waits for events.
func (f *Feed) listen(ctx context.Context) {
	for ctx.Err() == nil {
		f.mu.Lock()
		position := f.mark.Position
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

// catchUp reads the events behind the mark and makes stale what they say. Where
// they cannot be had any more, or are those of another feed, everything is stale.
func (f *Feed) catchUp(ctx context.Context) error {
	for {
		events, last, err := f.follower.EventsAfter(ctx, f.partition, f.mark, feedPage)
		if errors.Is(err, engine.ErrFeedGap) {
			return f.everything(ctx)
		}
		if err != nil || len(events) == 0 {
			return err
		}
		if err := f.apply(ctx, events); err != nil {
			return f.everything(ctx)
		}
		f.mark = last
	}
}

// apply makes stale what events say. An error means that one of them cannot be read.
func (f *Feed) apply(ctx context.Context, events []engine.Event) error {
	var all policy.Invalidation
	for _, event := range events {
		change, err := policy.DecodeInvalidation(event.Payload)
		if err != nil {
			return err
		}
		all.Join(change)
	}
	f.follower.options.Versions.Bump(all)
	if all.Shared {
		f.follower.refresh(ctx, f.partition)
	}
	return nil
}

// everything makes all that is in memory stale, and goes on from where the feed is
// now. What comes before that is not missed: it is read anew.
func (f *Feed) everything(ctx context.Context) error {
	marks, err := f.follower.Cursors(ctx, []string{f.partition})
	if err != nil {
		return err
	}
	f.follower.options.Versions.Bump(policy.Invalidation{Shared: true})
	f.follower.refresh(ctx, "")
	f.mark = marks[0]
	return nil
}

// Interface guard
var _ engine.Engine = (*Follower)(nil)
