package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// Profile is an account that can subscribe to plans and own them.
type Profile struct {
	SubscriberProfile
	FullName string `json:"full_name" doc:"The profile's name." example:"Xia Lee"`
	ContactData
	NickName        string          `json:"nick_name" doc:"The short name of the user whose personal profile it is; empty for others." example:"Xia"`
	DefaultTimezone string          `json:"default_timezone" doc:"The time zone of reports." example:"Europe/Kiev"`
	IsProvider      bool            `json:"is_provider" doc:"Whether the profile may own plans." example:"false"`
	IsBulkBuyer     bool            `json:"is_bulk_buyer" doc:"Whether the profile may buy for others." example:"false"`
	IsActive        bool            `json:"is_active" doc:"Whether the profile's roles and subscriptions count." example:"true"`
	Extra           json.RawMessage `json:"extra" doc:"Own data: any JSON value, or null."`
}

// maxShownSubscriptions bounds the subscriptions in the answer with one profile.
const maxShownSubscriptions = 100

// ProfileDetail is a profile with its active subscriptions.
type ProfileDetail struct {
	Profile
	Subscriptions []ProfileSubscription `json:"subscriptions" doc:"The active subscriptions, at most 100."`
}

// ProfileSubscription is an active subscription of a profile.
type ProfileSubscription struct {
	StartsAt  time.Time   `json:"created_at" doc:"The start of the subscription (inclusive)." example:"2027-01-01T00:00:00Z"`
	EndsAt    time.Time   `json:"ends_at" doc:"The end of the subscription (exclusive)." example:"2028-01-01T00:00:00Z"`
	Plan      PlanSummary `json:"plan" doc:"The plan."`
	AutoRenew bool        `json:"auto_renew" doc:"Whether the billing system renews the subscription." example:"true"`
}

// PlanSummary names a plan.
type PlanSummary struct {
	Slug  string `json:"slug" doc:"The plan's id." example:"open-space"`
	Title string `json:"title" doc:"The plan's title." example:"Open Space"`
}

func wireProfile(p store.Profile) Profile {
	return Profile{
		SubscriberProfile: wireSubscriberProfile(p), FullName: p.FullName, ContactData: ContactData(p.Contact), DefaultTimezone: p.DefaultTimezone,
		IsProvider: p.IsProvider, IsBulkBuyer: p.IsBulkBuyer, IsActive: !p.Inactive, Extra: orNull(p.Extra),
	}
}

// account returns a profile on the wire, with the short name of its owner.
func (j *joiner) account(p store.Profile) Profile {
	wire := wireProfile(p)
	if p.Owner != "" {
		wire.NickName = j.user(p.Owner).NickName
	}
	return wire
}

// ProfileFields are the fields of a profile that callers set. A field that is left out keeps
// its value.
type ProfileFields struct {
	FullName *string `json:"full_name,omitempty" maxLength:"255" doc:"The profile's name." example:"Xia Lee"`
	ContactFields
	DefaultTimezone *string         `json:"default_timezone,omitempty" maxLength:"64" doc:"The time zone of reports." example:"Europe/Kiev"`
	IsProvider      *bool           `json:"is_provider,omitempty" doc:"Whether the profile may own plans. The broker decides." example:"false"`
	IsBulkBuyer     *bool           `json:"is_bulk_buyer,omitempty" doc:"Whether the profile may buy for others." example:"false"`
	IsActive        *bool           `json:"is_active,omitempty" doc:"Whether the profile's roles and subscriptions count. The broker decides. Default: true." example:"true"`
	Extra           json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

func (f *ProfileFields) apply(p *store.Profile) {
	set(&p.FullName, f.FullName)
	f.ContactFields.apply(&p.Contact)
	set(&p.DefaultTimezone, f.DefaultTimezone)
	set(&p.IsProvider, f.IsProvider)
	set(&p.IsBulkBuyer, f.IsBulkBuyer)
	if f.IsActive != nil {
		p.Inactive = !*f.IsActive
	}
	setExtra(&p.Extra, f.Extra)
}

// allowed returns a problem if the caller may not turn a profile into another one: what a
// profile may sell and whether it counts is not its managers' decision.
func (f *ProfileFields) allowed(ctx context.Context, a *api, c *call, was *store.Profile) error {
	if f.IsProvider != nil && *f.IsProvider != was.IsProvider {
		return a.staffOnly(ctx, c, "is_provider")
	}
	if f.IsActive != nil && *f.IsActive == was.Inactive {
		return a.staffOnly(ctx, c, "is_active")
	}
	return nil
}

// profileBody creates a profile.
type profileBody struct {
	Slug string `json:"slug,omitempty" maxLength:"128" doc:"The profile's id in URLs and rules. Default: the full name in lower case with hyphens, else the first part of the e-mail address." example:"cowork"`
	Type string `json:"type,omitempty" enum:"organization,personal" doc:"The kind of profile. Default: organization." example:"organization"`
	ProfileFields
}

// userProfileBody creates a profile for a user.
type userProfileBody struct {
	Slug string `json:"slug,omitempty" maxLength:"128" doc:"The profile's id in URLs and rules. Default: as in create-profile." example:"myproject"`
	Type string `json:"type,omitempty" enum:"organization,personal" doc:"The kind of profile. Default: organization." example:"organization"`
	ProfileFields
}

func (b *profileBody) profile() (store.Profile, error) {
	wanted := store.Profile{Slug: b.Slug, Type: b.Type}
	b.apply(&wanted)
	local, _, _ := strings.Cut(wanted.Email, "@")
	wanted.Slug = cmp.Or(wanted.Slug, store.SlugOf(wanted.FullName), store.SlugOf(local))
	if wanted.Slug == "" {
		return wanted, invalid("slug", "is required, unless the full name or the e-mail address makes one")
	}
	return wanted, nil
}

// profileChange changes the named fields of a profile.
type profileChange struct {
	Slug *string `json:"slug,omitempty" maxLength:"128" doc:"Read-only: must equal the profile of the path."`
	ProfileFields
}

// profileFinder searches and sorts profiles. A profile has one name here, and the owner of a
// personal one is its user.
var profileFinder = newProfileFinder()

func newProfileFinder() *finder[store.Profile] {
	name := func(p *store.Profile) string { return p.FullName }
	f := &finder[store.Profile]{
		search: append([]field[store.Profile]{{"slug", func(p *store.Profile) string { return p.Slug }}}, contactFields...),
		order:  []field[store.Profile]{{"full_name", name}, {"created_at", func(p *store.Profile) string { return sorted(p.CreatedAt) }}},
		at:     func(p *store.Profile) time.Time { return p.CreatedAt },
	}
	f.search = append(f.search, field[store.Profile]{"username", func(p *store.Profile) string { return p.Owner }},
		field[store.Profile]{"first_name", name}, field[store.Profile]{"last_name", name})
	return f
}

// ProfileFind selects a page of profiles.
type ProfileFind struct {
	FindParams
	PeriodParams
}

var profileTags = []string{"Profiles"}

func (a *api) registerProfiles() {
	list := huma.Operation{
		OperationID: "list-profiles", Method: http.MethodGet, Path: profilesPath, Tags: profileTags, Security: needs("accounts:read"),
		Summary: "Lists profiles", Metadata: readers(readersOfBroker),
	}
	register(a, list, func(ctx context.Context, c *call, in *ProfileFind) (*body[NumberedPage[Profile]], error) {
		j := a.joiner(ctx, c)
		page, err := findPage(c, profileFinder, in.FindParams, in.PeriodParams, readListing(ctx, c.store.ListProfiles(c.Vendor), itself), j.account)
		return &body[NumberedPage[Profile]]{Body: page}, cmp.Or(err, j.err)
	})
	describeFind(a, list, profileFinder)
	register(a, huma.Operation{
		OperationID: "get-profile", Method: http.MethodGet, Path: profilePath, Tags: profileTags, Security: needs("accounts:read"),
		Summary: "Returns a profile", Description: "The ETag does not cover subscriptions and nick_name.", Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *ProfilePath) (*record[ProfileDetail], error) {
		found, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile)
		return a.answerProfile(ctx, c, found, err)
	})
	register(a, huma.Operation{
		OperationID: "update-profile", Method: http.MethodPut, Path: profilePath, Tags: profileTags, Security: needs("accounts:write"),
		Summary: "Changes the named fields of a profile", Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		IfMatch
		Body profileChange
	},
	) (*record[ProfileDetail], error) {
		if err := sameSlug(in.Body.Slug, in.Profile); err != nil {
			return nil, err
		}
		was, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile)
		if err == nil {
			err = in.Body.allowed(ctx, a, c, &was)
		}
		if err != nil {
			return nil, err
		}
		changed, err := c.store.UpdateProfile(ctx, c.Vendor, in.Profile, func(p *store.Profile) error {
			if p.Inactive != was.Inactive || p.IsProvider != was.IsProvider {
				return store.ErrConflict // what was allowed is another change now
			}
			if err := in.check(wireProfile(*p)); err != nil {
				return err
			}
			in.Body.apply(p)
			return nil
		})
		return a.answerProfile(ctx, c, changed, in.changed(err))
	})
	register(a, huma.Operation{
		OperationID: "delete-profile", Method: http.MethodDelete, Path: profilePath, Tags: profileTags, Security: needs("accounts:write"),
		Summary: "Removes a profile",
		Description: "Its roles, subscriptions, role types and plans end at once, and so do subscriptions to its plans. " +
			"No profile can be created under its slug until everything that named it has been forgotten. The broker cannot be removed.",
		DefaultStatus: http.StatusNoContent, Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		IfMatch
	},
	) (*empty, error) {
		err := c.store.DeleteProfile(ctx, c.Vendor, in.Profile, func(p store.Profile) error { return in.check(wireProfile(p)) })
		return &empty{}, in.changed(err)
	})
	a.registerProfilesOfUser()
}

// answerProfile returns the response with a profile, or err.
func (a *api) answerProfile(ctx context.Context, c *call, p store.Profile, err error) (*record[ProfileDetail], error) {
	if err != nil {
		return nil, err
	}
	j := a.joiner(ctx, c)
	detail := ProfileDetail{Profile: j.account(p)}
	active, _, err := c.store.ListSubscriptions(c.Vendor, store.SubscriptionQuery{Profile: p.Slug, Keep: store.ActiveAt(a.Now())}).Page(ctx, 0, maxShownSubscriptions)
	detail.Subscriptions = wireAll(active, func(s store.Subscription) ProfileSubscription {
		return ProfileSubscription{StartsAt: s.StartsAt, EndsAt: s.EndsAt, AutoRenew: s.AutoRenew, Plan: PlanSummary{Slug: s.Plan, Title: j.plan(s.Plan).Title}}
	})
	return &record[ProfileDetail]{ETag: etagOf(wireProfile(p)), Body: detail}, cmp.Or(err, j.err)
}

// newProfile returns the response with a new profile, or err. From leads to the API from the
// path of the request.
func (a *api) newProfile(ctx context.Context, c *call, from string, p store.Profile, err error) (*created[Profile], error) {
	if err != nil {
		return nil, err
	}
	j := a.joiner(ctx, c)
	return &created[Profile]{Location: from + below(profilesPath, p.Slug), ETag: etagOf(wireProfile(p)), Body: j.account(p)}, j.err
}

// registerProfilesOfUser adds the operations on the profiles that a user manages.
func (a *api) registerProfilesOfUser() {
	const path = userPath + "/profiles"
	list := huma.Operation{
		OperationID: "list-user-profiles", Method: http.MethodGet, Path: path, Tags: profileTags, Security: needs("accounts:read"),
		Summary: "Lists the profiles of which a user is a manager", Metadata: readers(readersSelf),
	}
	register(a, list, func(ctx context.Context, c *call, in *struct {
		UserPath
		ProfileFind
	},
	) (*body[NumberedPage[Profile]], error) {
		now, j := a.Now(), a.joiner(ctx, c)
		managed := c.store.RolesOf(c.Vendor, in.User).Where(func(r *store.Role) bool {
			state := r.State()
			return r.Type == policy.RoleManager && state.Counts(now)
		})
		page, err := findPage(c, profileFinder, in.FindParams, in.PeriodParams, readListing(ctx, managed, func(r store.Role) store.Profile { return j.profile(r.Profile) }), j.account)
		return &body[NumberedPage[Profile]]{Body: page}, cmp.Or(err, j.err)
	})
	describeFind(a, list, profileFinder)
	register(a, huma.Operation{
		OperationID: "create-user-profile", Method: http.MethodPost, Path: path, Tags: profileTags, Security: needs("accounts:write"),
		Summary: "Creates a profile whose manager is the user",
		Description: "A reader who calls for themselves needs no user before. A personal profile becomes the user's own. " +
			"A profile that exists is refused with 409: to get a role on it, ask for one (request-role).",
		DefaultStatus: http.StatusCreated, Metadata: onceFor(readersSelf),
	}, func(ctx context.Context, c *call, in *struct {
		UserPath
		Body userProfileBody
	},
	) (*created[Profile], error) {
		wanted, err := (*profileBody)(&in.Body).profile()
		if err == nil {
			err = cmp.Or(in.Body.allowed(ctx, a, c, &store.Profile{}), a.knownUser(ctx, c, in.User), a.mayHaveMore(ctx, c, in.User))
		}
		if err != nil {
			return nil, err
		}
		made, err := c.store.CreateProfileFor(ctx, c.Vendor, wanted, ownUser(c, in.User))
		return a.newProfile(ctx, c, "../../", made, err)
	})
}
