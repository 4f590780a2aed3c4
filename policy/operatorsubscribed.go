package policy

import "errors"

func init() {
	for _, o := range [...]struct {
		code int
		name string
		ever bool
	}{{15, "subscribed", false}, {16, "was_subscribed", true}} {
		RegisterOperator(Operator{Code: o.code, Name: o.name, Words: words("plan"), Records: true, Compile: func(arguments Arguments, captures []string) (Test, error) {
			return compileSubscribed(o.ever, arguments, captures)
		}})
	}
}

// subscribedTest allows a reader with a role on a profile that is subscribed to one of
// the plans or, with ever, was. Without plans it accepts every plan, and without a profile
// every profile of the reader, and grants of a sku that has the plan's name.
type subscribedTest struct {
	access
	ever    bool
	profile template
	plans   []template
	// one reports whether the rule asks for one plan, which a reader can subscribe to.
	one bool
}

func compileSubscribed(ever bool, arguments Arguments, captures []string) (Test, error) {
	err := arguments.only("plan", "profile", "brokers")
	if err != nil {
		return nil, err
	}
	test := &subscribedTest{ever: ever}
	if test.profile, err = arguments.template("profile", captures); err != nil {
		return nil, err
	}
	if test.plans, err = arguments.templates("plan", "plan", captures); err != nil {
		return nil, err
	}
	raw := arguments["plan"]
	test.one = len(test.plans) == 1 && (len(raw) == 0 || raw[0] != '[')
	roleless := Arguments{}
	if brokers, ok := arguments["brokers"]; ok {
		roleless["brokers"] = brokers
	}
	test.access, err = compileAccess(normal, true, roleless, nil)
	return test, errors.Join(err, checkSlugs("profile", test.profile))
}

// anyRole accepts every role that counts: it is whether the reader belongs to a profile.
var anyRole = access{any: true}

func (t *subscribedTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	if q.records.roles.n > 0 && q.admittedByBroker(&t.access) {
		return ReasonRole
	}
	profile := t.profile.resolve(q.rule, q.segments)
	given := t.profile != template{}
	found := t.find(q, profile, given)
	if found == ReasonEntitled {
		return found
	}
	if !given && t.granted(q) {
		return ReasonEntitled
	}
	if q.records.roles.n > 0 {
		for _, plan := range t.plans {
			owner := q.plan(plan.resolve(q.rule, q.segments))
			if q.admittedOn(owner.provider(), &anyRole) {
				return ReasonRole
			}
		}
	}
	if found == ReasonBalanceDue {
		return found
	}
	demand := Demand{Profile: profile}
	if t.one {
		demand.Plan = t.plans[0].resolve(q.rule, q.segments)
	}
	if t.ever {
		if given && t.find(q, "", false) == ReasonEntitled {
			// Another profile of the reader has what this one lacks: there is nothing to buy.
			q.answer.sku, q.answer.grant = "", ""
			q.demand(Demand{Profile: profile})
			return ReasonNotEntitled
		}
		if priced := q.plan(demand.Plan); priced.notPriced() {
			demand.Plan = ""
		}
	}
	q.demand(demand)
	return ReasonNotSubscribed
}

// find returns ReasonEntitled if a subscription of the reader's profiles allows, after
// ReasonBalanceDue if one would but for the money that its profile owes, and ReasonNone
// otherwise.
func (t *subscribedTest) find(q *Question, profile string, given bool) (found Reason) {
	records := q.records
	first := 0
	if given {
		first = records.search(records.subscriptions, subscriptionRecord, profile)
	}
	for i := first; i < records.subscriptions.n; i++ {
		s := records.subscription(i)
		if given && s.profile != profile {
			break
		}
		if q.Now >= s.until || !t.ofPlan(q, s.plan) {
			continue
		}
		switch {
		case q.Now < s.from:
			q.holdsUntil(s.from)
		case t.ever:
			q.holdsUntil(s.until)
			return q.subscribed(&s)
		case q.Now >= s.to:
		case s.locked:
			found = ReasonBalanceDue
			q.demand(Demand{Profile: s.profile, Plan: s.plan})
			q.holdsUntil(min(s.until, s.to))
		default:
			q.holdsUntil(min(s.until, s.to))
			return q.subscribed(&s)
		}
	}
	return found
}

// subscribed sets the answer to a subscription.
func (q *Question) subscribed(s *packedSubscription) Reason {
	q.answer.sku, q.answer.grant = s.plan, s.grant
	q.demand(Demand{Profile: s.profile, Plan: s.plan})
	return ReasonEntitled
}

func (t *subscribedTest) ofPlan(q *Question, plan string) bool {
	for _, want := range t.plans {
		if want.resolve(q.rule, q.segments) == plan {
			return true
		}
	}
	return len(t.plans) == 0
}

// granted reports whether a grant gives the reader one of the plans, or anything if the
// rule names none.
func (t *subscribedTest) granted(q *Question) bool {
	if len(t.plans) == 0 {
		return anyGrant(q) == ReasonEntitled
	}
	return q.grantedAny(t.plans) == ReasonEntitled
}

// anyGrant allows a reader who has any current grant.
func anyGrant(q *Question) Reason {
	reason := ReasonNotEntitled
	q.Entitlements.Each(q.Now, func(sku, grant string, _, _ int64) bool {
		q.answer.sku, q.answer.grant = sku, grant
		reason = ReasonEntitled
		return false
	})
	q.holdsUntil(q.Entitlements.NextChange(q.Now))
	return reason
}
