package policy

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Grant is one reader's entry in an access list, as far as it decides.
type Grant struct {
	ID string
	// SKU is what was granted.
	SKU string
	// Active says that both the grant and its list are ACTIVE.
	Active bool
	// StartsAt and EndsAt are in Unix milliseconds, and half open: the grant
	// counts from StartsAt until just before EndsAt. Zero means no bound.
	StartsAt, EndsAt int64
}

// never is the moment that does not come.
const never = math.MaxInt64

// Entitlements are what one reader may have, and when: immutable and safe for
// concurrent use.
type Entitlements struct {
	spans []span
}

// span is the time for which a grant gives its sku.
type span struct {
	sku      string
	grant    string
	from, to int64
}

// NewEntitlements builds the entitlements that a reader's grants give. Grants
// that are not active, or without a sku, give nothing.
func NewEntitlements(grants []Grant) *Entitlements {
	entitlements := &Entitlements{spans: make([]span, 0, len(grants))}
	for _, grant := range grants {
		if !grant.Active || grant.SKU == "" {
			continue
		}
		to := grant.EndsAt
		if to == 0 {
			to = never
		}
		entitlements.spans = append(entitlements.spans, span{sku: grant.SKU, grant: grant.ID, from: grant.StartsAt, to: to})
	}
	slices.SortFunc(entitlements.spans, func(a, b span) int {
		return cmp.Or(strings.Compare(a.sku, b.sku), cmp.Compare(b.to, a.to), strings.Compare(a.grant, b.grant))
	})
	return entitlements
}

// Has says whether the reader has a sku at a moment in Unix milliseconds, by
// which grant, and until when this answer holds: for ever (math.MaxInt64), if
// waiting does not change it. Of several grants the one that ends last is named.
func (e *Entitlements) Has(sku string, now int64) (grant string, until int64, ok bool) {
	until = never
	if e == nil || sku == "" {
		return "", until, false
	}
	first, _ := slices.BinarySearchFunc(e.spans, sku, func(s span, sku string) int { return strings.Compare(s.sku, sku) })
	for _, s := range e.spans[first:] {
		if s.sku != sku {
			break
		}
		switch {
		case now >= s.to:
		case now < s.from:
			until = min(until, s.from)
		default:
			// Spans of one sku stand by their end, the latest first: no other
			// grant that counts now holds longer. One that begins before this
			// one ends would be named from then on.
			return s.grant, min(until, s.to), true
		}
	}
	return "", until, false
}

// None says that the reader has nothing, at no time.
func (e *Entitlements) None() bool { return e == nil || len(e.spans) == 0 }

// Each calls yield for each grant that counts at a moment in Unix
// milliseconds, in the order of skus, until it returns false.
func (e *Entitlements) Each(now int64, yield func(sku, grant string, from, to int64) bool) {
	if e == nil {
		return
	}
	for _, s := range e.spans {
		if s.from <= now && now < s.to && !yield(s.sku, s.grant, s.from, s.to) {
			return
		}
	}
}

// size estimates the bytes that the entitlements take in memory.
func (e *Entitlements) size() int64 {
	const header, perSpan = 48, 48
	size := int64(header)
	for _, s := range e.spans {
		size += perSpan + int64(len(s.sku)+len(s.grant))
	}
	return size
}

// earliest returns the earlier of two moments; zero as the first stands for
// none.
func earliest(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}
