package caddymodule

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

// RuleConfig is one rule.
type RuleConfig struct {
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
	Then []StepConfig `json:"then,omitempty"`
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

// StepConfig is a further step of a rule.
type StepConfig struct {
	// Operator is the step's operator, as in a rule.
	Operator string `json:"operator" placeholders:"-"`
	// Arguments are the operator's arguments.
	Arguments policy.Arguments `json:"arguments,omitempty"`
}

// deferred reports whether the rule has a placeholder, so that it is compiled only when
// the module is provisioned.
func (c RuleConfig) deferred() bool {
	c.Path, c.Origin = "", ""
	text, err := json.Marshal(c)
	return err == nil && setting.Has(string(text))
}

// rule returns the configured rule with the given rank.
func (c *RuleConfig) rule(rank int) policy.Rule {
	rule := policy.Rule{
		Rank: rank, Path: c.Path, Methods: c.Methods, Forward: !c.Local, Engaged: c.Engaged, Options: c.Options, Origin: c.Origin,
		Allow: policy.Allow{Operator: c.Operator, Arguments: c.Arguments},
	}
	for _, step := range c.Then {
		rule.Then = append(rule.Then, policy.Allow{Operator: step.Operator, Arguments: step.Arguments})
	}
	return rule
}

// newRuleConfig returns the configuration of a rule.
func newRuleConfig(rule policy.Rule) RuleConfig {
	config := RuleConfig{
		Path: rule.Path, Methods: rule.Methods, Operator: rule.Allow.Operator, Arguments: rule.Allow.Arguments,
		Local: !rule.Forward, Engaged: rule.Engaged, Options: rule.Options, Origin: rule.Origin,
	}
	for _, step := range rule.Then {
		config.Then = append(config.Then, StepConfig{Operator: step.Operator, Arguments: step.Arguments})
	}
	return config
}

// compileRules compiles the configured rules, and logs what is probably not meant in
// them.
func (h *Handler) compileRules() error {
	if len(h.Rules) == 0 {
		return nil
	}
	for i, rule := range h.Rules {
		if err := policy.CheckTags(rule.Engaged); err != nil {
			return inRule(i, fmt.Errorf("rule %s: engage: %w", rule.Path, err))
		}
	}
	compiled, err := policy.CompileRules(h.fixedRules(), policy.StandardOperators())
	if failed, ok := errors.AsType[*policy.RuleError](err); ok {
		return inRule(failed.Rule.Rank-1, err)
	}
	if err != nil {
		return err
	}
	for _, warning := range compiled.Warnings(h.Paths.options()) {
		logRuleWarning(h.logger, warning)
	}
	if !slices.ContainsFunc(h.Rules, func(rule RuleConfig) bool { return strings.Trim(rule.Path, "/") == "" }) {
		h.logger.Warn("the site has no last rule: every page that no rule names is denied (no_rule)", zap.String("vendor", h.Vendor), zap.String("site", h.Site),
			zap.String("at", h.Rules[len(h.Rules)-1].Origin), zap.String("remedy", "end the rules with `rule / any` if other pages are public, or with `rule / authenticated` or `rule / entitled <sku>`"))
	}
	h.rules = compiled
	return nil
}

// inRule returns an error about the rule with an index.
func inRule(i int, err error) error { return setting.In(setting.Item("rule", i), err) }

// fixedRules returns the configured rules by rank.
func (h *Handler) fixedRules() []policy.Rule {
	rules := make([]policy.Rule, len(h.Rules))
	for i, rule := range h.Rules {
		rules[i] = rule.rule(i + 1)
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
