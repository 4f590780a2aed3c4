package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// LastManagerError is returned for a change that would leave a profile without a manager.
type LastManagerError struct{ Profile string }

func (e *LastManagerError) Error() string {
	return "this is the last manager of the profile " + e.Profile + ": make another one first"
}

// ErrReplacesRole is returned for a grant that would replace a role that counts, unless the
// caller permits that.
var ErrReplacesRole = errors.New("the user has another role on the profile, which counts")

// RoleGrant is a role to give.
type RoleGrant struct {
	// Type may be empty to grant the type that the user asks for.
	Profile, User, Type string
	// EndsAt is when the role ends, InviteEndsAt when its invitation does; nil means never.
	EndsAt, InviteEndsAt *time.Time
	Extra                json.RawMessage
	// NewUser, unless nil, is stored if there is no such user, and then has to accept.
	NewUser *User
	// RequestKey, unless empty, is the key of the request that is granted.
	RequestKey string
	// Check, unless nil, may refuse the grant: it gets the user's role, nil for none.
	Check func(*Role) error
	// Replace permits to replace a role of another type that counts; nil permits none.
	Replace func(Role) error
	// Operator permits that the last manager gets another role.
	Operator bool
}

// GrantedRole is the result of a grant or a request.
type GrantedRole struct {
	Role Role
	// Key accepts the invitation or grants the request. It is empty if the role counts, and
	// cannot be read again.
	Key string
	// Created reports that the user had neither a role nor an invitation nor a request.
	Created bool
	// Replaced is the role of another type that counted until now, nil for none.
	Replaced *Role
}

// GrantRole gives a user a role on a profile. A user without one is invited, unless the type
// needs no acceptance or the user becomes manager of their own personal profile. A waiting
// request is granted. A role that counts is replaced at once. An invitation is replaced by
// one with another key.
//
// It returns ErrReplacesRole, or what RoleGrant.Replace returns, for a role of another type
// that counts, and a *LastManagerError for that of the last manager.
func (w Writer) GrantRole(ctx context.Context, vendor string, grant RoleGrant) (granted GrantedRole, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) (err error) {
		granted, err = t.grantRole(&grant)
		return err
	})
	return granted, err
}

func (t *transaction) grantRole(grant *RoleGrant) (granted GrantedRole, err error) {
	newUser, err := t.ensureUser(grant.User, grant.NewUser)
	if err != nil {
		return granted, err
	}
	old, err := roleKind.get(t, grant.Profile, grant.User)
	if err != nil {
		return granted, err
	}
	if grant.Check != nil {
		if err := grant.Check(old); err != nil {
			return granted, err
		}
	}
	requested := old != nil && old.RequestKey != ""
	if grant.RequestKey != "" && (!requested || !isMemberKey(old.RequestKey, grant.RequestKey)) {
		return granted, ErrNotFound
	}
	role := Role{Profile: grant.Profile, User: grant.User, Type: grant.Type, EndsAt: grant.EndsAt, Extra: grant.Extra}
	counts := false
	if old != nil {
		state := old.State()
		counts = state.Counts(t.now)
		role.Type, role.Extra = cmp.Or(grant.Type, old.Requested), extraOr(grant.Extra, old.Extra)
	}
	switch {
	case counts && old.Type != role.Type:
		if err := t.mayReplace(old, grant); err != nil {
			return granted, err
		}
		granted.Replaced = old
	case counts && grant.EndsAt == nil:
		role.EndsAt = old.EndsAt
	case counts: // an end would leave the profile without a manager later
		if err := t.keepManager(old, grant.Operator); err != nil {
			return granted, err
		}
	}
	if !counts && !requested {
		invite, err := t.invites(&role)
		if err != nil {
			return granted, err
		}
		if invite || newUser {
			granted.Key, role.GrantKey = newMemberKey()
			role.InviteEndsAt = grant.InviteEndsAt
		}
	}
	granted.Created = old == nil || !counts && old.GrantKey == "" && !requested
	err = roleKind.put(t, &role)
	granted.Role = role
	return granted, err
}

func extraOr(extra, old json.RawMessage) json.RawMessage {
	if extra == nil {
		return old
	}
	return extra
}

// mayReplace returns why a role that counts cannot be replaced by another one.
func (t *transaction) mayReplace(old *Role, grant *RoleGrant) error {
	if grant.Replace == nil {
		return ErrReplacesRole
	}
	if err := grant.Replace(*old); err != nil {
		return err
	}
	return t.keepManager(old, grant.Operator)
}

// invites reports whether a new role has to be accepted.
func (t *transaction) invites(role *Role) (bool, error) {
	described, err := typeIn(t, role.Profile, role.Type)
	if err != nil || described != nil && described.SkipOptInOnGrant {
		return false, err
	}
	if role.Type != policy.RoleManager {
		return true, nil
	}
	profile, err := profileKind.get(t, role.Profile)
	own := profile != nil && profile.Type == TypePersonal && profile.Owner == role.User
	return !own, err
}

// ensureUser stores a user if there is none, and returns whether it did. A user who is not
// active gets nothing.
func (t *transaction) ensureUser(slug string, made *User) (created bool, err error) {
	user, err := userKind.get(t, slug)
	switch {
	case err != nil:
		return false, err
	case user != nil && user.Inactive:
		return false, &FieldError{"user", "is not active"}
	case user != nil || made == nil:
		return false, nil // without a user, roleKind refuses
	}
	next := *made
	next.Slug = slug
	return true, userKind.put(t, &next)
}

// keepManager returns a *LastManagerError if a role that counts is that of the last manager
// of its profile, unless the operator takes it.
func (t *transaction) keepManager(role *Role, operator bool) error {
	state := role.State()
	if operator || role.Type != policy.RoleManager || !state.Counts(t.now) {
		return nil
	}
	prefix := memberPrefix(memberType, policy.RoleManager, role.Profile)
	for entry, err := range t.snapshot.Scan(prefix, nil) {
		if err != nil {
			return err
		}
		state, err := roleState(entry.Value)
		if err != nil {
			return err
		}
		slug := string(entry.Key[len(prefix):])
		if slug == role.User || state.Type != policy.RoleManager || !state.Counts(t.now) {
			continue
		}
		// The other manager must still be one when this one is removed.
		other, err := roleKind.get(t, role.Profile, slug)
		if err != nil {
			return err
		}
		user, err := userKind.get(t, slug)
		if err != nil {
			return err
		}
		if other == nil || user == nil || user.Inactive {
			continue
		}
		if state := other.State(); state.Type == policy.RoleManager && state.Counts(t.now) {
			return nil
		}
	}
	return &LastManagerError{role.Profile}
}
