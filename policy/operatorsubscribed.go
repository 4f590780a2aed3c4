package policy

import "errors"

func init() {
	RegisterOperator(Operator{Code: 15, Name: "subscribed", Words: words("plan"), Entitlements: true, Compile: compileSubscribed})
}

// subscribedTest is DjaoApp's fail_paid_subscription for readers who subscribe
// themselves: a plan is a sku. The profile, if the rule has one, must be the reader.
type subscribedTest struct {
	plans   []template // if empty, any grant will do
	profile template
}

func compileSubscribed(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.only("plan", "profile", "brokers"); err != nil {
		return nil, err
	}
	if brokers, err := arguments.list("brokers"); err != nil || len(brokers) > 0 {
		return nil, errors.New("brokers are accounts, which Gatefold does not have: leave them out")
	}
	profile, err := arguments.template("profile", captures)
	if err != nil {
		return nil, err
	}
	plans, err := arguments.templates("plan", "plan", captures)
	if err != nil {
		return nil, err
	}
	return &subscribedTest{plans: plans, profile: profile}, nil
}

func (t *subscribedTest) Test(q *Question) Reason {
	switch {
	case q.Reader.Anonymous():
		return ReasonLoginRequired
	case t.profile != (template{}) && t.profile.resolve(q.rule, q.segments) != q.Reader.UserID:
		return ReasonNotEntitled
	case len(t.plans) == 0:
		return anyGrant(q)
	default:
		return q.grantedAny(t.plans)
	}
}

// anyGrant allows a reader who has any current grant.
func anyGrant(q *Question) Reason {
	reason := ReasonNotEntitled
	q.Entitlements.Each(q.Now, func(sku, grant string, _, _ int64) bool {
		q.answer.sku, q.answer.grant = sku, grant
		reason = ReasonEntitled
		return false
	})
	q.answer.until = earliest(q.answer.until, q.Entitlements.NextChange(q.Now))
	return reason
}
