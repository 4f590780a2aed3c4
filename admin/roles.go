package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// RoleState is what roles have in common in all listings.
type RoleState struct {
	CreatedAt       time.Time        `json:"created_at" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
	RoleDescription *RoleDescription `json:"role_description" doc:"The type of the role; null for a request that names none."`
	GrantKey        *string          `json:"grant_key" doc:"Null, unless the role waits for the user to accept it. The key itself is only in the response that makes it; later it is 1."`
	RequestKey      *string          `json:"request_key" doc:"Null, unless the user's request waits. The key itself is only in the response that makes it; later it is 1."`
	Requested       *string          `json:"requested" doc:"The slug of the role type that the user asks for, or null. The role itself counts beside the request."`
	EndsAt          *time.Time       `json:"ends_at" doc:"The end of the role (exclusive), or null."`
	Extra           json.RawMessage  `json:"extra" doc:"Own data: any JSON value, or null."`
	RemoveURL       string           `json:"remove_api_url" doc:"The path that removes the role, the invitation or the request." example:"/api/profile/cowork/roles/manager/xia"`
}

// ProfileRole is a user's role on a profile, as the profile has it.
type ProfileRole struct {
	RoleState
	User      User    `json:"user" doc:"The user. Of a user who did not accept yet, managers see the id only."`
	AcceptURL *string `json:"accept_request_api_url" doc:"The path that grants the request if one waits and names a role type: send the user's slug there."`
}

// RoleList is a page of roles.
type RoleList[T any] struct {
	NumberedPage[T]
	Invited   int `json:"invited_count" doc:"The number of roles on all pages of the listing without q that wait for their user." example:"0"`
	Requested int `json:"requested_count" doc:"The number of requests on all pages of the listing without q." example:"0"`
}

// joinedRole is a role with what is shown of it, which is read when it is needed.
type joinedRole struct {
	store.Role
	with *joiner
}

func (r *joinedRole) user() store.User { return r.with.user(r.User) }

// kind is the slug of the type that is shown.
func (r *joinedRole) kind() string { return cmp.Or(r.Type, r.Requested) }

func (r *joinedRole) title() string { return r.with.roleType(r.Profile, r.kind()).Title }

// roleState returns the state of a role on the wire. Made are the keys that the call made.
func (j *joiner) roleState(r *store.Role, made string) RoleState {
	state := RoleState{
		CreatedAt: r.CreatedAt, RoleDescription: j.roleDescription(r.Profile, cmp.Or(r.Type, r.Requested)),
		EndsAt: r.EndsAt, Extra: orNull(r.Extra),
	}
	if r.GrantKey != "" {
		state.GrantKey = new(cmp.Or(made, waitingKey))
	}
	if r.RequestKey != "" {
		state.RequestKey, state.Requested = new(waitingKey), orNil(r.Requested)
		if r.GrantKey == "" {
			state.RequestKey = new(cmp.Or(made, waitingKey))
		}
	}
	return state
}

// removable is the role type in a path that removes a role, which may have none.
func removable(r *store.Role) string { return cmp.Or(r.Type, r.Requested, policy.RoleManager) }

// profileRole returns a role as its profile has it. Made is the key that the call made.
func (j *joiner) profileRole(r store.Role, made string) ProfileRole {
	wire := ProfileRole{RoleState: j.roleState(&r, made), User: j.shownUser(&r)}
	wire.RemoveURL = profileAddress(r.Profile, "roles", removable(&r), r.User)
	if r.RequestKey != "" && r.Requested != "" {
		wire.AcceptURL = new(profileAddress(r.Profile, "roles", r.Requested))
	}
	return wire
}

func (j *joiner) listedRole(r joinedRole) ProfileRole { return j.profileRole(r.Role, "") }

// shownUser returns the user of a role. A manager could invite any user to read who they
// are, so they see nothing of one who neither asked nor accepted.
func (j *joiner) shownUser(r *store.Role) User {
	if j.call.Reader != nil && r.GrantKey != "" && r.RequestKey == "" && !j.governs(j.call.Vendor) {
		return wireUser(store.User{Slug: r.User})
	}
	return wireUser(j.user(r.User))
}

// roleFinder returns the finder of roles that can be searched by some fields.
func roleFinder(search ...field[joinedRole]) *finder[joinedRole] {
	return &finder[joinedRole]{search: search, order: []field[joinedRole]{
		{"profile__full_name", func(r *joinedRole) string { return r.with.profile(r.Profile).FullName }},
		{"user", func(r *joinedRole) string { return r.User }},
		{"user__full_name", func(r *joinedRole) string { return r.user().FullName }},
		{"role__title", (*joinedRole).title},
		{"grant_key", func(r *joinedRole) string { return fmt.Sprint(r.GrantKey != "") }},
		{"request_key", func(r *joinedRole) string { return fmt.Sprint(r.RequestKey != "") }},
		{"created_at", func(r *joinedRole) string { return sorted(r.CreatedAt) }},
	}}
}

// The fields by which roles can be searched.
var (
	roleFields = []field[joinedRole]{{"role", (*joinedRole).kind}, {"role__title", (*joinedRole).title}}
	userFields = []field[joinedRole]{
		{"user", func(r *joinedRole) string { return r.User }},
		{"user__full_name", func(r *joinedRole) string { return r.user().FullName }},
		{"user__email", func(r *joinedRole) string { return r.user().Email }},
	}
	profileRoleFinder     = roleFinder(append(userFields, roleFields...)...)
	profileRoleTypeFinder = roleFinder(userFields...)
)

// findRoles returns a page of roles with the numbers of those that wait.
func findRoles[T any](ctx context.Context, c *call, f *finder[joinedRole], in FindParams, j *joiner, list store.Listing[store.Role], wire func(joinedRole) T) (*body[RoleList[T]], error) {
	page, err := findPage(c, f, in, PeriodParams{}, readListing(ctx, list, func(r store.Role) joinedRole { return joinedRole{r, j} }), wire)
	answer := &body[RoleList[T]]{Body: RoleList[T]{NumberedPage: page}}
	if err != nil || j.err != nil {
		return nil, cmp.Or(err, j.err)
	}
	for role, err := range list.All(ctx) {
		if err != nil {
			return nil, err
		}
		if role.GrantKey != "" {
			answer.Body.Invited++
		}
		if role.RequestKey != "" {
			answer.Body.Requested++
		}
	}
	return answer, nil
}

func (a *api) registerRoles() {
	list := huma.Operation{
		OperationID: "list-roles", Method: http.MethodGet, Path: rolesPath, Tags: roleTags, Security: needs("accounts:read"),
		Summary:     "Lists the roles on a profile",
		Description: "It has invitations, requests, and roles that ended.", Metadata: readers(readersOfProfile),
	}
	register(a, list, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		FindParams
	},
	) (*body[RoleList[ProfileRole]], error) {
		if _, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile); err != nil {
			return nil, err
		}
		j := a.joiner(ctx, c)
		return findRoles(ctx, c, profileRoleFinder, in.FindParams, j, c.store.RolesOn(c.Vendor, in.Profile, ""), j.listedRole)
	})
	describeFind(a, list, profileRoleFinder)
	ofType := huma.Operation{
		OperationID: "list-roles-of-type", Method: http.MethodGet, Path: rolesPath + "/{role}", Tags: roleTags, Security: needs("accounts:read"),
		Summary:     "Lists the roles of a type on a profile",
		Description: "It has invitations, requests for the type, and roles that ended.", Metadata: readers(readersOfProfile),
	}
	register(a, ofType, func(ctx context.Context, c *call, in *struct {
		RoleTypePath
		FindParams
	},
	) (*body[RoleList[ProfileRole]], error) {
		kind, err := a.roleTypeOn(ctx, c, in.Profile, in.Role)
		if err != nil {
			return nil, err
		}
		j := a.joiner(ctx, c)
		return findRoles(ctx, c, profileRoleTypeFinder, in.FindParams, j, c.store.RolesOn(c.Vendor, in.Profile, kind.Slug), j.listedRole)
	})
	describeFind(a, ofType, profileRoleTypeFinder)
	a.registerGrantRole()
	a.registerRole()
}

// roleTypeOn is roleTypeNamed for a profile that must exist.
func (a *api) roleTypeOn(ctx context.Context, c *call, profile, name string) (store.RoleType, error) {
	if _, err := c.store.ProfileRecord(ctx, c.Vendor, profile); err != nil {
		return store.RoleType{}, err
	}
	return a.roleTypeNamed(ctx, c, profile, name)
}

// roleBody grants a role.
type roleBody struct {
	Slug     string          `json:"slug,omitempty" maxLength:"255" doc:"The user's id. This or email is required." example:"xia"`
	Email    string          `json:"email,omitempty" maxLength:"254" doc:"The e-mail address of the user."`
	FullName string          `json:"full_name,omitempty" maxLength:"255" doc:"The name of the user that force creates." example:"Xia Lee"`
	Message  string          `json:"message,omitempty" maxLength:"4096" doc:"The text of the message that the caller sends. It is not stored."`
	EndsAt   *time.Time      `json:"ends_at,omitempty" doc:"The end of the role (exclusive). Default: none." example:"2037-01-01T00:00:00Z"`
	Until    *time.Time      `json:"invite_ends_at,omitempty" doc:"The end of the time in which the user can accept (exclusive). Default: none." example:"2037-01-01T00:00:00Z"`
	Extra    json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

// madeRole is the response with a role that was made or changed.
type madeRole[T any] struct {
	Status   int    `doc:"201 for a new role, invitation or request; 200 for a change of one."`
	Location string `header:"Location" doc:"The URL of the role, relative to the request URL."`
	ETag     string `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body     T
}

func newMadeRole[T any](c *call, made *store.GrantedRole, location string, wire T) *madeRole[T] {
	c.secret = made.Key != ""
	answer := &madeRole[T]{Status: http.StatusOK, Location: location, ETag: etagOf(made.Role), Body: wire}
	if made.Created {
		answer.Status = http.StatusCreated
	}
	return answer
}

func (a *api) registerGrantRole() {
	register(a, huma.Operation{
		OperationID: "grant-role", Method: http.MethodPost, Path: rolesPath + "/{role}", Tags: roleTags, Security: needs("accounts:write"),
		Summary: "Gives a user a role on a profile",
		Description: "A user without a role is invited: they accept by grant_key (accept-role), which only this response has; the caller sends it to them. " +
			"The role counts at once if its type has skip_optin_on_grant, or if the user's request waits. A user has one role on a profile: " +
			"a role of another type that counts is replaced only with replace=1 or If-Match, and refused with 409 otherwise. " +
			"That of the last manager is not replaced, except by the operator.",
		DefaultStatus: http.StatusCreated, Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		RoleTypePath
		IfMatch
		Force   bool `query:"force" doc:"Creates the user if there is none, from the e-mail address, which is the user's id unless slug is given. They always have to accept." example:"false"`
		Replace bool `query:"replace" doc:"Replaces a role of another type that counts." example:"false"`
		Body    roleBody
	},
	) (*madeRole[ProfileRole], error) {
		kind, err := a.roleTypeOn(ctx, c, in.Profile, in.Role)
		if err != nil {
			return nil, err
		}
		grant, err := a.roleGrant(ctx, c, &in.Body, in.Force)
		if err != nil {
			return nil, err
		}
		grant.Profile, grant.Type, grant.Operator = in.Profile, kind.Slug, c.Unlimited
		grant.Check = func(old *store.Role) error {
			if old == nil {
				return in.absent()
			}
			return in.check(*old)
		}
		grant.Replace = func(old store.Role) error {
			if in.Replace || in.IfMatch.IfMatch != "" {
				return nil
			}
			p := newProblem(http.StatusConflict, fmt.Sprintf(
				"The user's role %s on the profile counts, and %s would replace it at once: nothing was changed. Repeat the call with replace=1, or with the ETag of the role in If-Match.", old.Type, kind.Slug))
			p.Code = "replaces_role"
			return p
		}
		made, err := c.store.GrantRole(ctx, c.Vendor, grant)
		if err != nil {
			return nil, in.changed(err)
		}
		j := a.joiner(ctx, c)
		return newMadeRole(c, &made, below(rolesPath+"/"+kind.Slug, made.Role.User), j.profileRole(made.Role, made.Key)), j.err
	})
}

// roleGrant returns the grant of a body. With force, the user need not exist.
func (a *api) roleGrant(ctx context.Context, c *call, in *roleBody, force bool) (store.RoleGrant, error) {
	grant := store.RoleGrant{EndsAt: in.EndsAt, InviteEndsAt: in.Until, Extra: in.Extra}
	if !force || in.Email == "" {
		if err := givenName(in.Slug, in.Email); err != nil {
			return grant, err
		}
	}
	user, err := a.invitedBy(ctx, c, in.Slug, in.Email)
	grant.User = user.Slug
	if p, ok := errors.AsType[*Problem](err); !ok || !force || p.Status != http.StatusNotFound {
		return grant, err
	}
	if in.Email == "" {
		return grant, invalid("email", "is required to create the user")
	}
	grant.User = cmp.Or(in.Slug, policy.LowerEmail(in.Email))
	if _, err := c.store.UserRecord(ctx, c.Vendor, grant.User); !errors.Is(err, store.ErrNotFound) {
		return grant, cmp.Or(err, error(newProblem(http.StatusConflict, "A user of this id has another e-mail address: give the slug alone.")))
	}
	grant.NewUser = &store.User{Slug: grant.User, FullName: in.FullName, Contact: store.Contact{Email: in.Email}}
	return grant, nil
}

// ProfileRolePath identifies the role of a user on a profile.
type ProfileRolePath struct {
	RoleTypePath
	UserPath
}

// registerRole adds the operations on one role.
func (a *api) registerRole() {
	const path = rolesPath + "/{role}/{user}"
	register(a, huma.Operation{
		OperationID: "renew-invitation", Method: http.MethodPost, Path: path, Tags: roleTags, Security: needs("accounts:write"),
		Summary: "Makes another key for an invitation, so that the caller can send it again",
		Description: "The earlier key ends. The role of a user who accepted is returned as it is, without a key. " +
			"The published contract sends a message here; Gatefold sends none.",
		DefaultStatus: http.StatusOK, Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *ProfileRolePath) (*madeRole[ProfileRole], error) {
		made, err := a.renewed(ctx, c, in.Profile, in.User, in.Role, c.store.RenewInvitation)
		if err != nil {
			return nil, err
		}
		j := a.joiner(ctx, c)
		return newMadeRole(c, &made, "", j.profileRole(made.Role, made.Key)), j.err
	})
	register(a, huma.Operation{
		OperationID: "delete-role", Method: http.MethodDelete, Path: path, Tags: roleTags, Security: needs("accounts:write"),
		Summary: "Removes a user's role on a profile, with an invitation or a request",
		Description: "A user has one role on a profile, and it is removed whatever type the path names. " +
			"That of the last manager is refused with 409, except from the operator.",
		DefaultStatus: http.StatusNoContent, Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		ProfileRolePath
		IfMatch
	},
	) (*empty, error) {
		return a.removeRole(ctx, c, in.Profile, in.User, in.IfMatch)
	})
}

func (a *api) removeRole(ctx context.Context, c *call, profile, user string, match IfMatch) (*empty, error) {
	err := c.store.RemoveRole(ctx, c.Vendor, profile, user, c.Unlimited, func(r store.Role) error { return match.check(r) })
	return &empty{}, match.changed(err)
}

// renewed gives an invitation or a request another key, if it is for the role type of the
// path.
func (a *api) renewed(
	ctx context.Context, c *call, profile, user, role string, renew func(ctx context.Context, vendor, profile, user string) (store.GrantedRole, error),
) (store.GrantedRole, error) {
	kind, err := a.roleTypeNamed(ctx, c, profile, role)
	if err != nil {
		return store.GrantedRole{}, err
	}
	held, err := c.store.RoleRecord(ctx, c.Vendor, profile, user)
	if err != nil {
		return store.GrantedRole{}, err
	}
	if kind.Slug != held.Type && kind.Slug != held.Requested && held.Type+held.Requested != "" {
		return store.GrantedRole{}, newProblem(http.StatusNotFound, "The user has another role on the profile.")
	}
	return renew(ctx, c.Vendor, profile, user)
}
