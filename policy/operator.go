package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
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
	// Records reports whether the test needs the records of the reader: entitlements,
	// roles, subscriptions and signatures.
	Records bool
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

// oneWord returns an operator's Words for one argument that is a string.
func oneWord(name string) func([]string) (Arguments, error) {
	return func(list []string) (Arguments, error) {
		if len(list) > 1 {
			return nil, fmt.Errorf("it takes one %s, not %d", name, len(list))
		}
		return words(name)(list)
	}
}

// Question is the input of a Test: the reader, and the page.
type Question struct {
	Reader *Reader
	// Entitlements are nil unless the operator needs records.
	Entitlements *Entitlements
	// Method is the method of the request, GET for HEAD.
	Method string
	// Now is in Unix milliseconds.
	Now int64

	// required is what the origin requires; nil for the default of the rule.
	required *Requirement

	records  *packedReader
	rule     *compiledRule
	segments []string
	// client, agent and crawlers are what is known of the client.
	client   AddressSource
	agent    string
	crawlers Crawlers
	// ctx, policy, vendor and now serve lookups.
	ctx    context.Context
	policy *Policy
	vendor string
	now    time.Time
	// stripes collects the stripes on which the answer depends besides those of the
	// reader; nil if none are to be collected.
	stripes *stripeList
	// answer is what the tests add to the decision. Err is the error of a test that
	// could not be answered.
	answer answer
	err    error
	asked  bool
	// wanting reports whether a test denied for want of a sku. Licensed are the site
	// licences of the reader, once they are asked for.
	wanting  bool
	licensed *licensed
}

// ask sets the question for one rule, without earlier answers.
func (q *Question) ask(ctx context.Context, p *Policy, r *Request, rule *compiledRule, segments []string) {
	q.Reader, q.Now, q.rule, q.segments = &r.Reader, r.Now.UnixMilli(), rule, segments
	q.ctx, q.policy, q.vendor, q.now = ctx, p, r.Site.Vendor, r.Now
	q.records, q.Method, q.required = &r.records, r.method, r.Requirement
	q.client, q.agent, q.crawlers = r.Client, r.Agent, r.Site.Crawlers
	if r.method == http.MethodHead {
		q.Method = http.MethodGet
	}
	if q.asked {
		q.Entitlements, q.answer, q.err, q.wanting = nil, answer{}, nil, false
	}
	q.asked = true
}

// test applies a test of the rule. What the tests before it demanded does not count.
func (q *Question) test(step Test) Reason {
	if q.answer.demanded {
		q.answer.demand, q.answer.demanded, q.answer.pending = Demand{}, false, false
	}
	return step.Test(q)
}

// answer is what a test adds to a decision.
type answer struct {
	sku     string
	grant   string
	crawler string
	licence LicenceBy
	until   int64
	// demand is set by the last test if demanded is. Pending reports whether a role that
	// it would accept waits for an answer.
	demand            Demand
	demanded, pending bool
}

// Param returns a parameter of the rule: its stored argument, or the captured segment.
func (q *Question) Param(name string) (string, bool) {
	return q.rule.param(name, q.segments)
}

// grantedAny returns ReasonEntitled if a current grant gives the reader one of the skus.
func (q *Question) grantedAny(skus []template) Reason {
	if q.Reader.Anonymous() && q.licensed == nil {
		q.wanting = true
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
	q.wanting = true
	if q.Reader.Anonymous() {
		return ReasonLoginRequired
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
	if q.err != nil || q.Entitlements.None() && q.licensed == nil {
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
		q.answer.sku, q.answer.grant, q.answer.licence = sku, grant, LicenceNone
		return true
	}
	return q.licensed != nil && q.licenceGives(sku)
}
