package policy

import (
	"context"
	"errors"
)

// Decide decides a request: it refuses what no rule can allow, finds the rules that the
// path can match, asks for links only where a link may open the page, and applies
// the rule's steps. Nothing else in the program combines these. It is safe for
// concurrent use, each call with a Request of its own.
//
// Decide writes nothing: a decision that is Pending holds only once Redeem has
// written it. A path can match several rules: in several readings (see Path), exactly and
// without regard to case, as received and as rewritten before the gate. It is allowed
// only if it is allowed under each match; the decision is then that of the strictest. A
// failure is part of the
// decision: a store that cannot be read gives store_unavailable.
func (p *Policy) Decide(ctx context.Context, r *Request) (decision Decision) {
	p.DecideTo(ctx, r, &decision)
	return decision
}

// DecideTo is Decide, and writes to a decision of the caller, which must be the zero value:
// copying one is slow.
func (p *Policy) DecideTo(ctx context.Context, r *Request, decision *Decision) {
	p.decide(ctx, r, decision)
	if p.checkDue() {
		p.selfCheck(ctx, r)
	}
}

// decide is DecideTo without a self-check.
func (p *Policy) decide(ctx context.Context, r *Request, decision *Decision) {
	if reason, err := r.refuse(); reason != ReasonNone {
		decision.Reason, decision.Err = reason, err
		return
	}
	if r.Preflight {
		// A preflight has no credentials and gets no content.
		decision.Reason = ReasonPreflight
	} else if err := p.match(ctx, r); err != nil {
		decision.Reason, decision.Err = ReasonStoreUnavailable, err
	} else {
		r.keepToSpace()
		if r.Links != nil && r.linkMayOpen() {
			r.Link, r.Links = r.Links.LinkEvidence(), nil
		}
		p.decideMatches(ctx, r, decision)
	}
	// A page that the configuration makes public needs no record, and neither does a
	// method that its rules do not name. Any other decision needs caches that are fresh
	// enough.
	if (decision.Public() || decision.Reason == ReasonBadMethod) && r.Site.Rules != nil {
		return
	}
	p.decideStale(r, decision)
}

// match finds the rules that the path matches.
func (p *Policy) match(ctx context.Context, r *Request) error {
	rules := r.Site.Rules
	if rules == nil {
		var err error
		if rules, err = p.Ruleset(ctx, r.Site.Vendor, r.Site.Name); err != nil {
			return unavailable(err)
		}
	}
	r.rules, r.matches = rules, r.few[:0]
	if r.current == nil || r.Site.Paths.Judge != CurrentForm {
		r.matchForm(&r.path, false)
	}
	if r.current != nil {
		r.matchForm(r.current, true)
	}
	return nil
}

// matchForm finds the rules of one form of the path. A reading has several if names
// without regard to case, or without the extension of a page, give other ones.
func (r *Request) matchForm(path *Path, rewritten bool) {
	rules := r.rules.forMethod(r.method)
	exactly := r.Site.Paths.CaseSensitive || rules.ownFold(path)
	for _, segments := range path.Readings() {
		exact := rules.match(r.method, segments)
		r.matches = append(r.matches, match{rule: exact, segments: segments, rewritten: rewritten})
		folded := exact
		if !exactly {
			folded = rules.matchFolded(r.method, segments, exact)
		}
		if folded != exact {
			r.matches = append(r.matches, match{rule: folded, segments: segments, rewritten: rewritten, folded: true})
		}
		if path.extension {
			r.matchPages(rules, match{rule: folded, segments: segments, rewritten: rewritten, folded: !r.Site.Paths.CaseSensitive})
		}
	}
}

// linkMayOpen reports whether a matched rule has a step that accepts links.
func (r *Request) linkMayOpen() bool {
	for i := range r.matches {
		if rule := r.matches[i].rule; rule != nil && rule.linkTest != nil {
			return true
		}
	}
	return false
}

// decideMatches decides a request under each match of its path.
func (p *Policy) decideMatches(ctx context.Context, r *Request, strictest *Decision) {
	if len(r.matches) == 1 {
		p.decideMatch(ctx, r, &r.matches[0], strictest)
		return
	}
	until, spent := int64(never), LinkUse{}
	var metered *MeterUse
	for i := range r.matches {
		var decision Decision
		p.decideMatch(ctx, r, &r.matches[i], &decision)
		until = min(until, decision.Until)
		if use := &decision.Link; decision.Allow() && use.Spend {
			if spent.Spend && (use.Issuer != spent.Issuer || use.ID != spent.ID) {
				decision.Reason, decision.Err = ReasonBadPath, errTwoLinks
			}
			spent = *use
		}
		if use := decision.Meter; decision.Allow() && use != nil {
			if metered != nil && !sameView(use, metered) {
				decision.Reason, decision.Err = ReasonBadPath, errTwoMeters
			}
			metered = use
		}
		if i == 0 || strictness(&decision) > strictness(strictest) {
			*strictest = decision
		}
	}
	strictest.Until = until
}

// errTwoLinks is the error of a path whose readings are opened by different links, each with
// a use to be counted: one request counts one.
var errTwoLinks = errors.New("the path can be read as pages of two links, each of which would spend a use: open the page by one of them")

// strictness orders decisions by what they require. A denial is the strictest, and a
// link that must be written is stricter than one that was redeemed before: otherwise
// the use that one reading needs would not be counted, or its record not be kept.
func strictness(d *Decision) int {
	switch {
	case !d.Allow():
		return 7
	case d.Link.Spend:
		return 6
	case d.Link.First:
		return 5
	case d.Meter != nil:
		return 4
	case d.Reason == ReasonSignedLink:
		return 3
	case d.Reason == ReasonEntitled, d.Reason == ReasonRole, d.Reason == ReasonAddress, d.Reason == ReasonCrawler:
		return 2
	case d.Reason == ReasonAuthenticated:
		return 1
	default:
		return 0
	}
}

// decideMatch decides a request under one match. The decision must be the zero value.
//
// The rule's steps are tried in order, and the first that allows decides. If none
// does, the last step's denial counts, unless a step could not be answered: then the
// decision is store_unavailable.
func (p *Policy) decideMatch(ctx context.Context, r *Request, under *match, decision *Decision) {
	decision.Until, decision.Rewritten = never, under.rewritten
	rule := under.rule
	if rule == nil {
		decision.Reason = ReasonNoRule
		if !isCommon(r.method) {
			decision.Reason = ReasonBadMethod
		}
		return
	}
	decision.Rule, decision.rule, decision.segments = &rule.Rule, rule, under.segments
	question := &r.question
	question.ask(ctx, p, r, rule, under.segments)
	if rule.records && !r.Reader.Anonymous() {
		if err := p.loadRecords(ctx, r); err != nil {
			decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, err, question.Now
			return
		}
		question.Entitlements = &r.records.Entitlements
	}
	for _, step := range rule.steps {
		if decision.Reason = question.test(step); decision.Allow() {
			break
		}
	}
	if question.err != nil && !decision.Allow() {
		decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, question.err, question.Now
		return
	}
	decision.SKU, decision.Grant, decision.Crawler = question.answer.sku, question.answer.grant, question.answer.crawler
	if question.answer.demanded {
		decision.Demand = question.answer.demand
	}
	decision.Until = earliest(question.answer.until, never)
	if !decision.Allow() {
		p.decideOtherwise(ctx, r, rule, decision)
	}
}

// decideOtherwise decides a request that no step of the rule allows: by site licences, then by
// links, and then by meters, of which nothing is spent if anything else opens the page.
func (p *Policy) decideOtherwise(ctx context.Context, r *Request, rule *compiledRule, decision *Decision) {
	if r.question.wanting {
		if p.decideByLicence(ctx, r, rule, decision); decision.Allow() {
			return
		}
	}
	if decision.Reason == ReasonLoginRequired {
		decision.Reason, decision.Err = anonymousReason(&r.Reader), r.Reader.Failure
	}
	if decision.Reason == ReasonStepUpRequired {
		decision.Err = decision.Demand.Authentication().MetBy(&r.Reader, r.question.Now)
	}
	if rule.linkTest != nil {
		p.decideByLink(ctx, r, decision)
	}
	if !decision.Allow() {
		p.decideByMeter(r, rule, decision)
	}
}

// anonymousReason returns why a reader is anonymous: without a credential, with an
// invalid one, or with one that cannot be verified now.
func anonymousReason(reader *Reader) Reason {
	switch {
	case reader.NoKeys:
		return ReasonKeysUnavailable
	case reader.Unknown:
		return ReasonStoreUnavailable
	case reader.Rejected:
		return ReasonBadCredential
	case reader.Limited:
		return ReasonRateLimited
	default:
		return ReasonLoginRequired
	}
}
