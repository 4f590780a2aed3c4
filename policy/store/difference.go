package store

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Difference is what a partition would be after an older copy took its place.
type Difference struct {
	Partition string `json:"partition"`
	// Reopened is the number of revoked links that would open again, and Undenied that of
	// the publishers' keys that are denied and would be trusted again.
	Reopened int `json:"revokedLinksThatOpenAgain,omitempty"`
	Undenied int `json:"deniedKeysTrustedAgain,omitempty"`
	// Links is the number of counted links whose uses go back, and Uses by how many in all.
	Links int   `json:"linksWhoseUsesGoBack,omitempty"`
	Uses  int64 `json:"usesForgotten,omitempty"`
	// Kinds are the kinds of records that differ, by name.
	Kinds []KindDifference `json:"records,omitempty"`
}

// KindDifference is how the records of one kind differ.
type KindDifference struct {
	Kind string `json:"kind"`
	// Back is the number of records that were removed and would be there again, Lost that of
	// records that would not be there any more, and Changed that of those with other content.
	Back    int `json:"back,omitempty"`
	Lost    int `json:"lost,omitempty"`
	Changed int `json:"changed,omitempty"`
}

// Differences returns what would change if the records of next took the place of those of
// current: the partitions that differ, in order. Entries that the sweep may remove at now
// and bookkeeping are not compared.
func Differences(ctx context.Context, current, next engine.Dumper, now time.Time) ([]Difference, error) {
	partitions := map[string]bool{}
	for _, side := range []engine.Dumper{current, next} {
		names, err := side.Partitions(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			partitions[name] = true
		}
	}
	var found []Difference
	for _, partition := range slices.Sorted(maps.Keys(partitions)) {
		d := differing{Difference: Difference{Partition: partition}, kinds: map[string]*KindDifference{}}
		if err := d.compare(ctx, current, next, now); err != nil {
			return nil, fmt.Errorf("comparing partition %s: %w", partition, err)
		}
		for _, name := range slices.Sorted(maps.Keys(d.kinds)) {
			d.Kinds = append(d.Kinds, *d.kinds[name])
		}
		if d.Reopened+d.Undenied+d.Links+len(d.Kinds) > 0 {
			found = append(found, d.Difference)
		}
	}
	return found, nil
}

type differing struct {
	Difference
	kinds map[string]*KindDifference
}

// compare walks both sides in the order of their keys.
func (d *differing) compare(ctx context.Context, current, next engine.Dumper, now time.Time) error {
	was, will := dumping{from: current}, dumping{from: next}
	a, err := was.next(ctx, d.Partition, now)
	if err != nil {
		return err
	}
	b, err := will.next(ctx, d.Partition, now)
	for err == nil && (a != nil || b != nil) {
		var order int
		switch {
		case a == nil:
			order = 1
		case b == nil:
			order = -1
		default:
			order = bytes.Compare(a.Key, b.Key)
		}
		switch {
		case order < 0:
			err = d.note(a.Key, a.Value, nil)
		case order > 0:
			err = d.note(b.Key, nil, b.Value)
		case !bytes.Equal(a.Value, b.Value):
			err = d.note(a.Key, a.Value, b.Value)
		}
		if err == nil && order <= 0 {
			a, err = was.next(ctx, d.Partition, now)
		}
		if err == nil && order >= 0 {
			b, err = will.next(ctx, d.Partition, now)
		}
	}
	return err
}

// dumping reads the entries of a side, page by page.
type dumping struct {
	from  engine.Dumper
	page  []engine.Put
	after []byte
	ended bool
}

// next returns the next entry that did not expire, nil at the end.
func (s *dumping) next(ctx context.Context, partition string, now time.Time) (*engine.Put, error) {
	for {
		if len(s.page) == 0 {
			if s.ended {
				return nil, nil
			}
			var err error
			if s.page, err = s.from.Dump(ctx, partition, s.after, copyPage); err != nil {
				return nil, err
			}
			if s.ended = len(s.page) < copyPage; len(s.page) == 0 {
				continue
			}
			s.after = s.page[len(s.page)-1].Key
		}
		entry := &s.page[0]
		s.page = s.page[1:]
		if entry.Expires.IsZero() || entry.Expires.After(now) {
			return entry, nil
		}
	}
}

// note counts an entry that differs; one that a side does not have is nil there.
func (d *differing) note(k, was, will []byte) error {
	switch k[0] {
	case prefixUses:
		return d.noteUses(was, will)
	case prefixRevocation:
		if will == nil {
			d.Reopened++
		}
		return nil
	case prefixDeniedKey:
		if will == nil {
			d.Undenied++
		}
		return nil
	}
	kind, known := auditKinds[k[0]]
	if !known || kind.unaudited || kind.text != "" || kind.summary || kind.name == "" {
		return nil
	}
	at := d.kinds[kind.name]
	if at == nil {
		at = &KindDifference{Kind: kind.name}
		d.kinds[kind.name] = at
	}
	switch {
	case was == nil:
		at.Back++
	case will == nil:
		at.Lost++
	default:
		at.Changed++
	}
	return nil
}

func (d *differing) noteUses(was, will []byte) error {
	var before, after int64
	var err error
	if was != nil {
		before, err = engine.DecodeCounter(was)
	}
	if err == nil && will != nil {
		after, err = engine.DecodeCounter(will)
	}
	if err == nil && after < before {
		d.Links++
		d.Uses += before - after
	}
	return err
}
