package openstore

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// pageInvalidations carries to the other nodes of a shared store what unsafe requests made
// unusable here (RFC 9111, section 4.4): as purges, collected for a second. What collects
// meanwhile, or while the store is unreachable, is bounded: beyond store.MaxPurged names the
// site is purged. It is safe for concurrent use.
type pageInvalidations struct {
	purge  func(ctx context.Context, vendor string, purge *policy.PagePurge) error
	failed func(error)
	every  time.Duration

	failing bool // the last write failed; of run alone

	mu      sync.Mutex
	pending map[[2]string]*policy.PagePurge // by vendor and site
	wake    chan struct{}
	stopped chan struct{}
}

const (
	// invalidateEvery is how often invalidations are sent to the other nodes at most.
	invalidateEvery = time.Second
	// invalidateTimeout bounds the writes of them.
	invalidateTimeout = 5 * time.Second
)

// newPageInvalidations returns invalidations that are sent by purge until ctx ends, and then
// once more. Failed is called with the first error of purge after it worked, and what failed is tried again.
func newPageInvalidations(ctx context.Context, every time.Duration, purge func(context.Context, string, *policy.PagePurge) error, failed func(error)) *pageInvalidations {
	p := &pageInvalidations{
		purge: purge, failed: failed, every: every, pending: map[[2]string]*policy.PagePurge{},
		wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	go p.run(ctx)
	return p
}

// add adds what an unsafe request made unusable.
func (p *pageInvalidations) add(vendor string, purge *policy.PagePurge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.merge(vendor, purge)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// merge adds a purge to those that are pending. The caller holds mu.
func (p *pageInvalidations) merge(vendor string, purge *policy.PagePurge) {
	of := [2]string{vendor, purge.Site}
	all := p.pending[of]
	if all == nil {
		all = &policy.PagePurge{Site: purge.Site}
		p.pending[of] = all
	}
	if all.All || purge.All {
		*all = policy.PagePurge{Site: purge.Site, All: true}
		return
	}
	for _, path := range purge.Paths {
		if len(path) <= store.MaxPurgedText {
			all.Paths = addText(all.Paths, path)
		} else { // the page, and more, by a prefix that a purge can name
			all.Prefixes = addText(all.Prefixes, path[:max(strings.LastIndexByte(path[:store.MaxPurgedText], '/'), 1)])
		}
	}
	for _, prefix := range purge.Prefixes {
		all.Prefixes = addText(all.Prefixes, prefix)
	}
	for _, tag := range purge.Tags {
		if len(tag) <= store.MaxPurgedText { // no page has a longer one
			all.Tags = addText(all.Tags, tag)
		}
	}
	if len(all.Paths)+len(all.Prefixes)+len(all.Tags) > store.MaxPurged {
		*all = policy.PagePurge{Site: purge.Site, All: true}
	}
}

// addText adds a text to a short list, once.
func addText(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

func (p *pageInvalidations) run(ctx context.Context) {
	defer close(p.stopped)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-p.wake:
			p.send(ctx)
			timer := time.NewTimer(p.every)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}
	p.send(context.WithoutCancel(ctx))
}

// send writes what is pending. What could not be written is pending again.
func (p *pageInvalidations) send(ctx context.Context) {
	p.mu.Lock()
	pending := p.pending
	p.pending = map[[2]string]*policy.PagePurge{}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, invalidateTimeout)
	defer cancel()
	var failure error
	for of, purge := range pending {
		if err := p.purge(ctx, of[0], purge); err != nil {
			failure = err
			p.add(of[0], purge)
		}
	}
	if failure != nil && !p.failing {
		p.failed(failure)
	}
	p.failing = failure != nil
}

// close waits until the last of them are sent. The context of newPageInvalidations has ended.
func (p *pageInvalidations) close() { <-p.stopped }

// sendInvalidations sends what unsafe requests make unusable to the other nodes, if the store
// is shared.
func (s *Shared) sendInvalidations(ctx context.Context, vendor string, purge *policy.PagePurge) error {
	if s.Engine.Follower() == nil {
		return nil
	}
	return s.Store.InvalidatePages(ctx, vendor, purge)
}

// invalidationFailed logs that other nodes were not told what an unsafe request made unusable.
func invalidationFailed(err error) {
	caddy.Log().Named("gatefold").Warn("other nodes still use pages that a request changed; it is tried again", zap.Error(err))
}

// Purge purges pages of a vendor on this node at once, and on the others as soon as they
// hear of it.
func (s *Shared) Purge(vendor string, purge *policy.PagePurge) {
	var change policy.Invalidation
	change.AddPages(vendor, purge)
	s.Versions.Bump(change)
	if s.Engine.Follower() != nil {
		s.invalidations.add(vendor, purge)
	}
}
