package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// SignedLink is a link as the store knows it.
type SignedLink struct {
	Claims    keys.LinkClaims `json:"claims"`
	CreatedAt time.Time       `json:"createdAt"`
	// KeyID is the key that signed the link, where a publisher did; its record
	// was written when it was first used.
	KeyID string `json:"kid,omitempty"`

	// RevokedAt is when the link was revoked; zero when it was not. It is
	// stored under a key of its own, so that revoking and redeeming never wait
	// for one another.
	RevokedAt time.Time `json:"-"`
	// Uses is how often the link was redeemed.
	Uses int64 `json:"-"`
}

// NewLinkID returns the id (`jti`) for a new link.
func (s *Store) NewLinkID() string { return newID("link_", s.now()) }

// CreateLink stores a link that is about to be handed out.
func (w Writer) CreateLink(ctx context.Context, vendor string, claims keys.LinkClaims) (SignedLink, error) {
	link := SignedLink{Claims: claims, CreatedAt: w.timestamp()}
	stored, err := encode(link)
	if err != nil {
		return SignedLink{}, err
	}
	k := key(prefixLink, claims.Issuer, claims.ID)
	batch := &engine.Batch{
		Checks: []engine.Check{{Key: k}},
		Puts:   []engine.Put{{Key: k, Value: stored, Expires: linkRetention(claims.ExpiresAt)}},
	}
	var change policy.Invalidation
	change.Add(policy.KindLink, vendor, claims.Issuer, claims.ID)
	return link, w.commit(ctx, vendor, batch, change)
}

// DerivedLinkID returns the id of the link with a number among those that were
// made at a moment, up to a million: always the same one for the same digest of
// 16 bytes or more. Ids are in the order of moments, then of numbers.
func DerivedLinkID(at time.Time, number int, digest []byte) string {
	id := []byte(newID("link_", at))
	digits := id[len("link_")+10:]
	for i := range digits {
		digits[i] = idDigits[digest[i]&31]
	}
	for i := range 4 {
		digits[i] = idDigits[number>>(5*(3-i))&31]
	}
	return string(id)
}

// CreateLinks stores links that are about to be handed out, all in one step. With
// again they may be there already, from a call that was the same: then nothing is
// written.
func (w Writer) CreateLinks(ctx context.Context, vendor string, claims []keys.LinkClaims, again bool) error {
	if len(claims) == 0 {
		return nil
	}
	now := w.timestamp()
	batch := &engine.Batch{Checks: []engine.Check{{Key: key(prefixLink, claims[0].Issuer, claims[0].ID)}}}
	var change policy.Invalidation
	for i := range claims {
		stored, err := encode(SignedLink{Claims: claims[i], CreatedAt: now})
		if err != nil {
			return err
		}
		batch.Puts = append(batch.Puts, engine.Put{
			Key: key(prefixLink, claims[i].Issuer, claims[i].ID), Value: stored, Expires: linkRetention(claims[i].ExpiresAt),
		})
		change.Add(policy.KindLink, vendor, claims[i].Issuer, claims[i].ID)
	}
	err := w.commit(ctx, vendor, batch, change)
	if again && errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// linkRetention is until when the records of a link are kept.
func linkRetention(expiresAt int64) time.Time { return time.Unix(expiresAt, 0).Add(Retention) }

// SignedLink returns a link with its uses, or ErrNotFound.
func (s *Store) SignedLink(ctx context.Context, vendor, issuer, id string) (SignedLink, error) {
	var link SignedLink
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		k := key(prefixLink, issuer, id)
		if err := prefetch(snapshot, k, key(prefixRevocation, issuer, id), key(prefixUses, issuer, id)); err != nil {
			return err
		}
		stored, err := snapshot.Get(k)
		if err != nil {
			return err
		}
		if stored == nil {
			return ErrNotFound
		}
		if err := decode(k, stored, &link); err != nil {
			return err
		}
		return link.readUse(snapshot)
	})
	return link, err
}

// readUse adds what is stored beside a link: its revocation and its uses.
func (l *SignedLink) readUse(snapshot engine.Snapshot) error {
	revoked, err := snapshot.Get(key(prefixRevocation, l.Claims.Issuer, l.Claims.ID))
	if err != nil {
		return err
	}
	if revoked != nil {
		if l.RevokedAt, err = time.Parse(time.RFC3339Nano, string(revoked)); err != nil {
			return err
		}
	}
	l.Uses, err = snapshot.Count(key(prefixUses, l.Claims.Issuer, l.Claims.ID))
	return err
}

// SignedLinks returns a page of the links of an issuer, in order of creation.
func (s *Store) SignedLinks(ctx context.Context, vendor, issuer string, page Page) ([]SignedLink, error) {
	links := []SignedLink{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		var after []byte
		if page.From != "" {
			after = key(prefixLink, issuer, page.From)
		}
		var beside [][]byte
		for entry, err := range snapshot.Scan(keyPrefix(prefixLink, issuer), after) {
			if err != nil {
				return err
			}
			var link SignedLink
			if err := decode(entry.Key, entry.Value, &link); err != nil {
				return err
			}
			links = append(links, link)
			beside = append(beside, key(prefixRevocation, issuer, link.Claims.ID), key(prefixUses, issuer, link.Claims.ID))
			if len(links) == page.limit() {
				break
			}
		}
		if err := prefetch(snapshot, beside...); err != nil {
			return err
		}
		for i := range links {
			if err := links[i].readUse(snapshot); err != nil {
				return err
			}
		}
		return nil
	})
	return links, err
}

// LinkUse is one use of a link.
type LinkUse struct {
	ID string
	At time.Time
}

// LinkUses returns a page of the uses of a link, by their ids. It returns
// ErrNotFound when there is no such link.
func (s *Store) LinkUses(ctx context.Context, vendor, issuer, id string, page Page) ([]LinkUse, error) {
	uses := []LinkUse{}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		link, err := snapshot.Get(key(prefixLink, issuer, id))
		if err != nil {
			return err
		}
		if link == nil {
			return ErrNotFound
		}
		prefix := keyPrefix(prefixUse, issuer, id)
		var after []byte
		if page.From != "" {
			after = append(bytes.Clone(prefix), page.From...)
		}
		for entry, err := range snapshot.Scan(prefix, after) {
			if err != nil {
				return err
			}
			at, err := time.Parse(time.RFC3339Nano, string(entry.Value))
			if err != nil {
				return fmt.Errorf("the use %q of a link cannot be read: %w", entry.Key, err)
			}
			uses = append(uses, LinkUse{ID: string(entry.Key[len(prefix):]), At: at})
			if len(uses) == page.limit() {
				break
			}
		}
		return nil
	})
	return uses, err
}

// RevokeLink ends a link at once, and with it every cookie that it was redeemed
// for. Revoking twice is no error; ErrNotFound means that there is no such link.
func (w Writer) RevokeLink(ctx context.Context, vendor, issuer, id string) (SignedLink, error) {
	link, err := w.SignedLink(ctx, vendor, issuer, id)
	if err != nil || !link.RevokedAt.IsZero() {
		return link, err
	}
	link.RevokedAt = w.timestamp()
	batch := &engine.Batch{
		Checks: []engine.Check{{Key: key(prefixLink, issuer, id), Present: true}},
		Puts: []engine.Put{{
			Key:     key(prefixRevocation, issuer, id),
			Value:   []byte(link.RevokedAt.Format(time.RFC3339Nano)),
			Expires: linkRetention(link.Claims.ExpiresAt),
		}},
	}
	var change policy.Invalidation
	change.Add(policy.KindLink, vendor, issuer, id)
	return link, w.commit(ctx, vendor, batch, change)
}

// RevokePublished ends a link that a publisher signed, whether it was used before
// or not. Revoking twice is no error.
func (w Writer) RevokePublished(ctx context.Context, vendor, domain, id string) error {
	if err := errors.Join(checkText("domain", domain, 255), checkText("id", id, keys.MaxLinkID)); err != nil {
		return err
	}
	_, err := w.RevokeLink(ctx, vendor, domain, id)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	// When it ends nobody knows: what is revoked before it was seen stays so.
	revokedAt := w.timestamp()
	batch := &engine.Batch{Puts: []engine.Put{{Key: key(prefixRevocation, domain, id), Value: []byte(revokedAt.Format(time.RFC3339Nano))}}}
	var change policy.Invalidation
	change.Add(policy.KindLink, vendor, domain, id)
	return w.commit(ctx, vendor, batch, change)
}

// Link implements policy.Records. A link that was revoked before anybody used it
// has nothing but that.
func (s *Store) Link(ctx context.Context, vendor, issuer, id string) (policy.Link, error) {
	link, err := s.SignedLink(ctx, vendor, issuer, id)
	if errors.Is(err, ErrNotFound) {
		link.Claims.Issuer, link.Claims.ID = issuer, id
		missing := err
		err = s.engine.View(ctx, vendor, link.readUse)
		if err == nil && link.RevokedAt.IsZero() {
			err = missing
		}
	}
	return policy.Link{Claims: link.Claims, Revoked: !link.RevokedAt.IsZero(), KeyID: link.KeyID}, err
}

// Redeem implements policy.Records. It is one atomic step: the link is there,
// it is not revoked, it has a use left, and that use is counted. A publisher's
// link is there once this step has written it.
func (s *Store) Redeem(ctx context.Context, vendor string, r policy.Redemption) error {
	if r.Link == nil {
		return s.redeem(ctx, vendor, r, nil)
	}
	// Of several first uses at the same moment one writes the record; the others
	// find it there. Nobody removes it in between but Sweep, long after its end.
	var err error
	for range 3 {
		var put *engine.Put
		if put, err = s.firstUse(ctx, vendor, r.Link); err != nil {
			return err
		}
		if err = s.redeem(ctx, vendor, r, put); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

// firstUse returns the record of a publisher's link, nil when it is there
// already. The error is policy.ErrLinkReused when the one that is there is of
// another link.
func (s *Store) firstUse(ctx context.Context, vendor string, link *policy.Link) (*engine.Put, error) {
	claims := &link.Claims
	known, err := s.SignedLink(ctx, vendor, claims.Issuer, claims.ID)
	if err == nil {
		same, err := sameClaims(&known.Claims, claims)
		if err == nil && !same {
			err = policy.ErrLinkReused
		}
		return nil, err
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	stored, err := encode(SignedLink{Claims: *claims, KeyID: link.KeyID, CreatedAt: s.timestamp()})
	if err != nil {
		return nil, err
	}
	return &engine.Put{Key: key(prefixLink, claims.Issuer, claims.ID), Value: stored, Expires: linkRetention(claims.ExpiresAt)}, nil
}

func sameClaims(a, b *keys.LinkClaims) (bool, error) {
	left, err := encode(a)
	if err != nil {
		return false, err
	}
	right, err := encode(b)
	return bytes.Equal(left, right), err
}

// redeem commits a redemption, and with it the link's record where it is not
// there yet: then ErrConflict says that it is now.
func (s *Store) redeem(ctx context.Context, vendor string, r policy.Redemption, record *engine.Put) error {
	batch := &engine.Batch{
		Checks: []engine.Check{
			{Key: key(prefixLink, r.Issuer, r.LinkID), Present: record == nil},
			{Key: key(prefixRevocation, r.Issuer, r.LinkID)},
		},
		// Nothing in memory depends on how often a link was used, nor on that it
		// was never used: there is no event to tell.
	}
	if record != nil {
		batch.Puts = []engine.Put{*record}
	}
	if r.Link == nil || r.MaxUses > 0 {
		batch.Counters = []engine.Counter{{
			Key:              key(prefixUses, r.Issuer, r.LinkID),
			Max:              r.MaxUses,
			IdempotencyKey:   key(prefixUse, r.Issuer, r.LinkID, r.ID),
			IdempotencyValue: []byte(r.At.UTC().Format(time.RFC3339Nano)),
			Expires:          r.ExpiresAt.Add(Retention),
		}}
	}
	_, err := s.engine.Commit(ctx, vendor, batch)
	var check *engine.CheckError
	var bound *engine.BoundError
	switch {
	case errors.As(err, &bound):
		return policy.ErrLinkUsedUp
	case errors.As(err, &check) && check.Index == 1:
		return policy.ErrLinkRevoked
	case errors.As(err, &check) && record != nil:
		return ErrConflict
	case errors.As(err, &check):
		return ErrNotFound
	}
	return err
}
