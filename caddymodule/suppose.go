package caddymodule

import (
	"context"
	"slices"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

// supposedReader is the user id of a reader of whom only the skus are said.
const supposedReader = "supposed"

// suppose returns a site that decides as if what a request supposes were true.
func (r *siteRuntime) suppose(ctx context.Context, request *admin.ExplainRequest) (*siteRuntime, error) {
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
	return &siteRuntime{policy: r.policy.Suppose(supposition(request)), site: &supposing, sources: r.sources}, nil
}

// supposition is what a request supposes.
func supposition(request *admin.ExplainRequest) policy.Supposition {
	var s policy.Supposition
	if request.SKUs != nil {
		s.Grants, s.SKUs = true, *request.SKUs
	}
	if request.HoldsLink {
		s.LinkTo = request.URL
	}
	return s
}

// tellSupposedGrants tells of grants that nobody made.
func (e *explainer) tellSupposedGrants(skus []string) {
	for _, sku := range skus {
		if !slices.Contains(e.skus, sku) {
			e.told.OtherGrants++
			continue
		}
		e.told.Grants = append(e.told.Grants, admin.ExplainedGrant{ID: "supposed", SKU: sku, List: "no list", Counts: true})
	}
}
