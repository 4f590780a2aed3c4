package store

import "time"

// The states of a node.
const (
	// StateFollowing: caches are up to date.
	StateFollowing = "following"
	// StateStale: the store is unavailable, and caches are used.
	StateStale = "stale"
	// StateRestored: the store is unavailable since the node started, and its snapshot is
	// used.
	StateRestored = "restored"
	// StateClosed: the store is unavailable for longer than StaleFor, and caches are
	// not used.
	StateClosed = "closed"
)

// FollowState is the state of a node towards its store.
type FollowState struct {
	State string
	// Error is why the store is unavailable, and Since since when.
	Error error
	Since time.Time
	// Left is how long caches may still be used.
	Left time.Duration
	// Behind is the time since the feed of Partition, of all followed ones the most
	// backward, was last followed to its end.
	Behind    time.Duration
	Partition string
}

// State returns the worst state of all feeds.
func (f *Follower) State() FollowState {
	feeds := []*Feed{f.whole}
	f.feeds.Range(func(_, feed any) bool {
		feeds = append(feeds, feed.(*Feed))
		return true
	})
	now := f.options.Now()
	worst := FollowState{State: StateFollowing, Left: f.options.StaleFor}
	for _, feed := range feeds {
		lag := feed.lag(now)
		worst.Left = min(worst.Left, max(f.options.StaleFor-lag, 0))
		if feed != f.whole && lag > worst.Behind {
			worst.Behind, worst.Partition = lag, feed.partition
		}
		if away := feed.away.Load(); away != nil && worst.Error == nil {
			worst.State, worst.Error, worst.Since = StateStale, away.cause, away.since
		}
	}
	if age, restored := f.snapshots.restoredAge(now); restored {
		worst.State, worst.Left = StateRestored, max(f.options.StaleFor-age, 0)
	}
	if worst.Left == 0 {
		worst.State = StateClosed
	}
	return worst
}

// Silence returns the time since all changes of a partition were known. It is the longest
// time if they never were, and the age of the snapshot if the partition was read from one.
func (f *Follower) Silence(partition string, now time.Time) time.Duration {
	feed := f.known(partition)
	if feed == f.whole {
		if age, restored := f.snapshots.ageOf(partition, now); restored {
			return age
		}
	}
	return feed.lag(now)
}
