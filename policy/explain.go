package policy

import (
	"context"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// Explanation is a decision together with what led to it, for people.
type Explanation struct {
	// Decision is the one that the gate would make. Nothing was spent for it.
	Decision Decision
	// Readings has one entry for each reading of the path.
	Readings []Reading
	// Token is what the link's token is worth, nil when none was looked at.
	Token *TokenExplained
}

// Reading is one reading of a path, and how it was decided.
type Reading struct {
	// Path is the reading, decoded.
	Path     string
	Decision Decision
	// PassedOver are the rules of a better rank whose path matches and whose
	// methods do not fit, at most maxPassedOver of them.
	PassedOver []Rule
	// OtherRules is how many more rules of a better rank there are: their path
	// does not match.
	OtherRules int
	// SKUs are the skus of which the rule asks for any, and ContentID is the
	// content that it is about; captured parameters are filled in. Both empty
	// when the rule does not ask for entitlements.
	SKUs      []string
	ContentID string
	// Misfit names what keeps a good link from opening this page: `url`,
	// `sku`, `publisherContentId`, or `operator` where links open nothing.
	// Empty when it opens it, or when there is no good link.
	Misfit string
}

// TokenExplained is what a link's token is worth, whatever page it is shown for.
type TokenExplained struct {
	// Reason is signed_link when it is good.
	Reason Reason
	// Claims are the token's; the zero value when it does not verify.
	Claims keys.LinkClaims
	// Err says what failed.
	Err error
}

// maxPassedOver bounds how many rules an explanation lists.
const maxPassedOver = 20

// Explain decides a request that was matched, by the same steps as Decide, and
// tells of them. It spends nothing and is safe for concurrent use, each call with
// a request of its own.
func (p *Policy) Explain(ctx context.Context, r *Request) Explanation {
	var explanation Explanation
	p.decide(ctx, r, &explanation.Decision)
	if r.rules == nil {
		return explanation // refused, or decided before a rule was sought
	}
	if r.judged {
		explanation.Token = &TokenExplained{Reason: r.verdict.reason, Claims: r.verdict.claims, Err: r.verdict.err}
	}
	for i, segments := range r.path.Readings() {
		explanation.Readings = append(explanation.Readings, p.explainReading(ctx, r, r.matches[i], segments))
	}
	return explanation
}

func (p *Policy) explainReading(ctx context.Context, r *Request, rule *compiledRule, segments []string) Reading {
	reading := Reading{Path: "/" + strings.Join(segments, "/")}
	p.decideReading(ctx, r, rule, segments, &reading.Decision)
	for i := range r.rules.rules {
		earlier := &r.rules.rules[i]
		if earlier == rule {
			break
		}
		if matchesPath(earlier.segments, segments) && len(reading.PassedOver) < maxPassedOver {
			reading.PassedOver = append(reading.PassedOver, earlier.Rule)
			continue
		}
		reading.OtherRules++
	}
	if rule == nil {
		return reading
	}
	if rule.linkTest != nil {
		reading.SKUs, reading.ContentID = rule.linkTest.needs(rule, segments)
	}
	if r.judged && r.verdict.target != nil {
		reading.Misfit = r.verdict.target.misfit(r, rule, segments)
	}
	return reading
}

// matchesPath says whether a rule's template matches a path, by its definition:
// the lookup finds the first such rule without asking each.
func matchesPath(template []segment, path []string) bool {
	if len(template) > len(path) {
		return false
	}
	for i, s := range template {
		if s.capture == "" && s.literal != path[i] {
			return false
		}
	}
	return true
}
