package caddymodule

import (
	"context"
	"slices"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

// hypotheticalReader is the user id of a reader of whom only the skus are given.
const hypotheticalReader = "supposed"

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

// addHypotheticalGrants adds the grants of the overrides.
func (e *explainer) addHypotheticalGrants(skus []string) {
	for _, sku := range skus {
		if !slices.Contains(e.skus, sku) {
			e.result.OtherGrants++
			continue
		}
		e.result.Grants = append(e.result.Grants, admin.ExplainedGrant{ID: "supposed", SKU: sku, List: "no list", Counts: true})
	}
}
