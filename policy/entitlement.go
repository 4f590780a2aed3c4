package policy

import (
	"math"
)

// Grant is the part of a reader's entry in an access list that decides.
type Grant struct {
	ID string
	// SKU is what was granted.
	SKU string
	// Active reports whether both the grant and its list are ACTIVE.
	Active bool
	// StartsAt and EndsAt bound the half-open interval in which the grant counts, in
	// Unix milliseconds. Zero means no bound.
	StartsAt, EndsAt int64
}

// never is the expiry of what does not expire.
const never = math.MaxInt64

// Entitlements are what one reader may have, and when. They are immutable and safe for
// concurrent use. They are a part of a packed text, see packedReader.
type Entitlements struct {
	text  string
	spans section
}

// span is the period in which a grant gives its sku.
type span struct {
	sku      string
	grant    string
	from, to int64
}

// NewEntitlements returns the entitlements that a reader's grants give. Grants that
// are not active or have no sku give nothing.
func NewEntitlements(grants []Grant) *Entitlements {
	records := ReaderRecords{Grants: grants}
	packed := records.pack(nil, 0)
	return &packed.Entitlements
}

// span returns the span with an index.
func (e *Entitlements) span(i int) span {
	record := e.text[e.spans.at+spanRecord*i : e.spans.at+spanRecord*(i+1)]
	sku, grant := load32(record[16:]), load32(record[24:])
	return span{
		sku: e.text[sku : sku+load32(record[20:])], grant: e.text[grant : grant+load32(record[28:])],
		from: int64(load64(record)), to: int64(load64(record[8:])), //nolint:gosec // written from the same type
	}
}

// spanSKU returns the sku of the span with an index.
func (e *Entitlements) spanSKU(i int) string {
	at := e.spans.at + spanRecord*i
	sku := load32(e.text[at+16:])
	return e.text[sku : sku+load32(e.text[at+20:])]
}

// firstSpan returns the index of the first span of a sku, or of one after it.
func (e *Entitlements) firstSpan(sku string) int {
	low, high := 0, e.spans.n
	for low < high {
		middle := int(uint(low+high) >> 1) //nolint:gosec // neither is negative
		if e.spanSKU(middle) < sku {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// Has reports whether the reader has a sku at a moment in Unix milliseconds, and by
// which grant: of several, by the one that ends last. Until is the moment from which
// the answer may differ, math.MaxInt64 if there is none.
func (e *Entitlements) Has(sku string, now int64) (grant string, until int64, ok bool) {
	until = never
	if e == nil || sku == "" {
		return "", until, false
	}
	for i := e.firstSpan(sku); i < e.spans.n && e.spanSKU(i) == sku; i++ {
		s := e.span(i)
		switch {
		case now >= s.to:
		case now < s.from:
			until = min(until, s.from)
		default:
			// No other current grant ends later. One that starts before this one
			// ends, and ends later, replaces it from then on.
			return s.grant, min(until, s.to), true
		}
	}
	return "", until, false
}

// None reports whether the reader has nothing at any time.
func (e *Entitlements) None() bool { return e == nil || e.spans.n == 0 }

// Each calls yield for each grant that counts at a moment in Unix milliseconds, in the
// order of skus, until yield returns false.
func (e *Entitlements) Each(now int64, yield func(sku, grant string, from, to int64) bool) {
	if e == nil {
		return
	}
	for i := range e.spans.n {
		s := e.span(i)
		if s.from <= now && now < s.to && !yield(s.sku, s.grant, s.from, s.to) {
			return
		}
	}
}

// NextChange returns the first moment after now at which a grant begins or ends, in
// Unix milliseconds, or math.MaxInt64 if there is none.
func (e *Entitlements) NextChange(now int64) int64 {
	next := int64(never)
	if e == nil {
		return next
	}
	for i := range e.spans.n {
		s := e.span(i)
		if s.from > now {
			next = min(next, s.from)
		}
		if s.to > now {
			next = min(next, s.to)
		}
	}
	return next
}

// earliest returns the earlier of two moments, of which the first is zero for none.
func earliest(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}
