package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// RoleType describes a kind of role: DjaoApp's role description.
type RoleType struct {
	Slug  string `json:"slug"`
	Title string `json:"title"`
	// Profile is the profile to which the type is local; empty for one of the whole site.
	Profile string `json:"profile,omitempty"`
	// SkipOptInOnGrant makes a granted role count at once, without an acceptance.
	SkipOptInOnGrant bool `json:"skip_optin_on_grant,omitempty"`
	// ImplicitCreateOnNone is kept and has no effect: no role follows from an address.
	ImplicitCreateOnNone bool `json:"implicit_create_on_none,omitempty"`
	// OTPRequired requires a second factor of the users who have such a role.
	OTPRequired bool            `json:"otp_required,omitempty"`
	Extra       json.RawMessage `json:"extra,omitempty"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
}

// Role is a user's role on a profile. There is at most one for both.
type Role struct {
	Profile string `json:"profile"`
	User    string `json:"user"`
	// Type is the slug of the role type that counts, unless GrantKey is set. It is empty
	// if the user only asked for a role.
	Type string `json:"type,omitempty"`
	// GrantKey is the hash of the key that accepts an invitation.
	GrantKey string `json:"grant_key,omitempty"`
	// InviteEndsAt is when GrantKey stops accepting it; nil means never.
	InviteEndsAt *time.Time `json:"invite_ends_at,omitempty"`
	// RequestKey is the hash of the key of a request, and Requested the type that the user
	// asks for; empty for any. A role that counts goes on counting beside it.
	RequestKey string          `json:"request_key,omitempty"`
	Requested  string          `json:"requested,omitempty"`
	EndsAt     *time.Time      `json:"ends_at,omitempty"`
	Extra      json.RawMessage `json:"extra,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

var roleTypeKind = &kind[RoleType]{
	prefix:    prefixRoleType,
	path:      func(r *RoleType) []string { return []string{r.Profile, r.Slug} },
	normalize: (*RoleType).normalize,
	keep:      func(next, old *RoleType) { next.Slug, next.Profile = old.Slug, old.Profile },
	stamps:    func(r *RoleType) (created, updated *time.Time) { return &r.CreatedAt, &r.UpdatedAt },
	builtIn: func(_ string, path []string) (RoleType, bool) {
		title, ok := builtInRoleTypes[path[1]]
		return RoleType{Slug: path[1], Title: title}, ok && path[0] == ""
	},
	check: checkRoleType,
	stale: func(change *policy.Invalidation, _ string, old, next *RoleType) {
		if (old != nil && old.OTPRequired) != (next != nil && next.OTPRequired) {
			change.Join(policy.Invalidation{Shared: true, SameDomains: true})
		}
	},
}

// builtInRoleTypes has the titles of the role types that every vendor has.
var builtInRoleTypes = map[string]string{policy.RoleManager: "Profile Manager", policy.RoleContributor: "Contributor"}

var roleKind = &kind[Role]{
	prefix:    prefixRole,
	path:      func(r *Role) []string { return []string{r.Profile, r.User} },
	normalize: (*Role).normalize,
	keep:      func(next, old *Role) { next.Profile, next.User = old.Profile, old.User },
	stamps:    func(r *Role) (created, updated *time.Time) { return &r.CreatedAt, &r.UpdatedAt },
	check:     checkRole,
	index: func(r *Role, add func(k, value []byte)) {
		state := r.state()
		add(memberKey(memberUser, r.User, r.Profile), state)
		if r.Type != "" {
			add(memberKey(memberType, r.Type, r.Profile, r.User), state)
		}
		if r.Requested != "" && r.Requested != r.Type {
			add(memberKey(memberType, r.Requested, r.Profile, r.User), state)
		}
	},
	expires: func(r *Role) time.Time {
		if r.EndsAt == nil || r.RequestKey != "" {
			return time.Time{}
		}
		return r.EndsAt.Add(Retention)
	},
	stale: func(change *policy.Invalidation, vendor string, old, next *Role) {
		role := cmp.Or(next, old)
		change.Add(policy.KindUserID, vendor, role.User)
		change.Add(policy.KindProfile, vendor, role.Profile)
	},
}

// normalize checks the role type.
func (r *RoleType) normalize() error {
	if r.Profile != "" {
		if err := checkSlug("profile", r.Profile); err != nil {
			return err
		}
	}
	if r.Title == "" {
		return &FieldError{"title", "is required"}
	}
	return cmp.Or(checkSlug("slug", r.Slug), checkText("title", r.Title, 64), normalizeExtra(&r.Extra))
}

// checkRoleType checks that a new local type has a profile and is no global one, and that
// there is no role of a removed one.
func checkRoleType(t *transaction, old, next *RoleType) error {
	if next == nil {
		prefix := memberPrefix(memberType, old.Slug)
		if old.Profile != "" {
			prefix = memberPrefix(memberType, old.Slug, old.Profile)
		}
		used, err := t.scan(prefix, 1)
		if err == nil && len(used) > 0 {
			err = ErrInUse
		}
		return err
	}
	if old != nil || next.Profile == "" {
		return nil
	}
	if ok, err := profileKind.exists(t, next.Profile); err != nil || !ok {
		return errors.Join(err, &FieldError{"profile", "does not exist"})
	}
	global, err := t.has(key(prefixRoleType, "", next.Slug))
	if _, ok := builtInRoleTypes[next.Slug]; err == nil && (ok || global) {
		err = ErrExists
	}
	return err
}

// normalize checks the role.
func (r *Role) normalize() error {
	switch {
	case r.Type == "" && r.RequestKey == "":
		return &FieldError{"role_description", "is required"}
	case r.Type == "" && r.GrantKey != "":
		return &FieldError{"role_description", "is required for an invitation"}
	case r.RequestKey == "":
		r.Requested = ""
	}
	for _, slug := range []string{r.Type, r.Requested} {
		if slug != "" {
			if err := checkSlug("role_description", slug); err != nil {
				return err
			}
		}
	}
	for _, at := range []**time.Time{&r.EndsAt, &r.InviteEndsAt} {
		if *at != nil {
			utc := (*at).UTC().Truncate(time.Millisecond)
			*at = &utc
		}
	}
	return cmp.Or(checkSlug("profile", r.Profile), checkUser("user", r.User), normalizeExtra(&r.Extra))
}

// checkRole checks that the profile, the user and the types of a role exist.
func checkRole(t *transaction, old, next *Role) error {
	if next == nil {
		return nil
	}
	if old == nil {
		if ok, err := profileKind.exists(t, next.Profile); err != nil || !ok {
			return errors.Join(err, &FieldError{"profile", "does not exist"})
		}
		if ok, err := userKind.exists(t, next.User); err != nil || !ok {
			return errors.Join(err, &FieldError{"user", "does not exist"})
		}
	}
	for _, slug := range []string{next.Type, next.Requested} {
		// There is no local type of the name of a built-in one.
		if slug == "" || builtInRoleTypes[slug] != "" || old != nil && (slug == old.Type || slug == old.Requested) {
			continue
		}
		if found, err := typeIn(t, next.Profile, slug); err != nil || found == nil {
			return errors.Join(err, &FieldError{"role_description", "is not a role type of the profile"})
		}
	}
	return nil
}

// typeIn returns the role type that a slug means for a profile, nil for none.
func typeIn(t *transaction, profile, slug string) (*RoleType, error) {
	found, err := roleTypeKind.get(t, profile, slug)
	if found != nil || err != nil {
		return found, err
	}
	return roleTypeKind.get(t, "", slug)
}

// RoleState is what the index says of a role.
type RoleState struct {
	// Type counts unless Invited. Requested is what a waiting request is for, if
	// RequestWaits; empty for any type.
	Type, Requested       string
	Invited, RequestWaits bool
	// EndsAt is in Unix milliseconds; zero means no end.
	EndsAt int64
}

const (
	stateGrantKey = 1 << iota
	stateRequestKey
	stateAutoRenew
	stateBalanceDue
)

// State returns the state of the role.
func (r *Role) State() RoleState {
	state := RoleState{Type: r.Type, Requested: r.Requested, Invited: r.GrantKey != "", RequestWaits: r.RequestKey != ""}
	if r.EndsAt != nil {
		state.EndsAt = max(r.EndsAt.UnixMilli(), 1)
	}
	return state
}

// Counts reports whether a role of this state counts at a time, if its profile and user are
// active.
func (s *RoleState) Counts(now time.Time) bool {
	return s.Type != "" && !s.Invited && (s.EndsAt == 0 || now.UnixMilli() < s.EndsAt)
}

// state encodes the state for the index: a byte, the end in 8 bytes, both types.
func (r *Role) state() []byte {
	state := r.State()
	value := binary.BigEndian.AppendUint64([]byte{flag(stateGrantKey, state.Invited) | flag(stateRequestKey, state.RequestWaits)}, uint64(state.EndsAt))
	return append(append(append(value, state.Type...), 0), state.Requested...)
}

func flag(bit byte, is bool) byte {
	if is {
		return bit
	}
	return 0
}

func roleState(value []byte) (RoleState, error) {
	if len(value) < 10 {
		return RoleState{}, errIndexValue
	}
	kind, requested, _ := strings.Cut(string(value[9:]), "\x00")
	return RoleState{
		Type: kind, Requested: requested, EndsAt: int64(binary.BigEndian.Uint64(value[1:])),
		Invited: value[0]&stateGrantKey != 0, RequestWaits: value[0]&stateRequestKey != 0,
	}, nil
}

var errIndexValue = errors.New("a value of the index of roles and subscriptions cannot be read")

// CreateRoleType stores a new role type; without a slug it has that of its title. It
// returns ErrExists when the profile or the site has one.
func (w Writer) CreateRoleType(ctx context.Context, vendor string, roleType RoleType) (RoleType, error) {
	roleType.Slug = cmp.Or(roleType.Slug, SlugOf(roleType.Title))
	return create(ctx, w, vendor, roleTypeKind, roleType)
}

// RoleTypeRecord returns the role type that a slug means for a profile: its own, or that of
// the whole site. With an empty profile it returns only the latter. It returns ErrNotFound
// when there is none.
func (s *Store) RoleTypeRecord(ctx context.Context, vendor, profile, slug string) (RoleType, error) {
	found, err := read(ctx, s, vendor, roleTypeKind, profile, slug)
	if errors.Is(err, ErrNotFound) && profile != "" {
		return read(ctx, s, vendor, roleTypeKind, "", slug)
	}
	return found, err
}

// UpdateRoleType changes a role type of a profile, or of the whole site if profile is empty:
// change gets the current one. Its slug, profile and time of creation cannot be changed.
func (w Writer) UpdateRoleType(ctx context.Context, vendor, profile, slug string, change func(*RoleType) error) (RoleType, error) {
	return update(ctx, w, vendor, roleTypeKind, change, profile, slug)
}

// DeleteRoleType removes a role type of a profile, or of the whole site if profile is empty,
// unless allowed returns an error; it may be nil. It returns ErrBuiltIn for those that every
// vendor has, and ErrInUse while there are roles of the type.
func (w Writer) DeleteRoleType(ctx context.Context, vendor, profile, slug string, allowed func(RoleType) error) error {
	return removeRecord(ctx, w, vendor, roleTypeKind, allowed, profile, slug)
}

// CreateRole stores a new role as it is. GrantRole and RequestRole are what people do.
func (w Writer) CreateRole(ctx context.Context, vendor string, role Role) (Role, error) {
	return create(ctx, w, vendor, roleKind, role)
}

// RoleRecord returns the role of a user on a profile, or ErrNotFound. It may have ended.
func (s *Store) RoleRecord(ctx context.Context, vendor, profile, user string) (Role, error) {
	return read(ctx, s, vendor, roleKind, profile, user)
}
