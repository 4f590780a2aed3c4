package store_test

import (
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

func sealer(t *testing.T, secret string) *keys.Sealer {
	t.Helper()
	made, err := keys.NewSealer([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

const secret = "the secret of this test"

// Two nodes need a new vendor's key at the same moment: they make one.
func TestFirstKeyIsMadeOnce(t *testing.T) {
	b := newFixture(t)
	second := store.New(b.engine, new(policy.Versions), b.now)
	rings := []*store.Keyring{
		store.NewKeyring(b.Store, sealer(t, secret)),
		store.NewKeyring(second, sealer(t, secret)),
	}
	if set, err := rings[0].Source(vendor).KeySet(t.Context()); err != nil || set.Len() != 0 {
		t.Errorf("before its first use a vendor has %d keys, %v", set.Len(), err)
	}
	var ids sync.Map
	var calls sync.WaitGroup
	for i := range 16 {
		calls.Go(func() {
			ring, err := rings[i%2].Ring(t.Context(), vendor)
			if err != nil {
				t.Error(err)
				return
			}
			ids.Store(ring.SigningKeyID(), true)
		})
	}
	calls.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d keys were made", n)
	}
	ring, err := rings[0].Ring(t.Context(), "other")
	b.ok(err)
	if _, same := ids.Load(ring.SigningKeyID()); same {
		t.Error("two vendors share a key")
	}
}

// The database contains keys in sealed form only.
func TestKeysAreSealedAtRest(t *testing.T) {
	b := newFixture(t)
	ring := store.NewKeyring(b.Store, sealer(t, secret))
	_, err := ring.Ring(t.Context(), vendor)
	b.ok(err)
	b.ok(ring.Check(t.Context()))
	b.ok(b.engine.Close())
	content := b.bytes()
	for _, private := range []string{"PRIVATE KEY", base64.StdEncoding.EncodeToString([]byte{0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13})[:8], secret} {
		if strings.Contains(content, private) {
			t.Errorf("the database holds %q", private)
		}
	}
	if !strings.Contains(content, "sealed") {
		t.Error("this test does not see the record")
	}
}

func TestAnotherSecretIsFound(t *testing.T) {
	b := newFixture(t)
	_, err := store.NewKeyring(b.Store, sealer(t, secret)).Ring(t.Context(), vendor)
	b.ok(err)
	other := store.NewKeyring(b.Store, sealer(t, "another secret of this test"))
	err = other.Check(t.Context())
	b.is(err, keys.ErrSealed)
	if !strings.Contains(err.Error(), vendor) || strings.Contains(err.Error(), secret) {
		t.Errorf("the error is %q", err)
	}
	_, err = other.Ring(t.Context(), vendor)
	b.is(err, keys.ErrSealed)
	_, err = other.Source(vendor).KeySet(t.Context())
	b.is(err, keys.ErrSealed)
}

func TestRotationAndRetirement(t *testing.T) {
	b := newFixture(t)
	ring := store.NewKeyring(b.Store, sealer(t, secret))
	reopened := store.NewKeyring(store.New(b.engine, new(policy.Versions), b.now), sealer(t, secret))
	first, err := ring.Ring(t.Context(), vendor)
	b.ok(err)
	b.clock = b.clock.Add(time.Hour)
	second, err := ring.Rotate(t.Context(), b.Writer, vendor)
	b.ok(err)
	now, err := ring.Ring(t.Context(), vendor)
	b.ok(err)
	if !second.Signs || now.SigningKeyID() != second.ID || second.ID == first.SigningKeyID() || now.KeySet().Len() != 2 || !second.CreatedAt.Equal(b.clock) {
		t.Errorf("after the rotation %s signs, of %d keys; made was %+v", now.SigningKeyID(), now.KeySet().Len(), second)
	}
	_, err = ring.Retire(t.Context(), b.Writer, vendor, second.ID)
	b.is(err, store.ErrKeySigns)
	_, err = ring.Retire(t.Context(), b.Writer, vendor, "none")
	b.is(err, store.ErrNotFound)
	retired, err := ring.Retire(t.Context(), b.Writer, vendor, first.SigningKeyID())
	b.ok(err)
	if retired.Signs || !retired.RetiredAt.Equal(b.clock) {
		t.Errorf("retired is %+v", retired)
	}
	for name, keyring := range map[string]*store.Keyring{"this": ring, "another": reopened} {
		set, err := keyring.Source(vendor).KeySet(t.Context())
		if err != nil || set.Len() != 1 || set.IDs()[0] != second.ID {
			t.Errorf("%s process verifies with %v, %v", name, set.IDs(), err)
		}
		b.ok(keyring.Check(t.Context()))
	}
	list, err := ring.Keys(t.Context(), vendor)
	if err != nil || len(list) != 2 {
		t.Errorf("the keys are %+v, %v", list, err)
	}
}

// A sealed key is bound to its place: moved under another vendor it does not
// open.
func TestSealedKeyIsBoundToItsVendor(t *testing.T) {
	b := newFixture(t)
	ring := store.NewKeyring(b.Store, sealer(t, secret))
	_, err := ring.Ring(t.Context(), vendor)
	b.ok(err)
	var puts []engine.Put
	b.ok(b.engine.View(t.Context(), vendor, func(s engine.Snapshot) error {
		for entry, err := range s.Scan(nil, nil) {
			if err != nil {
				return err
			}
			puts = append(puts, engine.Put{Key: append([]byte(nil), entry.Key...), Value: append([]byte(nil), entry.Value...)})
		}
		return nil
	}))
	_, err = b.engine.Commit(t.Context(), "thief", &engine.Batch{Puts: puts})
	b.ok(err)
	_, err = ring.Ring(t.Context(), "thief")
	b.is(err, keys.ErrSealed)
}

// A vendor rotates every month for three years. Each key verifies as long as a
// link by it can last, and not much longer; none has to be retired by hand.
func TestOldKeysAreRetiredByRotation(t *testing.T) {
	b := newFixture(t)
	keyring := store.NewKeyring(b.Store, sealer(t, secret))
	const month = 31 * 24 * time.Hour
	made := map[string]time.Time{}
	for range 36 {
		key, err := keyring.Rotate(t.Context(), b.Writer, vendor)
		b.ok(err)
		made[key.ID] = b.clock
		b.clock = b.clock.Add(month)
	}
	list, err := keyring.Keys(t.Context(), vendor)
	b.ok(err)
	verifying := 0
	last := b.clock.Add(-month) // when it was rotated last
	for _, key := range list {
		signedUntil := made[key.ID].Add(month)
		if key.RetiredAt.IsZero() {
			verifying++
			if last.Sub(signedUntil) > keys.MaxExpiresIn+2*24*time.Hour {
				t.Errorf("a key that signed until %v still verifies", signedUntil)
			}
		} else if key.RetiredAt.Sub(signedUntil) < keys.MaxExpiresIn {
			t.Errorf("a key that signed until %v was retired at %v", signedUntil, key.RetiredAt)
		}
	}
	if len(list) != 36 || verifying < 12 || verifying > 14 {
		t.Errorf("of %d keys %d verify", len(list), verifying)
	}
}
