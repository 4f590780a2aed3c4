package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// KeyInfo describes a signing key. It does not contain the key.
type KeyInfo struct {
	ID        string
	CreatedAt time.Time
	// RetiredAt is when its signatures became invalid; zero while they are valid.
	RetiredAt time.Time
	// Signs reports whether new tokens are signed with it.
	Signs bool
}

// ErrKeySigns is returned for a key that cannot be retired because it signs new
// tokens.
var ErrKeySigns = errors.New("this key signs new tokens: rotate first, then retire it")

// maxActiveKeys bounds the keys of a vendor that are not retired.
const maxActiveKeys = 32

// Keys lists a vendor's keys by id, including retired ones.
func (k *Keyring) Keys(ctx context.Context, vendor string) ([]KeyInfo, error) {
	current, stored, err := k.records(ctx, vendor)
	if err != nil {
		return nil, err
	}
	list := make([]KeyInfo, len(stored))
	for i, record := range stored {
		list[i] = record.info(current)
	}
	return list, nil
}

func (r *keyRecord) info(current string) KeyInfo {
	return KeyInfo{ID: r.KeyID, CreatedAt: r.CreatedAt, RetiredAt: r.RetiredAt, Signs: r.KeyID == current}
}

// Rotate creates a new key that signs from now on. Signatures of older keys stay valid
// until they expire or their key is retired; Rotate retires keys whose signatures have
// all expired. It returns ErrConflict when the key was rotated concurrently.
func (k *Keyring) Rotate(ctx context.Context, w Writer, vendor string) (KeyInfo, error) {
	current, stored, err := k.records(ctx, vendor)
	if err != nil {
		return KeyInfo{}, err
	}
	for _, kid := range expiredKeys(stored, current, k.store.now()) {
		if _, err := k.Retire(ctx, w, vendor, kid); err != nil {
			return KeyInfo{}, err
		}
	}
	if current, stored, err = k.records(ctx, vendor); err != nil {
		return KeyInfo{}, err
	}
	active := 0
	for _, record := range stored {
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

// expiredKeys returns the keys that are not retired, and whose signatures have all
// expired: each signed until the next one was created.
func expiredKeys(stored []keyRecord, current string, now time.Time) (kids []string) {
	const margin = 24 * time.Hour // for clock skew
	byAge := slices.SortedFunc(slices.Values(stored), func(a, b keyRecord) int { return a.CreatedAt.Compare(b.CreatedAt) })
	for i, record := range byAge[:max(len(byAge)-1, 0)] {
		if record.RetiredAt.IsZero() && record.KeyID != current && now.Sub(byAge[i+1].CreatedAt) > keys.MaxExpiresIn+margin {
			kids = append(kids, record.KeyID)
		}
	}
	return kids
}

// Retire invalidates the signatures of a key, at once and for good. Retiring again is
// no error. It returns ErrNotFound when the vendor has no such key, and ErrKeySigns
// when it is the one that signs.
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
	record.Sealed = nil
	updated, err := encode(record)
	if err != nil {
		return KeyInfo{}, err
	}
	batch := &engine.Batch{
		// The key may have become the one that signs.
		Checks: []engine.Check{{Key: place, Value: stored}, {Key: []byte{prefixCurrentKey}, Value: []byte(current)}},
		Puts:   []engine.Put{{Key: place, Value: updated}},
	}
	return record.info(current), w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true})
}
