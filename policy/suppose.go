package policy

import (
	"context"
	"math"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Supposition is what a decision is to be made from instead of what the store
// holds: for rule tests, which must say the same whatever was granted since.
type Supposition struct {
	// Grants says that SKUs replace the grants that the reader has: each of
	// them granted for ever, and nothing else.
	Grants bool
	SKUs   []string
	// LinkTo is a URL to which the reader holds a redeemed link, see
	// SupposedPass; empty for none.
	LinkTo string
}

// supposed names what stands in no store.
const supposed = "supposed"

// SupposedPass is the link cookie of the link that a Supposition speaks of.
func SupposedPass() Pass {
	return Pass{Issuer: supposed, ID: supposed, ExpiresAt: math.MaxInt64 / 1000}
}

// Suppose returns a policy that decides by the same steps as this one, as if
// what is supposed were true. It shares nothing in memory with it, keeps
// nothing, and redeems nothing. The site's rules are those of the Site that it
// is asked about, or else the store's, read anew for each request.
func (p *Policy) Suppose(s Supposition) *Policy {
	policy := p.uncached()
	policy.records = &supposedRecords{Records: p.records, supposition: s}
	return policy
}

// SupposeAlone returns a policy that has no store at all, only what is supposed.
func SupposeAlone(operators *Operators, now func() time.Time, s Supposition) *Policy {
	return &Policy{
		records:  &supposedRecords{Records: noRecords{}, supposition: s},
		versions: new(Versions), operators: operators, now: now, domains: new(domainTable),
	}
}

// supposedRecords are records in which something else is supposed.
type supposedRecords struct {
	Records
	supposition Supposition
}

func (s *supposedRecords) Grants(ctx context.Context, vendor string, reader Reader) ([]Grant, error) {
	if !s.supposition.Grants {
		return s.Records.Grants(ctx, vendor, reader)
	}
	grants := make([]Grant, len(s.supposition.SKUs))
	for i, sku := range s.supposition.SKUs {
		grants[i] = Grant{ID: supposed, SKU: sku, Active: true}
	}
	return grants, nil
}

func (s *supposedRecords) Link(ctx context.Context, vendor, issuer, id string) (Link, error) {
	if pass := SupposedPass(); s.supposition.LinkTo == "" || issuer != pass.Issuer || id != pass.ID {
		return s.Records.Link(ctx, vendor, issuer, id)
	}
	pass := SupposedPass()
	return Link{Claims: keys.LinkClaims{Issuer: pass.Issuer, ID: pass.ID, URL: s.supposition.LinkTo, ExpiresAt: pass.ExpiresAt}}, nil
}

func (*supposedRecords) Redeem(context.Context, string, Redemption) error { return ErrNotFound }

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
