package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// Accessible is a user's role on a profile, as the user has it.
type Accessible struct {
	RoleState
	Profile     AccessibleProfile `json:"profile" doc:"The profile."`
	HomeURL     string            `json:"home_url" doc:"The path of the first rule of the site with {profile}, for this profile; empty without one." example:"/app/cowork/"`
	SettingsURL string            `json:"settings_url" doc:"Always empty: Gatefold has no pages."`
	AcceptURL   *string           `json:"accept_grant_api_url" doc:"The path that accepts the invitation if one waits; without its key, which only the message to the user has."`
}

// AccessibleProfile is a profile on which a user has a role.
type AccessibleProfile struct {
	SubscriberProfile
	FullName string `json:"full_name" doc:"The profile's name." example:"Cowork"`
}

// accessibles makes roles those of the wire.
type accessibles struct {
	*joiner
	home []string // segments of the path of a rule
}

func (a *api) accessibles(ctx context.Context, c *call) (*accessibles, error) {
	rules, err := a.rules(ctx, c.Vendor, c.Vendor)
	with := &accessibles{joiner: a.joiner(ctx, c)}
	for _, rule := range rules {
		if segments := strings.Split(strings.Trim(rule.Path, "/"), "/"); rule.Forward && slices.Contains(segments, "{profile}") {
			with.home = segments
			break
		}
	}
	return with, err
}

// homeURL returns the path of a profile's first page. It ends before what is not known.
func (w *accessibles) homeURL(profile string) string {
	if len(w.home) == 0 {
		return ""
	}
	var path strings.Builder
	path.WriteString("/")
	for _, segment := range w.home {
		if segment == "{profile}" {
			segment = profile
		} else if strings.HasPrefix(segment, "{") {
			break
		}
		path.WriteString(segment + "/")
	}
	return path.String()
}

// accessible returns a role as its user has it. Made is the key that the call made.
func (w *accessibles) accessible(r store.Role, made string) Accessible {
	profile := w.profile(r.Profile)
	wire := Accessible{
		RoleState: w.roleState(&r, made), HomeURL: w.homeURL(r.Profile),
		Profile: AccessibleProfile{SubscriberProfile: wireSubscriberProfile(profile), FullName: profile.FullName},
	}
	wire.RemoveURL = userAddress(r.User, "accessibles", removable(&r), r.Profile)
	if r.GrantKey != "" {
		wire.AcceptURL = new(userAddress(r.User, "accessibles", "accept"))
	}
	return wire
}

func (w *accessibles) listed(r joinedRole) Accessible { return w.accessible(r.Role, "") }

// The fields by which a user's roles can be searched.
var (
	accessibleFields = []field[joinedRole]{
		{"profile", func(r *joinedRole) string { return r.Profile }},
		{"profile__full_name", func(r *joinedRole) string { return r.with.profile(r.Profile).FullName }},
		{"profile__email", func(r *joinedRole) string { return r.with.profile(r.Profile).Email }},
	}
	accessibleFinder     = roleFinder(append(accessibleFields, roleFields...)...)
	accessibleTypeFinder = roleFinder(accessibleFields...)
)

// accessibleBody asks for a role.
type accessibleBody struct {
	Slug    string          `json:"slug,omitempty" maxLength:"128" doc:"The slug of the profile. This or email is required." example:"cowork"`
	Email   string          `json:"email,omitempty" maxLength:"254" doc:"The e-mail address of the profile."`
	Message string          `json:"message,omitempty" maxLength:"4096" doc:"The text of the message that the caller sends. It is not stored."`
	Extra   json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

// UserRolePath identifies a role type among a user's roles.
type UserRolePath struct {
	UserPath
	RolePath
}

var accessibleTags = []string{"Accessibles"}

func (a *api) registerAccessibles() {
	list := huma.Operation{
		OperationID: "list-accessibles", Method: http.MethodGet, Path: accessiblesPath, Tags: accessibleTags, Security: needs("accounts:read"),
		Summary:     "Lists the roles of a user",
		Description: "It has invitations, requests, and roles that ended.", Metadata: readers(readersSelf),
	}
	register(a, list, func(ctx context.Context, c *call, in *struct {
		UserPath
		FindParams
	},
	) (*body[RoleList[Accessible]], error) {
		return a.findAccessibles(ctx, c, accessibleFinder, in.FindParams, c.store.RolesOf(c.Vendor, in.User))
	})
	describeFind(a, list, accessibleFinder)
	ofType := huma.Operation{
		OperationID: "list-accessibles-of-type", Method: http.MethodGet, Path: accessiblesPath + "/{role}", Tags: accessibleTags, Security: needs("accounts:read"),
		Summary:     "Lists the roles of a type that a user has",
		Description: "It has invitations, requests for the type, and roles that ended.", Metadata: readers(readersSelf),
	}
	register(a, ofType, func(ctx context.Context, c *call, in *struct {
		UserRolePath
		FindParams
	},
	) (*body[RoleList[Accessible]], error) {
		names := foldedRoles(in.Role)
		return a.findAccessibles(ctx, c, accessibleTypeFinder, in.FindParams, c.store.RolesOf(c.Vendor, in.User).Where(func(r *store.Role) bool {
			return slices.Contains(names, r.Type) || r.Requested != "" && slices.Contains(names, r.Requested)
		}))
	})
	describeFind(a, ofType, accessibleTypeFinder)
	a.registerRequests()
	a.registerAccessible()
}

func (a *api) findAccessibles(ctx context.Context, c *call, f *finder[joinedRole], in FindParams, list store.Listing[store.Role]) (*body[RoleList[Accessible]], error) {
	with, err := a.accessibles(ctx, c)
	if err != nil {
		return nil, err
	}
	return findRoles(ctx, c, f, in, with.joiner, list, with.listed)
}

const aboutRequests = "A manager of the profile grants the request (grant-role) or refuses it (delete-role). A role that counts goes on counting meanwhile. " +
	"The user's invitation to such a role is accepted instead. The key is in this response only: it names the request in a message to the managers, which the caller sends."

func (a *api) registerRequests() {
	register(a, huma.Operation{
		OperationID: "request-role", Method: http.MethodPost, Path: accessiblesPath, Tags: accessibleTags, Security: needs("accounts:write"),
		Summary: "Asks for a role on a profile, of any type", Description: aboutRequests, DefaultStatus: http.StatusCreated, Metadata: onceFor(readersSelf),
	}, func(ctx context.Context, c *call, in *struct {
		UserPath
		Body accessibleBody
	},
	) (*madeRole[Accessible], error) {
		return a.requestRole(ctx, c, in.User, "", &in.Body)
	})
	register(a, huma.Operation{
		OperationID: "request-role-of-type", Method: http.MethodPost, Path: accessiblesPath + "/{role}", Tags: accessibleTags, Security: needs("accounts:write"),
		Summary: "Asks for a role of a type on a profile", Description: aboutRequests, DefaultStatus: http.StatusCreated, Metadata: onceFor(readersSelf),
	}, func(ctx context.Context, c *call, in *struct {
		UserRolePath
		Body accessibleBody
	},
	) (*madeRole[Accessible], error) {
		return a.requestRole(ctx, c, in.User, in.Role, &in.Body)
	})
}

// requestRole asks for a role. An empty name of a role type means any.
func (a *api) requestRole(ctx context.Context, c *call, user, name string, in *accessibleBody) (*madeRole[Accessible], error) {
	if err := givenName(in.Slug, in.Email); err != nil {
		return nil, err
	}
	if err := a.knownUser(ctx, c, user); err != nil {
		return nil, err
	}
	profile, err := a.profileBy(ctx, c, in.Slug, in.Email)
	if err != nil {
		return nil, err
	}
	kind := store.RoleType{}
	if name != "" {
		if kind, err = a.roleTypeNamed(ctx, c, profile.Slug, name); err != nil {
			return nil, err
		}
	}
	if err := a.mayHaveMore(ctx, c, user); err != nil {
		return nil, err
	}
	made, err := c.store.RequestRole(ctx, c.Vendor, profile.Slug, ownUser(c, user), kind.Slug, in.Extra)
	if errors.Is(err, store.ErrExists) {
		err = newProblem(http.StatusConflict, "The user has this role on the profile already.")
	}
	if err != nil {
		return nil, err
	}
	with, err := a.accessibles(ctx, c)
	if err != nil {
		return nil, err
	}
	location := below(accessiblesPath, removable(&made.Role)) + "/" + profile.Slug
	if name != "" {
		location = below(accessiblesPath+"/"+kind.Slug, profile.Slug)
	}
	return newMadeRole(c, &made, location, with.accessible(made.Role, made.Key)), with.err
}

// AccessiblePath identifies the role of a user on a profile.
type AccessiblePath struct {
	UserRolePath
	ProfilePath
}

// registerAccessible adds the operations on one role of a user.
func (a *api) registerAccessible() {
	register(a, huma.Operation{
		OperationID: "accept-role", Method: http.MethodPut, Path: accessiblesPath + "/accept/{verification_key}", Tags: accessibleTags, Security: needs("accounts:write"),
		Summary:     "Accepts an invitation",
		Description: "The key is grant_key of grant-role. It works once, and for this user only. Wrong keys are limited.", Metadata: onceFor(readersSelf),
	}, func(ctx context.Context, c *call, in *struct {
		UserPath
		Key string `path:"verification_key" maxLength:"64" doc:"The key of the invitation." example:"0123456789abcdef0123456789abcdef01234567"`
	},
	) (*record[Accessible], error) {
		var accepted store.Role
		err := a.guess(c, in.User, func() (err error) {
			accepted, err = c.store.AcceptRole(ctx, c.Vendor, in.User, in.Key)
			return err
		})
		if err != nil {
			return nil, err
		}
		with, err := a.accessibles(ctx, c)
		if err != nil {
			return nil, err
		}
		return &record[Accessible]{ETag: etagOf(accepted), Body: with.accessible(accepted, "")}, with.err
	})
	const path = accessiblesPath + "/{role}/{profile}"
	register(a, huma.Operation{
		OperationID: "renew-request", Method: http.MethodPost, Path: path, Tags: accessibleTags, Security: needs("accounts:write"),
		Summary: "Makes another key for a request, so that the caller can send it again",
		Description: "The earlier key ends. A role without a request is returned as it is, without a key. " +
			"The published contract sends a message here; Gatefold sends none.",
		DefaultStatus: http.StatusOK, Metadata: onceFor(readersSelf),
	}, func(ctx context.Context, c *call, in *AccessiblePath) (*madeRole[Accessible], error) {
		made, err := a.renewed(ctx, c, in.Profile, in.User, in.Role, c.store.RenewRequest)
		if err != nil {
			return nil, err
		}
		with, err := a.accessibles(ctx, c)
		if err != nil {
			return nil, err
		}
		return newMadeRole(c, &made, "", with.accessible(made.Role, made.Key)), with.err
	})
	register(a, huma.Operation{
		OperationID: "delete-accessible", Method: http.MethodDelete, Path: path, Tags: accessibleTags, Security: needs("accounts:write"),
		Summary: "Ends a user's role on a profile, with an invitation or a request",
		Description: "It is how users leave. A user has one role on a profile, and it ends whatever type the path names. " +
			"That of the last manager is refused with 409, except from the operator.",
		DefaultStatus: http.StatusNoContent, Metadata: readers(readersSelf),
	}, func(ctx context.Context, c *call, in *struct {
		AccessiblePath
		IfMatch
	},
	) (*empty, error) {
		return a.removeRole(ctx, c, in.Profile, in.User, in.IfMatch)
	})
}
