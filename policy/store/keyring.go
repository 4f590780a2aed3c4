package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Keyring holds the signing keys of all vendors. Private keys are stored sealed; the
// Keyring caches the unsealed ones in memory. It is safe for concurrent use.
type Keyring struct {
	store  *Store
	sealer *keys.Sealer

	mu    sync.RWMutex
	rings map[string]loadedRing // by vendor
}

type loadedRing struct {
	ring  *keys.Ring // nil when the vendor has no key
	stamp uint64
}

// keyRecord is a signing key as it is stored.
type keyRecord struct {
	KeyID     string    `json:"kid"`
	Sealed    []byte    `json:"sealed"` // the private key, PKCS #8, sealed
	CreatedAt time.Time `json:"createdAt"`
	RetiredAt time.Time `json:"retiredAt,omitzero"`
}

// NewKeyring returns the keyring of a store. The sealer seals its keys.
func NewKeyring(store *Store, sealer *keys.Sealer) *Keyring {
	return &Keyring{store: store, sealer: sealer, rings: make(map[string]loadedRing)}
}

// Check unseals the keys of every vendor and of the system, so that a wrong secret is
// detected at start.
func (k *Keyring) Check(ctx context.Context) error {
	vendors, err := k.store.Vendors(ctx)
	if err != nil {
		return err
	}
	for _, vendor := range append(vendors, SystemPartition) {
		if _, err := k.load(ctx, vendor); err != nil {
			return err
		}
	}
	return nil
}

// Ring returns the keys with which a vendor signs. It creates the first key of a
// vendor that has none, which is not audited.
func (k *Keyring) Ring(ctx context.Context, vendor string) (*keys.Ring, error) {
	return k.RingFor(ctx, k.store.As(Actor{}), vendor)
}

// RingFor is Ring on behalf of an actor: a key that it creates is audited. Both return the
// error of Store.GuardClock while the clock of this node is wrong.
func (k *Keyring) RingFor(ctx context.Context, w Writer, vendor string) (*keys.Ring, error) {
	if err := k.store.clockRight(); err != nil {
		return nil, err
	}
	ring, err := k.load(ctx, vendor)
	if err != nil || ring != nil {
		return ring, err
	}
	// A concurrent caller may create the first key: then theirs is used. The key is
	// not what the caller's idempotency record is about.
	if _, err := k.create(ctx, w.Once(nil), vendor, ""); err != nil && !errors.Is(err, ErrConflict) {
		return nil, err
	}
	ring, err = k.load(ctx, vendor)
	if err == nil && ring == nil {
		err = errors.New("the vendor's new signing key was not stored")
	}
	return ring, err
}

// Source returns the keys that verify a vendor's signatures.
func (k *Keyring) Source(vendor string) policy.KeySource { return vendorKeys{k, vendor} }

type vendorKeys struct {
	keyring *Keyring
	vendor  string
}

func (v vendorKeys) KeySet(ctx context.Context) (keys.KeySet, error) {
	ring, err := v.keyring.load(ctx, v.vendor)
	if err != nil || ring == nil {
		return keys.KeySet{}, err
	}
	return ring.KeySet(), nil
}

// load returns a vendor's ring, nil when the vendor has no key. It reads the store
// when a key changed since the last call.
func (k *Keyring) load(ctx context.Context, vendor string) (*keys.Ring, error) {
	stamp := k.store.versions.Shared()
	k.mu.RLock()
	loaded, ok := k.rings[vendor]
	k.mu.RUnlock()
	if ok && loaded.stamp == stamp {
		return loaded.ring, nil
	}
	ring, err := k.read(ctx, vendor)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rings[vendor].stamp <= stamp {
		k.rings[vendor] = loadedRing{ring: ring, stamp: stamp}
	}
	return ring, nil
}

// read reads a vendor's keys from the store and unseals them.
func (k *Keyring) read(ctx context.Context, vendor string) (*keys.Ring, error) {
	current, stored, err := k.records(ctx, vendor)
	if err != nil || current == "" {
		return nil, err
	}
	return k.unseal(vendor, current, stored)
}

// records returns a vendor's stored keys, and the id of the one that signs, which is
// empty when the vendor has no key.
func (k *Keyring) records(ctx context.Context, vendor string) (current string, stored []keyRecord, err error) {
	err = k.store.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		kid, err := snapshot.Get([]byte{prefixCurrentKey})
		if err != nil {
			return err
		}
		current = string(kid)
		stored, err = all[keyRecord](snapshot, []byte{prefixKey})
		return err
	})
	return current, stored, err
}

func (k *Keyring) unseal(vendor, current string, records []keyRecord) (*keys.Ring, error) {
	var signing *keys.SigningKey
	var verify []keys.PublicKey
	for _, record := range records {
		if !record.RetiredAt.IsZero() {
			continue
		}
		private, err := k.sealer.Open(record.Sealed, sealedFor(vendor, record.KeyID))
		var key *keys.SigningKey
		if err == nil {
			key, err = keys.ParseSigningKey(private)
		}
		if err != nil {
			return nil, fmt.Errorf("signing key %s of vendor %s: %w", record.KeyID, vendor, err)
		}
		if record.KeyID == current {
			signing = key
		}
		verify = append(verify, key.Public())
	}
	if signing == nil {
		return nil, fmt.Errorf("vendor %s has no key that signs", vendor)
	}
	return keys.NewRing(signing, verify), nil
}

// sealedFor returns the data that binds a sealed key to its record, so that records
// cannot be exchanged.
func sealedFor(vendor, kid string) []byte { return []byte("signing key\x00" + vendor + "\x00" + kid) }

// create creates a key that signs from now on in place of the current one, which is
// empty for none. It returns ErrConflict when another one signs.
func (k *Keyring) create(ctx context.Context, w Writer, vendor, current string) (keyRecord, error) {
	signing, err := keys.GenerateSigningKey()
	if err != nil {
		return keyRecord{}, err
	}
	private, err := signing.MarshalPrivate()
	if err != nil {
		return keyRecord{}, err
	}
	record := keyRecord{
		KeyID: signing.ID(), Sealed: k.sealer.Seal(private, sealedFor(vendor, signing.ID())),
		CreatedAt: k.store.timestamp(),
	}
	stored, err := encode(record)
	if err != nil {
		return keyRecord{}, err
	}
	unchanged := engine.Check{Key: []byte{prefixCurrentKey}}
	if current != "" {
		unchanged.Value = []byte(current)
	}
	batch := &engine.Batch{
		Checks: []engine.Check{unchanged},
		Puts: []engine.Put{
			{Key: key(prefixKey, signing.ID()), Value: stored},
			{Key: []byte{prefixCurrentKey}, Value: []byte(signing.ID())},
		},
	}
	return record, w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true})
}

// ReaderKeys returns the keys of a kind, policy.PrefixAPIKey or policy.PrefixFeed, of a site of
// a vendor.
func (k *Keyring) ReaderKeys(prefix, vendor, site string) (*policy.ReaderKeys, error) {
	purpose := keys.PurposeAPIKey
	if prefix == policy.PrefixFeed {
		purpose = keys.PurposeFeed
	}
	secret, err := k.sealer.Derive(purpose)
	if err != nil {
		return nil, err
	}
	return policy.NewReaderKeys(prefix, secret, vendor, site), nil
}
