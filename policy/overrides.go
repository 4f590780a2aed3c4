package policy

import (
	"context"
	"math"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Overrides replace records of the store, for decisions about a hypothetical reader: a
// rule test must not depend on the grants of the day.
type Overrides struct {
	// Grants reports whether SKUs and Membership replace the reader's records. SKUs are granted
	// without an end.
	Grants bool
	SKUs   []string
	// Membership holds the roles, subscriptions and signatures that the reader has besides
	// SKUs. Its Grants have no effect.
	Membership ReaderRecords
	// LinkTo is the URL of a link that the reader has redeemed, see HypotheticalLink;
	// empty for none.
	LinkTo string
}

// hypothetical is the id of records that no store has.
const hypothetical = "hypothetical"

// HypotheticalLink returns the redeemed link that Overrides.LinkTo describes.
func HypotheticalLink() RedeemedLink {
	return RedeemedLink{Issuer: hypothetical, ID: hypothetical, ExpiresAt: math.MaxInt64 / 1000}
}

// WithOverrides returns a policy that decides as p does, from overridden records. It
// neither caches nor redeems anything. It takes a site's rules from the Site, or else
// reads them from the store for each request.
func (p *Policy) WithOverrides(o Overrides) *Policy {
	policy := p.uncached()
	policy.records, policy.overrides = &overriddenRecords{Records: p.records, overrides: o}, &o
	return policy
}

// OverridesOnly returns a policy without a store, which decides by the overrides alone.
func OverridesOnly(operators *Operators, now func() time.Time, o Overrides) *Policy {
	return &Policy{
		records: &overriddenRecords{Records: emptyRecords{}, overrides: o}, overrides: &o,
		versions: &noVersions, operators: operators, now: now, domains: new(domainTable), licences: new(licenceTables),
	}
}

// records returns the records that replace the reader's.
func (o *Overrides) records() packedReader {
	records := o.Membership
	records.Grants = make([]Grant, len(o.SKUs))
	for i, sku := range o.SKUs {
		records.Grants[i] = Grant{ID: hypothetical, SKU: sku, Active: true}
	}
	return records.pack(nil, 0)
}

// overriddenRecords are records of which overrides replace some.
type overriddenRecords struct {
	Records
	overrides Overrides
}

func (r *overriddenRecords) Link(ctx context.Context, vendor, issuer, id string) (Link, error) {
	link := HypotheticalLink()
	if r.overrides.LinkTo == "" || issuer != link.Issuer || id != link.ID {
		return r.Records.Link(ctx, vendor, issuer, id)
	}
	return Link{Claims: keys.LinkClaims{Issuer: link.Issuer, ID: link.ID, URL: r.overrides.LinkTo, ExpiresAt: link.ExpiresAt}}, nil
}

func (*overriddenRecords) Redeem(context.Context, string, Redemption) error { return ErrNotFound }
