package caddymodule

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
)

func init() {
	ruleconfig.Options.Register(func(c *ruleconfig.Rule) []block.Option {
		return []block.Option{{Name: policy.OptionStoreLoss, Parse: func(d *caddyfile.Dispenser) error { return parseRuleStoreLoss(c, d) }}}
	})
	gateOptions.Register(func(h *Handler) []block.Option {
		return []block.Option{{Name: policy.OptionStoreLoss, Parse: h.parseStoreLoss}}
	})
}

// StoreLossConfig is what readers get once the store has been unreachable for a while.
type StoreLossConfig struct {
	// After is how long a node decides from memory after it last had every change of the
	// store, from 2s to stale_for.
	After setting.Duration `json:"after"`
	// Then is `deny`, or `teaser` for rules that have one. Only a rule can open its pages.
	// Default: `deny`.
	Then string `json:"then,omitempty"`
}

// parseRuleStoreLoss parses `on_store_loss <duration> [deny | teaser | public]` in the block of
// a rule.
func parseRuleStoreLoss(c *ruleconfig.Rule, d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("write `on_store_loss <duration> [deny | teaser | public]`, such as `on_store_loss 10s teaser`")
	}
	value := map[string]string{"after": args[0]}
	if len(args) == 2 {
		value["then"] = args[1]
	}
	return c.SetOption(policy.OptionStoreLoss, value)
}

// parseStoreLoss parses `on_store_loss <duration> [deny | teaser]` of a site.
func (h *Handler) parseStoreLoss(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("write `on_store_loss <duration> [deny | teaser]`, such as `on_store_loss 10s`")
	}
	h.OnStoreLoss = new(StoreLossConfig)
	if len(args) == 2 {
		h.OnStoreLoss.Then = args[1]
	}
	if err := h.OnStoreLoss.After.Set(args[0]); err != nil {
		return d.Errf("on_store_loss: %q %v", args[0], err)
	}
	if setting.Has(args[0]) || setting.Has(h.OnStoreLoss.Then) {
		return nil
	}
	if _, err := h.OnStoreLoss.option(); err != nil {
		return d.Errf("on_store_loss: %v", err)
	}
	return nil
}

// option returns the option for rules that have none; nil without one.
func (c *StoreLossConfig) option() (*policy.StoreLoss, error) {
	if c == nil {
		return nil, nil
	}
	if c.Then == policy.LossPublic {
		return nil, errors.New("only a rule can open its pages: write `on_store_loss <duration> public` in each rule whose content everyone may have then")
	}
	return policy.NewStoreLoss(c.After.V, c.Then)
}

// provisionStoreLoss checks what the configuration says of the loss of the store, which can
// only be lost before stale_for is over if other nodes share it.
func (h *Handler) provisionStoreLoss() (err error) {
	check := func(loss *policy.StoreLoss) error {
		switch staleFor := h.app.shared.StaleFor; {
		case loss == nil:
			return nil
		case staleFor == 0:
			return errors.New("on_store_loss is for the engine redis: an embedded database is always reachable")
		case loss.After > staleFor:
			return fmt.Errorf("on_store_loss is %v, and stale_for %v: nothing is decided from memory after that. Set a shorter time, or a longer stale_for", loss.After, staleFor)
		}
		return nil
	}
	if h.storeLoss, err = h.OnStoreLoss.option(); err == nil {
		err = check(h.storeLoss)
	}
	if err != nil {
		return setting.In(policy.OptionStoreLoss, fmt.Errorf("on_store_loss: %w", err))
	}
	for i := range h.Rules {
		stored := h.Rules[i].Options[policy.OptionStoreLoss]
		if stored == nil {
			continue
		}
		loss, err := policy.ParseStoreLoss(stored)
		if err == nil {
			err = check(loss)
		}
		if err != nil {
			return ruleconfig.In(i, fmt.Errorf("rule %s: %w", h.Rules[i].Path, err))
		}
	}
	return nil
}

// lossAnswer returns what on_store_loss answered; empty if it did not decide.
func lossAnswer(loss *policy.StoreLoss, allowed bool) string {
	switch {
	case loss == nil:
		return ""
	case allowed:
		return policy.LossPublic
	case loss.Then == policy.LossTeaser:
		return policy.LossTeaser
	default:
		return policy.LossDeny
	}
}

// explainedLoss returns the option of a rule, or that of the site, for explain.
func (h *Handler) explainedLoss(rule *policy.Rule) *admin.ExplainedStoreLoss {
	loss := h.storeLoss
	if stored := rule.Options[policy.OptionStoreLoss]; stored != nil {
		loss, _ = policy.ParseStoreLoss(stored) // the rule was compiled
	}
	if loss == nil {
		return nil
	}
	return &admin.ExplainedStoreLoss{After: loss.After.Round(time.Millisecond).String(), Then: loss.Then}
}
