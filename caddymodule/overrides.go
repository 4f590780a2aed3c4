package caddymodule

import (
	"context"
	"slices"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

// supposedReader is the user id of a reader of whom only the skus are said.
const hypotheticalReader = "supposed"

// suppose returns a site that decides as if what a request supposes were true.
func (r *siteRuntime) withOverrides(ctx context.Context, request *admin.ExplainRequest) (*siteRuntime, error) {
	if request.SKUs == nil && !request.HoldsLink {
		return r, nil
	}
	supposing := *r.site
	if supposing.Rules == nil {
		rules, err := r.policy.Ruleset(ctx, supposing.Vendor, supposing.Name)
		if err != nil {
			return nil, err
		}
		supposing.Rules = rules
	}
	return &siteRuntime{policy: r.policy.WithOverrides(overridesOf(request)), site: &supposing, sources: r.sources}, nil
}

// supposition is what a request supposes.
func overridesOf(request *admin.ExplainRequest) policy.Overrides {
	var s policy.Overrides
	if request.SKUs != nil {
		s.Grants, s.SKUs = true, *request.SKUs
	}
	if request.HoldsLink {
		s.LinkTo = request.URL
	}
	return s
}

// tellSupposedGrants tells of grants that nobody made.
func (e *explainer) addHypotheticalGrants(skus []string) {
	for _, sku := range skus {
		if !slices.Contains(e.skus, sku) {
			e.result.OtherGrants++
			continue
		}
		e.result.Grants = append(e.result.Grants, admin.ExplainedGrant{ID: "supposed", SKU: sku, List: "no list", Counts: true})
	}
}
