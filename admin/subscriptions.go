package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// SubscriberProfile is a profile in another record.
type SubscriberProfile struct {
	Slug          string    `json:"slug" doc:"The profile's slug." example:"xia"`
	PrintableName string    `json:"printable_name" doc:"The profile's name." example:"Xia Lee"`
	Picture       *string   `json:"picture" doc:"Always null: pictures are not stored."`
	Type          string    `json:"type" enum:"organization,personal" doc:"The kind of profile." example:"personal"`
	Credentials   bool      `json:"credentials" doc:"Whether it is the personal profile of a user." example:"true"`
	CreatedAt     time.Time `json:"created_at" doc:"The time of creation." example:"2027-01-01T09:30:00Z"`
}

func wireSubscriberProfile(p store.Profile) SubscriberProfile {
	return SubscriberProfile{
		Slug: p.Slug, PrintableName: cmp.Or(p.FullName, p.Slug), Type: cmp.Or(p.Type, store.TypeOrganization), Credentials: p.Owner != "", CreatedAt: p.CreatedAt,
	}
}

// SubscriptionPlan is the plan of a subscription.
type SubscriptionPlan struct {
	Slug         string `json:"slug" doc:"The plan's id in URLs and rules." example:"open-space"`
	Title        string `json:"title" doc:"The plan's title." example:"Open Space"`
	Description  string `json:"description" doc:"What the plan offers." example:"A desk in our coworking space"`
	IsActive     bool   `json:"is_active" doc:"Whether profiles can subscribe to the plan." example:"true"`
	SetupAmount  int64  `json:"setup_amount" doc:"The amount that is paid once, in the smallest unit of the currency." example:"0"`
	PeriodAmount int64  `json:"period_amount" doc:"The amount that is paid every period, in the smallest unit of the currency." example:"17999"`
	PeriodType   string `json:"period_type" doc:"The unit of a period." example:"monthly"`
	Profile      string `json:"profile" doc:"The slug of the provider." example:"cowork"`
}

// Subscription is a profile's subscription to a plan.
type Subscription struct {
	ID         string            `json:"id" doc:"The subscription's id." example:"subscription_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	Slug       string            `json:"slug" doc:"The slug of the subscribed profile." example:"xia"`
	FullName   string            `json:"full_name" doc:"The full name of the subscribed profile." example:"Xia Lee"`
	Profile    SubscriberProfile `json:"profile" doc:"The subscribed profile."`
	Plan       SubscriptionPlan  `json:"plan" doc:"The plan."`
	StartsAt   time.Time         `json:"created_at" doc:"The start of the subscription (inclusive)." example:"2027-01-01T00:00:00Z"`
	EndsAt     time.Time         `json:"ends_at" doc:"The end of the subscription (exclusive)." example:"2028-01-01T00:00:00Z"`
	AutoRenew  bool              `json:"auto_renew" doc:"Whether the billing system renews the subscription at its end. The gate does not." example:"true"`
	BalanceDue bool              `json:"balance_due" doc:"Whether the profile owes money for the subscription, which then gives nothing." example:"false"`
	// Description, GrantKey and RequestKey are null if they are empty.
	Description *string         `json:"description" doc:"A text about the subscription, or null."`
	Extra       json.RawMessage `json:"extra" doc:"The provider's own data: any JSON value, or null."`
	GrantKey    *string         `json:"grant_key" doc:"Null, unless the subscription waits for the subscriber to accept it. The key itself is only in the response that makes it; later it is 1."`
	RequestKey  *string         `json:"request_key" doc:"Null, unless the subscription waits for the provider to accept it. The key itself is only in the response that makes it; later it is 1."`
	AppURL      string          `json:"app_url" doc:"Always empty: the address of the service is the site's."`
	AcceptURL   *string         `json:"accept_request_api_url" doc:"The path that accepts the subscription if it waits; without its key, unless this response made that."`
	RemoveURL   string          `json:"remove_api_url" doc:"The path that ends the subscription." example:"/api/profile/cowork/plans/open-space/subscriptions/xia"`
	Editable    bool            `json:"editable" doc:"Whether the caller may change the subscription as its provider." example:"true"`
}

// waitingKey is what an answer has for a key that is not known any more.
const waitingKey = "1"

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// subscribed is a subscription with its profile and plan, which are read when they are
// needed.
type subscribed struct {
	store.Subscription
	with *joiner
}

func (s *subscribed) profile() store.Profile { return s.with.profile(s.Profile) }
func (s *subscribed) plan() store.Plan       { return s.with.plan(s.Plan) }

// joiner reads the profiles and plans of subscriptions, each once. The first error is kept
// in err.
type joiner struct {
	ctx      context.Context //nolint:containedctx // of one call, for the functions of finders
	api      *api
	call     *call
	profiles map[string]store.Profile
	plans    map[string]store.Plan
	users    map[string]store.User
	types    map[string]store.RoleType // by profile and slug
	editable map[string]bool           // by provider
	err      error
}

func (a *api) joiner(ctx context.Context, c *call) *joiner {
	return &joiner{
		ctx: ctx, api: a, call: c, profiles: map[string]store.Profile{}, plans: map[string]store.Plan{}, users: map[string]store.User{},
		types: map[string]store.RoleType{}, editable: map[string]bool{},
	}
}

// joined returns a record of a map, which it reads the first time. A record that was removed
// has its slug only.
func joined[R any](j *joiner, known map[string]R, slug string, none R, read func(ctx context.Context, vendor, slug string) (R, error)) R {
	found, ok := known[slug]
	if ok {
		return found
	}
	found, err := read(j.ctx, j.call.Vendor, slug)
	if err != nil {
		found = none
		if !errors.Is(err, store.ErrNotFound) {
			j.err = cmp.Or(j.err, err)
		}
	}
	known[slug] = found
	return found
}

func (j *joiner) profile(slug string) store.Profile {
	return joined(j, j.profiles, slug, store.Profile{Slug: slug}, j.api.Store.ProfileRecord)
}

func (j *joiner) plan(slug string) store.Plan {
	return joined(j, j.plans, slug, store.Plan{Slug: slug}, j.api.Store.PlanRecord)
}

func (j *joiner) user(slug string) store.User {
	return joined(j, j.users, slug, store.User{Slug: slug}, j.api.Store.UserRecord)
}

func (j *joiner) roleType(profile, slug string) store.RoleType {
	return joined(j, j.types, profile+"\x00"+slug, store.RoleType{Slug: slug}, func(ctx context.Context, vendor, _ string) (store.RoleType, error) {
		return j.api.Store.RoleTypeRecord(ctx, vendor, profile, slug)
	})
}

// edits reports whether the caller may change subscriptions to the plans of a provider.
func (j *joiner) edits(provider string) bool {
	may, known := j.editable[provider]
	if !known {
		may = j.call.may("subscriptions:write")
		if j.call.Reader != nil {
			may = provider != "" && j.api.manages(j.ctx, j.call, provider)
		}
		j.editable[provider] = may
	}
	return may
}

// wire returns a subscription on the wire. Key is the key that the call made, if any.
func (j *joiner) wire(s store.Subscription, key string) Subscription {
	profile, plan := j.profile(s.Profile), j.plan(s.Plan)
	wire := Subscription{
		ID: s.ID, Slug: s.Profile, FullName: profile.FullName, Profile: wireSubscriberProfile(profile),
		Plan: SubscriptionPlan{
			Slug: s.Plan, Title: plan.Title, Description: plan.Description, IsActive: !plan.Inactive,
			SetupAmount: plan.SetupAmount, PeriodAmount: plan.PeriodAmount, PeriodType: plan.PeriodType, Profile: plan.Provider,
		},
		StartsAt: s.StartsAt, EndsAt: s.EndsAt, AutoRenew: s.AutoRenew, BalanceDue: s.BalanceDue,
		Description: orNil(s.Description), Extra: orNull(s.Extra), Editable: j.edits(plan.Provider),
		RemoveURL: subscribedAddress(s.Profile, s.Plan),
	}
	switch {
	case s.GrantKey != "":
		wire.GrantKey, wire.AcceptURL = waiting(key, "/api/profile/"+url.PathEscape(s.Profile)+"/subscriptions/accept")
	case s.RequestKey != "":
		wire.RequestKey, wire.AcceptURL = waiting(key, "/api/profile/"+url.PathEscape(plan.Provider)+"/subscribers/accept")
	}
	return wire
}

func (j *joiner) wireListed(s subscribed) Subscription { return j.wire(s.Subscription, "") }

// waiting returns the key of a subscription that waits as an answer shows it, and the path
// that accepts it. The key is known only to the call that made it.
func waiting(key, path string) (shown, accept *string) {
	if key == "" {
		return new(waitingKey), nil
	}
	return &key, new(path + "/" + key)
}

func subscribedAddress(profile, plan string) string {
	return "/api/profile/" + url.PathEscape(profile) + "/subscriptions/" + url.PathEscape(plan)
}

// subscriptionFinder searches and sorts subscriptions.
var subscriptionFinder = newSubscriptionFinder()

func newSubscriptionFinder() *finder[subscribed] {
	fields := []field[subscribed]{{"profile", func(s *subscribed) string { return s.Profile }}}
	for _, f := range contactFields {
		fields = append(fields, field[subscribed]{"profile__" + f.name, func(s *subscribed) string {
			profile := s.profile()
			return f.text(&profile)
		}})
	}
	fields = append(fields,
		field[subscribed]{"plan", func(s *subscribed) string { return s.Plan }},
		field[subscribed]{"plan__title", func(s *subscribed) string { return s.plan().Title }})
	times := []field[subscribed]{
		{"created_at", func(s *subscribed) string { return sorted(s.StartsAt) }},
		{"ends_at", func(s *subscribed) string { return sorted(s.EndsAt) }},
	}
	return &finder[subscribed]{search: fields, order: append(times, fields...)}
}

// contactFields are the fields of profiles by which subscriptions and subscribers can be
// searched and sorted.
var contactFields = []field[store.Profile]{
	{"full_name", func(p *store.Profile) string { return p.FullName }},
	{"email", func(p *store.Profile) string { return p.Email }},
	{"phone", func(p *store.Profile) string { return p.Phone }},
	{"street_address", func(p *store.Profile) string { return p.StreetAddress }},
	{"locality", func(p *store.Profile) string { return p.Locality }},
	{"region", func(p *store.Profile) string { return p.Region }},
	{"postal_code", func(p *store.Profile) string { return p.PostalCode }},
	{"country", func(p *store.Profile) string { return p.Country }},
}
