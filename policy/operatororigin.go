package policy

import (
	"errors"
	"fmt"
	"net/http"
)

func init() {
	RegisterOperator(Operator{
		Code: NoCode, Name: OperatorOrigin, Records: true, Compile: compileOrigin,
		Words: func([]string) (Arguments, error) {
			return nil, errors.New("it takes no arguments: write the strict rule for pages about which the origin says nothing in its block, such as `default entitled premium`")
		},
	})
}

// OperatorOrigin is the name of the operator by which the origin says, in its response, what
// a page requires. ArgumentDefault is its argument: the step that decides without the
// response, as in ParseAllow.
const (
	OperatorOrigin  = "origin"
	ArgumentDefault = "default"
)

// originTest decides as the origin requires, see Request.Requirement, or as its default does.
type originTest struct{ test Test }

func compileOrigin(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.only(ArgumentDefault); err != nil {
		return nil, err
	}
	texts, err := arguments.strings()
	if err != nil {
		return nil, err
	}
	if texts[ArgumentDefault] == "" {
		return nil, errors.New("it needs the strict rule for pages about which the origin says nothing, such as `default entitled premium`")
	}
	allow, err := ParseAllow(texts[ArgumentDefault])
	if err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	operator, err := StandardOperators().Find(allow.Operator)
	if err != nil {
		return nil, fmt.Errorf("default: %w", err)
	}
	test, err := operator.Compile(allow.Arguments, captures)
	if err != nil {
		return nil, fmt.Errorf("default: %s: %w", operator.Name, err)
	}
	switch test.(type) {
	case anyTest, *originTest:
		return nil, fmt.Errorf("default: %s would open each page about which the origin says nothing: name the strictest rule, such as `default entitled premium`", operator.Name)
	}
	if _, meter := test.(*meterTest); meter {
		return nil, fmt.Errorf("default: %s is no strict rule: it gives pages to readers who have none", operator.Name)
	}
	return &originTest{test}, nil
}

// of returns the test that counts.
func (t *originTest) of(required *Requirement) Test {
	if required != nil {
		return required.test
	}
	return t.test
}

func (t *originTest) Test(q *Question) Reason { return t.of(q.required).Test(q) }

// misfit implements linkTest. A link opens what asks for a sku.
func (t *originTest) misfit(target *target, r *Request, rule *compiledRule, segments []string) string {
	if link, ok := t.of(r.Requirement).(linkTest); ok {
		return link.misfit(target, r, rule, segments)
	}
	return OperatorOrigin
}

// needs implements linkTest. It returns the skus of the default.
func (t *originTest) needs(rule *compiledRule, segments []string) []string {
	if link, ok := t.test.(linkTest); ok {
		return link.needs(rule, segments)
	}
	return nil
}

// content implements linkTest.
func (t *originTest) content(rule *compiledRule, segments []string, query string) content {
	if link, ok := t.test.(linkTest); ok {
		return link.content(rule, segments, query)
	}
	return content{}
}

// hasContent implements linkTest.
func (t *originTest) hasContent(rule *compiledRule) bool {
	link, ok := t.test.(linkTest)
	return ok && link.hasContent(rule)
}

// originStandsAlone refuses a rule in which another step could allow what the origin
// restricts.
func (s *compiledSteps) originStandsAlone() error {
	for _, step := range s.steps {
		if _, ok := step.(*originTest); !ok {
			continue
		}
		if len(s.steps) > 1 {
			return errors.New("origin must be the only step of its rule: another one would open what the origin restricts")
		}
		s.origin = true
	}
	return nil
}

// AsksOrigin reports whether the response of the origin decides: it does for GET and HEAD of
// pages whose rule is origin. It counts once Decide returned.
func (r *Request) AsksOrigin() bool {
	if r.method != http.MethodGet && r.method != http.MethodHead || r.Preflight {
		return false
	}
	for i := range r.matches {
		if rule := r.matches[i].rule; rule != nil && rule.origin {
			return true
		}
	}
	return false
}
