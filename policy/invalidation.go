package policy

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// Invalidation is what a write makes stale. It travels in the change feed.
type Invalidation struct {
	// Shared reports whether rules, access lists, keys or domains changed.
	Shared bool
	// SameDomains reports whether, of the shared records, neither domains nor denied
	// keys changed. It has no meaning without Shared.
	SameDomains bool
	// Stripes are those of the readers and links whose records changed.
	Stripes []uint16
}

// Add adds the stripe of an identifier. An empty identifier adds nothing.
func (c *Invalidation) Add(kind Kind, vendor string, parts ...string) {
	if len(parts) > 0 && parts[len(parts)-1] == "" {
		return
	}
	c.Stripes = append(c.Stripes, Stripe(kind, vendor, parts...))
}

// Join adds everything that another invalidation makes stale.
func (c *Invalidation) Join(other Invalidation) {
	switch {
	case !c.Shared:
		c.Shared, c.SameDomains = other.Shared, other.SameDomains
	case other.Shared:
		c.SameDomains = c.SameDomains && other.SameDomains
	}
	c.Stripes = append(c.Stripes, other.Stripes...)
}

// An event of the change feed is a format byte, a byte for the shared records, and
// the stripes: a list of two bytes each or, where that is shorter, a bitmap of all
// stripes. So the size of an event is bounded, whatever was written. Formats 1 and 2
// had a different stripe function.
const (
	formatList   = 3
	formatBitmap = 4

	maxListed    = stripes / 16
	maxEventSize = 2 + stripes/8
)

// Values of an event's byte for the shared records. A node that does not know
// sharedRest cannot decode such an event, and takes everything for stale.
const (
	sharedNone = 0
	sharedAll  = 1
	sharedRest = 2 // all but domains and denied keys
)

// Encode returns the invalidation as an event of the change feed, of at most 8,194
// bytes.
func (c Invalidation) Encode() []byte {
	if len(c.Stripes) > maxListed {
		c.Stripes = slices.Compact(slices.Sorted(slices.Values(c.Stripes)))
	}
	event := make([]byte, 2, 2+2*len(c.Stripes))
	switch {
	case c.Shared && c.SameDomains:
		event[1] = sharedRest
	case c.Shared:
		event[1] = sharedAll
	}
	if len(c.Stripes) > maxListed {
		event = append(event, make([]byte, stripes/8)...)
		event[0] = formatBitmap
		for _, stripe := range c.Stripes {
			event[2+stripe/8] |= 1 << (stripe % 8)
		}
		return event
	}
	event[0] = formatList
	for _, stripe := range c.Stripes {
		event = binary.BigEndian.AppendUint16(event, stripe)
	}
	return event
}

var errEventFormat = errors.New("the event of the change feed has an unknown format")

// DecodeInvalidation decodes an event that Encode returned. After an error the caller
// must take everything for stale.
func DecodeInvalidation(event []byte) (Invalidation, error) {
	if len(event) < 2 || len(event)%2 != 0 || len(event) > maxEventSize || event[1] > sharedRest {
		return Invalidation{}, errEventFormat
	}
	c := Invalidation{Shared: event[1] != sharedNone, SameDomains: event[1] == sharedRest}
	rest := event[2:]
	switch event[0] {
	case formatList:
		for ; len(rest) > 0; rest = rest[2:] {
			c.Stripes = append(c.Stripes, binary.BigEndian.Uint16(rest))
		}
		return c, nil
	case formatBitmap:
		for i, b := range rest {
			for ; b != 0; b &= b - 1 {
				c.Stripes = append(c.Stripes, uint16(i*8+bits.TrailingZeros8(b)))
			}
		}
		if len(event) == maxEventSize && len(c.Stripes) > maxListed {
			return c, nil
		}
	}
	return Invalidation{}, errEventFormat
}
