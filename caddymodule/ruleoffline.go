package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/caddymodule/reasons"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/caddymodule/siteaudit"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// offlineJudge decides by the rules of a file with the steps of the gate, without a
// server and without a store. It opens and creates nothing.
type offlineJudge struct {
	gate  *Handler
	rules []admin.RuleBody
}

func (j *offlineJudge) Explain(ctx context.Context, request admin.ExplainRequest) (*admin.Explanation, error) {
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

func (j *offlineJudge) Rules() ([]admin.RuleBody, error) { return j.rules, nil }

// newOfflineJudge compiles the rules of a gate.
func newOfflineJudge(gate *Handler) (_ *offlineJudge, err error) {
	gate.logger = zap.NewNop()
	gate.setDefaults()
	if gate.rules, err = ruleconfig.Compile(gate.Rules, gate.Paths.options(), gate.logger, gate.Vendor, gate.Site); err != nil {
		return nil, gate.Places.At(err)
	}
	j := &offlineJudge{gate: gate}
	for _, rule := range ruleconfig.Ranked(gate.Rules) {
		j.rules = append(j.rules, admin.NewRuleBody(rule))
	}
	return j, nil
}

// withOverrides returns a runtime that decides with the hypothetical grants and link of
// a request.
func (r *siteRuntime) withOverrides(ctx context.Context, request *admin.ExplainRequest) (*siteRuntime, error) {
	if request.SKUs == nil && !request.HoldsLink {
		return r, nil
	}
	site := *r.site
	if site.Rules == nil {
		rules, err := r.policy.Ruleset(ctx, site.Vendor, site.Name)
		if err != nil {
			return nil, err
		}
		site.Rules = rules
	}
	return &siteRuntime{policy: r.policy.WithOverrides(overridesOf(request)), site: &site, sources: r.sources}, nil
}

// overridesOf returns the overrides of a request.
func overridesOf(request *admin.ExplainRequest) policy.Overrides {
	var overrides policy.Overrides
	if request.SKUs != nil {
		overrides.Grants, overrides.SKUs = true, *request.SKUs
	}
	if request.HoldsLink {
		overrides.LinkTo = request.URL
	}
	return overrides
}

// judgeOfConfig returns a judge for a site's rules in a configuration file.
func judgeOfConfig(file, adapter, vendor, site string) (command.Judge, error) {
	gates, err := gatesOfConfig(file, adapter)
	if err != nil {
		return nil, err
	}
	gate, err := selectGate(gates, vendor, site)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(gate.Rules) == 0 {
		return nil, fmt.Errorf("%s: the site %s has no rules in this file, so they are in the store: test the table against the running server, or with --rules against a file of `rule export`", file, gate.Site)
	}
	return newOfflineJudge(gate)
}

// gatesOfConfig returns the gates of a configuration file, without provisioning
// them.
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
	gates, err := gatesOf(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return gates, nil
}

// gatesOf returns the gates of an adapted configuration.
func gatesOf(content []byte) ([]*Handler, error) {
	var config any
	if err := json.Unmarshal(content, &config); err != nil {
		return nil, err
	}
	return gatesIn(config)
}

// gatesIn returns the gates in a decoded configuration, at any depth of its routes.
func gatesIn(config any) ([]*Handler, error) {
	var members []any
	switch value := config.(type) {
	case []any:
		members = value
	case map[string]any:
		if value["handler"] == directive {
			return decodeGate(value)
		}
		members = slices.Collect(maps.Values(value))
	}
	var gates []*Handler
	for _, member := range members {
		found, err := gatesIn(member)
		if err != nil {
			return nil, err
		}
		gates = append(gates, found...)
	}
	return gates, nil
}

func decodeGate(config map[string]any) ([]*Handler, error) {
	delete(config, "handler")
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	gate := new(Handler)
	if err := json.Unmarshal(encoded, gate); err != nil {
		return nil, err
	}
	if err := setting.Replace(gate); err != nil {
		return nil, gate.Places.At(err)
	}
	gate.setDefaults()
	return []*Handler{gate}, nil
}

// judgeOfRules returns a judge for the rules of an exported file.
func judgeOfRules(rules []admin.RuleBody, vendor, site string) (command.Judge, error) {
	gate := &Handler{Vendor: vendor, Site: site}
	for _, body := range rules {
		rule, err := body.Rule()
		if err != nil {
			return nil, err
		}
		gate.Rules = append(gate.Rules, ruleconfig.Of(rule))
	}
	if len(gate.Rules) == 0 {
		return nil, errors.New("the file has no rules")
	}
	return newOfflineJudge(gate)
}

// auditConfig returns the ways through the routes of an adapted configuration. Pages of
// deny behind rules of the store are not judged.
func auditConfig(config []byte) (*siteaudit.Report, error) {
	report, err := siteaudit.Audit(config)
	if err != nil {
		return nil, err
	}
	report.FindPages(func(gate *siteaudit.Gate, option, address string) string {
		reason, _ := judgeConfigured(context.Background(), gate, option, address)
		return reason
	})
	return report, nil
}

// judgeConfigured judges a page of deny by the rules in a gate's configuration. It
// returns false if the rules are in the store or cannot be read.
func judgeConfigured(ctx context.Context, gate *siteaudit.Gate, option, address string) (reason string, known bool) {
	var config map[string]any
	if json.Unmarshal(gate.Config, &config) != nil {
		return "", false
	}
	gates, err := decodeGate(config)
	if err != nil || len(gates[0].Rules) == 0 {
		return "", false
	}
	judge, err := newOfflineJudge(gates[0])
	if err != nil {
		return "", false
	}
	explanation, err := judge.Explain(ctx, visitOfPage(option, address))
	return denialReason(option, explanation, err), true
}

// visitOfPage returns the request of a reader whom an option of deny sends to a page: an
// anonymous one to log in, and one who has nothing to all others.
func visitOfPage(option, address string) admin.ExplainRequest {
	request := admin.ExplainRequest{URL: address}
	if option != "login" {
		request.SKUs = &[]string{}
	}
	return request
}

// denialReason returns the reason of a denial; "" if there is none or it is only that of a
// store that cannot be asked. Of the pages for readers who are logged in only a denial that
// leads to the page itself counts: a hypothetical reader lacks other things too.
func denialReason(option string, explanation *admin.Explanation, err error) string {
	if err != nil || explanation.Decision.Allow || explanation.Decision.Reason == policy.ReasonStoreUnavailable.String() {
		return ""
	}
	if option == "login" {
		return explanation.Decision.Reason
	}
	if option == pricing {
		option = "subscribe"
	}
	for reason, next := range reasons.NextSteps {
		if reason.String() == explanation.Decision.Reason && next.Page == option {
			return explanation.Decision.Reason
		}
	}
	return ""
}
