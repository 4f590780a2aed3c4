package policy

func init() {
	RegisterOperator(Operator{Code: 0, Name: "any", Compile: func(arguments Arguments, _ []string) (Test, error) {
		return anyTest{}, arguments.only()
	}})
	RegisterOperator(Operator{Code: 1, Name: "authenticated", Words: authenticatedWords, Compile: compileAuthenticated})
}

// anyTest allows every request.
type anyTest struct{}

func (anyTest) Test(*Question) Reason { return ReasonPublic }

// authenticatedTest allows every identified reader.
type authenticatedTest struct{}

func (authenticatedTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	return ReasonAuthenticated
}
