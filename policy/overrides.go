package policy

import (
	"context"
	"math"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Supposition is what a decision is to be made from instead of what the store
// holds: for rule tests, which must say the same whatever was granted since.
type Overrides struct {
	// Grants says that SKUs replace the grants that the reader has: each of
	// them granted for ever, and nothing else.
	Grants bool
	SKUs   []string
	// LinkTo is a URL to which the reader holds a redeemed link, see
	// SupposedPass; empty for none.
	LinkTo string
}

// supposed names what stands in no store.
const hypothetical = "supposed"

// SupposedPass is the link cookie of the link that a Supposition speaks of.
func HypotheticalLink() RedeemedLink {
	return RedeemedLink{Issuer: hypothetical, ID: hypothetical, ExpiresAt: math.MaxInt64 / 1000}
}

// Suppose returns a policy that decides by the same steps as this one, as if
// what is supposed were true. It shares nothing in memory with it, keeps
// nothing, and redeems nothing. The site's rules are those of the Site that it
// is asked about, or else the store's, read anew for each request.
func (p *Policy) WithOverrides(s Overrides) *Policy {
	policy := p.uncached()
	policy.records = &overriddenRecords{Records: p.records, overrides: s}
	return policy
}

// SupposeAlone returns a policy that has no store at all, only what is supposed.
func OverridesOnly(operators *Operators, now func() time.Time, s Overrides) *Policy {
	return &Policy{
		records:  &overriddenRecords{Records: noRecords{}, overrides: s},
		versions: new(Versions), operators: operators, now: now, domains: new(domainTable),
	}
}

// supposedRecords are records in which something else is supposed.
type overriddenRecords struct {
	Records
	overrides Overrides
}

func (s *overriddenRecords) Grants(ctx context.Context, vendor string, reader Reader) ([]Grant, error) {
	if !s.overrides.Grants {
		return s.Records.Grants(ctx, vendor, reader)
	}
	grants := make([]Grant, len(s.overrides.SKUs))
	for i, sku := range s.overrides.SKUs {
		grants[i] = Grant{ID: hypothetical, SKU: sku, Active: true}
	}
	return grants, nil
}

func (s *overriddenRecords) Link(ctx context.Context, vendor, issuer, id string) (Link, error) {
	if pass := HypotheticalLink(); s.overrides.LinkTo == "" || issuer != pass.Issuer || id != pass.ID {
		return s.Records.Link(ctx, vendor, issuer, id)
	}
	pass := HypotheticalLink()
	return Link{Claims: keys.LinkClaims{Issuer: pass.Issuer, ID: pass.ID, URL: s.overrides.LinkTo, ExpiresAt: pass.ExpiresAt}}, nil
}

func (*overriddenRecords) Redeem(context.Context, string, Redemption) error { return ErrNotFound }

// noRecords is a store in which nothing is.
type noRecords struct{}

func (noRecords) Grants(context.Context, string, Reader) ([]Grant, error) { return nil, nil }

func (noRecords) Link(context.Context, string, string, string) (Link, error) {
	return Link{}, ErrNotFound
}

func (noRecords) Redeem(context.Context, string, Redemption) error { return ErrNotFound }

func (noRecords) Domains(context.Context, string, *Domains) (Domains, error) { return Domains{}, nil }

func (noRecords) Rules(context.Context, string, string) ([]Rule, error) { return nil, nil }

func (noRecords) Containers(context.Context, string, string) ([]string, error) { return nil, nil }
