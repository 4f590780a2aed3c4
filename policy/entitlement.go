package policy

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"strings"
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
// concurrent use.
//
// They are one text without pointers, the form in which memory.RecordCache keeps them:
// spans of fixed size, ordered by sku and then by end, the latest first; and after
// them the texts that they refer to.
//
//	from 8 | to 8 | offset of the texts 4 | length of the sku 4 | length of the grant 4 | 0 4
type Entitlements struct {
	text string
	n    int
}

const spanRecord = 32

// span is the period in which a grant gives its sku.
type span struct {
	sku      string
	grant    string
	from, to int64
}

// NewEntitlements returns the entitlements that a reader's grants give. Grants that
// are not active or have no sku give nothing.
func NewEntitlements(grants []Grant) *Entitlements {
	spans := make([]span, 0, len(grants))
	for _, grant := range grants {
		if !grant.Active || grant.SKU == "" {
			continue
		}
		spans = append(spans, span{sku: grant.SKU, grant: grant.ID, from: grant.StartsAt, to: cmp.Or(grant.EndsAt, never)})
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(strings.Compare(a.sku, b.sku), cmp.Compare(b.to, a.to), strings.Compare(a.grant, b.grant))
	})
	return packSpans(spans)
}

func packSpans(spans []span) *Entitlements {
	size := spanRecord * len(spans)
	for _, s := range spans {
		size += len(s.sku) + len(s.grant)
	}
	records, texts := make([]byte, 0, size), spanRecord*len(spans)
	for _, s := range spans {
		records = binary.LittleEndian.AppendUint64(records, uint64(s.from)) //nolint:gosec // read as the same type
		records = binary.LittleEndian.AppendUint64(records, uint64(s.to))   //nolint:gosec // read as the same type
		for _, n := range [...]int{texts, len(s.sku), len(s.grant), 0} {
			records = binary.LittleEndian.AppendUint32(records, uint32(n)) //nolint:gosec // far less than 4 GiB
		}
		texts += len(s.sku) + len(s.grant)
	}
	for _, s := range spans {
		records = append(append(records, s.sku...), s.grant...)
	}
	return &Entitlements{text: string(records), n: len(spans)}
}

// unpackEntitlements returns packed entitlements, which share the memory of the text.
func unpackEntitlements(packed string) Entitlements {
	if len(packed) < spanRecord {
		return Entitlements{}
	}
	// The first span's texts begin after the last span.
	return Entitlements{text: packed, n: int(load32(packed[16:])) / spanRecord}
}

// span returns the span with an index.
func (e *Entitlements) span(i int) span {
	record := e.text[spanRecord*i : spanRecord*(i+1)]
	sku := load32(record[16:])
	grant := sku + load32(record[20:])
	return span{
		sku: e.text[sku:grant], grant: e.text[grant : grant+load32(record[24:])],
		from: int64(load64(record)), to: int64(load64(record[8:])), //nolint:gosec // written from the same type
	}
}

// Has reports whether the reader has a sku at a moment in Unix milliseconds, and by
// which grant: of several, by the one that ends last. Until is the moment from which
// the answer may differ, math.MaxInt64 if there is none.
func (e *Entitlements) Has(sku string, now int64) (grant string, until int64, ok bool) {
	until = never
	if e == nil || sku == "" {
		return "", until, false
	}
	first := sort.Search(e.n, func(i int) bool { return e.span(i).sku >= sku })
	for i := first; i < e.n; i++ {
		s := e.span(i)
		if s.sku != sku {
			break
		}
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
func (e *Entitlements) None() bool { return e == nil || e.n == 0 }

// Each calls yield for each grant that counts at a moment in Unix milliseconds, in the
// order of skus, until yield returns false.
func (e *Entitlements) Each(now int64, yield func(sku, grant string, from, to int64) bool) {
	if e == nil {
		return
	}
	for i := range e.n {
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
	for i := range e.n {
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
