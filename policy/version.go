package policy

import (
	"encoding/binary"
	"errors"
	mathbits "math/bits"
	"slices"
	"sync/atomic"
)

// stripes is how many versions the records of readers and links share. Two
// records on one stripe only make each other stale too often, never too rarely.
const stripes = 1 << 16

// Versions say how new what is in memory is. They are local to the process and
// only grow: one for everything that is shared (rules, lists, keys, domains),
// and one per stripe of readers and links. Of what is shared, domains and denied
// keys have a version besides, because a table of thousands of them depends on
// nothing else.
//
// Whoever computes something from the store loads the versions before it reads,
// and stamps the result with them; a writer commits, then bumps, then
// acknowledges. So a result that carries today's versions cannot be older than
// the last acknowledged write, and revoking costs one addition, whatever is
// cached.
//
// Because versions only grow, their sum is equal at two moments only if each of
// them is: a stamp is that sum.
type Versions struct {
	shared  atomic.Uint64
	domains atomic.Uint64
	stripe  [stripes]atomic.Uint64
}

// Kind is the kind of identifier that a stripe is found by.
type Kind byte

// The kinds of identifiers.
const (
	KindUserID Kind = iota + 1
	KindEmail
	KindPublisherUserID
	KindLink
)

// Stripe returns the stripe of an identifier. It is the same in every process,
// because changes travel between nodes as stripes.
func Stripe(kind Kind, vendor string, parts ...string) uint16 {
	hash := mix(stripeSeed, uint64(kind))
	hash = mixText(hash, vendor)
	for _, part := range parts {
		hash = mixText(hash, part)
	}
	return uint16(hash ^ hash>>16 ^ hash>>32 ^ hash>>48)
}

// stripeSeed and stripeFactor are arbitrary: digits of pi, and of the golden ratio.
const (
	stripeSeed   = 0x243f6a8885a308d3
	stripeFactor = 0x9e3779b97f4a7c15
)

// mix takes eight bytes at once into a hash: requests wait for it. A client that
// finds collisions gains nothing: sharing a stripe costs a recomputation, never a
// wrong answer.
func mix(hash, word uint64) uint64 {
	high, low := mathbits.Mul64(hash^word, stripeFactor)
	return high ^ low ^ hash>>32
}

func mixText(hash uint64, text string) uint64 {
	hash = mix(hash, uint64(len(text)))
	for ; len(text) >= 8; text = text[8:] {
		hash = mix(hash, read64(text, 0))
	}
	var word uint64
	for i := range len(text) {
		word |= uint64(text[i]) << (8 * i)
	}
	return mix(hash, word)
}

// Shared returns the stamp of what depends on nothing but the shared records.
func (v *Versions) Shared() uint64 { return v.shared.Load() }

// Domains returns the stamp of what depends on nothing but trusted domains and
// denied keys.
func (v *Versions) Domains() uint64 { return v.domains.Load() }

// Reader returns the stamp of what depends on a reader's grants.
func (v *Versions) Reader(vendor string, r *Reader) uint64 {
	sum := v.shared.Load()
	if r.UserID != "" {
		sum += v.stripe[Stripe(KindUserID, vendor, r.UserID)].Load()
	}
	if r.Email != "" {
		sum += v.stripe[Stripe(KindEmail, vendor, r.Email)].Load()
	}
	if r.PublisherUserID != "" {
		sum += v.stripe[Stripe(KindPublisherUserID, vendor, r.PublisherUserID)].Load()
	}
	return sum
}

// Link returns the stamp of what depends on a link's record.
func (v *Versions) Link(vendor, issuer, id string) uint64 {
	return v.shared.Load() + v.stripe[Stripe(KindLink, vendor, issuer, id)].Load()
}

// Bump makes stale whatever depends on what changed. It is safe for concurrent
// use, as all of Versions is.
func (v *Versions) Bump(change Invalidation) {
	if change.Shared {
		v.shared.Add(1)
		if !change.SameDomains {
			v.domains.Add(1)
		}
	}
	for _, stripe := range change.Stripes {
		v.stripe[stripe].Add(1)
	}
}

// Change is what a write makes stale. It travels in the change feed.
type Invalidation struct {
	// Shared: rules, access lists, keys or domains changed.
	Shared bool
	// SameDomains: of what is shared, neither domains nor denied keys changed. It
	// says nothing where nothing shared changed.
	SameDomains bool
	// Stripes of the readers and links whose records changed.
	Stripes []uint16
}

// Join makes stale what another change does, besides.
func (c *Invalidation) Join(other Invalidation) {
	switch {
	case !c.Shared:
		c.Shared, c.SameDomains = other.Shared, other.SameDomains
	case other.Shared:
		c.SameDomains = c.SameDomains && other.SameDomains
	}
	c.Stripes = append(c.Stripes, other.Stripes...)
}

// What an event says of what is shared. A node that does not know sharedRest yet
// takes such an event for one that it cannot read, and so everything for stale.
const (
	sharedNone = 0
	sharedAll  = 1
	sharedRest = 2 // all but domains and denied keys
)

func (c *Invalidation) shared() byte {
	switch {
	case !c.Shared:
		return sharedNone
	case c.SameDomains:
		return sharedRest
	default:
		return sharedAll
	}
}

// Add notes the stripe of an identifier; an empty identifier is none.
func (c *Invalidation) Add(kind Kind, vendor string, parts ...string) {
	if len(parts) > 0 && parts[len(parts)-1] == "" {
		return
	}
	c.Stripes = append(c.Stripes, Stripe(kind, vendor, parts...))
}

// The formats of an event: the stripes one by one, two bytes each, or one bit for
// every stripe that there is, where that is shorter. So an event is bounded,
// whatever was written. (1 and 2 were the same, of stripes found in another way.)
const (
	changeFormat = 3
	changeBits   = 4

	maxListed     = stripes / 16
	maxChangeSize = 2 + stripes/8
)

// Encode writes the change as an event of the change feed: 8,194 bytes at the
// most.
func (c Invalidation) Encode() []byte {
	if len(c.Stripes) > maxListed {
		c.Stripes = slices.Compact(slices.Sorted(slices.Values(c.Stripes)))
	}
	if len(c.Stripes) > maxListed {
		return c.encodeBits()
	}
	event := make([]byte, 2, 2+2*len(c.Stripes))
	event[0], event[1] = changeFormat, c.shared()
	for _, stripe := range c.Stripes {
		event = binary.BigEndian.AppendUint16(event, stripe)
	}
	return event
}

// DecodeChange reads what Encode wrote. Whoever gets an error must take
// everything for stale.
func DecodeInvalidation(event []byte) (Invalidation, error) {
	unknown := errors.New("an event of the change feed is not of a known format")
	if len(event) < 2 || len(event)%2 != 0 || len(event) > maxChangeSize || event[1] > sharedRest {
		return Invalidation{}, unknown
	}
	change := Invalidation{Shared: event[1] != sharedNone, SameDomains: event[1] == sharedRest}
	switch event[0] {
	case changeFormat:
	case changeBits:
		if change.decodeBits(event[2:]); len(event) != maxChangeSize || len(change.Stripes) <= maxListed {
			return Invalidation{}, unknown
		}
		return change, nil
	default:
		return Invalidation{}, unknown
	}
	for rest := event[2:]; len(rest) > 0; rest = rest[2:] {
		change.Stripes = append(change.Stripes, binary.BigEndian.Uint16(rest))
	}
	return change, nil
}

func (c Invalidation) encodeBits() []byte {
	event := make([]byte, maxChangeSize)
	event[0], event[1] = changeBits, c.shared()
	for _, stripe := range c.Stripes {
		event[2+stripe/8] |= 1 << (stripe % 8)
	}
	return event
}

func (c *Invalidation) decodeBits(bits []byte) {
	for i, b := range bits {
		for ; b != 0; b &= b - 1 {
			c.Stripes = append(c.Stripes, uint16(i*8+mathbits.TrailingZeros8(b)))
		}
	}
}
