package policy

import (
	"math/bits"
	"sync/atomic"
)

// stripes is the number of versions that the records of readers and links share. Two
// records on one stripe invalidate each other needlessly, but never too rarely.
const stripes = 1 << 16

// Versions are counters of the process that only grow, by which cached values are
// known to be current: one for all shared records (rules, lists, keys, domains), one
// for domains and denied keys alone, because a table of thousands of domains depends
// on nothing else, and one per stripe of readers and links. All methods are safe for
// concurrent use.
//
// Load the versions before reading the store, and stamp the result with them. A
// writer commits, then bumps, then acknowledges. So a result whose stamp equals the
// current versions is no older than the last acknowledged write, and an invalidation
// costs one addition, whatever is cached.
//
// A stamp is a sum of versions. Because versions only grow, two sums are equal only
// if each version is.
type Versions struct {
	shared  atomic.Uint64
	domains atomic.Uint64
	stripe  [stripes]atomic.Uint64
	pages   pageVersions
}

// Shared returns the stamp of values that depend on shared records alone.
func (v *Versions) Shared() uint64 { return v.shared.Load() }

// Domains returns the stamp of values that depend on trusted domains and denied keys
// alone.
func (v *Versions) Domains() uint64 { return v.domains.Load() }

// Reader returns the stamp of values that depend on a reader's grants.
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

// Profile returns the stamp of values that depend on a profile's record and
// subscriptions.
func (v *Versions) Profile(vendor, profile string) uint64 {
	return v.shared.Load() + v.stripe[Stripe(KindProfile, vendor, profile)].Load()
}

// sum returns the sum of the versions of stripes.
func (v *Versions) sum(stripes []uint16) (sum uint64) {
	for _, stripe := range stripes {
		sum += v.stripe[stripe].Load()
	}
	return sum
}

// sumPacked is sum for stripes of two bytes each.
func (v *Versions) sumPacked(stripes string) (sum uint64) {
	for ; len(stripes) >= 2; stripes = stripes[2:] {
		sum += v.stripe[load16(stripes)].Load()
	}
	return sum
}

// currentShared reports whether no record changed of the profiles and contracts on which the packed
// records of a reader depend.
func (v *Versions) currentShared(packed string) bool {
	stripes, sum := packedStripes(packed)
	return v.sumPacked(stripes) == sum
}

// Link returns the stamp of values that depend on a link's record.
func (v *Versions) Link(vendor, issuer, id string) uint64 {
	return v.shared.Load() + v.stripe[Stripe(KindLink, vendor, issuer, id)].Load()
}

// Paywall returns the stamp of a paywall.
func (v *Versions) Paywall(vendor, id string) uint64 {
	return v.stripe[Stripe(KindPaywall, vendor, id)].Load()
}

// Bump makes every value stale that depends on what changed.
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
	v.bumpPages(&change)
}

// Kind is a kind of identifier that has a stripe.
type Kind byte

// The kinds of identifiers.
const (
	KindUserID Kind = iota + 1
	KindEmail
	KindPublisherUserID
	KindLink
	KindProfile
	KindContract
	KindSession
	kindPageSite
	kindPage
	kindPagePrefix
	kindPageTag
	KindPaywall
)

// Stripe returns the stripe of an identifier. It is the same in every process,
// because nodes send each other stripes.
func Stripe(kind Kind, vendor string, parts ...string) uint16 {
	const seed = 0x243f6a8885a308d3 // digits of pi
	hash := mixText(mix(seed, uint64(kind)), vendor)
	for _, part := range parts {
		hash = mixText(hash, part)
	}
	return uint16(hash ^ hash>>16 ^ hash>>32 ^ hash>>48)
}

// mix adds eight bytes to a hash. It is fast rather than collision-resistant: a
// shared stripe costs a computation, and never a wrong answer.
func mix(hash, word uint64) uint64 {
	const factor = 0x9e3779b97f4a7c15 // of the golden ratio
	high, low := bits.Mul64(hash^word, factor)
	return high ^ low ^ hash>>32
}

func mixText(hash uint64, text string) uint64 {
	hash = mix(hash, uint64(len(text)))
	for ; len(text) >= 8; text = text[8:] {
		hash = mix(hash, load64(text))
	}
	var word uint64
	for i := range len(text) {
		word |= uint64(text[i]) << (8 * i)
	}
	return mix(hash, word)
}
