package policy

import (
	"errors"
	"fmt"
)

// selfOperators are DjaoApp's operators about a user.
var selfOperators = [...]struct {
	code     int
	name     string
	strength strength
}{
	{12, "self_provider", normal},
	{13, "self_provider_weak", weak},
	{14, "self_provider_strong", strong},
}

func init() {
	for _, o := range selfOperators {
		takes := []string{"user"}
		operator := Operator{Code: o.code, Name: o.name, Records: true}
		if o.strength != strong {
			takes, operator.Words = append(takes, "roledescription"), words("roledescription")
		}
		operator.Compile = func(arguments Arguments, captures []string) (Test, error) {
			if err := arguments.only(takes...); err != nil {
				return nil, err
			}
			test := new(selfProviderTest)
			var err error
			test.user, err = arguments.template("user", captures)
			switch {
			case err != nil:
				return nil, err
			case test.user == template{}:
				return nil, errors.New("the user must be captured by the path as {user}, or be the argument user")
			case len(test.user.text) > maxUser:
				return nil, fmt.Errorf("the user must have at most %d bytes", maxUser)
			}
			test.access, err = compileAccess(o.strength, false, arguments, captures)
			return test, err
		}
		RegisterOperator(operator)
	}
}

// selfProviderTest allows a user on their own pages, and a reader with a role on the
// broker, on a profile on which the user has a role that counts, or on a provider of such
// a profile.
type selfProviderTest struct {
	access
	user template
}

func (t *selfProviderTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	user := t.user.resolve(q.rule, q.segments)
	switch {
	case user == q.Reader.UserID:
		return ReasonAuthenticated
	case q.records.roles.n > 0 && (q.admittedOn(q.vendor, &t.access) || q.admittedBeside(user, &t.access)):
		return ReasonRole
	default:
		return q.roleDenied(&t.access, "")
	}
}

// admittedBeside reports whether a role admits the reader that is on a profile of a
// user, or on a provider of one.
func (q *Question) admittedBeside(id string, a *access) bool {
	var user packedReader
	q.user(id, &user)
	return q.admittedBesideRoles(&user, a) || q.admittedByProvidersOf(&user, a)
}

// admittedBesideRoles reports whether a role admits the reader on a profile on which
// the user has a role that counts. It goes through the shorter list of roles and searches
// the other one.
func (q *Question) admittedBesideRoles(user *packedReader, a *access) bool {
	reader := q.records
	if user.roles.n > reader.roles.n {
		for i := range reader.roles.n {
			mine := reader.role(i)
			if until := user.roleUntil(mine.profile, q.Now); until != 0 && q.admits(a, &mine) {
				q.holdsUntil(until)
				return true
			}
		}
		return false
	}
	for i := range user.roles.n {
		if theirs := user.role(i); theirs.counts(q.Now) && q.admittedOn(theirs.profile, a) {
			q.holdsUntil(theirs.endsAt)
			return true
		}
	}
	return false
}

// admittedByProvidersOf reports whether a role admits the reader on a provider of a
// profile on which the user has a role that counts.
func (q *Question) admittedByProvidersOf(user *packedReader, a *access) bool {
	denied := "" // the provider that was looked at last
	for i := range user.subscriptions.n {
		at := user.byProvider(i)
		if provider := user.ref(at + 12); provider != denied {
			theirs := user.subscriptionAt(at)
			if q.Now < theirs.from {
				q.holdsUntil(theirs.from)
			}
			until := user.roleUntil(theirs.profile, q.Now)
			switch {
			case !theirs.active(q.Now) || until == 0:
			case q.admittedOn(provider, a):
				q.holdsUntil(min(until, theirs.to))
				return true
			default:
				denied = provider
			}
		}
	}
	return false
}
