package linkwatch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxRefusedLinks bounds the links whose refusals are buffered, and maxRefusals the
	// entries of each: together at most 2 MB.
	maxRefusedLinks = 1024
	maxRefusals     = 16
	// maxExpired bounds the expired tokens whose signatures are verified in one interval.
	maxExpired = 64
	// historyEvery is how often a node writes the history of a link.
	historyEvery = time.Minute
)

// expiredToken is a token of a link that was refused because it has expired, before its
// signature was verified.
type expiredToken struct {
	vendor, issuer, token string
	keys                  policy.KeySource
	event                 store.LinkEvent
}

// refusals buffers refusals by link.
type refusals struct {
	mu      sync.Mutex
	links   map[Link][]store.LinkEvent
	expired []expiredToken
	// written are the links whose history was written in the current period.
	written map[Link]struct{}
	period  time.Time

	counts counts
}

func (r *refusals) init() {
	r.links, r.written = make(map[Link][]store.LinkEvent), make(map[Link]struct{})
}

// counts are the counters behind Counts.
type counts struct{ stored, dropped, lost atomic.Uint64 }

func (c *counts) read() Counts {
	return Counts{Stored: c.stored.Load(), Dropped: c.dropped.Load(), Lost: c.lost.Load()}
}

func refusal(reason string, visitor policy.Visitor, at time.Time) store.LinkEvent {
	return store.LinkEvent{Kind: store.LinkRefused, Reason: reason, Visitor: visitor, Since: at, At: at, Count: 1}
}

// Refused buffers the refusal of a link whose token was verified. It does not block.
func (w *Watch) Refused(link Link, reason string, visitor policy.Visitor, at time.Time) {
	w.refusals.add(link, refusal(reason, visitor, at))
}

func (r *refusals) add(link Link, event store.LinkEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	events, known := r.links[link]
	if !known {
		if len(r.links) >= maxRefusedLinks {
			r.counts.dropped.Add(1)
			return
		}
		link.ID = strings.Clone(link.ID) // it may be a part of a longer string
	}
	r.links[link] = store.AddLinkEvent(events, event, maxRefusals)
}

// Expired buffers the refusal of a vendor's link that has expired. Its signature is
// verified before the refusal is written.
func (w *Watch) Expired(vendor, issuer, token string, source policy.KeySource, visitor policy.Visitor, at time.Time) {
	r := &w.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.expired) >= maxExpired {
		r.counts.dropped.Add(1)
		return
	}
	r.expired = append(r.expired, expiredToken{vendor, issuer, strings.Clone(token), source, refusal(policy.ReasonLinkExpired.String(), visitor, at)})
}

// verifyExpired adds the refusals of expired links whose signatures are valid.
func (w *Watch) verifyExpired() {
	r := &w.refusals
	r.mu.Lock()
	expired := r.expired
	r.expired = nil
	r.mu.Unlock()
	for _, refused := range expired {
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		set, err := refused.keys.KeySet(ctx)
		cancel()
		if err != nil {
			r.counts.lost.Add(1)
			continue
		}
		if id, err := keys.VerifyExpiredLink(refused.token, refused.issuer, set); err == nil {
			r.add(Link{refused.vendor, refused.issuer, id}, refused.event)
		}
	}
}

// take returns the refusals to write: those of links whose history was not written in
// this period, or all.
func (r *refusals) take(now time.Time, all bool) map[Link][]store.LinkEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	if period := now.Truncate(historyEvery); !period.Equal(r.period) {
		r.period = period
		clear(r.written)
	}
	taken := make(map[Link][]store.LinkEvent)
	for link, events := range r.links {
		if _, written := r.written[link]; written && !all {
			continue
		}
		if len(r.written) >= maxRefusedLinks && !all {
			break // the others wait for the next period
		}
		taken[link] = events
		r.written[link] = struct{}{}
		delete(r.links, link)
	}
	return taken
}

func (w *Watch) flushRefusals(all bool) (failure error) {
	w.verifyExpired()
	for link, events := range w.refusals.take(w.options.Now(), all) {
		var number uint64
		for _, event := range events {
			number += uint64(event.Count) //nolint:gosec // G115: above zero
		}
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		err := w.options.Store.RecordLinkEvents(ctx, link.Vendor, link.Issuer, link.ID, events)
		cancel()
		switch {
		case err == nil, errors.Is(err, store.ErrNotFound): // a link without a record has no history
			w.refusals.counts.stored.Add(number)
		default:
			w.refusals.counts.lost.Add(number)
			failure = err
		}
	}
	return failure
}
