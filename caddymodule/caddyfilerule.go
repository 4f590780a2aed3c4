package caddymodule

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/policy"
)

func init() {
	gateOptions.register(func(h *Handler) []option {
		return []option{{name: "rule", parse: h.parseRule, repeatable: true}}
	})
}

var methodsPattern = regexp.MustCompile(`^[A-Z]+(,[A-Z]+)*$`)

// parseRule reads `rule <path> [<METHOD,…>] <operator> [<arguments>…]` with what
// its block says, and compiles the rule by itself, so that what is wrong with it is told with its
// line.
func (h *Handler) parseRule(d *caddyfile.Dispenser) error {
	origin := fmt.Sprintf("%s:%d", d.File(), d.Line())
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("rule: write `rule <path> [<METHOD,…>] <operator> [<arguments>…]`")
	}
	rule := RuleConfig{Path: args[0], Origin: origin}
	if err := checkCaptures(rule.Path); err != nil {
		return d.WrapErr(err)
	}
	args = args[1:]
	if methodsPattern.MatchString(args[0]) {
		rule.Methods = strings.Split(args[0], ",")
		if args = args[1:]; len(args) == 0 {
			return d.Err("rule: the operator is missing, such as any, authenticated or entitled")
		}
	}
	rule.Operator = args[0]
	arguments, err := policy.StandardOperators().PlainArguments(rule.Operator, args[1:])
	if err != nil {
		return d.Errf("rule %s: %v", rule.Path, err)
	}
	rule.Arguments = arguments
	if err := rule.parseBlock(d); err != nil {
		return err
	}
	if _, err := policy.CompileRules([]policy.Rule{rule.rule(1)}, policy.StandardOperators()); err != nil {
		return d.Errf("rule %s: %v", rule.Path, unwrapRule(err))
	}
	h.Rules = append(h.Rules, rule)
	return nil
}

// unwrapRule returns what is wrong with a rule, without its rank, which means
// nothing here.
func unwrapRule(err error) error {
	if failed, ok := errors.AsType[*policy.RuleError](err); ok {
		return failed.Err
	}
	return err
}

// checkCaptures refuses captures whose name Caddy takes for a placeholder of its
// own: {path} reaches us as {http.request.uri.path}.
func checkCaptures(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(segment, "{") && strings.Contains(segment, ".") {
			return fmt.Errorf("rule: Caddy reads the capture %s as a placeholder of its own: choose another name, such as {articlePath}", segment)
		}
	}
	return nil
}

// parseBlock reads the block of a rule.
func (c *RuleConfig) parseBlock(d *caddyfile.Dispenser) error {
	return parseBlock(d, "rule "+c.Path,
		option{name: "local", parse: c.parseLocal},
		option{name: "engage", parse: c.parseEngage},
	)
}

func (c *RuleConfig) parseLocal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("rule: local takes no argument: write the routes once for the site, as `local { … }`")
	}
	c.Local = true
	return nil
}

func (c *RuleConfig) parseEngage(d *caddyfile.Dispenser) error {
	if c.Engaged = d.RemainingArgs(); len(c.Engaged) == 0 {
		return d.ArgErr()
	}
	if err := policy.CheckTags(c.Engaged); err != nil {
		return d.Errf("rule %s: engage: %v", c.Path, err)
	}
	return nil
}
