package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// MaxOverlap bounds how long a new session key may wait until it is used.
const MaxOverlap = 7 * 24 * time.Hour

// Sessions gives what the sessions of origins are made of: settings, keys, and
// what readers had to do with. It implements policy.SessionSource, and is safe
// for concurrent use.
type Sessions struct {
	*Store
	keyring *Keyring
}

// NewSessions returns the sessions of a keyring's store, under its sealer.
func NewSessions(keyring *Keyring) *Sessions {
	return &Sessions{Store: keyring.store, keyring: keyring}
}

// Ring implements policy.SessionSource.
func (s *Sessions) Ring(ctx context.Context, vendor string) (*keys.Ring, error) {
	return s.keyring.Ring(ctx, vendor)
}

// SessionKeyInfo tells of a session key, without the key.
type SessionKeyInfo struct {
	ID        string
	CreatedAt time.Time
	// SignsFrom is from when on sessions are made with it, until the next one
	// takes its place.
	SignsFrom time.Time
}

// sessionKeys are the keys of a site in the store, oldest first: at most the one
// before, the one that signs, and the one that is to.
type sessionKeys struct {
	Keys []sessionKeyRecord `json:"keys"`
}

type sessionKeyRecord struct {
	ID        string    `json:"id"`
	Sealed    []byte    `json:"sealed,omitempty"` // nil of a key that is not needed again
	CreatedAt time.Time `json:"createdAt"`
	SignsFrom time.Time `json:"signsFrom"`
	// Shown says that somebody was given the key. One that nobody has can be
	// replaced at once.
	Shown bool `json:"shown"`
}

func (r *sessionKeyRecord) info() SessionKeyInfo {
	return SessionKeyInfo{ID: r.ID, CreatedAt: r.CreatedAt, SignsFrom: r.SignsFrom}
}

// current returns the index of the key that signs, -1 when there is none.
func (k *sessionKeys) current(now time.Time) int {
	for i, key := range slices.Backward(k.Keys) {
		if !now.Before(key.SignsFrom) {
			return i
		}
	}
	return -1
}

// ErrNoSessionKey says that a site has no key that it shares with its origin.
var ErrNoSessionKey = errors.New("the site has no session key: make one with POST /api/proxy/key")

// SessionKey implements policy.SessionSource. The error is ErrNoSessionKey where
// there is none.
func (s *Sessions) SessionKey(ctx context.Context, vendor, site string) (key keys.SessionKey, replaced time.Time, err error) {
	record, _, err := s.sessionKeys(ctx, vendor, site)
	if err != nil {
		return key, replaced, err
	}
	i := record.current(s.now())
	if i < 0 {
		return key, replaced, ErrNoSessionKey
	}
	if i+1 < len(record.Keys) {
		replaced = record.Keys[i+1].SignsFrom
	}
	text, err := s.keyring.sealer.Open(record.Keys[i].Sealed, sessionKeySealedFor(vendor, site, record.Keys[i].ID))
	if err != nil {
		return key, replaced, fmt.Errorf("session key %s of site %s: %w", record.Keys[i].ID, site, err)
	}
	key, err = keys.ParseSessionKey(string(text))
	return key, replaced, err
}

// SessionKeys lists the keys of a site, oldest first, and says which of them
// signs: -1 when none does.
func (s *Sessions) SessionKeys(ctx context.Context, vendor, site string) (list []SessionKeyInfo, current int, err error) {
	record, _, err := s.sessionKeys(ctx, vendor, site)
	if err != nil {
		return nil, -1, err
	}
	return record.list(), record.current(s.now()), nil
}

func (k *sessionKeys) list() []SessionKeyInfo {
	list := make([]SessionKeyInfo, len(k.Keys))
	for i := range k.Keys {
		list[i] = k.Keys[i].info()
	}
	return list
}

// EnsureSessionKey makes the first key of a site that has none. Nobody is given
// it: RotateSessionKey replaces it at once.
func (s *Sessions) EnsureSessionKey(ctx context.Context, w Writer, vendor, site string) error {
	record, stored, err := s.sessionKeys(ctx, vendor, site)
	if err != nil || len(record.Keys) > 0 {
		return err
	}
	_, err = s.addSessionKey(ctx, w, vendor, site, record, stored, 0, false)
	if errors.Is(err, ErrConflict) { // somebody else made it
		return nil
	}
	return err
}

// RotateSessionKey makes a new key and returns it, this once. Sessions are made
// with it when the overlap is over: time to give it to the origin, which must
// accept both meanwhile. A key that waited already is dropped. A key that nobody
// was given is replaced at once, whatever the overlap. ErrConflict means that
// somebody else rotated at the same time.
func (s *Sessions) RotateSessionKey(ctx context.Context, w Writer, vendor, site string, overlap time.Duration) (keys.SessionKey, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return keys.SessionKey{}, &FieldError{"overlap", fmt.Sprintf("must be from 0s to %v", MaxOverlap)}
	}
	record, stored, err := s.sessionKeys(ctx, vendor, site)
	if err != nil {
		return keys.SessionKey{}, err
	}
	return s.addSessionKey(ctx, w, vendor, site, record, stored, overlap, true)
}

func (s *Sessions) addSessionKey(
	ctx context.Context, w Writer, vendor, site string, record *sessionKeys, stored []byte, overlap time.Duration, shown bool,
) (keys.SessionKey, error) {
	now := s.timestamp()
	i := record.current(now)
	record.Keys = record.Keys[max(i, 0) : i+1] // neither those before nor one that waits
	if i < 0 || !record.Keys[0].Shown {
		overlap = 0
	}
	if overlap == 0 {
		record.forgetOld(len(record.Keys))
	}
	made := keys.GenerateSessionKey()
	id := newSessionKeyID()
	record.Keys = append(record.Keys, sessionKeyRecord{
		ID: id, Sealed: s.keyring.sealer.Seal([]byte(made.Reveal()), sessionKeySealedFor(vendor, site, id)),
		CreatedAt: now, SignsFrom: now.Add(overlap), Shown: shown,
	})
	return made, s.putSessionKeys(ctx, w, vendor, site, record, stored)
}

// forgetOld drops what the first n keys hold: nothing is made with them again.
func (k *sessionKeys) forgetOld(n int) {
	for i := range k.Keys[:n] {
		k.Keys[i].Sealed = nil
	}
}

// SwitchSessionKey ends an overlap: the key that waits is used from now on. It is
// no error when none waits. ErrNotFound means that the site has no key.
func (s *Sessions) SwitchSessionKey(ctx context.Context, w Writer, vendor, site string) error {
	record, stored, err := s.sessionKeys(ctx, vendor, site)
	if err != nil {
		return err
	}
	if len(record.Keys) == 0 {
		return ErrNotFound
	}
	now := s.timestamp()
	last := len(record.Keys) - 1
	if record.current(now) == last {
		return nil
	}
	record.Keys[last].SignsFrom = now
	record.forgetOld(last)
	return s.putSessionKeys(ctx, w, vendor, site, record, stored)
}

// sessionKeys reads the keys of a site, and how they are stored: nil when there
// are none yet.
func (s *Sessions) sessionKeys(ctx context.Context, vendor, site string) (*sessionKeys, []byte, error) {
	record := new(sessionKeys)
	stored, err := s.get(ctx, vendor, key(prefixSessionKey, site), record)
	if errors.Is(err, ErrNotFound) {
		return record, nil, nil
	}
	return record, stored, err
}

func (s *Sessions) putSessionKeys(ctx context.Context, w Writer, vendor, site string, record *sessionKeys, stored []byte) error {
	updated, err := encode(record)
	if err != nil {
		return err
	}
	place := key(prefixSessionKey, site)
	batch := &engine.Batch{
		Checks: []engine.Check{{Key: place, Value: stored}},
		Puts:   []engine.Put{{Key: place, Value: updated}},
	}
	return w.commit(ctx, vendor, batch, policy.Invalidation{Shared: true})
}

// newSessionKeyID returns the name of a key, which says nothing of it.
func newSessionKeyID() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return "key_" + hex.EncodeToString(random[:])
}

// sessionKeySealedFor binds a sealed key to its place.
func sessionKeySealedFor(vendor, site, id string) []byte {
	return []byte("session key\x00" + vendor + "\x00" + site + "\x00" + id)
}

// Interface guard
var _ policy.SessionSource = (*Sessions)(nil)
