package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// Profile is an account that can subscribe to plans, and own them: DjaoApp's
// organization. The profile whose slug is the vendor's id is the broker: it exists from
// the start and cannot be removed.
type Profile struct {
	Slug string `json:"slug"`
	// Type is TypeOrganization or TypePersonal.
	Type string `json:"type"`
	// Owner is the user whose personal profile it is.
	Owner    string `json:"owner,omitempty"`
	FullName string `json:"full_name,omitempty"`
	Contact
	DefaultTimezone string          `json:"default_timezone,omitempty"`
	IsProvider      bool            `json:"is_provider,omitempty"`
	IsBulkBuyer     bool            `json:"is_bulk_buyer,omitempty"`
	Extra           json.RawMessage `json:"extra,omitempty"`
	// Inactive profiles give no access: their roles and subscriptions do not count.
	Inactive  bool      `json:"inactive,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Contact is how to reach a profile or user.
type Contact struct {
	Email         string `json:"email,omitempty"`
	Phone         string `json:"phone,omitempty"`
	StreetAddress string `json:"street_address,omitempty"`
	Locality      string `json:"locality,omitempty"`
	Region        string `json:"region,omitempty"`
	PostalCode    string `json:"postal_code,omitempty"`
	Country       string `json:"country,omitempty"`
	Language      string `json:"lang,omitempty"`
}

// Types of profiles.
const (
	TypeOrganization = "organization"
	TypePersonal     = "personal"
)

// User is a person who may have roles. Slug is the reader's id as their issuer gives it.
type User struct {
	Slug     string `json:"slug"`
	FullName string `json:"full_name,omitempty"`
	NickName string `json:"nick_name,omitempty"`
	Contact
	Extra json.RawMessage `json:"extra,omitempty"`
	// Inactive users have no roles that count.
	Inactive  bool      `json:"inactive,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

var profileKind = &kind[Profile]{
	prefix:    prefixProfile,
	path:      func(p *Profile) []string { return []string{p.Slug} },
	normalize: (*Profile).normalize,
	keep:      func(next, old *Profile) { next.Slug = old.Slug },
	stamps:    func(p *Profile) (created, updated *time.Time) { return &p.CreatedAt, &p.UpdatedAt },
	builtIn: func(vendor string, path []string) (Profile, bool) {
		return Profile{Slug: vendor, Type: TypeOrganization, FullName: vendor, IsProvider: true}, path[0] == vendor
	},
	check: checkProfile,
	index: func(p *Profile, add func(k, value []byte)) {
		if p.Email != "" {
			add(memberKey(memberProfileEmail, policy.LowerEmail(p.Email), p.Slug), nil)
		}
	},
	stale: func(change *policy.Invalidation, vendor string, old, next *Profile) {
		switch {
		case old == nil: // there are no roles on it yet
			change.Add(policy.KindProfile, vendor, next.Slug)
		case next == nil, old.Inactive != next.Inactive:
			change.Join(policy.Invalidation{Shared: true, SameDomains: true})
		case old.FullName != next.FullName, old.Type != next.Type, old.Email != next.Email: // they are in sessions
			change.Add(policy.KindProfile, vendor, next.Slug)
		}
	},
}

var userKind = &kind[User]{
	prefix:    prefixUser,
	path:      func(u *User) []string { return []string{u.Slug} },
	normalize: (*User).normalize,
	keep:      func(next, old *User) { next.Slug = old.Slug },
	stamps:    func(u *User) (created, updated *time.Time) { return &u.CreatedAt, &u.UpdatedAt },
	check: func(t *transaction, old, next *User) error {
		if old != nil || next == nil {
			return nil
		}
		return checkRemoved(t, removedUser, next.Slug)
	},
	index: func(u *User, add func(k, value []byte)) {
		if u.Email != "" {
			add(memberKey(memberUserEmail, policy.LowerEmail(u.Email), u.Slug), nil)
		}
		indexUser(u, add)
	},
	stale: func(change *policy.Invalidation, vendor string, old, next *User) {
		if old == nil || next == nil || old.Inactive != next.Inactive {
			change.Add(policy.KindUserID, vendor, cmp.Or(next, old).Slug)
		}
	},
}

// normalize fills in defaults and checks the profile.
func (p *Profile) normalize() error {
	if p.Type == "" {
		p.Type = TypeOrganization
	}
	switch {
	case p.Type != TypeOrganization && p.Type != TypePersonal:
		return &FieldError{"type", "must be " + TypeOrganization + " or " + TypePersonal}
	case p.Owner != "" && p.Type != TypePersonal:
		return &FieldError{"owner", "is for profiles of the type " + TypePersonal + " only"}
	}
	return cmp.Or(
		checkSlug("slug", p.Slug),
		checkText("owner", p.Owner, 255),
		checkText("full_name", p.FullName, 255),
		checkText("default_timezone", p.DefaultTimezone, 64),
		p.Contact.check(),
		normalizeExtra(&p.Extra),
	)
}

// normalize checks the user.
func (u *User) normalize() error {
	return cmp.Or(
		checkUser("slug", u.Slug),
		checkText("full_name", u.FullName, 255),
		checkText("nick_name", u.NickName, 255),
		u.Contact.check(),
		normalizeExtra(&u.Extra),
	)
}

func (c *Contact) check() error {
	return cmp.Or(
		checkEmail(c.Email),
		checkText("phone", c.Phone, 64),
		checkText("street_address", c.StreetAddress, 255),
		checkText("locality", c.Locality, 255),
		checkText("region", c.Region, 255),
		checkText("postal_code", c.PostalCode, 64),
		checkText("country", c.Country, 64),
		checkText("lang", c.Language, 64),
	)
}

// checkProfile checks that the slug of a new profile is free, and that the user exists whose
// profile it is.
func checkProfile(t *transaction, old, next *Profile) error {
	switch {
	case next == nil:
		return nil
	case next.Slug == t.vendor && next.Inactive:
		return &FieldError{"is_active", "cannot be false for the profile that runs the site"}
	case next.Slug == t.vendor && next.Type == TypePersonal:
		return &FieldError{"type", "cannot be " + TypePersonal + " for the profile that runs the site"}
	}
	if next.Owner != "" && (old == nil || old.Owner != next.Owner) {
		if ok, err := userKind.exists(t, next.Owner); err != nil || !ok {
			return errors.Join(err, &FieldError{"owner", "is not a user"})
		}
	}
	if old != nil {
		return nil
	}
	return checkRemoved(t, removedProfile, next.Slug)
}

// CreateProfile stores a new profile. It returns ErrExists when its slug has one, and
// ErrReserved when it had one until lately.
func (w Writer) CreateProfile(ctx context.Context, vendor string, profile Profile) (Profile, error) {
	return create(ctx, w, vendor, profileKind, profile)
}

// ProfileRecord returns a profile, or ErrNotFound. The broker always has one.
func (s *Store) ProfileRecord(ctx context.Context, vendor, slug string) (Profile, error) {
	return read(ctx, s, vendor, profileKind, slug)
}

// UpdateProfile changes a profile: change gets the current one. Its slug and time of
// creation cannot be changed.
func (w Writer) UpdateProfile(ctx context.Context, vendor, slug string, change func(*Profile) error) (Profile, error) {
	return update(ctx, w, vendor, profileKind, change, slug)
}

// CreateProfileFor stores a new profile whose manager is a user, who is stored if there is
// none. A personal profile becomes the user's own. It returns the errors of CreateProfile.
func (w Writer) CreateProfileFor(ctx context.Context, vendor string, profile Profile, user User) (made Profile, err error) {
	profile.Owner = ""
	if profile.Type == TypePersonal {
		profile.Owner = user.Slug
	}
	err = w.transact(ctx, vendor, func(t *transaction) error {
		made = profile
		if old, err := profileKind.get(t, profile.Slug); err != nil || old != nil {
			return errors.Join(err, existing(old != nil))
		}
		if _, err := t.ensureUser(user.Slug, &user); err != nil {
			return err
		}
		if err := profileKind.put(t, &made); err != nil {
			return err
		}
		return roleKind.put(t, &Role{Profile: profile.Slug, User: user.Slug, Type: policy.RoleManager})
	})
	return made, err
}

// CreateUser stores a new user. It returns ErrExists when there is one.
func (w Writer) CreateUser(ctx context.Context, vendor string, user User) (User, error) {
	made, err := create(ctx, w, vendor, userKind, user)
	if !errors.Is(err, ErrReserved) {
		return made, err
	}
	// Records of an earlier user of this id are still being removed.
	if err := w.purgeMember(ctx, vendor, removedUser, user.Slug, math.MaxInt); err != nil {
		return User{}, err
	}
	return create(ctx, w, vendor, userKind, user)
}

// UserRecord returns a user, or ErrNotFound.
func (s *Store) UserRecord(ctx context.Context, vendor, slug string) (User, error) {
	return read(ctx, s, vendor, userKind, slug)
}

// UpdateUser changes a user: change gets the current one. Their slug and time of creation
// cannot be changed.
func (w Writer) UpdateUser(ctx context.Context, vendor, slug string, change func(*User) error) (User, error) {
	return update(ctx, w, vendor, userKind, change, slug)
}
