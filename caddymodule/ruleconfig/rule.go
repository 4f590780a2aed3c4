package ruleconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
)

// Rule is one rule.
type Rule struct {
	// Path is a template: it matches every path that begins with its segments. The
	// segments `{name}` and `:name` match any segment and capture it.
	Path string `json:"path" placeholders:"-"`
	// Methods limits the rule to these HTTP methods. Default: all.
	Methods []string `json:"methods,omitempty" placeholders:"-"`
	// Operator is the operator of the rule's first step: `any`, `authenticated`,
	// `entitled`, `subscribed` or `self`.
	Operator string `json:"operator" placeholders:"-"`
	// Arguments are the operator's arguments: for `entitled` the list `sku`, of which
	// the reader needs one, and `publisherContentId`.
	Arguments policy.Arguments `json:"arguments,omitempty"`
	// Then are further steps, tried in order until one allows.
	Then []Step `json:"then,omitempty"`
	// Local passes allowed requests to the site's local routes instead of the next
	// handler.
	Local bool `json:"local,omitempty"`
	// Engaged are the tags recorded with a reader's visit.
	Engaged []string `json:"engaged,omitempty"`
	// Options holds the rule's other options by name.
	Options map[string]json.RawMessage `json:"options,omitempty"`
	// Origin is the rule's place in the configuration, as file:line, for messages.
	Origin string `json:"origin,omitempty" placeholders:"-"`
}

// Step is a further step of a rule.
type Step struct {
	// Operator is the step's operator, as in a rule.
	Operator string `json:"operator" placeholders:"-"`
	// Arguments are the operator's arguments.
	Arguments policy.Arguments `json:"arguments,omitempty"`
}

// deferred reports whether the rule has a placeholder, so that it is compiled only when
// the module is provisioned.
func (c Rule) deferred() bool {
	c.Path, c.Origin = "", ""
	text, err := json.Marshal(c)
	return err == nil && setting.Has(string(text))
}

// Ranked returns the configured rule with the given rank.
func (c *Rule) Ranked(rank int) policy.Rule {
	rule := policy.Rule{
		Rank: rank, Path: c.Path, Methods: c.Methods, Forward: !c.Local, Engaged: c.Engaged, Options: c.Options, Origin: c.Origin,
		Allow: policy.Allow{Operator: c.Operator, Arguments: c.Arguments},
	}
	for _, step := range c.Then {
		rule.Then = append(rule.Then, policy.Allow{Operator: step.Operator, Arguments: step.Arguments})
	}
	return rule
}

// Of returns the configuration of a rule.
func Of(rule policy.Rule) Rule {
	config := Rule{
		Path: rule.Path, Methods: rule.Methods, Operator: rule.Allow.Operator, Arguments: rule.Allow.Arguments,
		Local: !rule.Forward, Engaged: rule.Engaged, Options: rule.Options, Origin: rule.Origin,
	}
	for _, step := range rule.Then {
		config.Then = append(config.Then, Step{Operator: step.Operator, Arguments: step.Arguments})
	}
	return config
}

// Compile compiles the rules of a site, and logs what is probably not meant in them. It
// returns nil if there are none.
func Compile(rules []Rule, paths policy.PathOptions, logger *zap.Logger, vendor, site string) (*policy.Ruleset, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	for i, rule := range rules {
		if err := policy.CheckTags(rule.Engaged); err != nil {
			return nil, In(i, fmt.Errorf("rule %s: engage: %w", rule.Path, err))
		}
	}
	compiled, err := policy.CompileRules(Ranked(rules), policy.StandardOperators())
	if failed, ok := errors.AsType[*policy.RuleError](err); ok {
		return nil, In(failed.Rule.Rank-1, err)
	}
	if err != nil {
		return nil, err
	}
	for _, warning := range compiled.Warnings(paths) {
		logRuleWarning(logger, warning)
	}
	if !slices.ContainsFunc(rules, func(rule Rule) bool { return strings.Trim(rule.Path, "/") == "" }) {
		logger.Warn("the site has no last rule: every page that no rule names is denied (no_rule)", zap.String("vendor", vendor), zap.String("site", site),
			zap.String("at", rules[len(rules)-1].Origin), zap.String("remedy", "end the rules with `rule / any` if other pages are public, or with `rule / authenticated` or `rule / entitled <sku>`"))
	}
	return compiled, nil
}

// In returns an error about the rule with an index.
func In(i int, err error) error { return setting.In(setting.Item("rule", i), err) }

// Ranked returns the rules by rank.
func Ranked(configured []Rule) []policy.Rule {
	rules := make([]policy.Rule, len(configured))
	for i := range configured {
		rules[i] = configured[i].Ranked(i + 1)
	}
	return rules
}

// logRuleWarning logs a warning with the places of its rules in the configuration.
func logRuleWarning(logger *zap.Logger, warning policy.RuleWarning) {
	message, other := "the rules probably do not do what is meant", "decided_by"
	if warning.Kind == policy.HiddenRule {
		message, other = "a rule never decides, because an earlier one matches all that it matches", "hidden_by"
	}
	fields := []zap.Field{zap.String("warning", warning.String())}
	if warning.Rule.Path != "" {
		fields = append(fields, zap.String("rule", warning.Rule.Path), zap.String("at", warning.Rule.Origin))
	}
	if warning.Other.Path != "" {
		fields = append(fields, zap.String(other, warning.Other.Path), zap.String(other+"_at", warning.Other.Origin))
	}
	logger.Warn(message, fields...)
}
