package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

const (
	// ActivityKept is how long the time of a reader's last visit is kept.
	ActivityKept = 90 * 24 * time.Hour
	// ActivityStep is the precision of that time: a reader's visits cause one write
	// in each step.
	ActivityStep = 5 * time.Minute
	// MaxVisits is the maximum number of visits of one RecordVisits.
	MaxVisits = 500
	// maxVisitors bounds the visitors that one call reads.
	maxVisitors = 100_000
)

// Visit records a reader's request and the tags of the rule that matched.
type Visit struct {
	Site, UserID string
	At           time.Time
	Tags         []string
}

// RecordVisits records at most MaxVisits visits of a vendor's readers. It writes only
// what is not recorded yet.
func (s *Store) RecordVisits(ctx context.Context, vendor string, visits []Visit) error {
	if len(visits) > MaxVisits {
		return &FieldError{"visits", "are too many at once"}
	}
	if err := s.recordTags(ctx, vendor, visits); err != nil {
		return err
	}
	err := s.recordActivity(ctx, vendor, visits)
	for range 3 { // another node may have recorded the same readers
		if !errors.Is(err, ErrConflict) {
			break
		}
		err = s.recordActivity(ctx, vendor, visits)
	}
	return err
}

// recordTags counts the readers of each tag. The idempotency key of the counter is a
// marker, by which a reader is counted once.
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
		if err := engine.Prefetch(snapshot, markers...); err != nil {
			return err
		}
		for _, visit := range visits {
			for _, tag := range visit.Tags {
				marker := markerKey(visit.Site, visit.UserID, tag)
				counted, err := snapshot.Get(marker)
				if err != nil {
					return err
				}
				if counted != nil {
					continue
				}
				batch.Counters = append(batch.Counters, engine.Counter{
					Key: tagKey(visit.Site, tag), IdempotencyKey: marker, IdempotencyValue: strconv.AppendInt(nil, visit.At.UnixMilli(), 10),
				})
				// The reader's session says whether a tag is new to them.
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

// recordActivity records the time of each reader's last visit, and an index by that
// time. Neither is part of a decision or a session, so no version is bumped.
func (s *Store) recordActivity(ctx context.Context, vendor string, visits []Visit) error {
	batch := &engine.Batch{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		*batch = engine.Batch{}
		places := make([][]byte, len(visits))
		for i, visit := range visits {
			places[i] = visitorKey(visit.Site, visit.UserID)
		}
		if err := engine.Prefetch(snapshot, places...); err != nil {
			return err
		}
		for _, visit := range visits {
			place := visitorKey(visit.Site, visit.UserID)
			stored, err := snapshot.Get(place)
			if err != nil {
				return err
			}
			if stored != nil {
				seen, err := parseMilli(stored)
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
	return conflict(err)
}

// recordable reports whether a reader's id can be part of a key. The ids in tokens
// can; those of other handlers may not.
func recordable(userID string) bool {
	return userID != "" && checkText("user", userID, maxUserID) == nil
}

const maxUserID = 255

func parseMilli(stored []byte) (time.Time, error) {
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
		if err := engine.Prefetch(snapshot, markers...); err != nil {
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
			at, err := parseMilli(stored)
			if err != nil {
				return err
			}
			first[tag] = at
		}
		return nil
	})
	return first, err
}

// Engagement is the number of readers of a tag.
type Engagement struct {
	Tag   string
	Count int64
}

// Engagements lists the tags of a site, by name.
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

// Visitor is a reader who visited a site.
type Visitor struct {
	UserID string
	// Seen is the time of the last visit, with the precision of ActivityStep.
	Seen time.Time
	// Tags are the tags of all visits, by name. Visitors sets them only on request.
	Tags []string
}

// VisitorPage selects visitors.
type VisitorPage struct {
	// Since excludes readers whose last visit is earlier. Default: ActivityKept ago.
	Since time.Time
	// Skip and Limit select a part of the list.
	Skip, Limit int
	// Tags requests Visitor.Tags.
	Tags bool
}

// Visitors lists the readers who visited a site, the latest first. Count is their
// number, at most 100,000.
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
			prefix := keyPrefix(prefixEngagement, kindMarker+site, list[i].UserID)
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
