package policy

import "errors"

func init() {
	RegisterOperator(Operator{Code: NoCode, Name: "self", Words: words("user"), Compile: compileSelf})
}

// selfTest allows the reader whose user id the page names.
type selfTest struct{ user template }

func compileSelf(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.only("user"); err != nil {
		return nil, err
	}
	user, err := arguments.template("user", captures)
	switch {
	case err != nil:
		return nil, err
	case user == template{}:
		return nil, errors.New("the user must be captured by the path as {user}, or be the argument user")
	}
	return selfTest{user}, nil
}

func (t selfTest) Test(q *Question) Reason {
	switch {
	case q.Reader.Anonymous():
		return ReasonLoginRequired
	case t.user.resolve(q.rule, q.segments) == q.Reader.UserID:
		return ReasonAuthenticated
	default:
		return ReasonNotEntitled
	}
}
