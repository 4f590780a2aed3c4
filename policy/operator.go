package policy

import (
	"context"
	"encoding/json"
	"slices"
)

// NoCode is the code of an operator that DjaoApp does not have.
const NoCode = -1

// Operator is a test that a step of a rule can apply. Operators register themselves, see
// RegisterOperator; the matcher and the decision path do not depend on them.
type Operator struct {
	// Code is DjaoApp's number for the operator, or NoCode.
	Code int
	Name string
	// Words parses arguments that are written as words, as in a Caddyfile, of which
	// there is at least one. If it is nil, the operator takes none there.
	Words func(words []string) (Arguments, error)
	// Entitlements reports whether the test needs the reader's entitlements.
	Entitlements bool
	// Compile checks the arguments of a step, and returns its test. Captures are the
	// parameters that the rule's path captures.
	Compile func(arguments Arguments, captures []string) (Test, error)
}

// Test is an operator with its arguments. It is safe for concurrent use.
type Test interface {
	// Test returns the reason for which the reader is allowed or denied.
	Test(q *Question) Reason
}

// linkTest is a Test that a signed link can satisfy.
type linkTest interface {
	Test
	// misfit names the claim that keeps a link from opening a page: `url`, `sku`,
	// `publisherContentId` or `contentSpace`, or `host` if the request's host is
	// unknown. It is empty if the link opens the page.
	misfit(target *target, r *Request, rule *compiledRule, segments []string) string
	// needs returns the skus any of which opens the page.
	needs(rule *compiledRule, segments []string) (skus []string)
	// content returns the content of a page with a query. hasContent reports whether
	// pages of the rule have any.
	content(rule *compiledRule, segments []string, query string) content
	hasContent(rule *compiledRule) bool
}

// wordList returns an operator's Words for one argument that is a list.
func wordList(name string) func([]string) (Arguments, error) {
	return func(words []string) (Arguments, error) {
		encoded, err := json.Marshal(words)
		return Arguments{name: encoded}, err
	}
}

// words returns an operator's Words for one argument that is a string or a list.
func words(name string) func([]string) (Arguments, error) {
	return func(words []string) (Arguments, error) {
		if len(words) > 1 {
			return wordList(name)(words)
		}
		encoded, err := json.Marshal(words[0])
		return Arguments{name: encoded}, err
	}
}

// Question is the input of a Test: the reader, and the page.
type Question struct {
	Reader       *Reader
	Entitlements *Entitlements
	// Now is in Unix milliseconds.
	Now int64

	rule     *compiledRule
	segments []string
	// ctx, policy and vendor serve lookups.
	ctx    context.Context
	policy *Policy
	vendor string
	// answer is what the tests add to the decision. Err is the error of a test that
	// could not be answered.
	answer answer
	err    error
	asked  bool
}

// ask sets the question for one rule, without earlier answers.
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

// Param returns a parameter of the rule: its stored argument, or the captured segment.
func (q *Question) Param(name string) (string, bool) {
	return q.rule.param(name, q.segments)
}

// grantedAny returns ReasonEntitled if a current grant gives the reader one of the skus.
func (q *Question) grantedAny(skus []template) Reason {
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
	}
	// First the skus themselves: the collections that contain them need a lookup.
	for _, within := range [...]bool{false, true} {
		for _, sku := range skus {
			if q.Granted(sku.resolve(q.rule, q.segments), within) {
				return ReasonEntitled
			}
		}
	}
	return ReasonNotEntitled
}

// Granted reports whether a current grant gives the reader a sku: by itself or, if
// within is set, as a member of a collection. If that cannot be read it returns false,
// and the decision becomes store_unavailable unless another step allows.
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
