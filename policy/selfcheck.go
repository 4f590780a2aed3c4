package policy

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// selfCheckEvery is the default of Options.SelfCheckEvery.
	selfCheckEvery = 10_000
	// mismatchGrace is the time in which an invalidation can follow the commit of its
	// write. On another node it arrives by the change feed.
	mismatchGrace = time.Minute
	// maxMismatches bounds the mismatches that are watched.
	maxMismatches = 16
)

// checkDue reports whether the current decision is to be checked.
func (p *Policy) checkDue() bool {
	return p.readers != nil && p.counts.decisions.Add()%p.checkEvery == 0
}

// selfChecks compares decisions from memory with decisions from the store.
//
// A mismatch alone is no failure: the invalidation of a committed write may be under
// way. It is a failure if the versions have not changed after mismatchGrace.
type selfChecks struct {
	checked, failed atomic.Uint64

	mu         sync.Mutex
	mismatches []mismatch
}

// mismatch is a difference that no write explains so far.
type mismatch struct {
	since time.Time
	// stamp returns the sum of the versions that the decision depends on; was is its
	// value before the decision.
	stamp func() uint64
	was   uint64
}

// SelfChecks returns how many decisions from memory were compared with the store, and
// how many of them differed although no record had changed, which must be none. A
// mismatch counts as failed after a minute. SelfChecks is safe for concurrent use.
func (p *Policy) SelfChecks() (checked, failed uint64) {
	p.checks.settle(p.now())
	return p.checks.checked.Load(), p.checks.failed.Load()
}

// selfCheck decides a request again from memory, and without any cache but the rules,
// and compares the two.
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
		p.checks.watch(mismatch{since: p.now(), stamp: stamp, was: was})
	}
}

// repeat decides a request again, without the results that the request holds.
func (p *Policy) repeat(ctx context.Context, r *Request) Decision {
	again := *r
	again.Links, again.entitlements, again.judged = nil, nil, false
	if r.rules != nil {
		// The same rules: they are no cache, and reading ten thousand is slow.
		site := *r.Site
		site.Rules, again.Site = r.rules, &site
	}
	var decision Decision
	p.decide(ctx, &again, &decision)
	return decision
}

// sameAnswer reports whether two decisions are equal.
func sameAnswer(a, b *Decision) bool {
	return a.Reason == b.Reason && a.SKU == b.SKU && a.Grant == b.Grant && a.Link == b.Link && a.Until == b.Until
}

// Stamp returns a function that sums the versions on which the decision of a request
// depends: while the sum is the same, no write has changed the decision. The function
// does not retain the request.
func (p *Policy) Stamp(ctx context.Context, r *Request) func() uint64 {
	vendor, reader := r.Site.Vendor, r.Reader
	links := make([]linkKey, 0, len(r.Link.Redeemed)+1)
	for _, link := range r.Link.Redeemed {
		links = append(links, linkKey{vendor, link.Issuer, link.ID})
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

// uncached returns a policy over the same records that caches nothing but the trusted
// domains.
func (p *Policy) uncached() *Policy {
	return &Policy{records: p.records, versions: p.versions, operators: p.operators, now: p.now, fresh: p.fresh, domains: p.domains}
}

func (c *selfChecks) watch(m mismatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mismatches) < maxMismatches {
		c.mismatches = append(c.mismatches, m)
	}
}

// settle drops mismatches that a write explains, and counts those that none explained
// in time.
func (c *selfChecks) settle(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mismatches = slices.DeleteFunc(c.mismatches, func(m mismatch) bool {
		if m.stamp() != m.was {
			return true
		}
		late := now.Sub(m.since) >= mismatchGrace
		if late {
			c.failed.Add(1)
		}
		return late
	})
}
