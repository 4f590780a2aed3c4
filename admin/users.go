package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// UserFields are the fields of a user that callers set. A field that is left out keeps its
// value.
type UserFields struct {
	FullName *string `json:"full_name,omitempty" maxLength:"255" doc:"The user's name." example:"Xia Lee"`
	NickName *string `json:"nick_name,omitempty" maxLength:"255" doc:"A short name of the user." example:"Xia"`
	ContactFields
	IsActive *bool           `json:"is_active,omitempty" doc:"Whether the user's roles count. The broker decides. Default: true." example:"true"`
	Extra    json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
	Password *string         `json:"password,omitempty" nullable:"true" maxLength:"0" doc:"Null or empty: users log in with their issuer, which has their password. Leave it out."`
}

func (f *UserFields) apply(u *store.User) {
	set(&u.FullName, f.FullName)
	set(&u.NickName, f.NickName)
	f.ContactFields.apply(&u.Contact)
	if f.IsActive != nil {
		u.Inactive = !*f.IsActive
	}
	setExtra(&u.Extra, f.Extra)
}

// allowed returns a problem if the caller may not change a user so. Invitations are sent to
// the user who has an address, so readers can only have the one that their issuer verified.
func (f *UserFields) allowed(ctx context.Context, a *api, c *call, was *store.User) error {
	if f.IsActive != nil && *f.IsActive == was.Inactive {
		return a.staffOnly(ctx, c, "is_active")
	}
	if f.Email == nil || *f.Email == was.Email || *f.Email == "" || c.Reader != nil && policy.LowerEmail(*f.Email) == c.Reader.Email {
		return nil
	}
	return a.staffOnly(ctx, c, "an e-mail address that your login does not have verified")
}

// userBody creates a user.
type userBody struct {
	Slug     string `json:"slug,omitempty" maxLength:"255" doc:"The user's id: that of a reader, as their issuer gives it. Default: username, else the e-mail address in lower case." example:"xia"`
	Username string `json:"username,omitempty" maxLength:"255" doc:"The same as slug." example:"xia"`
	UserFields
}

func (b *userBody) user() (store.User, error) {
	if b.Slug != "" && b.Username != "" && b.Slug != b.Username {
		return store.User{}, invalid("username", "must equal slug: both are the user's id")
	}
	wanted := store.User{Slug: cmp.Or(b.Slug, b.Username)}
	b.apply(&wanted)
	wanted.Slug = cmp.Or(wanted.Slug, policy.LowerEmail(wanted.Email))
	if wanted.Slug == "" {
		return wanted, invalid("slug", "or email is required: the id of the reader, as their issuer gives it")
	}
	return wanted, nil
}

// userChange changes the named fields of a user.
type userChange struct {
	Slug     *string `json:"slug,omitempty" maxLength:"255" doc:"Read-only: must equal the user of the path."`
	Username *string `json:"username,omitempty" maxLength:"255" doc:"Read-only: must equal the user of the path."`
	UserFields
}

// userFinder searches and sorts users. A user has one name here.
var userFinder = &finder[store.User]{
	search: []field[store.User]{
		{"email", func(u *store.User) string { return u.Email }},
		{"username", func(u *store.User) string { return u.Slug }},
		{"slug", func(u *store.User) string { return u.Slug }},
		{"full_name", func(u *store.User) string { return u.FullName }},
		{"first_name", func(u *store.User) string { return u.FullName }},
		{"last_name", func(u *store.User) string { return u.FullName }},
	},
	order: []field[store.User]{
		{"full_name", func(u *store.User) string { return u.FullName }},
		{"first_name", func(u *store.User) string { return u.FullName }},
		{"last_name", func(u *store.User) string { return u.FullName }},
		{"email", func(u *store.User) string { return u.Email }},
		{"created_at", func(u *store.User) string { return sorted(u.CreatedAt) }},
		{"date_joined", func(u *store.User) string { return sorted(u.CreatedAt) }},
	},
	at: func(u *store.User) time.Time { return u.CreatedAt },
}

var userTags = []string{"Users"}

func (a *api) registerUsers() {
	list := huma.Operation{
		OperationID: "list-users", Method: http.MethodGet, Path: usersPath, Tags: userTags, Security: needs("accounts:read"),
		Summary: "Lists users", Metadata: readers(readersOfBroker),
	}
	register(a, list, func(ctx context.Context, c *call, in *ProfileFind) (*body[NumberedPage[User]], error) {
		page, err := findPage(c, userFinder, in.FindParams, in.PeriodParams, readListing(ctx, c.store.ListUsers(c.Vendor), itself), wireUser)
		return &body[NumberedPage[User]]{Body: page}, err
	})
	describeFind(a, list, userFinder)
	register(a, huma.Operation{
		OperationID: "create-user", Method: http.MethodPost, Path: usersPath, Tags: userTags, Security: needs("accounts:write"),
		Summary:       "Creates a user",
		Description:   "The user's id must be that by which the gate knows the reader: `sub` of their issuer.",
		DefaultStatus: http.StatusCreated,
		Metadata: map[string]any{readersKey: readersOfBroker, repetitionKey: repeatAnswer, rebuildKey: rebuild(func(ctx context.Context, vendor string, record []string) (rebuilt, error) {
			found, err := a.Store.UserRecord(ctx, vendor, record[0])
			return rebuilt{status: http.StatusCreated, location: below(usersPath, found.Slug), body: wireUser(found)}, err
		})},
	}, func(ctx context.Context, c *call, in *body[userBody]) (*created[User], error) {
		wanted, err := in.Body.user()
		if err != nil {
			return nil, err
		}
		made, err := c.store.CreateUser(ctx, c.Vendor, wanted)
		return newCreated(usersPath, made.Slug, wireUser(made), err)
	})
	a.registerUser()
}

// registerUser adds the operations on one user.
func (a *api) registerUser() {
	register(a, huma.Operation{
		OperationID: "get-user", Method: http.MethodGet, Path: userPath, Tags: userTags, Security: needs("accounts:read"),
		Summary: "Returns a user", Metadata: readers(readersSelf),
	}, func(ctx context.Context, c *call, in *UserPath) (*record[User], error) {
		found, err := c.store.UserRecord(ctx, c.Vendor, in.User)
		return newRecord(wireUser(found), err)
	})
	register(a, huma.Operation{
		OperationID: "update-user", Method: http.MethodPut, Path: userPath, Tags: userTags, Security: needs("accounts:write"),
		Summary:     "Changes the named fields of a user",
		Description: "Readers who call for themselves can only set the e-mail address that their login has verified.", Metadata: onceFor(readersSelf),
	}, func(ctx context.Context, c *call, in *struct {
		UserPath
		IfMatch
		Body userChange
	},
	) (*record[User], error) {
		if err := cmp.Or(sameSlug(in.Body.Slug, in.User), sameSlug(in.Body.Username, in.User)); err != nil {
			return nil, err
		}
		was, err := c.store.UserRecord(ctx, c.Vendor, in.User)
		if err == nil {
			err = in.Body.allowed(ctx, a, c, &was)
		}
		if err != nil {
			return nil, err
		}
		changed, err := c.store.UpdateUser(ctx, c.Vendor, in.User, func(u *store.User) error {
			if u.Inactive != was.Inactive || u.Email != was.Email {
				return store.ErrConflict // what was allowed is another change now
			}
			if err := in.check(wireUser(*u)); err != nil {
				return err
			}
			in.Body.apply(u)
			return nil
		})
		return newRecord(wireUser(changed), in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-user", Method: http.MethodDelete, Path: userPath, Tags: userTags, Security: needs("accounts:write"),
		Summary: "Removes a user",
		Description: "Their roles end at once, and their signatures are removed. Their personal profile stays for its subscriptions, without a name and an address, and is not active any more. " +
			"The last manager of another profile is refused with 409. Readers whose user is not active cannot remove it.",
		DefaultStatus: http.StatusNoContent, Metadata: readers(readersSelf),
	}, func(ctx context.Context, c *call, in *struct {
		UserPath
		IfMatch
	},
	) (*empty, error) {
		staff := a.staffs(ctx, c)
		err := c.store.DeleteUser(ctx, c.Vendor, in.User, c.Unlimited, func(u store.User) error {
			if u.Inactive && !staff {
				// Their next call would make an active user of the same id.
				return newProblem(http.StatusForbidden, "The user is not active: only a manager of the profile that runs the site may remove it.")
			}
			return in.check(wireUser(u))
		})
		return &empty{}, in.changed(err)
	})
}
