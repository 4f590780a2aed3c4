package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"
)

// AcceptRole accepts the invitation of a user that a key is for. It returns ErrNotFound when
// the user has none with this key, or it ended.
func (w Writer) AcceptRole(ctx context.Context, vendor, user, key string) (accepted Role, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		profiles, err := t.scan(memberPrefix(memberUser, user), maxRolesOfReader)
		if err != nil {
			return err
		}
		if _, err := t.ensureUser(user, nil); err != nil {
			return err
		}
		for _, profile := range profiles {
			role, err := readIn(t, roleKind, profile, user)
			if err != nil {
				return err
			}
			if role == nil || !isMemberKey(role.GrantKey, key) || !role.acceptable(t.now) {
				continue
			}
			accepted, err = t.acceptRole(profile, user)
			return err
		}
		return ErrNotFound
	})
	return accepted, err
}

// acceptable reports whether the role is an invitation that has not ended.
func (r *Role) acceptable(now time.Time) bool {
	ended := func(at *time.Time) bool { return at != nil && !now.Before(*at) }
	return r.GrantKey != "" && !ended(r.InviteEndsAt) && !ended(r.EndsAt)
}

// acceptRole makes an invitation count.
func (t *transaction) acceptRole(profile, user string) (Role, error) {
	role, err := roleKind.need(t, profile, user)
	if err != nil {
		return Role{}, err
	}
	next := *role
	next.GrantKey, next.InviteEndsAt = "", nil
	if next.Requested == next.Type || next.Requested == "" {
		next.RequestKey = ""
	}
	return next, roleKind.put(t, &next)
}

// readIn returns a record of the snapshot, nil for none. The commit does not depend on it.
func readIn[T any](t *transaction, k *kind[T], path ...string) (*T, error) {
	stored, err := t.snapshot.Get(k.key(path...))
	if err != nil {
		return nil, err
	}
	return k.decode(t.vendor, stored, path)
}

// RequestRole asks for a role on a profile for a user, who is stored if there is none. An
// empty type asks for any. A role that counts stays beside the request. An invitation to the
// type, or to any if none is named, is accepted instead. A request that waits is replaced by
// one with another key.
//
// It returns a *FieldError for a profile that does not exist or is not active, so that the
// two cannot be told apart, and ErrExists when the user has the role already.
func (w Writer) RequestRole(ctx context.Context, vendor, profile string, user User, roleType string, extra json.RawMessage) (asked GrantedRole, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		asked = GrantedRole{}
		if _, err := t.ensureUser(user.Slug, &user); err != nil {
			return err
		}
		account, err := profileKind.get(t, profile)
		if err != nil || account == nil || account.Inactive {
			return errors.Join(err, &FieldError{"profile", "does not exist"})
		}
		old, err := roleKind.get(t, profile, user.Slug)
		if err != nil {
			return err
		}
		next := Role{Profile: profile, User: user.Slug, Extra: extra}
		if old != nil {
			next = *old
			next.Extra = extraOr(extra, old.Extra)
			same := roleType == "" || roleType == old.Type
			if state := old.State(); same && state.Counts(t.now) {
				return ErrExists
			}
			if same && old.acceptable(t.now) {
				asked.Role, err = t.acceptRole(profile, user.Slug)
				return err
			}
			if state := old.State(); !old.acceptable(t.now) && !state.Counts(t.now) { // it ended
				next.Type, next.GrantKey, next.InviteEndsAt, next.EndsAt = "", "", nil, nil
			}
		}
		asked.Created = old == nil
		asked.Key, next.RequestKey = newMemberKey()
		next.Requested = roleType
		err = roleKind.put(t, &next)
		asked.Role = next
		return err
	})
	return asked, err
}

// RefuseRequest ends the request of a user for a role on a profile, and leaves a role or an
// invitation beside it. It returns ErrNotFound when no request waits.
func (w Writer) RefuseRequest(ctx context.Context, vendor, profile, user string) error {
	return w.transact(ctx, vendor, func(t *transaction) error {
		role, err := roleKind.need(t, profile, user)
		if err != nil || role.RequestKey == "" {
			return cmp.Or(err, ErrNotFound)
		}
		if role.Type == "" {
			return roleKind.remove(t, profile, user)
		}
		next := *role
		next.RequestKey, next.Requested = "", ""
		return roleKind.put(t, &next)
	})
}

// RemoveRole removes a user's role on a profile, with an invitation or a request, unless
// allowed returns an error; it may be nil. It returns a *LastManagerError for the last
// manager, unless the operator removes it.
func (w Writer) RemoveRole(ctx context.Context, vendor, profile, user string, operator bool, allowed func(Role) error) error {
	return w.transact(ctx, vendor, func(t *transaction) error {
		if err := permitted(t, roleKind, allowed, profile, user); err != nil {
			return err
		}
		role, err := roleKind.need(t, profile, user)
		if err != nil {
			return err
		}
		if err := t.keepManager(role, operator); err != nil {
			return err
		}
		return roleKind.remove(t, profile, user)
	})
}
