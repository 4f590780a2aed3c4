package ruleconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/policy"
)

func init() {
	Options.Register(func(c *Rule) []block.Option {
		return []block.Option{
			{Name: policy.OptionCache, Parse: c.parseCache},
			{Name: "local", Parse: c.parseLocal},
			block.List("engage", &c.Engaged, nil),
			block.Value("content_space", func(name string) error { return c.SetOption("content_space", name) }),
			{Name: "content_id", Parse: c.parseContentID},
			{Name: "link_methods", Parse: c.parseLinkMethods},
		}
	})
}

// Options are the options of a rule's block. A capability registers its options
// in its own file.
var Options block.Set[Rule]

var (
	methodsPattern = regexp.MustCompile(`^[A-Z][A-Z0-9_-]*(,[A-Z][A-Z0-9_-]*)*$`)
	// nearlyMethods are methods in lower case, or with a comma or a space too many.
	nearlyMethods = regexp.MustCompile(`^(?i:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)(,.*)?$`)
)

const ruleSyntax = "write `rule <path> [<METHOD,…>] <operator> [<arguments>…]`, or the steps in a block"

// Parse parses `rule <path> [<METHOD,…>] [<operator> [<arguments>…]] { … }`. The
// block holds further steps and the rule's options. Each rule is compiled as it is
// parsed, so that an error names its line.
func Parse(d *caddyfile.Dispenser) (rule Rule, err error) {
	rule.Origin = fmt.Sprintf("%s:%d", d.File(), d.Line())
	args := d.RemainingArgs()
	if len(args) == 0 {
		return rule, d.Err("rule: " + ruleSyntax)
	}
	rule.Path, args = args[0], args[1:]
	if err := checkCaptures(rule.Path); err != nil {
		return rule, d.WrapErr(err)
	}
	if len(args) > 0 && methodsPattern.MatchString(args[0]) {
		rule.Methods, args = strings.Split(args[0], ","), args[1:]
	}
	if len(args) > 0 && nearlyMethods.MatchString(args[0]) {
		upper := strings.Join(strings.FieldsFunc(strings.ToUpper(args[0]), func(c rune) bool { return c == ',' }), ",")
		return rule, d.Errf("rule %s: %q are no methods: write them in upper case, in one word, separated by commas: %s", rule.Path, args[0], upper)
	}
	if len(args) > 0 {
		if err := rule.addStep(args[0], args[1:]); err != nil {
			return rule, d.Errf("rule %s: %v", rule.Path, err)
		}
	}
	if err := block.Parse(d, "rule "+rule.Path, rule.blockOptions()...); err != nil {
		return rule, err
	}
	if rule.Operator == "" {
		return rule, d.Errf("rule %s: the operator is missing, such as any, authenticated or entitled: %s", rule.Path, ruleSyntax)
	}
	if rule.deferred() {
		return rule, nil
	}
	if err := policy.CheckTags(rule.Engaged); err != nil {
		return rule, d.Errf("rule %s: engage: %v", rule.Path, err)
	}
	if _, err := policy.CompileRules([]policy.Rule{rule.Ranked(1)}, policy.StandardOperators()); err != nil {
		return rule, d.Errf("rule %s: %v", rule.Path, unwrapRule(err))
	}
	return rule, nil
}

// blockOptions returns the options of a rule's block: one for the steps of each
// operator, and the rule options.
func (c *Rule) blockOptions() []block.Option {
	var options []block.Option
	for _, operator := range policy.StandardOperators().Names() {
		options = append(options, block.Option{Name: operator, Repeatable: true, Parse: func(d *caddyfile.Dispenser) error {
			if err := c.addStep(operator, d.RemainingArgs()); err != nil {
				return d.Errf("rule %s: %v", c.Path, err)
			}
			return nil
		}})
	}
	return append(options, Options.Of(c)...)
}

// addStep adds a step from the words of the Caddyfile.
func (c *Rule) addStep(operator string, words []string) error {
	step, err := policy.StandardOperators().Words(operator, words)
	switch {
	case err != nil:
		return err
	case c.Operator == "":
		c.Operator, c.Arguments = step.Operator, step.Arguments
	default:
		c.Then = append(c.Then, Step{Operator: step.Operator, Arguments: step.Arguments})
	}
	return nil
}

// unwrapRule removes the rank from an error: a rule compiled alone always has rank 1.
func unwrapRule(err error) error {
	if failed, ok := errors.AsType[*policy.RuleError](err); ok {
		return failed.Err
	}
	return err
}

// checkCaptures refuses captures that Caddy's adapter expands: {path} is parsed as
// {http.request.uri.path}.
func checkCaptures(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(segment, "{") && strings.Contains(segment, ".") {
			return fmt.Errorf("rule: the capture %s is a placeholder of Caddy: choose another name, such as {articlePath}", segment)
		}
	}
	return nil
}

// SetOption sets a registered option of the rule.
func (c *Rule) SetOption(name string, value any) error {
	encoded, err := json.Marshal(value)
	if c.Options == nil {
		c.Options = make(map[string]json.RawMessage)
	}
	c.Options[name] = encoded
	return err
}

func (c *Rule) parseContentID(d *caddyfile.Dispenser) error {
	source, err := policy.ParseContentID(d.RemainingArgs())
	if err != nil {
		return d.WrapErr(err)
	}
	return c.SetOption("content_id", source)
}

func (c *Rule) parseLinkMethods(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 || !methodsPattern.MatchString(args[0]) {
		return d.Err("write `link_methods <METHOD,…>`, such as GET,HEAD,POST")
	}
	return c.SetOption("link_methods", strings.Split(args[0], ","))
}

func (c *Rule) parseLocal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("rule: local takes no argument: write the routes once for the site, as `local { … }`")
	}
	c.Local = true
	return nil
}

// parseCache parses `cache [<ttl>]` in the block of a rule.
func (c *Rule) parseCache(d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	value := map[string]string{}
	switch len(arguments) {
	case 0:
	case 1:
		value["ttl"] = arguments[0]
	default:
		return d.Err("write `cache`, or `cache <ttl>` for pages of which the origin does not say how long they are fresh")
	}
	return c.SetOption(policy.OptionCache, value)
}
