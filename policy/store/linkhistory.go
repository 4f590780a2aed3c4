package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// The kinds of entries in a link's history.
const (
	LinkConfirmed = "confirmed"
	LinkRefused   = "refused"
	LinkRefunded  = "refunded"
)

// The reasons of refunds. Those of refusals are the reasons of the decisions.
const (
	RefundNotDelivered    = "not_delivered"
	RefundNotAcknowledged = "not_acknowledged"
)

// LinkEvent is an entry of a link's history: a use, or what happened to readers who
// got no page. Those of one kind, reason, country and agent are counted together.
type LinkEvent struct {
	// ID is unique in the history of the link.
	ID   string `json:"-"`
	Kind string `json:"kind"`
	// Reason is why a use was refused or refunded.
	Reason string `json:"reason,omitempty"`
	policy.Visitor
	// Since is the time of the first, At that of the last.
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`
	Count int64     `json:"count"`

	Number int64 `json:"number"` // the ID in the record
}

// like reports whether two entries can be counted together.
func (e *LinkEvent) like(other *LinkEvent) bool {
	return e.Kind == other.Kind && e.Reason == other.Reason && e.Visitor == other.Visitor
}

// include counts an entry together with another.
func (e *LinkEvent) include(other *LinkEvent) {
	e.Count += other.Count
	if other.Since.Before(e.Since) {
		e.Since = other.Since
	}
	if other.At.After(e.At) {
		e.At = other.At
	}
}

// MaxLinkEvents bounds the entries of a link's history besides its uses: a record of at
// most 16 KiB.
const MaxLinkEvents = 64

// linkEventPrecision is the time within which entries are counted together.
const linkEventPrecision = time.Minute

// AddLinkEvent adds an entry to others, which are in the order of their times, oldest
// first. Entries of one minute are counted together. When there are too many,
// older ones are counted together, whatever their times, and an entry without another
// of its kind is dropped: a flood of refusals, which are alike, displaces no other entry.
func AddLinkEvent(events []LinkEvent, event LinkEvent, limit int) []LinkEvent {
	for i := len(events) - 1; i >= 0; i-- {
		old := &events[i]
		if old.like(&event) && event.At.Truncate(linkEventPrecision).Equal(old.At.Truncate(linkEventPrecision)) {
			old.include(&event)
			return events
		}
	}
	place := len(events)
	for place > 0 && events[place-1].At.After(event.At) {
		place--
	}
	events = slices.Insert(events, place, event)
	if len(events) <= limit {
		return events
	}
	for i := range events {
		for j := i + 1; j < len(events); j++ {
			if events[j].like(&events[i]) {
				events[j].include(&events[i])
				return slices.Delete(events, i, i+1)
			}
		}
	}
	return slices.Delete(events, 0, 1)
}

// linkHistory is the record of a link's history.
type linkHistory struct {
	Events []LinkEvent `json:"events"`
	// Last is the number of the newest entry.
	Last int64 `json:"last"`
}

func (h *linkHistory) add(event LinkEvent) {
	event.Number = h.Last + 1
	h.Last = event.Number
	h.Events = AddLinkEvent(h.Events, event, MaxLinkEvents)
}

// historyTries bounds how often a record is read again that other nodes change.
const historyTries = 5

// RecordLinkEvents adds entries to the history of a link. It returns ErrNotFound when
// there is no such link. The history expires with the link.
func (s *Store) RecordLinkEvents(ctx context.Context, vendor, issuer, id string, events []LinkEvent) (err error) {
	for range historyTries {
		if err = s.recordLinkEvents(ctx, vendor, issuer, id, events); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

func (s *Store) recordLinkEvents(ctx context.Context, vendor, issuer, id string, events []LinkEvent) error {
	var link SignedLink
	var history linkHistory
	var before []byte
	k := key(prefixHistory, issuer, id)
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) (err error) {
		linkAt := key(prefixLink, issuer, id)
		if err := engine.Prefetch(snapshot, linkAt, k); err != nil {
			return err
		}
		if _, err := getIn(snapshot, linkAt, &link); err != nil {
			return err
		}
		before, err = readHistory(snapshot, k, &history)
		return err
	})
	if err != nil {
		return err
	}
	for _, event := range events {
		history.add(event)
	}
	put, err := history.put(k, linkRetention(link.Claims.ExpiresAt))
	if err != nil {
		return err
	}
	_, err = s.engine.Commit(ctx, vendor, &engine.Batch{
		Checks: []engine.Check{{Key: k, Value: before}, {Key: key(prefixLink, issuer, id), Present: true}}, Puts: []engine.Put{put},
	})
	return conflict(err)
}

// readHistory reads a history, which may be absent, and returns its stored bytes.
func readHistory(snapshot engine.Snapshot, k []byte, history *linkHistory) ([]byte, error) {
	*history = linkHistory{}
	stored, err := getIn(snapshot, k, history)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return stored, err
}

func (h *linkHistory) put(k []byte, expires time.Time) (engine.Put, error) {
	stored, err := encode(h)
	return engine.Put{Key: k, Value: stored, Expires: expires}, err
}

// useValue returns the value of a use: its time and, each behind a space, the class of the
// program and the country, if they are known.
func useValue(at time.Time, visitor policy.Visitor) []byte {
	value := at.UTC().AppendFormat(nil, time.RFC3339Nano)
	if visitor.Agent == "" {
		return value
	}
	value = append(append(value, ' '), visitor.Agent...)
	if visitor.Country != "" {
		value = append(append(value, ' '), visitor.Country...)
	}
	return value
}

// readUse reads the value of a use.
func readUse(marker, value []byte) (at time.Time, visitor policy.Visitor, err error) {
	text, rest, _ := strings.Cut(string(value), " ")
	if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return at, visitor, fmt.Errorf("the use %q of a link cannot be read: %w", marker, err)
	}
	visitor.Agent, visitor.Country, _ = strings.Cut(rest, " ")
	return at, visitor, nil
}

// eventID begins the ids of refusals and refunds in a listing. No id of a use
// begins with it.
const eventID = "."

// useIDDigits is the length of the id of a use that no device counts: 12 bytes in base64url.
const useIDDigits = 16

// IsLinkEventID reports whether a text has the form of the ids in the history of a link.
func IsLinkEventID(id string) bool {
	if number, ok := strings.CutPrefix(id, eventID); ok {
		n, err := strconv.ParseInt(number, 10, 64)
		return err == nil && n >= 0
	}
	if strings.HasPrefix(id, "device:") {
		return true
	}
	_, err := base64.RawURLEncoding.DecodeString(id)
	return err == nil && len(id) == useIDDigits
}

// LinkEvents returns a page of the history of a link: first refusals and refunds, the
// newest first, then its uses, by id. It returns ErrNotFound when there is no such link.
func (s *Store) LinkEvents(ctx context.Context, vendor, issuer, id string, page Page) ([]LinkEvent, error) {
	list := []LinkEvent{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		list = list[:0]
		k := key(prefixHistory, issuer, id)
		if err := engine.Prefetch(snapshot, key(prefixLink, issuer, id), k); err != nil {
			return err
		}
		link, err := snapshot.Get(key(prefixLink, issuer, id))
		switch {
		case err != nil:
			return err
		case link == nil:
			return ErrNotFound
		}
		number, others := strings.CutPrefix(page.From, eventID)
		if page.From == "" || others {
			var history linkHistory
			if _, err := readHistory(snapshot, k, &history); err != nil {
				return err
			}
			list = history.page(number, page.limit())
			page.From = ""
		}
		list, err = appendUses(snapshot, keyPrefix(prefixUse, issuer, id), page.From, page.limit(), list)
		return err
	})
	return list, err
}

// page returns the entries after the one with a number, the newest first.
func (h *linkHistory) page(after string, limit int) []LinkEvent {
	list := []LinkEvent{}
	last, err := strconv.ParseInt(after, 10, 64)
	if err != nil {
		last = h.Last + 1
	}
	slices.SortFunc(h.Events, func(a, b LinkEvent) int { return int(b.Number - a.Number) })
	for _, event := range h.Events {
		if event.Number < last && len(list) < limit {
			event.ID = eventID + strconv.FormatInt(event.Number, 10)
			list = append(list, event)
		}
	}
	return list
}

// appendUses appends uses to a list until it has as many entries as a page.
func appendUses(snapshot engine.Snapshot, prefix []byte, from string, limit int, list []LinkEvent) ([]LinkEvent, error) {
	if len(list) >= limit {
		return list, nil
	}
	var after []byte
	if from != "" {
		after = append(bytes.Clone(prefix), from...)
	}
	for entry, err := range snapshot.Scan(prefix, after) {
		if err != nil {
			return nil, err
		}
		at, visitor, err := readUse(entry.Key, entry.Value)
		if err != nil {
			return nil, err
		}
		list = append(list, LinkEvent{ID: string(entry.Key[len(prefix):]), Kind: LinkConfirmed, Visitor: visitor, Since: at, At: at, Count: 1})
		if len(list) == limit {
			break
		}
	}
	return list, nil
}
