package policy

import (
	"errors"
	"fmt"
	"slices"
)

// refusals say of DjaoApp's operators that are not here what it is that they ask
// for and nobody here can know. A rule that names one is refused: a made-up answer
// would let the wrong readers in, or keep the right ones out.
var refusals = map[string]string{
	"2":  "asks whether the reader signed an agreement, and agreements are not kept here",
	"3":  roles,
	"4":  roles,
	"5":  roles,
	"6":  roles,
	"7":  roles,
	"8":  roles,
	"9":  roles,
	"10": roles,
	"11": roles,
	"12": rolesOrSelf,
	"13": rolesOrSelf,
	"14": rolesOrSelf,
	"16": "asks whether the reader was ever subscribed, and a grant that ended is forgotten after 30 days; 15 asks whether she is",
	"17": "asks whether the reader has a password and a second factor, which only her issuer knows",
	"18": roles,
}

const (
	roles       = "asks which role the reader has on an account, and roles and accounts are not kept here: grant those readers a sku, and use entitled"
	rolesOrSelf = "asks whether the page is the reader's own, or which role she has on an account, and roles are not kept here: use self for the one, or entitled for the other"
)

// ownPageTest passes the reader whose own page it is.
type ownPageTest struct{ user template }

func compileSelf(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.allow("user"); err != nil {
		return nil, err
	}
	user, err := arguments.template("user", captures)
	switch {
	case err != nil:
		return nil, err
	case user == template{}:
		return nil, errors.New("whose page it is must be captured by the path as {user}, or be its argument user")
	}
	return ownPageTest{user}, nil
}

func (t ownPageTest) Test(q *Question) Reason {
	switch {
	case q.Reader.Anonymous():
		return ReasonLoginRequired
	case t.user.resolve(q.rule, q.segments) == q.Reader.UserID:
		return ReasonAuthenticated
	default:
		return ReasonNotEntitled
	}
}

// subscribedTest is DjaoApp's fail_paid_subscription, of readers who have their
// subscriptions themselves: a plan is a sku, and whoever pays for it is granted
// it. The profile, where the rule has one, is the reader's own.
type subscribedTest struct {
	plans   []template // none: any will do
	profile template
}

func compileSubscribed(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.allow("plan", "profile", "brokers"); err != nil {
		return nil, err
	}
	if brokers, err := arguments.list("brokers"); err != nil || len(brokers) > 0 {
		return nil, errors.New("brokers are accounts, and accounts are not kept here: leave them out")
	}
	profile, err := arguments.template("profile", captures)
	if err != nil {
		return nil, err
	}
	plans, err := arguments.list("plan")
	if err != nil {
		return nil, err
	}
	if len(plans) > maxSKUs {
		return nil, fmt.Errorf("it takes at most %d plans", maxSKUs)
	}
	test := &subscribedTest{profile: profile}
	for _, plan := range plans {
		parsed, err := parseArgument(plan, captures)
		if err != nil {
			return nil, err
		}
		test.plans = append(test.plans, parsed)
	}
	if len(plans) == 0 && slices.Contains(captures, "plan") {
		test.plans = []template{{text: "plan", param: true}}
	}
	return test, nil
}

func (t *subscribedTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	if t.profile != (template{}) && t.profile.resolve(q.rule, q.segments) != q.Reader.UserID {
		return ReasonNotEntitled
	}
	if len(t.plans) == 0 {
		return anyGrant(q)
	}
	for _, within := range [...]bool{false, true} {
		for _, plan := range t.plans {
			if q.Granted(plan.resolve(q.rule, q.segments), within) {
				return ReasonEntitled
			}
		}
	}
	return ReasonNotEntitled
}

// anyGrant passes a reader who was granted anything.
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

// template returns an argument that is a text, or else the capture of its name;
// the zero value where there is neither.
func (a Arguments) template(name string, captures []string) (template, error) {
	text, ok, err := a.text(name)
	if err != nil {
		return template{}, err
	}
	if ok {
		return parseArgument(text, captures)
	}
	if slices.Contains(captures, name) {
		return template{text: name, param: true}, nil
	}
	return template{}, nil
}
