package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// roleTypeBody creates a role type.
type roleTypeBody struct {
	Slug  string `json:"slug,omitempty" maxLength:"128" doc:"The role type's id in URLs and rules. Default: the title in lower case with hyphens." example:"support"`
	Title string `json:"title" minLength:"1" maxLength:"64" doc:"The role type's title." example:"Support"`
	RoleTypeFields
}

// roleTypeChange changes the named fields of a role type.
type roleTypeChange struct {
	Slug  *string `json:"slug,omitempty" maxLength:"128" doc:"Read-only: must equal the role type of the path."`
	Title *string `json:"title,omitempty" minLength:"1" maxLength:"64" doc:"The role type's title." example:"Associate"`
	RoleTypeFields
}

// RoleTypeFields are the fields of a role type that callers set. A field that is left out
// keeps its value.
type RoleTypeFields struct {
	SkipOptInOnGrant     *bool           `json:"skip_optin_on_grant,omitempty" doc:"Whether a granted role counts at once, without an acceptance. Default: false." example:"false"`
	ImplicitCreateOnNone *bool           `json:"implicit_create_on_none,omitempty" doc:"Stored, and has no effect: no role follows from an address. Default: false." example:"false"`
	OTPRequired          *bool           `json:"otp_required,omitempty" doc:"Whether the operator verified requires a second factor of users with such a role. Default: false." example:"false"`
	Extra                json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

func (f *RoleTypeFields) apply(r *store.RoleType) {
	set(&r.SkipOptInOnGrant, f.SkipOptInOnGrant)
	set(&r.ImplicitCreateOnNone, f.ImplicitCreateOnNone)
	set(&r.OTPRequired, f.OTPRequired)
	setExtra(&r.Extra, f.Extra)
}

// RoleTypePath identifies a role type of a profile.
type RoleTypePath struct {
	ProfilePath
	RolePath
}

// roleTypeFinder searches and sorts role types.
var roleTypeFinder = newRoleTypeFinder()

func newRoleTypeFinder() *finder[store.RoleType] {
	fields := []field[store.RoleType]{
		{"slug", func(r *store.RoleType) string { return r.Slug }},
		{"title", func(r *store.RoleType) string { return r.Title }},
	}
	return &finder[store.RoleType]{search: fields, order: fields}
}

// reservedRoles are segments of paths where the slug of a role type can be.
var reservedRoles = []string{"describe", "accept"}

// typesOf returns the profile under which the role types of a profile are stored: those of
// the broker are those of the whole site.
func (c *call) typesOf(profile string) string {
	if profile == c.Vendor {
		return ""
	}
	return profile
}

var roleTags = []string{"Roles"}

func (a *api) registerRoleTypes() {
	list := huma.Operation{
		OperationID: "list-role-types", Method: http.MethodGet, Path: roleTypesPath, Tags: roleTags, Security: needs("accounts:read"),
		Summary: "Lists the role types of a profile: its own, and those of the whole site", Metadata: readers(readersOfProfile),
	}
	register(a, list, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		FindParams
	},
	) (*body[NumberedPage[RoleDescription]], error) {
		j := a.joiner(ctx, c)
		kinds, err := a.roleTypes(ctx, c, in.Profile)
		page, err := findPage(c, roleTypeFinder, in.FindParams, PeriodParams{}, listed(kinds, err), j.describes)
		return &body[NumberedPage[RoleDescription]]{Body: page}, cmp.Or(err, j.err)
	})
	describeFind(a, list, roleTypeFinder)
	register(a, huma.Operation{
		OperationID: "create-role-type", Method: http.MethodPost, Path: roleTypesPath, Tags: roleTags, Security: needs("accounts:write"),
		Summary:       "Creates a role type",
		Description:   "One of the profile that runs the site is for all profiles.",
		DefaultStatus: http.StatusCreated, Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		Body roleTypeBody
	},
	) (*created[RoleDescription], error) {
		wanted := store.RoleType{Slug: cmp.Or(in.Body.Slug, store.SlugOf(in.Body.Title)), Title: in.Body.Title, Profile: c.typesOf(in.Profile)}
		in.Body.apply(&wanted)
		if slices.Contains(reservedRoles, wanted.Slug) {
			return nil, invalid("slug", "cannot be "+wanted.Slug+", which is a part of paths")
		}
		if _, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile); err != nil {
			return nil, err
		}
		made, err := c.store.CreateRoleType(ctx, c.Vendor, wanted)
		if err != nil {
			return nil, err
		}
		j := a.joiner(ctx, c)
		return &created[RoleDescription]{Location: below(roleTypesPath, made.Slug), ETag: etagOf(made), Body: j.describes(made)}, j.err
	})
	a.registerRoleType()
}

// roleTypes returns the role types of a profile, its own first.
func (a *api) roleTypes(ctx context.Context, c *call, profile string) (kinds []store.RoleType, err error) {
	if _, err := c.store.ProfileRecord(ctx, c.Vendor, profile); err != nil {
		return nil, err
	}
	owners := []string{profile, ""}
	if profile == c.Vendor {
		owners = owners[1:]
	}
	for _, owner := range owners {
		for kind, err := range c.store.ListRoleTypes(c.Vendor, owner).All(ctx) {
			if err != nil {
				return nil, err
			}
			if len(kinds) < maxFound {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds, nil
}

// registerRoleType adds the operations on one role type.
func (a *api) registerRoleType() {
	const path = roleTypesPath + "/{role}"
	answer := func(ctx context.Context, c *call, found store.RoleType, err error) (*record[RoleDescription], error) {
		if err != nil {
			return nil, err
		}
		j := a.joiner(ctx, c)
		return &record[RoleDescription]{ETag: etagOf(found), Body: j.describes(found)}, j.err
	}
	register(a, huma.Operation{
		OperationID: "get-role-type", Method: http.MethodGet, Path: path, Tags: roleTags, Security: needs("accounts:read"),
		Summary: "Returns a role type", Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *RoleTypePath) (*record[RoleDescription], error) {
		found, err := a.roleTypeNamed(ctx, c, in.Profile, in.Role)
		return answer(ctx, c, found, err)
	})
	register(a, huma.Operation{
		OperationID: "update-role-type", Method: http.MethodPut, Path: path, Tags: roleTags, Security: needs("accounts:write"),
		Summary:     "Changes the named fields of a role type",
		Description: "A type of the whole site can only be changed by the profile that runs it.", Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		RoleTypePath
		IfMatch
		Body roleTypeChange
	},
	) (*record[RoleDescription], error) {
		found, err := a.ownRoleType(ctx, c, &in.RoleTypePath)
		if err == nil {
			err = sameSlug(in.Body.Slug, found.Slug)
		}
		if err != nil {
			return nil, err
		}
		changed, err := c.store.UpdateRoleType(ctx, c.Vendor, found.Profile, found.Slug, func(r *store.RoleType) error {
			if err := in.check(*r); err != nil {
				return err
			}
			set(&r.Title, in.Body.Title)
			in.Body.apply(r)
			return nil
		})
		return answer(ctx, c, changed, in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-role-type", Method: http.MethodDelete, Path: path, Tags: roleTags, Security: needs("accounts:write"),
		Summary:       "Removes a role type",
		Description:   "One that has roles is refused with 409, and so are manager and contributor.",
		DefaultStatus: http.StatusNoContent, Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		RoleTypePath
		IfMatch
	},
	) (*empty, error) {
		found, err := a.ownRoleType(ctx, c, &in.RoleTypePath)
		if err == nil {
			err = c.store.DeleteRoleType(ctx, c.Vendor, found.Profile, found.Slug, func(r store.RoleType) error { return in.check(r) })
		}
		return &empty{}, in.changed(err)
	})
}

// ownRoleType returns a role type that the caller may change.
func (a *api) ownRoleType(ctx context.Context, c *call, in *RoleTypePath) (store.RoleType, error) {
	found, err := a.roleTypeNamed(ctx, c, in.Profile, in.Role)
	if err == nil && found.Profile == "" && !a.staffs(ctx, c) {
		err = newProblem(http.StatusForbidden, "The role type is one of the whole site: only a manager of the profile that runs the site may change it.")
	}
	return found, err
}
