package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// NoCode is the code of an operator that DjaoApp does not have.
const NoCode = -1

// Operator is a kind of test that a rule can apply. Operators are looked up by
// name or by DjaoApp's code; the matcher knows none of them.
type Operator struct {
	// Code is DjaoApp's number for the operator, or NoCode.
	Code int
	Name string
	// Plain names the argument that stands for a rule's plain ones, where it is
	// written in words: a list if there are several. Empty: it takes none.
	Plain string
	// Entitlements says that the test asks what the reader was granted.
	Entitlements bool
	// Compile checks the arguments of a rule, and returns its test. Captures
	// are the names of the parameters that the rule's path captures.
	Compile func(arguments Arguments, captures []string) (Test, error)
}

// Test is an operator with a rule's arguments.
type Test interface {
	// Test says whether the reader passes: a reason that allows, or one that
	// denies.
	Test(*Question) Reason
}

// Question is what a test is asked: may this reader have this page.
type Question struct {
	Reader       *Reader
	Entitlements *Entitlements
	// Now is in Unix milliseconds.
	Now int64

	rule     *compiledRule
	segments []string
	// ctx, policy and vendor are for what has to be looked up.
	ctx    context.Context
	policy *Policy
	vendor string
	// answer is what the test found, besides the reason; err is why it could not
	// be found.
	answer answer
	err    error
	asked  bool
}

// ask makes the question that of a rule, whatever was asked before.
func (q *Question) ask(ctx context.Context, p *Policy, r *Request, rule *compiledRule, segments []string) {
	q.Reader, q.Now, q.rule, q.segments = &r.Reader, r.Now.UnixMilli(), rule, segments
	q.ctx, q.policy, q.vendor = ctx, p, r.Site.Vendor
	if q.asked {
		q.Entitlements, q.answer, q.err = nil, answer{}, nil
	}
	q.asked = true
}

// answer is what a test adds to a decision.
type answer struct {
	sku   string
	grant string
	until int64
}

// Param returns a parameter of the rule: its stored argument, or what the path
// captured.
func (q *Question) Param(name string) (string, bool) {
	return q.rule.param(name, q.segments)
}

// Granted says whether a grant gives the reader a sku, under its own name or, if
// within is set, as one that is in a collection. Where that cannot be read the
// answer is no, and the decision says why.
func (q *Question) Granted(sku string, within bool) bool {
	if !within {
		return q.granted(sku)
	}
	if q.err != nil || q.Entitlements.None() {
		return false
	}
	containers, err := q.policy.containersOf(q.ctx, q.vendor, sku, q.Now)
	if err != nil {
		q.err = err
		return false
	}
	return slices.ContainsFunc(containers, q.granted)
}

func (q *Question) granted(sku string) bool {
	grant, until, ok := q.Entitlements.Has(sku, q.Now)
	q.answer.until = earliest(q.answer.until, until)
	if ok {
		q.answer.sku, q.answer.grant = sku, grant
	}
	return ok
}

// Operators is a registry of operators. It is filled before it is used, and
// safe for concurrent use from then on.
type Operators struct {
	byName map[string]*Operator
}

// NewOperators returns a registry of the given operators. It panics when two
// share a name or a code: that is a mistake in the program.
func NewOperators(operators ...Operator) *Operators {
	registry := &Operators{byName: make(map[string]*Operator)}
	add := func(name string, operator *Operator) {
		if registry.byName[name] != nil {
			panic("policy: operator " + name + " is registered twice")
		}
		registry.byName[name] = operator
	}
	for _, operator := range operators {
		add(operator.Name, &operator)
		if operator.Code != NoCode {
			add(strconv.Itoa(operator.Code), &operator)
		}
	}
	return registry
}

// PlainArguments returns the arguments of a rule that is written in words. The
// error is ErrUnknownOperator, or says that the operator takes none.
func (o *Operators) PlainArguments(operator string, words []string) (Arguments, error) {
	found, err := o.Find(operator)
	switch {
	case err != nil:
		return nil, err
	case len(words) == 0:
		return nil, nil
	case found.Plain == "":
		return nil, fmt.Errorf("%s takes no arguments, such as a sku", found.Name)
	}
	var value any = words
	if len(words) == 1 && found.Plain != "sku" {
		value = words[0]
	}
	encoded, err := json.Marshal(value)
	return Arguments{found.Plain: encoded}, err
}

// ErrUnknownOperator is wrapped by the error for a rule whose operator is not
// in the registry.
var ErrUnknownOperator = errors.New("unknown operator")

// Find returns an operator by its name, or by its code in decimal. The error is
// ErrUnknownOperator, and names those that there are.
func (o *Operators) Find(operator string) (*Operator, error) {
	found := o.byName[operator]
	if why, known := refusals[operator]; found == nil && known {
		return nil, fmt.Errorf("%w %q: it %s", ErrUnknownOperator, operator, why)
	}
	if found == nil {
		return nil, fmt.Errorf("%w %q; known are %s", ErrUnknownOperator, operator, strings.Join(o.Names(), ", "))
	}
	return found, nil
}

// Names lists the operators' names in order.
func (o *Operators) Names() []string {
	var names []string
	for name, operator := range o.byName {
		if name == operator.Name {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// StandardOperators returns a registry of the operators that Gatefold has:
// any (0), authenticated (1), subscribed (15), entitled and self.
func StandardOperators() *Operators {
	return NewOperators(
		Operator{Code: 0, Name: "any", Compile: compileAny},
		Operator{Code: 1, Name: "authenticated", Compile: compileAuthenticated},
		Operator{Code: 15, Name: "subscribed", Plain: "plan", Entitlements: true, Compile: compileSubscribed},
		Operator{Code: NoCode, Name: "entitled", Plain: "sku", Entitlements: true, Compile: compileEntitled},
		Operator{Code: NoCode, Name: "self", Plain: "user", Compile: compileSelf},
	)
}

// anyTest passes everybody.
type anyTest struct{}

func compileAny(arguments Arguments, _ []string) (Test, error) {
	return anyTest{}, arguments.allow()
}

func (anyTest) Test(*Question) Reason { return ReasonPublic }

// authenticatedTest passes every reader whom we know.
type authenticatedTest struct{}

func compileAuthenticated(arguments Arguments, _ []string) (Test, error) {
	return authenticatedTest{}, arguments.allow()
}

func (authenticatedTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	return ReasonAuthenticated
}

// entitledTest passes a reader who was granted one of its skus.
type entitledTest struct {
	skus []template
	// content is the content id of the page, as a link may name it.
	content template
}

// template is an argument that may name a parameter.
type template struct {
	text  string
	param bool
}

func (t template) resolve(rule *compiledRule, segments []string) string {
	if !t.param {
		return t.text
	}
	value, _ := rule.param(t.text, segments)
	return value
}

func compileEntitled(arguments Arguments, captures []string) (Test, error) {
	if err := arguments.allow("sku", "publisherContentId"); err != nil {
		return nil, err
	}
	skus, err := arguments.list("sku")
	if err != nil {
		return nil, err
	}
	if len(skus) == 0 && slices.Contains(captures, "sku") {
		skus = []string{"{sku}"}
	}
	if len(skus) == 0 {
		return nil, errors.New("it needs at least one sku")
	}
	if len(skus) > maxSKUs {
		return nil, fmt.Errorf("it takes at most %d skus", maxSKUs)
	}
	test := &entitledTest{content: template{text: "publisherContentId", param: true}}
	for _, sku := range skus {
		parsed, err := parseArgument(sku, captures)
		if err != nil {
			return nil, err
		}
		test.skus = append(test.skus, parsed)
	}
	if content, ok, err := arguments.text("publisherContentId"); err != nil {
		return nil, err
	} else if ok {
		if test.content, err = parseArgument(content, captures); err != nil {
			return nil, err
		}
	}
	return test, nil
}

// maxSKUs bounds how many skus one rule may ask for.
const maxSKUs = 64

// parseArgument reads an argument that is a text, or `{name}` for a parameter
// that the path captures.
func parseArgument(text string, captures []string) (template, error) {
	if text == "" {
		return template{}, errors.New("an argument is empty")
	}
	if !strings.ContainsAny(text, "{}") {
		return template{text: text}, nil
	}
	name, ok := captureName(text)
	if !ok || text[0] != '{' || strings.ContainsAny(name, "{}") {
		return template{}, fmt.Errorf("%s: a parameter must be the whole argument, as {name}", text)
	}
	if !slices.Contains(captures, name) {
		return template{}, fmt.Errorf("{%s} is not captured by the path", name)
	}
	return template{text: name, param: true}, nil
}

func (t *entitledTest) Test(q *Question) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	// What the rule names comes first: what it is in has to be looked up.
	for _, within := range [...]bool{false, true} {
		for _, template := range t.skus {
			if q.Granted(template.resolve(q.rule, q.segments), within) {
				return ReasonEntitled
			}
		}
	}
	return ReasonNotEntitled
}

// asksFor says whether a sku is one of those that the test accepts.
func (t *entitledTest) asksFor(sku string, rule *compiledRule, segments []string) bool {
	for _, template := range t.skus {
		if template.resolve(rule, segments) == sku {
			return true
		}
	}
	return false
}

// allow returns an error when there is an argument besides those named.
func (a Arguments) allow(names ...string) error {
	for name := range a {
		if !slices.Contains(names, name) {
			return fmt.Errorf("it takes no argument %q", name)
		}
	}
	return nil
}

// text returns an argument that must be a string; null counts as absent.
func (a Arguments) text(name string) (string, bool, error) {
	raw, ok := a[name]
	if !ok || string(raw) == "null" {
		return "", false, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", false, fmt.Errorf("the argument %s must be a string", name)
	}
	return text, true, nil
}

// list returns an argument that is a string or a list of strings.
func (a Arguments) list(name string) ([]string, error) {
	raw, ok := a[name]
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	if len(raw) > 0 && raw[0] != '[' {
		if text, ok, err := a.text(name); err == nil && ok {
			return []string{text}, nil
		}
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("the argument %s must be a string or a list of strings", name)
	}
	return list, nil
}

// strings returns the arguments that are strings without a parameter in them:
// those that override a capture of the same name.
func (a Arguments) strings() (map[string]string, error) {
	var fixed map[string]string
	for name, raw := range a {
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			return nil, fmt.Errorf("the argument %s is not JSON", name)
		}
		text, ok := value.(string)
		if !ok {
			continue
		}
		if _, refers := captureName(text); refers && text[0] == '{' {
			continue
		}
		if fixed == nil {
			fixed = make(map[string]string)
		}
		fixed[name] = text
	}
	return fixed, nil
}
