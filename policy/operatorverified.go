package policy

import (
	"fmt"
	"slices"
	"strings"
)

func init() {
	RegisterOperator(Operator{Code: 17, Name: "verified", Words: words("amr"), Records: true, Compile: compileVerified})
}

// verifiedTest allows a reader whose e-mail is verified by a credential that is verified
// now. If the rule or a role of the reader asks for a second factor, the credential must
// state one.
type verifiedTest struct{ acr, amr []string }

// secondFactors are the methods (RFC 8176, section 2) of which a credential must state
// one, if a role asks for a second factor and the rule does not say which.
var secondFactors = []string{"mfa", "otp", "hwk", "sc"}

func compileVerified(arguments Arguments, _ []string) (Test, error) {
	if err := arguments.only("acr", "amr"); err != nil {
		return nil, err
	}
	test := new(verifiedTest)
	for name, list := range map[string]*[]string{"acr": &test.acr, "amr": &test.amr} {
		var err error
		if *list, err = arguments.list(name); err != nil {
			return nil, err
		}
		if len(*list) > maxSKUs || slices.ContainsFunc(*list, func(text string) bool { return text == "" || strings.ContainsAny(text, " {}") }) {
			return nil, fmt.Errorf("the argument %s must be at most %d texts without spaces and braces, such as mfa", name, maxSKUs)
		}
	}
	return test, nil
}

func (t *verifiedTest) Test(q *Question) Reason {
	switch {
	case q.Reader.Anonymous():
		return ReasonLoginRequired
	case q.Reader.Email == "" || !t.authenticated(q):
		return ReasonVerifyRequired
	default:
		return ReasonAuthenticated
	}
}

func (t *verifiedTest) authenticated(q *Question) bool {
	if len(t.acr) > 0 && !slices.Contains(t.acr, q.Reader.ACR) {
		return false
	}
	if len(t.amr) > 0 {
		return hasMethod(q.Reader.AMR, t.amr)
	}
	return len(t.acr) > 0 || hasMethod(q.Reader.AMR, secondFactors) || !q.requiresSecondFactor()
}

// requiresSecondFactor reports whether a role of the reader that counts asks for a
// second factor.
func (q *Question) requiresSecondFactor() bool {
	for i := range q.records.roles.n {
		role := q.records.role(i)
		if role.flags&roleSecondFactor != 0 && role.counts(q.Now) {
			q.demand(Demand{Profile: role.profile, Role: role.kind})
			q.holdsUntil(role.endsAt)
			return true
		}
	}
	return false
}

// hasMethod reports whether methods, separated by spaces, contain one of a list.
func hasMethod(methods string, list []string) bool {
	for methods != "" {
		var method string
		method, methods, _ = strings.Cut(methods, " ")
		if slices.Contains(list, method) {
			return true
		}
	}
	return false
}
