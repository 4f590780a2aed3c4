package policy

import (
	"context"
	"math"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Overrides replace parts of what the store holds, for decisions about a
// hypothetical reader: rule tests must answer the same whatever was granted since.
type Overrides struct {
	// Grants reports whether SKUs replace the reader's grants: each of them granted
	// for ever, and nothing else.
	Grants bool
	SKUs   []string
	// LinkTo is a URL to which the reader holds a redeemed link, see
	// HypotheticalLink; empty for none.
	LinkTo string
}

// hypothetical names records that are in no store.
const hypothetical = "hypothetical"

// HypotheticalLink returns the redeemed link that Overrides.LinkTo describes.
func HypotheticalLink() RedeemedLink {
	return RedeemedLink{Issuer: hypothetical, ID: hypothetical, ExpiresAt: math.MaxInt64 / 1000}
}

// WithOverrides returns a policy that decides as p does, from overridden records. It
// shares no memory with p, keeps nothing and redeems nothing. It reads a site's rules
// from the Site, or else from the store for each request.
func (p *Policy) WithOverrides(o Overrides) *Policy {
	policy := p.uncached()
	policy.records = &overriddenRecords{Records: p.records, overrides: o}
	return policy
}

// OverridesOnly returns a policy without a store: it knows the overrides alone.
func OverridesOnly(operators *Operators, now func() time.Time, o Overrides) *Policy {
	return &Policy{
		records:  &overriddenRecords{Records: noRecords{}, overrides: o},
		versions: new(Versions), operators: operators, now: now, domains: new(domainTable),
	}
}

// overriddenRecords are records of which overrides replace a part.
type overriddenRecords struct {
	Records
	overrides Overrides
}

func (r *overriddenRecords) Grants(ctx context.Context, vendor string, reader Reader) ([]Grant, error) {
	if !r.overrides.Grants {
		return r.Records.Grants(ctx, vendor, reader)
	}
	grants := make([]Grant, len(r.overrides.SKUs))
	for i, sku := range r.overrides.SKUs {
		grants[i] = Grant{ID: hypothetical, SKU: sku, Active: true}
	}
	return grants, nil
}

func (r *overriddenRecords) Link(ctx context.Context, vendor, issuer, id string) (Link, error) {
	link := HypotheticalLink()
	if r.overrides.LinkTo == "" || issuer != link.Issuer || id != link.ID {
		return r.Records.Link(ctx, vendor, issuer, id)
	}
	return Link{Claims: keys.LinkClaims{Issuer: link.Issuer, ID: link.ID, URL: r.overrides.LinkTo, ExpiresAt: link.ExpiresAt}}, nil
}

func (*overriddenRecords) Redeem(context.Context, string, Redemption) error { return ErrNotFound }

// noRecords is an empty store.
type noRecords struct{}

func (noRecords) Grants(context.Context, string, Reader) ([]Grant, error) { return nil, nil }

func (noRecords) Link(context.Context, string, string, string) (Link, error) {
	return Link{}, ErrNotFound
}

func (noRecords) Redeem(context.Context, string, Redemption) error { return ErrNotFound }

func (noRecords) Domains(context.Context, string, *Domains) (Domains, error) { return Domains{}, nil }

func (noRecords) Rules(context.Context, string, string) ([]Rule, error) { return nil, nil }

func (noRecords) Containers(context.Context, string, string) ([]string, error) { return nil, nil }
