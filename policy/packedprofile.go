package policy

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"
)

// The cached records that decide for every reader, by the first byte of their keys. It
// is odd, so that no key is that of a token, and not that of a reader, see
// appendReaderKey.
const (
	keyOfProfile   = 3
	keyOfPlan      = 5
	keyOfAgreement = 7
)

// maxSlug bounds the slugs of profiles, plans, role types and agreements, in bytes, and
// maxUser the ids of users. A longer text names no record, and is not looked up.
const (
	maxSlug = 128
	maxUser = 255
)

// packedProfile is what decides about a profile: a byte that is not zero if it exists,
// the number of its providers in 4 bytes, the providers in order, and their slugs:
//
//	provider | from 8 | to 8
type packedProfile struct {
	text string
	n    int
}

const (
	profileHeader  = 5
	providerRecord = 22
)

func unpackProfile(text string) packedProfile {
	if len(text) < profileHeader {
		return packedProfile{}
	}
	return packedProfile{text, int(load32(text[1:]))}
}

func (p *packedProfile) exists() bool { return p.text != "" && p.text[0] != 0 }

// provider returns the i-th provider and the period in which the profile has a
// subscription to a plan of it.
func (p *packedProfile) provider(i int) (slug string, from, to int64) {
	at := profileHeader + providerRecord*i
	text := int(load32(p.text[at:]))
	return p.text[text : text+load16(p.text[at+4:])],
		int64(load64(p.text[at+6:])), int64(load64(p.text[at+14:])) //nolint:gosec // written from the same type
}

// pack packs a profile. Periods of one provider that overlap are one.
func (p *Profile) pack() []byte {
	type period struct {
		provider string
		from, to int64
	}
	var periods []period
	for _, s := range p.Subscriptions {
		periods = append(periods, period{s.Provider, s.StartsAt, cmp.Or(s.EndsAt, never)})
	}
	slices.SortFunc(periods, func(a, b period) int {
		return cmp.Or(strings.Compare(a.provider, b.provider), cmp.Compare(a.from, b.from))
	})
	joined := periods[:0]
	for _, next := range periods {
		if n := len(joined); n > 0 && joined[n-1].provider == next.provider && next.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, next.to)
			continue
		}
		joined = append(joined, next)
	}
	w := packer{texts: profileHeader + providerRecord*len(joined), known: map[string]int{}, out: []byte{0}}
	if p.Exists {
		w.out[0] = 1
	}
	w.out = binary.LittleEndian.AppendUint32(w.out, uint32(len(joined))) //nolint:gosec // far less than 4 Gi
	for _, next := range joined {
		w.ref(next.provider)
		w.number(next.from)
		w.number(next.to)
	}
	return append(w.out, w.tail...)
}

// packedPlan is a byte of flags, and the provider.
type packedPlan struct{ text string }

const (
	planExists = 1 << iota
	planNotPriced
)

func (p packedPlan) provider() string {
	if p.text == "" || p.text[0]&planExists == 0 {
		return ""
	}
	return p.text[1:]
}

func (p packedPlan) notPriced() bool { return p.text != "" && p.text[0]&planNotPriced != 0 }

func (p *Plan) pack() []byte {
	var flags byte
	if p.Exists {
		flags |= planExists
	}
	if p.NotPriced {
		flags |= planNotPriced
	}
	return append([]byte{flags}, p.Provider...)
}

// pack packs an agreement: a byte that is not zero if it exists, and its version.
func (a *Agreement) pack() []byte {
	if !a.Exists {
		return make([]byte, 9)
	}
	return binary.LittleEndian.AppendUint64([]byte{1}, uint64(a.UpdatedAt)) //nolint:gosec // read as the same type
}

// slugRecord returns the packed record of a slug, from memory if it was computed under
// the stamp. The error is ErrUnavailable.
func (p *Policy) slugRecord(kind byte, vendor, slug string, stamp uint64, now int64, read func() ([]byte, error)) (string, error) {
	var space [keySpace]byte
	key := append(binary.AppendUvarint(append(space[:0], kind), uint64(len(vendor))), vendor...)
	key = append(key, slug...)
	if record := p.readers.Get(key, stamp, now); record.Exists() {
		return record.Value(), nil
	}
	value, err := read()
	if err != nil {
		return "", unavailable(err)
	}
	if record := p.readers.Set(key, value, stamp, never); record.Exists() {
		return record.Value(), nil
	}
	return string(value), nil
}

func (p *Policy) profile(ctx context.Context, vendor, slug string, now int64) (packedProfile, error) {
	text, err := p.slugRecord(keyOfProfile, vendor, slug, p.versions.Profile(vendor, slug), now, func() ([]byte, error) {
		profile, err := p.records.Profile(ctx, vendor, slug)
		return profile.pack(), err
	})
	return unpackProfile(text), err
}

func (p *Policy) plan(ctx context.Context, vendor, slug string, now int64) (packedPlan, error) {
	text, err := p.slugRecord(keyOfPlan, vendor, slug, p.versions.Shared(), now, func() ([]byte, error) {
		plan, err := p.records.Plan(ctx, vendor, slug)
		return plan.pack(), err
	})
	return packedPlan{text}, err
}

// agreement returns the version of an agreement, in Unix milliseconds.
func (p *Policy) agreement(ctx context.Context, vendor, slug string, now int64) (updatedAt int64, ok bool, err error) {
	text, err := p.slugRecord(keyOfAgreement, vendor, slug, p.versions.Shared(), now, func() ([]byte, error) {
		agreement, err := p.records.Agreement(ctx, vendor, slug)
		return agreement.pack(), err
	})
	if err != nil || text[0] == 0 {
		return 0, false, err
	}
	return int64(load64(text[1:])), true, nil //nolint:gosec // written from the same type
}
