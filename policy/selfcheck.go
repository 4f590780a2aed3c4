package policy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// selfCheckEvery: one decision of so many is checked.
	selfCheckEvery = 10_000
	// doubtSettles is how long a difference may last: the time between the
	// commit of a write and its versions, which on another node come by the
	// change feed.
	doubtSettles = time.Minute
	// maxDoubts bounds the differences that are being watched.
	maxDoubts = 16
)

// checkDue chooses one decision of selfCheckEvery. It counts in parts, so that
// processors seldom wait for one another.
func (p *Policy) checkDue() bool {
	return p.readers != nil && p.counts.decisions.Add()%p.checkEvery == 0
}

// selfChecks compares what memory says with what the store says.
//
// A difference alone is no fault: a write may have been committed and not yet
// been announced, and until then the old answer stands. It is one if no write
// was announced some time later either, which the versions tell.
type selfChecks struct {
	checked, failed atomic.Uint64

	mu     sync.Mutex
	doubts []doubt
}

// doubt is a difference that nothing explains so far.
type doubt struct {
	since time.Time
	// stamp is the sum of all versions that the decision depends on; was is
	// what it was before the decision.
	stamp func() uint64
	was   uint64
}

// SelfChecks says how many decisions made from memory were made again from the
// store, and in how many of them the two differed for no reason, which must be
// none. A difference counts a minute after it was seen. It is safe for
// concurrent use.
func (p *Policy) SelfChecks() (checked, failed uint64) {
	p.checks.settle(p.now())
	return p.checks.checked.Load(), p.checks.failed.Load()
}

// selfCheck makes a decision twice more, from memory and with nothing from
// memory but the rules, and compares.
func (p *Policy) selfCheck(ctx context.Context, r *Request) {
	p.checks.settle(p.now())
	stamp := p.Stamp(ctx, r)
	was := stamp()
	remembered := p.repeat(ctx, r)
	read := p.uncached().repeat(ctx, r)
	if remembered.Reason == ReasonStoreUnavailable || read.Reason == ReasonStoreUnavailable {
		return
	}
	p.checks.checked.Add(1)
	if !sameAnswer(&remembered, &read) && stamp() == was {
		p.checks.watch(doubt{since: p.now(), stamp: stamp, was: was})
	}
}

// repeat decides a request again, with nothing that the request itself keeps.
func (p *Policy) repeat(ctx context.Context, r *Request) Decision {
	again := *r
	again.Links, again.entitlements, again.loaded, again.judged = nil, nil, false, false
	var decision Decision
	p.decide(ctx, &again, &decision)
	return decision
}

// sameAnswer says whether two decisions are the same in all that they tell.
func sameAnswer(a, b *Decision) bool {
	return a.Reason == b.Reason && a.SKU == b.SKU && a.Grant == b.Grant && a.Link == b.Link && a.Until == b.Until
}

// Stamp returns what sums the versions of all that a decision is made from: where
// the sum is the same, nothing was written that could change it. It keeps nothing of
// the request, whose memory is used again.
func (p *Policy) Stamp(ctx context.Context, r *Request) func() uint64 {
	vendor, reader := r.Site.Vendor, r.Reader
	links := make([]linkKey, 0, len(r.Link.Redeemed)+1)
	for _, pass := range r.Link.Redeemed {
		links = append(links, linkKey{vendor, pass.Issuer, pass.ID})
	}
	if r.Link.Token != "" {
		claims := p.judgeLink(ctx, r).claims
		links = append(links, linkKey{vendor, claims.Issuer, claims.ID})
	}
	return func() uint64 {
		sum := p.versions.Reader(vendor, &reader)
		for _, link := range links {
			sum += p.versions.Link(link.vendor, link.issuer, link.id)
		}
		return sum
	}
}

// uncached returns a policy over the same records that keeps nothing but whom the
// vendors trust.
func (p *Policy) uncached() *Policy {
	return &Policy{records: p.records, versions: p.versions, operators: p.operators, now: p.now, fresh: p.fresh, domains: p.domains}
}

func (c *selfChecks) watch(d doubt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.doubts) < maxDoubts {
		c.doubts = append(c.doubts, d)
	}
}

// settle drops the doubts that a write explains, and counts those that nothing
// explained in time.
func (c *selfChecks) settle(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.doubts[:0]
	for _, d := range c.doubts {
		switch {
		case d.stamp() != d.was:
		case now.Sub(d.since) >= doubtSettles:
			c.failed.Add(1)
		default:
			kept = append(kept, d)
		}
	}
	clear(c.doubts[len(kept):])
	c.doubts = kept
}
