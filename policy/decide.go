package policy

import "context"

// Decide decides a request: it refuses what no rule can allow, finds the rule of each
// reading of the path, asks for links only where a link may open the page, and applies
// the rule's steps. Nothing else in the program combines these. It is safe for
// concurrent use, each call with a Request of its own.
//
// Decide writes nothing: a decision that is Pending holds only once Redeem has
// written it. A path with several readings is allowed only if it is allowed under
// each; the decision is then that of the strictest reading. A failure is part of the
// decision: a store that cannot be read gives store_unavailable.
func (p *Policy) Decide(ctx context.Context, r *Request) (decision Decision) {
	p.decide(ctx, r, &decision)
	if p.checkDue() {
		p.selfCheck(ctx, r)
	}
	return decision
}

// decide is Decide without a self-check. The decision must be the zero value; it is a
// parameter because copying one is slow.
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
		if r.Links != nil && r.linkMayOpen() {
			r.Link, r.Links = r.Links.LinkEvidence(), nil
		}
		p.decideReadings(ctx, r, decision)
	}
	// A page that the configuration makes public needs no record. Any other decision
	// needs caches that are fresh enough.
	if decision.Public() && r.Site.Rules != nil {
		return
	}
	if err := p.Fresh(r.Site.Vendor, r.Now); err != nil {
		*decision = Decision{Reason: ReasonStoreUnavailable, Err: err}
	}
}

// match finds the rule of each reading of the path.
func (p *Policy) match(ctx context.Context, r *Request) error {
	rules := r.Site.Rules
	if rules == nil {
		var err error
		if rules, err = p.Ruleset(ctx, r.Site.Vendor, r.Site.Name); err != nil {
			return unavailable(err)
		}
	}
	r.rules = rules
	r.matches = r.one[:0]
	for _, segments := range r.path.Readings() {
		r.matches = append(r.matches, rules.match(r.method, segments))
	}
	return nil
}

// linkMayOpen reports whether a matched rule has a step that accepts links.
func (r *Request) linkMayOpen() bool {
	for _, rule := range r.matches {
		if rule != nil && rule.linkTest != nil {
			return true
		}
	}
	return false
}

// decideReadings decides a matched request under each reading of its path.
func (p *Policy) decideReadings(ctx context.Context, r *Request, strictest *Decision) {
	readings := r.path.Readings()
	if len(readings) == 1 {
		p.decideReading(ctx, r, r.matches[0], readings[0], strictest)
		return
	}
	until := int64(never)
	for i, segments := range readings {
		var decision Decision
		p.decideReading(ctx, r, r.matches[i], segments, &decision)
		until = min(until, decision.Until)
		if i == 0 || strictness(&decision) > strictness(strictest) {
			*strictest = decision
		}
	}
	strictest.Until = until
}

// strictness orders decisions by what they require. A denial is the strictest, and a
// link that must be spent is stricter than one that was redeemed before: otherwise
// the use that one reading needs would not be counted.
func strictness(d *Decision) int {
	switch {
	case !d.Allow():
		return 5
	case d.Link.Spend:
		return 4
	case d.Reason == ReasonSignedLink:
		return 3
	case d.Reason == ReasonEntitled:
		return 2
	case d.Reason == ReasonAuthenticated:
		return 1
	default:
		return 0
	}
}

// decideReading decides one reading of the path. The decision must be the zero value.
//
// The rule's steps are tried in order, and the first that allows decides. If none
// does, the last step's denial counts, unless a step could not be answered: then the
// decision is store_unavailable.
func (p *Policy) decideReading(ctx context.Context, r *Request, rule *compiledRule, segments []string, decision *Decision) {
	decision.Until = never
	if rule == nil {
		decision.Reason = ReasonNoRule
		return
	}
	decision.Rule, decision.rule, decision.segments = &rule.Rule, rule, segments
	question := &r.question
	question.ask(ctx, p, r, rule, segments)
	if rule.entitlements && !r.Reader.Anonymous() {
		if err := p.loadEntitlements(ctx, r); err != nil {
			decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, err, question.Now
			return
		}
		question.Entitlements = r.entitlements
	}
	for _, step := range rule.steps {
		if decision.Reason = step.Test(question); decision.Allow() {
			break
		}
	}
	if question.err != nil && !decision.Allow() {
		decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, question.err, question.Now
		return
	}
	decision.SKU, decision.Grant = question.answer.sku, question.answer.grant
	decision.Until = earliest(question.answer.until, never)
	if decision.Reason == ReasonLoginRequired {
		decision.Reason = anonymousReason(&r.Reader)
	}
	if !decision.Allow() && rule.linkTest != nil {
		p.decideByLink(ctx, r, decision)
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
	default:
		return ReasonLoginRequired
	}
}
