package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/policy"
)

const (
	// ActivityKept is how long it is known when a reader was last there.
	ActivityKept = 90 * 24 * time.Hour
	// ActivityStep is how exact that is: a reader who stays costs one write in
	// that time.
	ActivityStep = 5 * time.Minute
	// MaxVisits is how many visits one RecordVisits takes.
	MaxVisits = 500
	// maxVisitors bounds how many visitors one question looks at.
	maxVisitors = 100_000
)

// Visit is that a reader was at a site, and what she had to do with.
type Visit struct {
	Site, UserID string
	At           time.Time
	Tags         []string
}

// RecordVisits records visits of at most MaxVisits readers of a vendor. What is
// known already is not written again.
func (s *Store) RecordVisits(ctx context.Context, vendor string, visits []Visit) error {
	if len(visits) > MaxVisits {
		return &FieldError{"visits", "are too many at once"}
	}
	if err := s.recordTags(ctx, vendor, visits); err != nil {
		return err
	}
	err := s.recordActivity(ctx, vendor, visits)
	for range 3 { // another node may record the same readers
		if !errors.Is(err, ErrConflict) {
			break
		}
		err = s.recordActivity(ctx, vendor, visits)
	}
	return err
}

// recordTags counts, for each tag, the readers who had to do with it: each once,
// by the marker that the count leaves.
func (s *Store) recordTags(ctx context.Context, vendor string, visits []Visit) error {
	batch, change := &engine.Batch{}, policy.Invalidation{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		batch.Counters, change = nil, policy.Invalidation{}
		var markers [][]byte
		for _, visit := range visits {
			for _, tag := range visit.Tags {
				markers = append(markers, markerKey(visit.Site, visit.UserID, tag))
			}
		}
		if err := prefetch(snapshot, markers...); err != nil {
			return err
		}
		for _, visit := range visits {
			for _, tag := range visit.Tags {
				marker := markerKey(visit.Site, visit.UserID, tag)
				known, err := snapshot.Get(marker)
				if err != nil {
					return err
				}
				if known != nil {
					continue
				}
				batch.Counters = append(batch.Counters, engine.Counter{
					Key: tagKey(visit.Site, tag), IdempotencyKey: marker, IdempotencyValue: strconv.AppendInt(nil, visit.At.UnixMilli(), 10),
				})
				// Her next session says that it is not the first time.
				change.Add(policy.KindUserID, vendor, visit.UserID)
			}
		}
		return nil
	})
	if err != nil || len(batch.Counters) == 0 {
		return err
	}
	return s.commit(ctx, vendor, batch, change)
}

// recordActivity notes when readers were last there, and keeps them in the order
// of that. It changes no decision and no session, so it bumps nothing.
func (s *Store) recordActivity(ctx context.Context, vendor string, visits []Visit) error {
	batch := &engine.Batch{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		*batch = engine.Batch{}
		places := make([][]byte, len(visits))
		for i, visit := range visits {
			places[i] = visitorKey(visit.Site, visit.UserID)
		}
		if err := prefetch(snapshot, places...); err != nil {
			return err
		}
		for _, visit := range visits {
			place := visitorKey(visit.Site, visit.UserID)
			stored, err := snapshot.Get(place)
			if err != nil {
				return err
			}
			if stored != nil {
				seen, err := readMoment(stored)
				if err != nil {
					return err
				}
				if visit.At.Sub(seen) < ActivityStep {
					continue
				}
				batch.Deletes = append(batch.Deletes, recentKey(visit.Site, visit.UserID, seen))
			}
			expires := visit.At.Add(ActivityKept)
			batch.Checks = append(batch.Checks, engine.Check{Key: place, Value: slices.Clone(stored)})
			batch.Puts = append(batch.Puts,
				engine.Put{Key: place, Value: strconv.AppendInt(nil, visit.At.UnixMilli(), 10), Expires: expires},
				engine.Put{Key: recentKey(visit.Site, visit.UserID, visit.At), Value: []byte{1}, Expires: expires})
		}
		return nil
	})
	if err != nil || len(batch.Puts) == 0 {
		return err
	}
	_, err = s.engine.Commit(ctx, vendor, batch)
	if _, failed := errors.AsType[*engine.CheckError](err); failed {
		return ErrConflict
	}
	return err
}

// recordable says whether a reader's id can be part of a key. Those of tokens can;
// another handler of the server may know readers by whatever it likes.
func recordable(userID string) bool {
	return userID != "" && checkText("user", userID, maxUserID) == nil
}

const maxUserID = 255

func readMoment(stored []byte) (time.Time, error) {
	ms, err := strconv.ParseInt(string(stored), 10, 64)
	return time.UnixMilli(ms).UTC(), err
}

// FirstEngaged implements policy.SessionSource.
func (s *Store) FirstEngaged(ctx context.Context, vendor, site, userID string, tags []string) (map[string]time.Time, error) {
	first := make(map[string]time.Time, len(tags))
	if !recordable(userID) {
		return first, nil
	}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		markers := make([][]byte, len(tags))
		for i, tag := range tags {
			markers[i] = markerKey(site, userID, tag)
		}
		if err := prefetch(snapshot, markers...); err != nil {
			return err
		}
		for _, tag := range tags {
			stored, err := snapshot.Get(markerKey(site, userID, tag))
			if err != nil {
				return err
			}
			if stored == nil {
				continue
			}
			at, err := readMoment(stored)
			if err != nil {
				return err
			}
			first[tag] = at
		}
		return nil
	})
	return first, err
}

// Engagement is how many readers ever had to do with a tag.
type Engagement struct {
	Tag   string
	Count int64
}

// Engagements lists the tags of a site in their order.
func (s *Store) Engagements(ctx context.Context, vendor, site string) ([]Engagement, error) {
	var list []Engagement
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		prefix := engagementPrefix(kindTag, site)
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return err
			}
			place := slices.Clone(entry.Key)
			count, err := snapshot.Count(place)
			if err != nil {
				return err
			}
			list = append(list, Engagement{Tag: string(place[len(prefix):]), Count: count})
		}
		return nil
	})
	return list, err
}

// Visitor is a reader who was at a site.
type Visitor struct {
	UserID string
	// Seen is when she was last there, to ActivityStep.
	Seen time.Time
	// Tags are what she ever had to do with, in their order; filled in by
	// Visitors only when asked for.
	Tags []string
}

// VisitorPage says which visitors are meant.
type VisitorPage struct {
	// Since leaves out who was not there from then on; zero is ActivityKept.
	Since time.Time
	// Skip and Limit cut a part out of the list.
	Skip, Limit int
	// Tags fills in what they had to do with.
	Tags bool
}

// Visitors lists the readers who were at a site, the last one first, and says how
// many there are: 100,000 stands for that many or more.
func (s *Store) Visitors(ctx context.Context, vendor, site string, page VisitorPage) (list []Visitor, count int, err error) {
	since := s.now().Add(-ActivityKept)
	if page.Since.After(since) {
		since = page.Since
	}
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		list, count = nil, 0
		prefix := engagementPrefix(kindRecent, site)
		for entry, err := range snapshot.Scan(prefix, nil) {
			if err != nil {
				return err
			}
			rest := entry.Key[len(prefix):]
			seen := time.UnixMilli(int64(^binary.BigEndian.Uint64(rest))).UTC()
			if seen.Before(since) || count == maxVisitors {
				return nil
			}
			if count >= page.Skip && len(list) < page.Limit {
				list = append(list, Visitor{UserID: string(rest[8:]), Seen: seen})
			}
			count++
		}
		return nil
	})
	if err == nil && page.Tags {
		err = s.addTags(ctx, vendor, site, list)
	}
	return list, count, err
}

func (s *Store) addTags(ctx context.Context, vendor, site string, list []Visitor) error {
	return s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		for i := range list {
			list[i].Tags = nil
			prefix := append(engagementPrefix(kindMarker, site), list[i].UserID...)
			prefix = append(prefix, 0)
			for entry, err := range snapshot.Scan(prefix, nil) {
				if err != nil {
					return err
				}
				list[i].Tags = append(list[i].Tags, string(entry.Key[len(prefix):]))
			}
		}
		return nil
	})
}
