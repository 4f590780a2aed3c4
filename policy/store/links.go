package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// SignedLink is a link as it is stored.
type SignedLink struct {
	Claims    keys.LinkClaims `json:"claims"`
	CreatedAt time.Time       `json:"createdAt"`
	// KeyID is the key with which a publisher signed the link. The record of such a
	// link is written when it is first redeemed.
	KeyID string `json:"kid,omitempty"`

	// RevokedAt is when the link was revoked; zero when it was not. It has a key of
	// its own, so that revoking and redeeming do not conflict. RevokedFor is the cause,
	// see CauseLeak; empty if a caller revoked it.
	RevokedAt  time.Time `json:"-"`
	RevokedFor string    `json:"-"`
	// Uses is the number of redemptions, Devices that of the devices of a link that counts
	// them.
	Uses    int64 `json:"-"`
	Devices int64 `json:"-"`
}

// linkDefaults are what a vendor declared for links that do not say it themselves.
type linkDefaults struct {
	ContentSpace string `json:"contentSpace"`
}

// DefaultSpace implements policy.Records.
func (s *Store) DefaultSpace(ctx context.Context, vendor string) (string, error) {
	var stored linkDefaults
	_, err := s.get(ctx, vendor, key(prefixSpace), &stored)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return stored.ContentSpace, err
}

// DeclareDefaultSpace sets the content space of links that name a content id without a
// space; empty for none. It returns a *FieldError for a name that is not valid, and
// ErrConflict when the space was declared concurrently.
func (w Writer) DeclareDefaultSpace(ctx context.Context, vendor, name string) error {
	if name != "" {
		if err := policy.CheckContentSpace(name); err != nil {
			return &FieldError{"contentSpace", err.Error()}
		}
	}
	k := key(prefixSpace)
	before, err := w.get(ctx, vendor, k, new(linkDefaults))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return w.put(ctx, vendor, k, before, linkDefaults{name}, policy.Invalidation{Shared: true, SameDomains: true})
}

// NewLinkID returns a new link id (`jti`).
func (s *Store) NewLinkID() string { return newID(linkIDPrefix, s.now()) }

const linkIDPrefix = "link_"

// CreateLink stores a new link.
func (w Writer) CreateLink(ctx context.Context, vendor string, claims keys.LinkClaims) (SignedLink, error) {
	links := []SignedLink{{Claims: claims, CreatedAt: w.timestamp()}}
	err := w.createLinks(ctx, vendor, links)
	return links[0], err
}

// DerivedLinkID returns a link id that depends on its arguments only: the time, a
// number below 2^20, and a digest of at least 16 bytes. Ids sort by time, then by
// number.
func DerivedLinkID(at time.Time, number int, digest []byte) string {
	id := []byte(newID(linkIDPrefix, at))
	digits := id[len(linkIDPrefix)+idTimeDigits:]
	for i := range digits {
		digits[i] = idDigits[digest[i]&31]
	}
	for i := range 4 {
		digits[i] = idDigits[number>>(5*(3-i))&31]
	}
	return string(id)
}

// CreateLinks stores new links in one atomic step. With again it writes nothing when
// they are stored already, by an earlier call.
func (w Writer) CreateLinks(ctx context.Context, vendor string, claims []keys.LinkClaims, again bool) error {
	if len(claims) == 0 {
		return nil
	}
	now := w.timestamp()
	links := make([]SignedLink, len(claims))
	for i := range claims {
		links[i] = SignedLink{Claims: claims[i], CreatedAt: now}
	}
	err := w.createLinks(ctx, vendor, links)
	if again && errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// createLinks stores the vendor's own links, provided that the first one is not stored yet.
func (w Writer) createLinks(ctx context.Context, vendor string, links []SignedLink) error {
	for range transactAttempts {
		front, stored, err := w.linkFrontier(ctx, vendor)
		if err != nil {
			return err
		}
		err = w.createLinksAt(ctx, vendor, links, front, engine.Check{Key: linkFrontierKey, Value: stored})
		if !errors.Is(err, ErrConflict) {
			return err
		}
		_, now, readErr := w.linkFrontier(ctx, vendor)
		if readErr != nil || bytes.Equal(stored, now) {
			return cmp.Or(readErr, err) // the first link is stored
		}
	}
	return ErrConflict
}

// createLinksAt is createLinks while the index has the frontier that the check names.
func (w Writer) createLinksAt(ctx context.Context, vendor string, links []SignedLink, front linkFrontier, unmoved engine.Check) error {
	batch := new(engine.Batch)
	var change policy.Invalidation
	for i := range links {
		// The time of creation is that of the id, by which links are ordered.
		if at := idTime(links[i].Claims.ID, linkIDPrefix); !at.IsZero() {
			links[i].CreatedAt = at
		}
		puts, err := links[i].puts()
		if err != nil {
			return err
		}
		if links[i].Claims.ID > front.End {
			puts = puts[:1] // a step adds its entries
		}
		batch.Puts = append(batch.Puts, puts...)
		change.Add(policy.KindLink, vendor, links[i].Claims.Issuer, links[i].Claims.ID)
	}
	batch.Checks = []engine.Check{{Key: batch.Puts[0].Key}, unmoved}
	return w.commit(ctx, vendor, batch, change)
}

// linkRetention returns when the records of a link expire.
func linkRetention(expiresAt int64) time.Time { return time.Unix(expiresAt, 0).Add(Retention) }

// SignedLink returns a link with its uses, or ErrNotFound.
func (s *Store) SignedLink(ctx context.Context, vendor, issuer, id string) (SignedLink, error) {
	var link SignedLink
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		k := key(prefixLink, issuer, id)
		if err := engine.Prefetch(snapshot, append(useKeys(issuer, id), k)...); err != nil {
			return err
		}
		if _, err := getIn(snapshot, k, &link); err != nil {
			return err
		}
		return link.readUse(snapshot)
	})
	return link, err
}

// useKeys returns the keys that readUse reads.
func useKeys(issuer, id string) [][]byte {
	return [][]byte{key(prefixRevocation, issuer, id), key(prefixUses, issuer, id), key(prefixDevices, issuer, id)}
}

// readUse reads the revocation and the uses of a link.
func (l *SignedLink) readUse(snapshot engine.Snapshot) error {
	revoked, err := snapshot.Get(key(prefixRevocation, l.Claims.Issuer, l.Claims.ID))
	if err != nil {
		return err
	}
	if revoked != nil {
		at, cause, _ := strings.Cut(string(revoked), " ")
		if l.RevokedAt, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return err
		}
		l.RevokedFor = cause
	}
	if l.Claims.MaxDevices > 0 {
		if l.Devices, err = snapshot.Count(key(prefixDevices, l.Claims.Issuer, l.Claims.ID)); err != nil {
			return err
		}
	}
	l.Uses, err = snapshot.Count(key(prefixUses, l.Claims.Issuer, l.Claims.ID))
	return err
}

// SignedLinks returns a page of the links of an issuer, in the order of their
// creation.
func (s *Store) SignedLinks(ctx context.Context, vendor, issuer string, page Page) (links []SignedLink, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		if links, err = pageIn[SignedLink](snapshot, keyPrefix(prefixLink, issuer), page); err != nil {
			return err
		}
		var keys [][]byte
		for _, link := range links {
			keys = append(keys, useKeys(issuer, link.Claims.ID)...)
		}
		if err := engine.Prefetch(snapshot, keys...); err != nil {
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

// RevokeLink revokes a link and its link cookies at once. Revoking again is no error.
// It returns ErrNotFound when there is no such link.
func (w Writer) RevokeLink(ctx context.Context, vendor, issuer, id string) (SignedLink, error) {
	link, err := w.SignedLink(ctx, vendor, issuer, id)
	if err != nil || !link.RevokedAt.IsZero() {
		return link, err
	}
	link.RevokedAt = w.timestamp()
	return link, w.revoke(ctx, vendor, issuer, id, link.RevokedAt, linkRetention(link.Claims.ExpiresAt),
		engine.Check{Key: key(prefixLink, issuer, id), Present: true})
}

// revocation returns the value of a revocation: its time and, behind a space, its cause.
func revocation(at time.Time, cause string) []byte {
	value := at.UTC().AppendFormat(nil, time.RFC3339Nano)
	if cause != "" {
		value = append(append(value, ' '), cause...)
	}
	return value
}

func (w Writer) revoke(ctx context.Context, vendor, issuer, id string, at, expires time.Time, checks ...engine.Check) error {
	batch := &engine.Batch{Checks: checks, Puts: []engine.Put{{
		Key: key(prefixRevocation, issuer, id), Value: revocation(at, ""), Expires: expires,
	}}}
	var change policy.Invalidation
	change.Add(policy.KindLink, vendor, issuer, id)
	return w.commit(ctx, vendor, batch, change)
}

// RevokePublished revokes a link that a publisher signed, even one that was never
// redeemed. Revoking again is no error.
func (w Writer) RevokePublished(ctx context.Context, vendor, domain, id string) error {
	if err := cmp.Or(checkText("domain", domain, 255), checkText("id", id, keys.MaxLinkID)); err != nil {
		return err
	}
	_, err := w.RevokeLink(ctx, vendor, domain, id)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	// The end of a link without a record is unknown, so its revocation never expires.
	return w.revoke(ctx, vendor, domain, id, w.timestamp(), time.Time{})
}

// Link implements policy.Records. A publisher's link that was revoked before its first
// use has no record but the revocation.
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

// Uses implements policy.Records.
func (s *Store) Uses(ctx context.Context, vendor, issuer, id string, uses []string, device string) (policy.Uses, error) {
	ctx = engine.Urgent(ctx)
	counter, revocation, devices := key(prefixUses, issuer, id), key(prefixRevocation, issuer, id), key(prefixDevices, issuer, id)
	markers, kept := make([][]byte, len(uses)), make([][]byte, len(uses))
	for i, use := range uses {
		markers[i], kept[i] = key(prefixUse, issuer, id, use), keptKey(issuer, id, use)
	}
	if device != "" {
		markers = append(markers, key(prefixDevice, issuer, id, device))
		kept = append(kept, keptKey(issuer, id, device))
	}
	found := policy.Uses{IDs: make([]policy.CountedID, len(markers))}
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) (err error) {
		if err := engine.Prefetch(snapshot, slices.Concat([][]byte{counter, revocation, devices}, markers, kept)...); err != nil {
			return err
		}
		if found.Count, err = snapshot.Count(counter); err != nil {
			return err
		}
		revoked, err := snapshot.Get(revocation)
		if err != nil {
			return err
		}
		found.Revoked = revoked != nil
		if device != "" {
			if found.Devices, err = snapshot.Count(devices); err != nil {
				return err
			}
		}
		for i := range markers {
			if found.IDs[i], err = readCounted(snapshot, markers[i], kept[i]); err != nil {
				return err
			}
		}
		if n := len(uses); device != "" {
			found.IDs, found.Device = found.IDs[:n], found.IDs[n]
		}
		return nil
	})
	return found, err
}

// readCounted reads whether and when an id was counted.
func readCounted(snapshot engine.Snapshot, marker, kept []byte) (counted policy.CountedID, err error) {
	value, err := snapshot.Get(marker)
	if value == nil || err != nil {
		return counted, err
	}
	if counted.At, _, err = readUse(marker, value); err != nil {
		return counted, err
	}
	value, err = snapshot.Get(kept)
	counted.Kept = value != nil
	return counted, err
}

// Redeem implements policy.Records. In one atomic step it checks that the link is
// stored, is not revoked and has a use left, and counts that use and its device. The first use of a
// publisher's link also stores the link. A use that was counted, but may be lost, is taken
// back. One that another request counted is kept: that request cannot take it back.
func (s *Store) Redeem(ctx context.Context, vendor string, r policy.Redemption) error {
	if err := s.clockRight(); err != nil {
		return err
	}
	err := s.redeemOnce(ctx, vendor, r)
	if err != nil {
		s.giveBack(ctx, vendor, &r, err)
	}
	return err
}

// redeemTries bounds how often a redemption is repeated that others change. Each time one
// of them has finished.
const redeemTries = 16

func (s *Store) redeemOnce(ctx context.Context, vendor string, r policy.Redemption) error {
	// Of concurrent first uses one stores the record, and the others find it then. A use
	// that was found may be taken back by the request that counted it.
	var err error
	ctx = engine.Urgent(ctx)
	for range redeemTries {
		var put *engine.Put
		if r.Link != nil {
			if put, err = s.firstUse(ctx, vendor, r.Link); err != nil {
				return err
			}
		}
		if err = s.redeem(ctx, vendor, r, put); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

// firstUse returns the put that stores a publisher's link, nil when it is stored. It
// returns policy.ErrLinkReused when another link is stored under its id.
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
	record := SignedLink{Claims: *claims, KeyID: link.KeyID, CreatedAt: s.timestamp()}
	puts, err := record.puts()
	return &puts[0], err // a publisher's link has no index
}

func sameClaims(a, b *keys.LinkClaims) (bool, error) {
	left, err := encode(a)
	if err != nil {
		return false, err
	}
	right, err := encode(b)
	return bytes.Equal(left, right), err
}

// redeem commits a redemption, with the put of the link's record unless that is nil.
// It returns ErrConflict when the record was stored, or the use that it found was taken
// back, concurrently.
func (s *Store) redeem(ctx context.Context, vendor string, r policy.Redemption, record *engine.Put) error {
	batch := &engine.Batch{
		Checks: []engine.Check{
			{Key: key(prefixLink, r.Issuer, r.LinkID), Present: record == nil},
			{Key: key(prefixRevocation, r.Issuer, r.LinkID)},
		},
		// No event: no cached value depends on the uses of a link.
	}
	if record != nil {
		batch.Puts = []engine.Put{*record}
	}
	batch.Counters = counters(&r)
	committed, err := s.engine.Commit(ctx, vendor, batch)
	var check *engine.CheckError
	var bound *engine.BoundError
	switch {
	case err == nil:
		return s.keep(ctx, vendor, &r, batch.Counters, committed.Replayed)
	case errors.As(err, &bound):
		return exhausted(&r, bound)
	case errors.As(err, &check) && check.Index == 1:
		return policy.ErrLinkRevoked
	case errors.As(err, &check) && record != nil:
		return ErrConflict
	case errors.As(err, &check):
		return ErrNotFound
	}
	return err
}

// useCounter returns the counter of a link's uses, as a redemption counts it.
func useCounter(r *policy.Redemption) engine.Counter {
	return engine.Counter{
		Key:              key(prefixUses, r.Issuer, r.LinkID),
		Max:              r.MaxUses,
		IdempotencyKey:   key(prefixUse, r.Issuer, r.LinkID, r.ID),
		IdempotencyValue: useValue(r.At, r.Visitor),
		Expires:          r.ExpiresAt.Add(Retention),
	}
}
