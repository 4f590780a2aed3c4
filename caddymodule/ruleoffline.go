package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// offlineJudge decides by the rules of a file, through the steps of the gate,
// without a server and without a store: nothing is opened, nothing is made.
type offlineJudge struct {
	gate  *Handler
	rules []wiredRule
}

func (*offlineJudge) online() bool { return false }

func (j *offlineJudge) explain(ctx context.Context, request admin.ExplainRequest) (*admin.Explanation, error) {
	noKeys := staticKeys{keys.KeySet{}}
	e, err := newExplainer(request, j.gate, &siteRuntime{
		policy: policy.OverridesOnly(policy.StandardOperators(), now, overridesOf(&request)),
		site:   policy.NewSite(j.gate.Vendor, j.gate.Site, j.gate.rules, j.gate.Paths.options(), noKeys),
	})
	if err != nil {
		return nil, err
	}
	e.decide(ctx)
	return e.result, nil
}

func (j *offlineJudge) allRules() ([]wiredRule, error) { return j.rules, nil }

// newOfflineJudge compiles the rules of a gate.
func newOfflineJudge(gate *Handler) (*offlineJudge, error) {
	gate.logger = zap.NewNop()
	gate.setDefaults()
	if err := gate.compileRules(); err != nil {
		return nil, err
	}
	j := &offlineJudge{gate: gate}
	for _, rule := range gate.fixedRules() {
		allow, err := rule.Allow.MarshalJSON()
		if err != nil {
			return nil, err
		}
		j.rules = append(j.rules, wiredRule{
			Rank: rule.Rank, Path: rule.Path, Methods: rule.Methods, Allow: allow, Forward: &rule.Forward, Engaged: strings.Join(rule.Engaged, ","),
		})
	}
	return j, nil
}

// judgeOfConfig decides by the rules that a configuration file has for a site.
func judgeOfConfig(file, adapter, vendor, site string) (ruleJudge, error) {
	gates, err := gatesOfConfig(file, adapter)
	if err != nil {
		return nil, err
	}
	gate, err := selectGate(gates, vendor, site)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(gate.Rules) == 0 {
		return nil, fmt.Errorf("%s: the site %s has no rules here: they are in the store, so test the table against the running server, or a file of `rule export` with --rules", file, gate.Site)
	}
	return newOfflineJudge(gate)
}

// gatesOfConfig returns the gates of a configuration file. It loads nothing of
// what they name.
func gatesOfConfig(file, adapter string) ([]*Handler, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if adapter == "" && filepath.Ext(file) != ".json" {
		adapter = "caddyfile"
	}
	if adapter != "" {
		known := caddyconfig.GetAdapter(adapter)
		if known == nil {
			return nil, fmt.Errorf("the config adapter %q is not known", adapter)
		}
		if content, _, err = known.Adapt(content, map[string]any{"filename": file}); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	var config any
	if err := json.Unmarshal(content, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var gates []*Handler
	err = eachGate(config, func(gate *Handler) { gates = append(gates, gate) })
	return gates, err
}

// eachGate finds the gates in a configuration, however deep its routes are.
func eachGate(config any, yield func(*Handler)) error {
	switch value := config.(type) {
	case []any:
		for _, member := range value {
			if err := eachGate(member, yield); err != nil {
				return err
			}
		}
	case map[string]any:
		if value["handler"] == directive {
			delete(value, "handler")
			encoded, err := json.Marshal(value)
			if err != nil {
				return err
			}
			gate := new(Handler)
			if err := json.Unmarshal(encoded, gate); err != nil {
				return err
			}
			gate.setDefaults()
			yield(gate)
			return nil
		}
		for _, member := range value {
			if err := eachGate(member, yield); err != nil {
				return err
			}
		}
	}
	return nil
}

// judgeOfRuleFile decides by a file of rules.
func judgeOfRuleFile(file string, stdin io.Reader, vendor, site string) (ruleJudge, error) {
	rules, err := readRuleFile(file, stdin)
	if err != nil {
		return nil, err
	}
	gate := &Handler{Vendor: vendor, Site: site}
	for i := range rules {
		var allow policy.Allow
		if err := allow.UnmarshalJSON(rules[i].Allow); err != nil {
			return nil, fmt.Errorf("%s: rule %s: %w", file, rules[i].Path, err)
		}
		path := rules[i].Path
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		gate.Rules = append(gate.Rules, RuleConfig{Path: path, Methods: rules[i].Methods, Operator: allow.Operator, Arguments: allow.Arguments})
	}
	if len(gate.Rules) == 0 {
		return nil, errors.New(file + ": there are no rules in it")
	}
	return newOfflineJudge(gate)
}
