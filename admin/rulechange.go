package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// rules returns the rules of a site by rank: those of the running configuration,
// or else the stored ones.
func (a *api) rules(ctx context.Context, vendor, site string) ([]policy.Rule, error) {
	if fixed := a.fixedRules(vendor, site); len(fixed) > 0 {
		return fixed, nil
	}
	return a.Store.Rules(ctx, vendor, site)
}

func (a *api) fixedRules(vendor, site string) []policy.Rule {
	if a.FixedRules == nil {
		return nil
	}
	return a.FixedRules(vendor, site)
}

// refuseFixed returns a 409 problem if the site's rules are in the configuration.
func (a *api) refuseFixed(vendor, site string) error {
	fixed := a.fixedRules(vendor, site)
	if len(fixed) == 0 {
		return nil
	}
	at := ""
	if fixed[0].Origin != "" {
		at = " (" + fixed[0].Origin + ")"
	}
	return newProblem(http.StatusConflict, fmt.Sprintf(
		"The rules of site %s are written in the server's configuration%s and are read-only here: change them there and reload, or remove them there to keep them here.", site, at))
}

// changeRules changes the rules of a site. It returns once the gate decides by
// them.
func (a *api) changeRules(
	ctx context.Context, c *call, site string, change func([]policy.Rule) ([]policy.Rule, error),
) ([]policy.Rule, *policy.Ruleset, error) {
	if err := a.refuseFixed(c.Vendor, site); err != nil {
		return nil, nil, err
	}
	// A client that disconnects must not stop between the commit and the
	// refresh.
	ctx = context.WithoutCancel(ctx)
	var rules []policy.Rule
	set, err := c.store.ChangeRules(ctx, c.Vendor, site, a.Policy.Operators(), func(old []policy.Rule) (_ []policy.Rule, err error) {
		rules, err = change(old)
		return rules, err
	})
	if err != nil && certainlyUnchanged(err) {
		return nil, nil, ruleError(err)
	}
	// After any other error the stored rules are unknown.
	_, refreshed := a.Policy.RefreshRules(ctx, c.Vendor, site)
	if err := errors.Join(err, refreshed); err != nil {
		return nil, nil, err
	}
	sortRules(rules)
	return rules, set, nil
}

// certainlyUnchanged reports whether an error precludes that anything was written.
func certainlyUnchanged(err error) bool {
	if _, ok := errors.AsType[*Problem](err); ok {
		return true
	}
	if _, ok := errors.AsType[*store.FieldError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*policy.RuleError](err); ok {
		return true
	}
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound)
}

// ruleError converts a *policy.RuleError to a problem.
func ruleError(err error) error {
	failed, ok := errors.AsType[*policy.RuleError](err)
	if !ok {
		return err
	}
	return invalidBody("", failed.Error())
}

// inElement places the errors of a body in an element of an array of bodies.
func inElement(err error, i int) error {
	p, ok := errors.AsType[*Problem](err)
	if !ok {
		return err
	}
	placed := *p
	placed.Errors = slices.Clone(p.Errors)
	for j := range placed.Errors {
		placed.Errors[j].Location = fmt.Sprintf("body[%d]%s", i, strings.TrimPrefix(placed.Errors[j].Location, "body"))
	}
	return &placed
}

// changeRule changes one rule.
func (a *api) changeRule(ctx context.Context, c *call, site, path string, patch RulePatch, match IfMatch) (*record[Rule], error) {
	rules, set, err := a.changeRules(ctx, c, site, func(rules []policy.Rule) ([]policy.Rule, error) {
		i, err := findRule(rules, path)
		if err != nil {
			return nil, err
		}
		if err := match.check(wireRule(rules[i])); err != nil {
			return nil, err
		}
		if err := patch.apply(&rules[i]); err != nil {
			return nil, err
		}
		return rules, freeRank(rules, i)
	})
	if err != nil {
		return nil, match.changed(err)
	}
	answer, etag, err := answerRule(rules, set, path)
	return &record[Rule]{ETag: etag, Body: answer}, err
}

// changeAll changes any rules of a site and returns the first page.
func (a *api) changeAll(
	ctx context.Context, c *call, site string, change func([]policy.Rule) ([]policy.Rule, error),
) (*body[RulePage], error) {
	rules, set, err := a.changeRules(ctx, c, site, change)
	if err != nil {
		return nil, err
	}
	return answerRules(c, rules, set)
}

// tryRules is changeAll for a complete set of rules, but stores nothing.
func (a *api) tryRules(c *call, site string, rules []policy.Rule) (*body[RulePage], error) {
	if err := a.refuseFixed(c.Vendor, site); err != nil {
		return nil, err
	}
	set, err := policy.CompileRules(rules, a.Policy.Operators())
	if err != nil {
		return nil, ruleError(err)
	}
	sortRules(rules)
	return answerRules(c, rules, set)
}

func sortRules(rules []policy.Rule) {
	slices.SortStableFunc(rules, func(a, b policy.Rule) int { return cmp.Compare(a.Rank, b.Rank) })
}

// findRule returns the index of the rule with a path.
func findRule(rules []policy.Rule, path string) (int, error) {
	i := slices.IndexFunc(rules, func(rule policy.Rule) bool { return rule.Path == path })
	if i < 0 {
		return 0, newProblem(http.StatusNotFound, "There is no rule with this path; /x and /x/ are different rules.")
	}
	return i, nil
}

// freeRank returns a 409 problem if another rule has the rank of rule i.
func freeRank(rules []policy.Rule, i int) error {
	for j := range rules {
		if j != i && rules[j].Rank == rules[i].Rank {
			return newProblem(http.StatusConflict, fmt.Sprintf(
				"The rank %d is taken by the rule %s: move rules with PATCH %s.", rules[i].Rank, rules[j].Path, rulesPath))
		}
	}
	return nil
}

// insertRule adds a rule at a rank, or at the end if rank is nil. If the rank is
// taken, the rule there and all later rules move by one. The rules are sorted by
// rank.
func insertRule(rules []policy.Rule, rule policy.Rule, rank *int) ([]policy.Rule, error) {
	if _, err := findRule(rules, rule.Path); err == nil {
		return nil, newProblem(http.StatusConflict, fmt.Sprintf("A rule with the path %s already exists.", rule.Path))
	}
	switch {
	case rank != nil:
		rule.Rank = *rank
	case len(rules) > 0:
		rule.Rank = rules[len(rules)-1].Rank + 1
	default:
		rule.Rank = 1
	}
	if taken := slices.ContainsFunc(rules, func(r policy.Rule) bool { return r.Rank == rule.Rank }); taken {
		for i := range rules {
			if rules[i].Rank >= rule.Rank {
				rules[i].Rank++
			}
		}
	}
	return append(rules, rule), nil
}

// removeRule removes a rule; later rules move up by one.
func removeRule(rules []policy.Rule, path string) ([]policy.Rule, error) {
	i, err := findRule(rules, path)
	if err != nil {
		return nil, err
	}
	rules = slices.Delete(rules, i, i+1)
	for j := range rules[i:] {
		rules[i+j].Rank--
	}
	return rules, nil
}

// moveRule moves a rule to another rank; the rules in between move by one. The
// rules are sorted by rank, before and after.
func moveRule(rules []policy.Rule, move RuleMove) ([]policy.Rule, error) {
	i := slices.IndexFunc(rules, func(rule policy.Rule) bool { return rule.Rank == move.Old })
	switch {
	case i < 0:
		return nil, invalidBody("updates", fmt.Sprintf("There is no rule with the rank %d; nothing was moved.", move.Old))
	case move.Path != "" && rules[i].Path != move.Path:
		return nil, newProblem(http.StatusConflict, fmt.Sprintf(
			"The rank %d now belongs to %s: the rules were changed concurrently. Nothing was moved.", move.Old, rules[i].Path))
	}
	to := min(move.New, rules[len(rules)-1].Rank)
	for j := range rules {
		switch rank := rules[j].Rank; {
		case move.Old < rank && rank <= to:
			rules[j].Rank--
		case to <= rank && rank < move.Old:
			rules[j].Rank++
		}
	}
	rules[i].Rank = to
	sortRules(rules)
	return rules, nil
}

// allRules returns the rules of a body that replaces all rules.
func allRules(bodies []RuleBody) ([]policy.Rule, error) {
	rules := make([]policy.Rule, len(bodies))
	seen := make(map[string]bool, len(bodies))
	ranked := 0
	for i := range bodies {
		wanted := &bodies[i]
		rule, err := wanted.rule()
		if err != nil {
			return nil, inElement(err, i)
		}
		if seen[rule.Path] {
			return nil, inElement(invalidBody("path", fmt.Sprintf("rule %s: two rules have this path", rule.Path)), i)
		}
		seen[rule.Path] = true
		rule.Rank = i + 1
		if wanted.Rank != nil {
			ranked++
			rule.Rank = *wanted.Rank
		}
		rules[i] = rule
	}
	if ranked > 0 && ranked < len(bodies) {
		return nil, invalidBody("", "Some rules have a rank and others have none: omit all ranks to use the order of the array.")
	}
	return rules, nil
}

// rule returns the rule of a body, without its rank.
func (b *RuleBody) rule() (policy.Rule, error) {
	rule := policy.Rule{Path: b.Path}
	path, err := policy.RootedPath(b.Path)
	if err != nil {
		return rule, invalidBody("path", fmt.Sprintf("rule %s: %v", b.Path, err))
	}
	rule.Path = path
	// The path of a call cannot contain an empty segment.
	if strings.Contains(rule.Path, "//") {
		return rule, invalidBody("path", fmt.Sprintf("rule %s: the path holds an empty segment", rule.Path))
	}
	patch := RulePatch{Methods: &b.Methods, Allow: &b.Allow, Then: &b.Then, Forward: b.Forward, Engaged: &b.Engaged, Options: &b.Options}
	rule.Forward = true
	return rule, patch.apply(&rule)
}

// patch returns the patch that sets everything but the path.
func (r *RuleReplacement) patch() RulePatch {
	forward := r.Forward == nil || *r.Forward
	return RulePatch{
		Rank: r.Rank, Path: r.Path, Methods: &r.Methods, Allow: &r.Allow, Then: &r.Then, Forward: &forward, Engaged: &r.Engaged, Options: &r.Options,
	}
}

func (p *RulePatch) apply(rule *policy.Rule) error {
	if p.Path != "" && p.Path != rule.Path {
		return invalidBody("path", fmt.Sprintf("rule %s: the path identifies the rule and cannot be changed: create another rule and delete this one", rule.Path))
	}
	if p.Rank != nil {
		rule.Rank = *p.Rank
	}
	if p.Methods != nil {
		rule.Methods = slices.Clone(*p.Methods)
	}
	if p.Allow != nil {
		var err error
		if rule.Allow, err = p.Allow.Parse(); err != nil {
			return invalidBody("allow", fmt.Sprintf("rule %s: %v", rule.Path, err))
		}
	}
	if p.Then != nil {
		rule.Then = nil
		for i, step := range *p.Then {
			allow, err := step.Parse()
			if err != nil {
				return invalidBody(fmt.Sprintf("then[%d]", i), fmt.Sprintf("rule %s: then: %v", rule.Path, err))
			}
			rule.Then = append(rule.Then, allow)
		}
	}
	if p.Options != nil {
		rule.Options = *p.Options
	}
	if p.Forward != nil {
		rule.Forward = *p.Forward
	}
	if p.Engaged != nil {
		tags, err := readTags(*p.Engaged)
		if err != nil {
			return invalidBody("engaged", fmt.Sprintf("rule %s: %v", rule.Path, err))
		}
		rule.Engaged = tags
	}
	return nil
}

// readTags parses engagement tags.
func readTags(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	var tags []string
	for tag := range strings.SplitSeq(text, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	if err := policy.CheckTags(tags); err != nil {
		return nil, fmt.Errorf("engaged: %w", err)
	}
	return tags, nil
}

// escapePath escapes a rule's path for a URL.
func escapePath(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/")
}
