package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// ReaderKey is a key that speaks for a reader at a site: that of a program of theirs, or the
// one in the URL of their feed. Its id is a hash of it, see policy.ReaderKeys.
type ReaderKey struct {
	ID   string `json:"id"`
	Site string `json:"site"`
	// Space is the content space of a feed; empty for the key of a program.
	Space string `json:"space,omitempty"`
	// Serial is how many feeds of the same reader and space were revoked before this one.
	Serial int `json:"serial,omitempty"`

	UserID          string `json:"user"`
	PublisherUserID string `json:"publisherUser,omitempty"`
	Email           string `json:"email,omitempty"` // a verified one
	Title           string `json:"title,omitempty"`

	CreatedAt time.Time `json:"createdAt"`
	// EndsAt is when the key ends; zero for a feed, which has no end of its own.
	EndsAt time.Time `json:"endsAt,omitzero"`
	// Uses are the requests with the key that were written, the last of them at LastUsedAt.
	Uses       int64     `json:"uses,omitempty"`
	LastUsedAt time.Time `json:"lastUsedAt,omitzero"`
}

// Limits of the keys of readers.
const (
	// MaxReaderKeys is the number of keys of programs that a reader has at most.
	MaxReaderKeys = 100
	// MaxReaderFeeds is the number of feeds that a reader has at most.
	MaxReaderFeeds = 1000
	// MaxReaderKeyLife is the longest time until the end of a program's key.
	MaxReaderKeyLife = 2 * 366 * 24 * time.Hour
	// MaxFeedBatch is the number of feeds that one write makes.
	MaxFeedBatch = 250
	// maxFeedSerial is how often the feed of one reader and space can be revoked.
	maxFeedSerial = 1000
	// maxKeyTitle is the length of a title, in bytes.
	maxKeyTitle = 255
)

// prefix returns the prefix of the key's kind.
func (k *ReaderKey) prefix() string {
	if k.Space != "" {
		return policy.PrefixFeed
	}
	return policy.PrefixAPIKey
}

func (k *ReaderKey) check(now time.Time) error {
	err := cmp.Or(
		checkUser("user", k.UserID), checkText("publisherUser", k.PublisherUserID, 255), checkEmail(k.Email), checkText("title", k.Title, maxKeyTitle),
		checkSite(k.Site),
	)
	switch {
	case err != nil:
		return err
	case !IsLoginSessionID(k.ID):
		return &FieldError{"id", "is not the hash of a key"}
	case k.Space != "":
		if err := policy.CheckContentSpace(k.Space); err != nil {
			return &FieldError{"contentSpace", err.Error()}
		}
	case !k.EndsAt.After(now):
		return &FieldError{"ends_at", "must be in the future"}
	case k.EndsAt.Sub(now) > MaxReaderKeyLife:
		return &FieldError{"ends_at", fmt.Sprintf("must be within %d days: make a new key before the old one ends", int(MaxReaderKeyLife/(24*time.Hour)))}
	}
	return nil
}

func checkSite(site string) error {
	if site == "" {
		return &FieldError{"site", "is required"}
	}
	return checkText("site", site, 63)
}

// index returns the keys of a reader's key in the index.
func (k *ReaderKey) index() [][]byte {
	keys := [][]byte{key(prefixReaderKeyIndex, readerKeyUser+k.UserID, k.ID)}
	if k.Email != "" {
		keys = append(keys, key(prefixReaderKeyIndex, readerKeyEmail+lowerEmail(k.Email), k.ID))
	}
	return keys
}

func (k *ReaderKey) write(t *transaction) error {
	stored, err := encode(k)
	if err != nil {
		return err
	}
	t.set(key(prefixReaderKey, k.ID), stored, k.EndsAt)
	for _, at := range k.index() {
		t.set(at, []byte{1}, k.EndsAt)
	}
	t.change.Add(policy.KindLink, t.vendor, policy.ReaderKeyIssuer, k.ID)
	return nil
}

// revoke removes a key, and keeps that it is revoked: a record that comes back, because the
// store lost the removal, counts no more.
func (k *ReaderKey) revoke(t *transaction) {
	for _, at := range append(k.index(), key(prefixReaderKey, k.ID)) {
		t.set(at, nil, time.Time{})
	}
	t.set(revokedKey(k.ID), revocation(t.now, ""), k.EndsAt)
	t.change.Add(policy.KindLink, t.vendor, policy.ReaderKeyIssuer, k.ID)
}

func revokedKey(id string) []byte { return key(prefixRevocation, policy.ReaderKeyIssuer, id) }

// readerKey returns a key that is stored and not revoked, nil for none.
func (t *transaction) readerKey(id string) (*ReaderKey, error) {
	k := key(prefixReaderKey, id)
	stored, err := t.load(k)
	if err != nil || stored == nil {
		return nil, err
	}
	revoked, err := t.load(revokedKey(id))
	if err != nil || revoked != nil {
		return nil, err
	}
	found := new(ReaderKey)
	if err := decode(k, stored, found); err != nil {
		return nil, err
	}
	if !found.EndsAt.IsZero() && !t.now.Before(found.EndsAt) {
		return nil, nil
	}
	return found, nil
}

// readerKeysOf returns the keys of a reader that count, of one kind, the oldest first.
func (t *transaction) readerKeysOf(user, kind string) ([]ReaderKey, error) {
	ids, err := t.scan(keyPrefix(prefixReaderKeyIndex, readerKeyUser+user), MaxReaderKeys+MaxReaderFeeds)
	if err != nil {
		return nil, err
	}
	wanted := make([][]byte, 0, 2*len(ids))
	for _, id := range ids {
		wanted = append(wanted, key(prefixReaderKey, id), revokedKey(id))
	}
	if err := engine.Prefetch(t.snapshot, wanted...); err != nil {
		return nil, err
	}
	found := []ReaderKey{}
	for _, id := range ids {
		one, err := t.readerKey(id)
		if err != nil {
			return nil, err
		}
		if one != nil && one.prefix() == kind {
			found = append(found, *one)
		}
	}
	slices.SortFunc(found, func(a, b ReaderKey) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return found, nil
}

// view calls read with a transaction that writes nothing.
func (s *Store) view(ctx context.Context, vendor string, read func(*transaction) error) error {
	return s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		return read(&transaction{snapshot: snapshot, vendor: vendor, now: s.now(), cells: map[string]*cell{}})
	})
}

// ReaderKey returns a key that counts, or ErrNotFound.
func (s *Store) ReaderKey(ctx context.Context, vendor, id string) (found ReaderKey, err error) {
	if !IsLoginSessionID(id) {
		return found, ErrNotFound
	}
	err = s.view(ctx, vendor, func(t *transaction) error {
		one, err := t.readerKey(id)
		if err == nil && one == nil {
			err = ErrNotFound
		}
		if err == nil {
			found = *one
		}
		return err
	})
	return found, err
}

// ReaderKeysOf returns the keys of a reader that count, of a kind: policy.PrefixAPIKey or
// policy.PrefixFeed, the oldest first.
func (s *Store) ReaderKeysOf(ctx context.Context, vendor, user, kind string) (found []ReaderKey, err error) {
	if checkText("user", user, maxUserID) != nil {
		return []ReaderKey{}, nil
	}
	err = s.view(ctx, vendor, func(t *transaction) error {
		found, err = t.readerKeysOf(user, kind)
		return err
	})
	return found, err
}

// CreateReaderKey stores the new key of a program.
func (w Writer) CreateReaderKey(ctx context.Context, vendor string, made ReaderKey) (ReaderKey, error) {
	made.CreatedAt, made.EndsAt = w.timestamp(), made.EndsAt.UTC().Truncate(time.Millisecond)
	if err := made.check(made.CreatedAt); err != nil {
		return made, err
	}
	return made, w.transact(ctx, vendor, func(t *transaction) error {
		others, err := t.readerKeysOf(made.UserID, policy.PrefixAPIKey)
		if err != nil {
			return err
		}
		if len(others) >= MaxReaderKeys {
			return &FieldError{"user", fmt.Sprintf("has %d API keys already: revoke those that are not used", MaxReaderKeys)}
		}
		return made.write(t)
	})
}

// PutFeeds makes the feeds of readers, at most MaxFeedBatch of them in one write, and returns
// them. A feed that is there stays as it is, but for another address or publisher's id. The id of a feed
// with a serial is that of its derived key, see policy.ReaderKeys.
func (w Writer) PutFeeds(ctx context.Context, vendor string, feeds []ReaderKey, id func(*ReaderKey) string) ([]ReaderKey, error) {
	if len(feeds) > MaxFeedBatch {
		return nil, fmt.Errorf("%d feeds are more than %d", len(feeds), MaxFeedBatch)
	}
	made := slices.Clone(feeds)
	err := w.transact(ctx, vendor, func(t *transaction) error {
		copy(made, feeds)
		wanted := make([][]byte, 0, 2*len(made))
		for i := range made {
			made[i].ID, made[i].EndsAt, made[i].CreatedAt = id(&made[i]), time.Time{}, t.now
			if made[i].Space == "" {
				return &FieldError{"contentSpace", "is required"}
			}
			if err := made[i].check(t.now); err != nil {
				return err
			}
			wanted = append(wanted, key(prefixReaderKey, made[i].ID), revokedKey(made[i].ID))
		}
		if err := engine.Prefetch(t.snapshot, wanted...); err != nil {
			return err
		}
		for i := range made {
			if err := t.putFeed(&made[i], id); err != nil {
				return err
			}
		}
		return nil
	})
	return made, err
}

// putFeed stores a feed under the first serial that is not revoked.
func (t *transaction) putFeed(made *ReaderKey, id func(*ReaderKey) string) error {
	for {
		revoked, err := t.load(revokedKey(made.ID))
		if err != nil {
			return err
		}
		if revoked == nil {
			break
		}
		if made.Serial++; made.Serial > maxFeedSerial {
			return &FieldError{"user", "had too many feeds of this content space that were revoked"}
		}
		made.ID = id(made)
	}
	was, err := t.readerKey(made.ID)
	if err != nil {
		return err
	}
	if was != nil {
		next := *was
		next.Email, next.PublisherUserID = cmp.Or(made.Email, was.Email), cmp.Or(made.PublisherUserID, was.PublisherUserID)
		*made = next
		if next == *was {
			return nil
		}
		for _, at := range was.index() {
			t.set(at, nil, time.Time{})
		}
		return made.write(t)
	}
	ids, err := t.scan(keyPrefix(prefixReaderKeyIndex, readerKeyUser+made.UserID), MaxReaderKeys+MaxReaderFeeds)
	if err != nil {
		return err
	}
	if len(ids) >= MaxReaderFeeds {
		return &FieldError{"user", fmt.Sprintf("has %d feeds and keys already: revoke those that are not used", len(ids))}
	}
	return made.write(t)
}

// RevokeReaderKey revokes a key of a kind: the next request with it is refused, on every node.
// If a user is named it must be theirs. It returns ErrNotFound if there is none.
func (w Writer) RevokeReaderKey(ctx context.Context, vendor, kind, user, id string) error {
	if !IsLoginSessionID(id) {
		return ErrNotFound
	}
	return w.transact(ctx, vendor, func(t *transaction) error {
		found, err := t.readerKey(id)
		switch {
		case err != nil:
			return err
		case found == nil || found.prefix() != kind || user != "" && found.UserID != user:
			return ErrNotFound
		}
		found.revoke(t)
		return nil
	})
}

// RevokeReaderKeysOf revokes all keys of a kind of a reader, and returns how many.
func (w Writer) RevokeReaderKeysOf(ctx context.Context, vendor, kind, user string) (revoked int, err error) {
	if err := checkText("user", user, maxUserID); err != nil {
		return 0, err
	}
	err = w.transact(ctx, vendor, func(t *transaction) error {
		found, err := t.readerKeysOf(user, kind)
		if err != nil {
			return err
		}
		for i := range found {
			found[i].revoke(t)
		}
		revoked = len(found)
		return nil
	})
	return revoked, err
}

// KeyUses are uses of a key, the last of them at Last.
type KeyUses struct {
	ID   string
	Uses int64
	Last time.Time
}

// CountKeyUses writes that keys were used, as the gate counted it, in one commit. A key that is
// revoked meanwhile is no error.
func (w Writer) CountKeyUses(ctx context.Context, vendor string, uses []KeyUses) error {
	return w.transact(ctx, vendor, func(t *transaction) error {
		for i := range uses {
			if err := t.countKeyUses(&uses[i]); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

func (t *transaction) countKeyUses(uses *KeyUses) error {
	found, err := t.readerKey(uses.ID)
	if err != nil || found == nil {
		return err
	}
	found.Uses += uses.Uses
	if uses.Last.After(found.LastUsedAt) {
		found.LastUsedAt = uses.Last.UTC().Truncate(time.Second)
	}
	stored, err := encode(found)
	t.set(key(prefixReaderKey, uses.ID), stored, found.EndsAt) // what decides does not change
	return err
}

// forgetReaderKey revokes a key of a person who is erased.
func forgetReaderKey(e *erasing, k, stored []byte) error {
	var found ReaderKey
	if err := decode(k, stored, &found); err != nil {
		return err
	}
	if found.UserID == e.person.ID {
		found.revoke(e.t)
		return e.mark("reader-key", found.ID)
	}
	for _, at := range found.index() { // of another user, who had the person's address
		e.t.set(at, nil, time.Time{})
	}
	found.Email = ""
	return found.write(e.t)
}

// storedKeys reads keys as login sessions, for their verifiers.
type storedKeys struct{ *Store }

// StoredReaderKeys returns what policy.NewKeyVerifier reads keys by.
func (s *Store) StoredReaderKeys() policy.LoginSessions { return storedKeys{s} }

// keyReread is how long a key is used from memory without another read; a change of it counts
// at once.
const keyReread = 24 * time.Hour

// LoginSession implements policy.LoginSessions.
func (s storedKeys) LoginSession(ctx context.Context, vendor, id string) (policy.LoginSession, error) {
	found, err := s.ReaderKey(ctx, vendor, id)
	if err != nil {
		return policy.LoginSession{}, err
	}
	due := s.now().Add(keyReread)
	ends := found.EndsAt
	if ends.IsZero() {
		ends = due.Add(keyReread)
	}
	return policy.LoginSession{
		Reader: policy.Reader{
			UserID: found.UserID, PublisherUserID: found.PublisherUserID, Email: policy.LowerEmail(found.Email), ContentSpace: found.Space,
		},
		Origin: policy.KeyOrigin(found.prefix(), found.Site), EndsAt: ends, DueAt: due,
	}, nil
}

// FeedTexts are the texts of which the key of a feed is derived.
func (k *ReaderKey) FeedTexts() []string { return []string{k.UserID, k.Space, strconv.Itoa(k.Serial)} }
