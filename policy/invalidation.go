package policy

import (
	"encoding/binary"
	"errors"
	"math"
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
	// Pages and SoftPages are the slots of stored pages that were purged, see PagePurge.
	// AllPages reports whether every stored page is: it is not known which are.
	Pages, SoftPages []uint16
	AllPages         bool
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
	c.Pages, c.SoftPages = append(c.Pages, other.Pages...), append(c.SoftPages, other.SoftPages...)
	c.AllPages = c.AllPages || other.AllPages
}

// An event of the change feed is a format byte, a byte for the shared records, and
// the stripes: a list of two bytes each or, where that is shorter, a bitmap of all
// stripes. So the size of an event is bounded, whatever was written. Formats 1 and 2
// had a different stripe function.
//
// An event with purges of pages has, between the first two bytes and a list of stripes, the
// numbers of slots of hard and soft purges, and the slots, two bytes each. A node that does
// not know the format takes everything for stale.
const (
	formatList   = 3
	formatBitmap = 4
	formatPages  = 5

	maxListed    = stripes / 16
	maxPages     = maxListed / 4 // of each kind in one event; more purge all pages
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
	if c.purges() {
		return c.encodePages()
	}
	if len(c.Stripes) > maxListed {
		c.Stripes = slices.Compact(slices.Sorted(slices.Values(c.Stripes)))
	}
	event := make([]byte, 2, 2+2*len(c.Stripes))
	event[1] = c.sharedByte()
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

func (c *Invalidation) sharedByte() byte {
	switch {
	case c.Shared && c.SameDomains:
		return sharedRest
	case c.Shared:
		return sharedAll
	}
	return sharedNone
}

func (c *Invalidation) purges() bool { return c.AllPages || len(c.Pages)+len(c.SoftPages) > 0 }

// encodePages returns an event with purges. A number of hard purges beyond maxPages purges
// all pages. If there are too many stripes for a list, everything shared is stale instead.
func (c *Invalidation) encodePages() []byte {
	if c.AllPages || len(c.Pages)+len(c.SoftPages) > maxPages {
		c.Pages, c.SoftPages, c.AllPages = nil, nil, true
	}
	if len(c.Stripes) > maxListed/2 {
		c.Stripes, c.Shared, c.SameDomains = nil, true, false
	}
	event := []byte{formatPages, c.sharedByte()}
	hard := len(c.Pages)
	if c.AllPages {
		hard = allPages
	}
	event = binary.BigEndian.AppendUint16(event, uint16(hard))
	event = binary.BigEndian.AppendUint16(event, uint16(len(c.SoftPages)))
	for _, slots := range [][]uint16{c.Pages, c.SoftPages, c.Stripes} {
		for _, slot := range slots {
			event = binary.BigEndian.AppendUint16(event, slot)
		}
	}
	return event
}

// allPages is the number of hard purges that means every page.
const allPages = math.MaxUint16

// decodePages decodes the rest of an event with purges.
func (c *Invalidation) decodePages(rest []byte) error {
	if len(rest) < 4 {
		return errEventFormat
	}
	hard, soft := int(binary.BigEndian.Uint16(rest)), int(binary.BigEndian.Uint16(rest[2:]))
	rest = rest[4:]
	if c.AllPages = hard == allPages; c.AllPages {
		hard = 0
	}
	if hard+soft > maxPages || len(rest) < 2*(hard+soft) || !c.AllPages && hard+soft == 0 || c.AllPages && soft > 0 || len(rest)/2-hard-soft > maxListed/2 {
		return errEventFormat
	}
	for i := 0; len(rest) > 0; i, rest = i+1, rest[2:] {
		switch slot := binary.BigEndian.Uint16(rest); {
		case i < hard:
			c.Pages = append(c.Pages, slot)
		case i < hard+soft:
			c.SoftPages = append(c.SoftPages, slot)
		default:
			c.Stripes = append(c.Stripes, slot)
		}
	}
	return nil
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
	case formatPages:
		if err := c.decodePages(rest); err != nil {
			return Invalidation{}, err
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
