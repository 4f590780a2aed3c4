package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// KeyInfo tells of a signing key, without the key.
type KeyInfo struct {
	ID        string
	CreatedAt time.Time
	// RetiredAt is when its signatures ceased to count; zero when they count.
	RetiredAt time.Time
	// Signs says that new tokens are signed with it.
	Signs bool
}

// ErrKeySigns says that a key cannot be retired because new tokens are signed
// with it.
var ErrKeySigns = errors.New("this key signs new tokens: rotate first, then retire it")

// maxActiveKeys bounds how many keys of a vendor verify at a time.
const maxActiveKeys = 32

// Keys lists a vendor's keys in the order of their ids, the retired ones as
// well.
func (k *Keyring) Keys(ctx context.Context, vendor string) ([]KeyInfo, error) {
	current, records, err := k.records(ctx, vendor)
	if err != nil {
		return nil, err
	}
	list := make([]KeyInfo, len(records))
	for i, record := range records {
		list[i] = record.info(current)
	}
	return list, nil
}

func (r *keyRecord) info(current string) KeyInfo {
	return KeyInfo{ID: r.KeyID, CreatedAt: r.CreatedAt, RetiredAt: r.RetiredAt, Signs: r.KeyID == current}
}

// Rotate makes a new key that signs from now on. What older keys signed stays
// good until it expires, or its key is retired; keys of which nothing can be left
// are retired by the way. ErrConflict means that somebody
// else rotated at the same time.
func (k *Keyring) Rotate(ctx context.Context, w Writer, vendor string) (KeyInfo, error) {
	current, records, err := k.records(ctx, vendor)
	if err != nil {
		return KeyInfo{}, err
	}
	for _, kid := range outlived(records, current, k.store.now()) {
		if _, err := k.Retire(ctx, w, vendor, kid); err != nil {
			return KeyInfo{}, err
		}
	}
	if current, records, err = k.records(ctx, vendor); err != nil {
		return KeyInfo{}, err
	}
	active := 0
	for _, record := range records {
		if record.RetiredAt.IsZero() {
			active++
		}
	}
	if active >= maxActiveKeys {
		return KeyInfo{}, &FieldError{"keys", fmt.Sprintf("are %d that verify: retire old ones first", active)}
	}
	record, err := k.create(ctx, w, vendor, current)
	if err != nil {
		return KeyInfo{}, err
	}
	return record.info(record.KeyID), nil
}

// outlived returns the keys that verify and of which nothing can be left: each
// signed until the next one was made, and the longest link has ended since.
func outlived(records []keyRecord, current string, now time.Time) (kids []string) {
	const margin = 24 * time.Hour // for clocks that differ
	byAge := slices.SortedFunc(slices.Values(records), func(a, b keyRecord) int { return a.CreatedAt.Compare(b.CreatedAt) })
	for i, record := range byAge[:max(len(byAge)-1, 0)] {
		if record.RetiredAt.IsZero() && record.KeyID != current && now.Sub(byAge[i+1].CreatedAt) > keys.MaxExpiresIn+margin {
			kids = append(kids, record.KeyID)
		}
	}
	return kids
}

// Retire ends what a key signed, at once and for good. Retiring twice is no
// error. ErrNotFound means that the vendor has no such key, ErrKeySigns that it
// is the one that signs.
func (k *Keyring) Retire(ctx context.Context, w Writer, vendor, kid string) (KeyInfo, error) {
	var record keyRecord
	place := key(prefixKey, kid)
	stored, err := k.store.get(ctx, vendor, place, &record)
	if err != nil {
		return KeyInfo{}, err
	}
	if !record.RetiredAt.IsZero() {
		return record.info(""), nil
	}
	current, _, err := k.records(ctx, vendor)
	if err != nil {
		return KeyInfo{}, err
	}
	if current == kid {
		return KeyInfo{}, ErrKeySigns
	}
	record.RetiredAt = k.store.timestamp()
	record.Sealed = nil // nobody needs it again
	updated, err := encode(record)
	if err != nil {
		return KeyInfo{}, err
	}
	batch := &engine.Batch{
		// Whoever made it the signing key meanwhile wins.
		Checks: []engine.Check{{Key: place, Value: stored}, {Key: []byte{prefixCurrentKey}, Value: []byte(current)}},
		Puts:   []engine.Put{{Key: place, Value: updated}},
	}
	return record.info(current), w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true})
}
