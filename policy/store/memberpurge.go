package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// ErrReserved is returned for a slug whose record was removed within Retention, so that
// nothing that still names the old one can mean the new one.
var ErrReserved = errors.New("a record of this slug was removed lately")

// removedMember is the marker of a removed profile or user. The slug of a profile is not
// free for Retention. Nothing is created under a slug before all records of the removed one
// are gone.
type removedMember struct {
	At     time.Time `json:"at"`
	Purged bool      `json:"purged,omitempty"`
}

// What was removed, in the key of a marker.
const (
	removedProfile = "o"
	removedUser    = "p"
)

func removedKey(what, slug string) []byte { return key(prefixRemoved, what+slug) }

// checkRemoved returns ErrReserved unless a slug is free.
func checkRemoved(t *transaction, what, slug string) error {
	if what == removedUser {
		if stored, err := t.load(removedKey(erasedPerson, slug)); err != nil || stored != nil {
			return cmp.Or(err, ErrReserved)
		}
	}
	k := removedKey(what, slug)
	stored, err := t.load(k)
	if err != nil || stored == nil {
		return err
	}
	var marker removedMember
	if err := decode(k, stored, &marker); err != nil {
		return err
	}
	if !marker.Purged || what == removedProfile && t.now.Before(marker.At.Add(Retention)) {
		return ErrReserved
	}
	t.set(k, nil, time.Time{})
	return nil
}

// markRemoved writes the marker of what is removed.
func markRemoved(t *transaction, what, slug string, marker removedMember) error {
	value, err := encode(marker)
	var expires time.Time
	if marker.Purged {
		expires = marker.At.Add(Retention)
	}
	t.set(removedKey(what, slug), value, expires)
	return err
}

// DeleteProfile removes a profile, unless allowed returns an error, which may be nil to
// allow it. It returns ErrBuiltIn for the broker.
//
// The roles on the profile, its subscriptions, its role types, its plans and the
// subscriptions to these end at once, as they count with the profile only. Their records
// are removed afterwards, in steps, and by Sweep. The slug is not free for Retention.
func (w Writer) DeleteProfile(ctx context.Context, vendor, slug string, allowed func(Profile) error) error {
	err := w.transact(ctx, vendor, func(t *transaction) error {
		if err := permitted(t, profileKind, allowed, slug); err != nil {
			return err
		}
		if err := profileKind.remove(t, slug); err != nil {
			return err
		}
		return markRemoved(t, removedProfile, slug, removedMember{At: t.now})
	})
	if err == nil {
		// The profile is removed, and Sweep retries this.
		_ = w.purgeMember(ctx, vendor, removedProfile, slug, purgeAtOnce)
	}
	return err
}

// purgeMember removes about most records of a removed profile or user.
func (s *Store) purgeMember(ctx context.Context, vendor, what, slug string, most int) error {
	for ; most > 0; most -= purgeBatch {
		done, err := s.purgeMemberStep(ctx, vendor, what, slug)
		if done || err != nil {
			return err
		}
	}
	return nil
}

// purgeMembers purges everything that is marked.
func (s *Store) purgeMembers(ctx context.Context, vendor string) error {
	var slugs []string
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan([]byte{prefixRemoved}, nil) {
			if err == nil && len(entry.Key) > 1 && string(entry.Key[1:2]) != removedProfile && string(entry.Key[1:2]) != removedUser {
				if string(entry.Key[1:2]) == erasedPerson {
					slugs = append(slugs, string(entry.Key[1:]))
				}
				continue
			}
			var marker removedMember
			if err == nil {
				err = decode(entry.Key, entry.Value, &marker)
			}
			if err != nil {
				return err
			}
			if !marker.Purged {
				slugs = append(slugs, string(entry.Key[1:]))
			}
		}
		return nil
	})
	for _, slug := range slugs {
		if err != nil {
			break
		}
		if slug[:1] == erasedPerson {
			_, err = s.erase(ctx, vendor, slug[1:])
			continue
		}
		err = s.purgeMember(ctx, vendor, slug[:1], slug[1:], math.MaxInt)
	}
	return err
}

// purgeMemberStep removes about purgeBatch records. Done reports that there are no more.
func (s *Store) purgeMemberStep(ctx context.Context, vendor, what, slug string) (done bool, err error) {
	err = s.As(Actor{}).transact(ctx, vendor, func(t *transaction) error {
		done = false
		k := removedKey(what, slug)
		stored, err := t.load(k)
		var marker removedMember
		if err == nil && stored != nil {
			err = decode(k, stored, &marker)
		}
		if err != nil || stored == nil || marker.Purged {
			done = true
			return err
		}
		p := memberPurge{t: t, left: purgeBatch}
		if what == removedProfile {
			p.profile(slug)
		} else {
			p.user(slug)
		}
		if p.err != nil || p.left <= 0 {
			return p.err
		}
		done, marker.Purged = true, true
		return markRemoved(t, what, slug, marker)
	})
	return done, err
}

// memberPurge removes records until there were enough.
type memberPurge struct {
	t    *transaction
	left int
	err  error
}

func (p *memberPurge) profile(slug string) {
	purgeRecords(p, roleKind, keyPrefix(prefixRole, slug))
	purgeRecords(p, roleTypeKind, keyPrefix(prefixRoleType, slug))
	purgeRecords(p, subscriptionKind, keyPrefix(prefixSubscription, slug))
	plans := p.scan(memberPrefix(memberProvider, slug))
	for _, plan := range plans {
		for _, rest := range p.scan(memberPrefix(memberPlan, plan)) {
			profile, id, _ := strings.Cut(rest, "\x00")
			purgeRecord(p, subscriptionKind, profile, plan, id)
		}
		if p.left > 0 {
			purgeRecord(p, planKind, plan)
		}
	}
}

func (p *memberPurge) user(slug string) {
	for _, profile := range p.scan(memberPrefix(memberUser, slug)) {
		purgeRecord(p, roleKind, profile, slug)
	}
	purgeRecords(p, signatureKind, keyPrefix(prefixSignature, slug))
}

func (p *memberPurge) scan(prefix []byte) (found []string) {
	if p.err == nil && p.left > 0 {
		found, p.err = p.t.scan(prefix, p.left)
	}
	return found
}

// purgeRecords removes the records under a prefix.
func purgeRecords[T any](p *memberPurge, k *kind[T], prefix []byte) {
	if p.err != nil || p.left <= 0 {
		return
	}
	for entry, err := range p.t.snapshot.Scan(prefix, nil) {
		record := new(T)
		if err == nil {
			err = decode(entry.Key, entry.Value, record)
		}
		if err != nil {
			p.err = err
			return
		}
		p.t.scanned(engine.Entry{Key: bytes.Clone(entry.Key), Value: entry.Value})
		k.write(p.t, record, nil, nil)
		if p.left--; p.left == 0 {
			return
		}
	}
}

func purgeRecord[T any](p *memberPurge, k *kind[T], path ...string) {
	if p.err != nil {
		return
	}
	record, err := k.get(p.t, path...)
	if p.err = err; record != nil {
		k.write(p.t, record, nil, nil)
	}
	p.left--
}

// DeleteUser removes a user, unless allowed returns an error; it may be nil. Their roles end
// at once, as they count with the user only; their records and those of signatures are
// removed afterwards, as DeleteProfile does. Their personal profile stays for its
// subscriptions, without a name and an address, and is not active any more. It returns a
// *LastManagerError when the user is the last manager of another profile, unless the
// operator removes them.
func (w Writer) DeleteUser(ctx context.Context, vendor, slug string, operator bool, allowed func(User) error) error {
	err := w.transact(ctx, vendor, func(t *transaction) error {
		if err := permitted(t, userKind, allowed, slug); err != nil {
			return err
		}
		profiles, err := t.scan(memberPrefix(memberUser, slug), maxRolesOfReader)
		if err != nil {
			return err
		}
		for _, profile := range profiles {
			if err := t.leave(profile, slug, operator); err != nil {
				return err
			}
		}
		if err := userKind.remove(t, slug); err != nil {
			return err
		}
		if details, err := readerKind.get(t, slug); err != nil {
			return err
		} else if details != nil {
			readerKind.write(t, details, nil, nil)
		}
		return markRemoved(t, removedUser, slug, removedMember{At: t.now})
	})
	if err == nil {
		// The user is removed, and Sweep retries this.
		_ = w.purgeMember(ctx, vendor, removedUser, slug, purgeAtOnce)
	}
	return err
}

// leave prepares the removal of a user with a role on a profile.
func (t *transaction) leave(profile, user string, operator bool) error {
	role, err := readIn(t, roleKind, profile, user)
	if err != nil || role == nil {
		return err
	}
	account, err := readIn(t, profileKind, profile)
	if err != nil || account == nil {
		return err
	}
	if account.Owner != user || account.Type != TypePersonal {
		return t.keepManager(role, operator)
	}
	if account, err = profileKind.need(t, profile); err != nil {
		return err
	}
	next := *account
	next.Owner, next.FullName, next.Contact, next.Extra, next.Inactive = "", "", Contact{}, nil, true
	return profileKind.put(t, &next)
}
