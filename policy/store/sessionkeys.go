package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// MaxOverlap bounds how long a new session key may wait until it is used.
const MaxOverlap = 7 * 24 * time.Hour

// Sessions implements policy.SessionSource: the settings, keys and engagement of which
// upstream sessions are made. It is safe for concurrent use.
type Sessions struct {
	*Store
	keyring *Keyring
}

// NewSessions returns the sessions of the store and the sealer of a keyring.
func NewSessions(keyring *Keyring) *Sessions {
	return &Sessions{Store: keyring.store, keyring: keyring}
}

// Ring implements policy.SessionSource.
func (s *Sessions) Ring(ctx context.Context, vendor string) (*keys.Ring, error) {
	return s.keyring.Ring(ctx, vendor)
}

// Profiles implements policy.SessionSource.
func (s *Sessions) Profiles(ctx context.Context, vendor string, slugs []string) (map[string]keys.SessionProfile, error) {
	found := make(map[string]keys.SessionProfile, len(slugs))
	err := s.members(ctx, vendor, func(m *memberships) error {
		wanted := make([][]byte, len(slugs))
		for i, slug := range slugs {
			if err := notChanged(m.snapshot, policy.Stripe(policy.KindProfile, vendor, slug)); err != nil {
				return err
			}
			wanted[i] = profileKind.key(slug)
		}
		if err := engine.Prefetch(m.snapshot, wanted...); err != nil {
			return err
		}
		for _, slug := range slugs {
			profile, err := stored(m, profileKind, slug)
			if err != nil {
				return err
			}
			if profile == nil {
				continue
			}
			session := keys.SessionProfile{Slug: slug, PrintableName: cmp.Or(profile.FullName, slug), Type: profile.Type, Email: profile.Email}
			if !profile.CreatedAt.IsZero() {
				session.CreatedAt = &profile.CreatedAt
			}
			found[slug] = session
		}
		return nil
	})
	return found, err
}

// SessionKeyInfo describes a session key. It does not contain the key.
type SessionKeyInfo struct {
	ID        string
	CreatedAt time.Time
	// SignsFrom is when it starts to sign sessions, until the next key does.
	SignsFrom time.Time
}

// sessionKeys are the stored keys of a site, oldest first: at most the previous, the
// current and the next one.
type sessionKeys struct {
	Keys []sessionKeyRecord `json:"keys"`
}

type sessionKeyRecord struct {
	ID        string    `json:"id"`
	Sealed    []byte    `json:"sealed,omitempty"` // nil when it is no longer needed
	CreatedAt time.Time `json:"createdAt"`
	SignsFrom time.Time `json:"signsFrom"`
	// Shown reports that the key was returned to a caller. One that was not can be
	// replaced at once.
	Shown bool `json:"shown"`
}

func (r *sessionKeyRecord) info() SessionKeyInfo {
	return SessionKeyInfo{ID: r.ID, CreatedAt: r.CreatedAt, SignsFrom: r.SignsFrom}
}

// current returns the index of the key that signs, or -1.
func (k *sessionKeys) current(now time.Time) int {
	for i, key := range slices.Backward(k.Keys) {
		if !now.Before(key.SignsFrom) {
			return i
		}
	}
	return -1
}

// ErrNoSessionKey is returned for a site that shares no key with its origin.
var ErrNoSessionKey = errors.New("the site has no session key: create one with POST /api/proxy/key")

// SessionKey implements policy.SessionSource. It returns ErrNoSessionKey when there is
// none.
func (s *Sessions) SessionKey(ctx context.Context, vendor, site string) (key keys.SessionKey, replaced time.Time, err error) {
	if err := s.clockRight(); err != nil {
		return key, replaced, err
	}
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

// SessionKeys lists the keys of a site, oldest first, and returns the index of the one
// that signs, or -1.
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

// EnsureSessionKey creates the first key of a site that has none. The key is not
// returned, so RotateSessionKey replaces it at once.
func (s *Sessions) EnsureSessionKey(ctx context.Context, w Writer, vendor, site string) error {
	record, stored, err := s.sessionKeys(ctx, vendor, site)
	if err != nil || len(record.Keys) > 0 {
		return err
	}
	_, err = s.addSessionKey(ctx, w, vendor, site, record, stored, 0, false)
	if errors.Is(err, ErrConflict) { // created concurrently
		return nil
	}
	return err
}

// RotateSessionKey creates a new key and returns it; it cannot be read again. The key
// signs after the overlap, during which the origin must accept both keys. It replaces
// a key that does not sign yet. A current key that was never returned is replaced
// without overlap. RotateSessionKey returns ErrConflict when the key was rotated
// concurrently.
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
	record.Keys = record.Keys[max(i, 0) : i+1] // only the current key
	if i < 0 || !record.Keys[0].Shown {
		overlap = 0
	}
	if overlap == 0 {
		record.dropSealed(len(record.Keys))
	}
	created := keys.GenerateSessionKey()
	id := newSessionKeyID()
	record.Keys = append(record.Keys, sessionKeyRecord{
		ID: id, Sealed: s.keyring.sealer.Seal([]byte(created.Reveal()), sessionKeySealedFor(vendor, site, id)),
		CreatedAt: now, SignsFrom: now.Add(overlap), Shown: shown,
	})
	return created, s.putSessionKeys(ctx, w, vendor, site, record, stored)
}

// dropSealed drops the first n keys themselves, which sign no more.
func (k *sessionKeys) dropSealed(n int) {
	for i := range k.Keys[:n] {
		k.Keys[i].Sealed = nil
	}
}

// SwitchSessionKey ends an overlap: the newest key signs from now on. It does nothing
// when that key signs already, and returns ErrNotFound when the site has no key.
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
	record.dropSealed(last)
	return s.putSessionKeys(ctx, w, vendor, site, record, stored)
}

// sessionKeys returns the keys of a site and their stored bytes, nil when there are
// none.
func (s *Sessions) sessionKeys(ctx context.Context, vendor, site string) (*sessionKeys, []byte, error) {
	record := new(sessionKeys)
	stored, err := s.get(decides(ctx), vendor, key(prefixSessionKey, site), record)
	if errors.Is(err, ErrNotFound) {
		return record, nil, nil
	}
	return record, stored, err
}

func (s *Sessions) putSessionKeys(ctx context.Context, w Writer, vendor, site string, record *sessionKeys, stored []byte) error {
	return w.put(ctx, vendor, key(prefixSessionKey, site), stored, record, policy.Invalidation{Shared: true})
}

// newSessionKeyID returns a random id, which reveals nothing about the key.
func newSessionKeyID() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return "key_" + hex.EncodeToString(random[:])
}

// sessionKeySealedFor returns the data that binds a sealed key to its record.
func sessionKeySealedFor(vendor, site, id string) []byte {
	return []byte("session key\x00" + vendor + "\x00" + site + "\x00" + id)
}

// Interface guard
var _ policy.SessionSource = (*Sessions)(nil)
