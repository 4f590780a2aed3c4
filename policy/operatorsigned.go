package policy

func init() {
	RegisterOperator(Operator{Code: 2, Name: "signed", Words: oneWord("agreement"), Records: true, Compile: compileSigned})
}

// signedTest allows a reader who signed the current version of an agreement. No other
// reader is allowed, and none if the agreement does not exist.
type signedTest struct{ agreement template }

// defaultAgreement is DjaoApp's.
const defaultAgreement = "terms-of-use"

func compileSigned(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.only("agreement"); err != nil {
		return nil, err
	}
	agreement, err := arguments.template("agreement", captures)
	if err != nil {
		return nil, err
	}
	if agreement == (template{}) {
		agreement.text = defaultAgreement
	}
	return signedTest{agreement}, checkSlugs("agreement", agreement)
}

func (t signedTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	agreement := t.agreement.resolve(q.rule, q.segments)
	q.demand(Demand{Agreement: agreement})
	signedAt, signed := q.records.signedAt(agreement)
	if signed {
		if updatedAt, ok := q.agreement(agreement); ok && signedAt >= updatedAt {
			return ReasonAuthenticated
		}
	}
	return ReasonAgreementRequired
}
