package policy

import "context"

// selfCheckEvery is how many decisions pass between two that are checked.
const selfCheckEvery = 10_000

// selfCheck makes a decision again, with nothing from memory but the rules, and
// compares. It counts a difference only if nothing was written in between.
func (p *Policy) selfCheck(ctx context.Context, r *Request, decision Decision) {
	if decision.Reason == ReasonStoreUnavailable {
		return
	}
	before := p.stampOf(r, &decision)
	uncached := p.uncached()
	again := *r
	again.entitlements, again.loaded, again.judged = nil, false, false
	repeated := uncached.decide(ctx, &again)
	if repeated.Reason == ReasonStoreUnavailable || p.stampOf(r, &decision) != before {
		return
	}
	p.selfChecks.Add(1)
	if repeated.Reason != decision.Reason || repeated.Grant != decision.Grant || repeated.Link != decision.Link {
		p.selfCheckFailures.Add(1)
	}
}

// stampOf sums the versions of all that the decision was made from.
func (p *Policy) stampOf(r *Request, decision *Decision) uint64 {
	stamp := p.versions.Reader(r.Site.Vendor, &r.Reader)
	if decision.Link.ID != "" {
		stamp += p.versions.Link(r.Site.Vendor, decision.Link.Issuer, decision.Link.ID)
	}
	for _, pass := range r.Link.Passes {
		stamp += p.versions.Link(r.Site.Vendor, pass.Issuer, pass.ID)
	}
	return stamp
}

// uncached returns a policy over the same records that keeps nothing.
func (p *Policy) uncached() *Policy {
	return &Policy{records: p.records, versions: p.versions, operators: p.operators, now: p.now}
}
