package policy

import (
	"context"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// Explanation is a decision with the steps that led to it.
type Explanation struct {
	// Decision is that of Policy.Decide for the same request.
	Decision Decision
	// Readings has one entry for each match of the path.
	Readings []Reading
	// Token is the result of verifying the link token; nil if none was verified.
	Token *TokenExplained
}

// Reading is one interpretation of a path, with its decision.
type Reading struct {
	// Path is the reading, decoded.
	Path string
	// Rewritten reports whether it is the path as rewritten before the gate. Folded
	// reports whether its names are compared without regard to case.
	Rewritten, Folded bool

	Decision Decision
	// PassedOver are rules of a lower rank whose path matches and whose methods do
	// not, at most maxPassedOver of them.
	PassedOver []Rule
	// OtherRules is the number of all other rules of a lower rank.
	OtherRules int
	// SKUs are the skus of which the rule requires one, and ContentID is the page's
	// content id, with captured parameters filled in. Both are empty if links cannot
	// satisfy the rule.
	SKUs      []string
	ContentID string
	// ContentSpace is the space of ContentID.
	ContentSpace string
	// Misfit names the claim that keeps a valid link from opening the page: `url`,
	// `sku`, `publisherContentId` or `contentSpace`; or it is `operator` if the rule does not accept
	// links. It is empty if the link opens the page, or if there is no valid link.
	Misfit string
}

// TokenExplained is the validity of a link token, whatever page it is for.
type TokenExplained struct {
	// Reason is signed_link if the token is valid.
	Reason Reason
	// Claims are those of the token; the zero value if verification failed.
	Claims keys.LinkClaims
	// Err is the error of the verification.
	Err error
}

// maxPassedOver bounds the rules in an explanation.
const maxPassedOver = 20

// Explain decides a request as Decide does, and returns the steps. Like Decide it
// writes nothing and is safe for concurrent use, each call with a Request of its own.
func (p *Policy) Explain(ctx context.Context, r *Request) Explanation {
	var explanation Explanation
	p.decide(ctx, r, &explanation.Decision)
	if explanation.Decision.Meter != nil {
		explanation.Decision = p.prepareMeter(ctx, r, explanation.Decision)
	}
	if r.rules == nil {
		return explanation // decided before rules were matched
	}
	if r.judged {
		explanation.Token = &TokenExplained{Reason: r.verdict.reason, Claims: r.verdict.claims, Err: r.verdict.err}
	}
	for i := range r.matches {
		explanation.Readings = append(explanation.Readings, p.explainMatch(ctx, r, &r.matches[i]))
	}
	return explanation
}

func (p *Policy) explainMatch(ctx context.Context, r *Request, under *match) Reading {
	rule, segments := under.rule, under.segments
	reading := Reading{Path: "/" + strings.Join(segments, "/"), Rewritten: under.rewritten, Folded: under.folded}
	p.decideMatch(ctx, r, under, &reading.Decision)
	compared := func(template []segment) []segment { return template }
	if under.folded {
		compared = foldTemplate
	}
	literals := make([]segment, len(segments))
	for i, text := range segments {
		literals[i].literal = text
	}
	literals = compared(literals)
	for i := range r.rules.rules {
		earlier := &r.rules.rules[i]
		if rule != nil && earlier.Rank == rule.Rank {
			break
		}
		if covers(compared(earlier.segments), literals) && len(reading.PassedOver) < maxPassedOver {
			reading.PassedOver = append(reading.PassedOver, earlier.Rule)
			continue
		}
		reading.OtherRules++
	}
	if rule == nil {
		return reading
	}
	if rule.linkTest != nil {
		reading.SKUs = rule.linkTest.needs(rule, segments)
		if page := rule.linkTest.content(rule, segments, r.Query); page.id != "" {
			reading.ContentID, reading.ContentSpace = page.id, page.space
		}
	}
	if r.judged && r.verdict.target != nil {
		reading.Misfit = r.verdict.target.misfit(r, rule, segments)
	}
	return reading
}
