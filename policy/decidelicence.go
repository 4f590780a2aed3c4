package policy

import (
	"context"
	"slices"
	"strings"
)

// licensed are the site licences that cover the reader of a request, at any time.
type licensed struct {
	byDomain, byAddress []*licence
	matched             bool
}

func (l *licensed) none() bool { return len(l.byDomain)+len(l.byAddress) == 0 }

// match finds the licences of a request, once.
func (t *licenceTable) match(r *Request) {
	found := &r.licensed
	if found.matched {
		return
	}
	found.matched = true
	if !r.Reader.Anonymous() && r.Reader.Email != "" {
		found.byDomain = t.ofEmail(r.Reader.Email)
	}
	if r.Client != nil && len(t.ranges.networks) > 0 {
		found.byAddress = t.ranges.containing(r.Client.ClientAddress())
	}
}

// decideByLicence decides by the site licences that cover the reader, after every step of
// the rule has denied and one of them for want of a sku: it tries the steps again, with what
// the licences give. It changes nothing if the answer is the same.
func (p *Policy) decideByLicence(ctx context.Context, r *Request, rule *compiledRule, decision *Decision) {
	if p.overrides != nil && p.overrides.Grants {
		return // a hypothetical reader has no client, and depends on no record
	}
	question := &r.question
	table, err := p.siteLicences(ctx, r.Site.Vendor)
	if err != nil {
		decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, err, question.Now
		return
	}
	if table.empty() {
		return
	}
	if table.match(r); r.licensed.none() {
		return
	}
	question.answer = answer{until: question.answer.until}
	question.licensed = &r.licensed
	reason := rule.try(question)
	question.licensed = nil
	decision.Until = earliest(question.answer.until, never)
	switch {
	case reason.Allows():
		decision.Reason, decision.Demand = reason, Demand{}
		decision.take(&question.answer)
	case question.err != nil:
		decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, question.err, question.Now
	}
}

// take sets what the tests of the steps add to the decision.
func (d *Decision) take(a *answer) {
	d.SKU, d.Grant, d.Licence, d.Crawler = a.sku, a.grant, a.licence, a.crawler
	if a.demanded {
		d.Demand = a.demand
	}
}

// licenceGives reports whether a site licence that covers the reader gives a sku: of several,
// one by the reader's domain before one by the client's address, and then the one that ends
// last.
func (q *Question) licenceGives(sku string) bool {
	for by, list := range [...][]*licence{LicenceDomain: q.licensed.byDomain, LicenceAddress: q.licensed.byAddress} {
		var best *licence
		for _, l := range list {
			if _, has := slices.BinarySearch(l.skus, sku); !has {
				continue
			}
			switch {
			case q.Now < l.from:
				q.answer.until = earliest(q.answer.until, l.from)
			case q.Now < l.to && (best == nil || l.to > best.to || l.to == best.to && l.grant < best.grant):
				best = l
			}
		}
		if best != nil {
			q.answer.until = earliest(q.answer.until, best.to)
			q.answer.sku, q.answer.grant, q.answer.licence = sku, best.grant, LicenceBy(by) //nolint:gosec // G115: of three
			return true
		}
	}
	return false
}

// Contract returns the contract that gives the reader the page, or false if none does.
func (d *Decision) Contract() (id string, ok bool) { return strings.CutPrefix(d.Grant, ContractOrigin) }

// EachContract calls yield with the contracts that give the reader of a decided request
// anything at its moment, each once, until yield returns false. Of site licences it knows
// only if the decision asked for them.
func (r *Request) EachContract(yield func(id string) bool) {
	if r.licensed.none() && r.records.None() {
		return
	}
	now, more := r.Now.UnixMilli(), true
	var space [8]string
	seen := space[:0]
	offer := func(grant string) {
		id, ok := strings.CutPrefix(grant, ContractOrigin)
		if ok && more && !slices.Contains(seen, id) {
			seen = append(seen, id)
			more = yield(id)
		}
	}
	for _, list := range [...][]*licence{r.licensed.byDomain, r.licensed.byAddress} {
		for _, l := range list {
			if l.current(now) {
				offer(l.grant)
			}
		}
	}
	r.records.Each(now, func(_, grant string, _, _ int64) bool {
		offer(grant)
		return more
	})
}

// try applies the steps of a rule in order, up to the first that allows, and returns the
// reason of the last that it applied.
func (s *compiledSteps) try(q *Question) (reason Reason) {
	for _, step := range s.steps {
		if reason = q.test(step); reason.Allows() {
			break
		}
	}
	return reason
}
