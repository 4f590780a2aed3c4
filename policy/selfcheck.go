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
	again.Links, again.Meters, again.recordsLoaded, again.judged, again.licensed = nil, nil, false, false, licensed{}
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
	stripes := p.dependencies(ctx, r)
	return func() uint64 {
		sum := p.versions.Reader(vendor, &reader) + p.versions.sum(stripes)
		for _, link := range links {
			sum += p.versions.Link(link.vendor, link.issuer, link.id)
		}
		return sum
	}
}

// stripeList are stripes on which an answer depends.
type stripeList []uint16

// appendPacked adds the stripes of the profiles on which the packed records of a reader
// depend.
func (l *stripeList) appendPacked(text string) {
	for list, _ := packedStripes(text); len(list) >= 2; list = list[2:] {
		*l = append(*l, uint16(load16(list))) //nolint:gosec // it is of two bytes
	}
}

// dependsOn notes that the answer depends on the records of an identifier.
func (q *Question) dependsOn(kind Kind, id string) {
	if q.stripes != nil {
		*q.stripes = append(*q.stripes, Stripe(kind, q.vendor, id))
	}
}

// dependencies returns the stripes on which the decision of a request depends besides
// those of the reader's identifiers and links: of the reader's profiles, and of the
// profiles and users that its steps look up.
func (p *Policy) dependencies(ctx context.Context, r *Request) (list stripeList) {
	again := *r
	if !again.recordsLoaded && !r.Reader.Anonymous() && r.needsRecords() {
		// Without them the decision is store_unavailable, and depends on the store alone.
		if err := p.loadRecords(ctx, &again); err != nil {
			return nil
		}
	}
	list.appendPacked(again.records.text)
	for i := range again.matches {
		if under := &again.matches[i]; under.rule != nil && under.rule.records {
			question := &again.question
			question.ask(ctx, p, &again, under.rule, under.segments)
			question.Entitlements, question.stripes = &again.records.Entitlements, &list
			if !under.rule.try(question).Allows() && !again.licensed.none() {
				question.licensed = &again.licensed
				_ = under.rule.try(question)
				question.licensed = nil
			}
		}
	}
	return list
}

// needsRecords reports whether a matched rule needs the records of the reader.
func (r *Request) needsRecords() bool {
	return slices.ContainsFunc(r.matches, func(m match) bool { return m.rule != nil && m.rule.records })
}

// uncached returns a policy over the same records that caches nothing but the trusted
// domains and the site licences.
func (p *Policy) uncached() *Policy {
	return &Policy{records: p.records, versions: p.versions, operators: p.operators, now: p.now, fresh: p.fresh, silence: p.silence, domains: p.domains, licences: p.licences, overrides: p.overrides}
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
