package policy

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sort"
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
//
// They are one piece of memory without pointers, as they are kept (see packed):
// the spans in order, each a record of fixed size, and then their texts.
//
//	from 8 | to 8 | where its texts begin 4 | length of the sku 4 | length of the grant 4 | 0 4
type Entitlements struct {
	text string
	n    int
}

const spanRecord = 32

// span is the time for which a grant gives its sku.
type span struct {
	sku      string
	grant    string
	from, to int64
}

// NewEntitlements builds the entitlements that a reader's grants give. Grants
// that are not active, or without a sku, give nothing.
func NewEntitlements(grants []Grant) *Entitlements {
	spans := make([]span, 0, len(grants))
	for _, grant := range grants {
		if !grant.Active || grant.SKU == "" {
			continue
		}
		to := grant.EndsAt
		if to == 0 {
			to = never
		}
		spans = append(spans, span{sku: grant.SKU, grant: grant.ID, from: grant.StartsAt, to: to})
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

// unpackEntitlements returns entitlements that were packed. They share the memory
// of the text.
func unpackEntitlements(packed string) Entitlements {
	if len(packed) < spanRecord {
		return Entitlements{}
	}
	// The texts begin behind the last record.
	return Entitlements{text: packed, n: int(read32(packed, 16)) / spanRecord}
}

// span returns the span with an index.
func (e *Entitlements) span(i int) span {
	record := e.text[spanRecord*i : spanRecord*(i+1)]
	sku := read32(record, 16)
	grant := sku + read32(record, 20)
	return span{
		sku: e.text[sku:grant], grant: e.text[grant : grant+read32(record, 24)],
		from: int64(read64(record, 0)), to: int64(read64(record, 8)), //nolint:gosec // written from the same type
	}
}

func read64(s string, at int) uint64 { return uint64(read32(s, at)) | uint64(read32(s, at+4))<<32 }

func read32(s string, at int) uint32 {
	s = s[at : at+4]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// Has says whether the reader has a sku at a moment in Unix milliseconds, by
// which grant, and until when this answer holds: for ever (math.MaxInt64), if
// waiting does not change it. Of several grants the one that ends last is named.
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
			// Spans of one sku stand by their end, the latest first: no other
			// grant that counts now holds longer. One that begins before this
			// one ends would be named from then on.
			return s.grant, min(until, s.to), true
		}
	}
	return "", until, false
}

// None says that the reader has nothing, at no time.
func (e *Entitlements) None() bool { return e == nil || e.n == 0 }

// Each calls yield for each grant that counts at a moment in Unix
// milliseconds, in the order of skus, until it returns false.
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

// NextChange returns the first moment after now at which a grant begins or ends,
// in Unix milliseconds: math.MaxInt64 when there is none.
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

// earliest returns the earlier of two moments; zero as the first stands for
// none.
func earliest(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}
