package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// Subscriber is a profile with a subscription to a plan of a provider.
type Subscriber struct {
	SubscriberProfile
	CreatedAt time.Time `json:"created_at" doc:"The start of the first of these subscriptions." example:"2027-01-01T00:00:00Z"`
	EndsAt    time.Time `json:"ends_at" doc:"The end of the last of these subscriptions." example:"2028-01-01T00:00:00Z"`
}

// subscriber is a subscriber with their profile, which is read when it is needed.
type subscriber struct {
	slug             string
	startsAt, endsAt time.Time
	with             *joiner
}

func (s *subscriber) wire() Subscriber {
	return Subscriber{SubscriberProfile: wireSubscriberProfile(s.with.profile(s.slug)), CreatedAt: s.startsAt, EndsAt: s.endsAt}
}

// subscriberFinder searches and sorts subscribers.
var subscriberFinder = newSubscriberFinder()

func newSubscriberFinder() *finder[subscriber] {
	of := func(text func(*store.Profile) string) func(*subscriber) string {
		return func(s *subscriber) string {
			profile := s.with.profile(s.slug)
			return text(&profile)
		}
	}
	name := of(func(p *store.Profile) string { return p.FullName })
	f := &finder[subscriber]{
		search: []field[subscriber]{{"slug", func(s *subscriber) string { return s.slug }}},
		order:  []field[subscriber]{{"full_name", name}, {"created_at", func(s *subscriber) string { return sorted(s.startsAt) }}},
	}
	for _, contact := range contactFields {
		f.search = append(f.search, field[subscriber]{contact.name, of(contact.text)})
	}
	// A profile has one name here, and the owner of a personal one is its user.
	f.search = append(f.search, field[subscriber]{"username", of(func(p *store.Profile) string { return p.Owner })},
		field[subscriber]{"first_name", name}, field[subscriber]{"last_name", name})
	return f
}

// SubscriberFind selects a page of subscribers.
type SubscriberFind struct {
	ProfilePath
	FindParams
	PeriodParams
}

// EngagedFind selects a page of subscribers by the visits of their users.
type EngagedFind struct {
	SubscriberFind
	SiteParam
}

const aboutVisits = "A user is engaged by a visit of the site, the last of which is kept for 90 days. `start_at` and `ends_at` select by its time; without them, any of the 90 days counts."

func (a *api) registerSubscribers() {
	subscribers := huma.Operation{
		OperationID: "list-subscribers", Method: http.MethodGet, Path: subscribersPath, Tags: subscriptionTags, Security: needs("subscriptions:read"),
		Summary:     "Lists the profiles with a subscription to a provider's plans, ended ones too",
		Description: "`start_at` and `ends_at` select subscriptions whose time overlaps with that period. Profiles that only wait to be accepted are left out.", Metadata: readers(readersOfProfile),
	}
	register(a, subscribers, func(ctx context.Context, c *call, in *SubscriberFind) (*body[NumberedPage[Subscriber]], error) {
		p, err := in.period()
		if err != nil {
			return nil, err
		}
		j := a.joiner(ctx, c)
		found, err := a.subscribers(ctx, c, j, in.Profile, func(s *store.SubscriptionState) bool { return overlapping(s, p, time.Time{}) })
		page, err := findPage(c, subscriberFinder, in.FindParams, PeriodParams{}, listed(found, err), func(s subscriber) Subscriber { return s.wire() })
		return &body[NumberedPage[Subscriber]]{Body: page}, cmp.Or(err, j.err)
	})
	describeFind(a, subscribers, subscriberFinder)
	unengaged := huma.Operation{
		OperationID: "list-unengaged-subscribers", Method: http.MethodGet, Path: subscribersPath + "/unengaged", Tags: subscriptionTags, Security: needs("subscriptions:read"),
		Summary:     "Lists the active subscribers of a provider none of whose users was engaged",
		Description: aboutVisits, Metadata: readers(readersOfProfile),
	}
	register(a, unengaged, func(ctx context.Context, c *call, in *EngagedFind) (*body[NumberedPage[Subscriber]], error) {
		j := a.joiner(ctx, c)
		found, err := a.unengaged(ctx, c, j, in)
		page, err := findPage(c, subscriberFinder, in.FindParams, PeriodParams{}, listed(found, err), func(s subscriber) Subscriber { return s.wire() })
		return &body[NumberedPage[Subscriber]]{Body: page}, cmp.Or(err, j.err)
	})
	describeFind(a, unengaged, subscriberFinder)
	a.registerEngaged()
}

// subscribers returns the profiles with a valid subscription to a plan of a provider that keep
// selects, by slug.
func (a *api) subscribers(ctx context.Context, c *call, j *joiner, provider string, keep func(*store.SubscriptionState) bool) ([]subscriber, error) {
	if _, err := c.store.ProfileRecord(ctx, c.Vendor, provider); err != nil {
		return nil, err
	}
	bySlug, read := map[string]*subscriber{}, 0
	list := c.store.ListSubscriptions(c.Vendor, store.SubscriptionQuery{
		Provider: provider, Keep: func(s store.SubscriptionState) bool { return s.Valid() && keep(&s) },
	})
	for s, err := range list.All(ctx) {
		if err != nil {
			return nil, err
		}
		if read++; read > maxFound {
			return nil, invalidAt("query", fmt.Sprintf("There are more than %d subscriptions: select some by start_at and ends_at, or list those of one plan.", maxFound))
		}
		known := bySlug[s.Profile]
		if known == nil {
			known = &subscriber{slug: s.Profile, startsAt: s.StartsAt, with: j}
			bySlug[s.Profile] = known
		}
		if s.StartsAt.Before(known.startsAt) {
			known.startsAt = s.StartsAt
		}
		if s.EndsAt.After(known.endsAt) {
			known.endsAt = s.EndsAt
		}
	}
	found := make([]subscriber, 0, len(bySlug))
	for _, one := range bySlug {
		found = append(found, *one)
	}
	slices.SortFunc(found, func(a, b subscriber) int { return cmp.Compare(a.slug, b.slug) })
	return found, nil
}

// engaged calls each with the active subscribers of a provider and those of their roles that
// count and whose users were engaged.
func (a *api) engaged(ctx context.Context, c *call, j *joiner, in *EngagedFind, each func(s *subscriber, engaged []store.Role)) error {
	now := a.Now()
	found, err := a.subscribers(ctx, c, j, in.Profile, func(s *store.SubscriptionState) bool { return s.Active(now) })
	if err != nil {
		return err
	}
	seen, err := a.visitors(ctx, c, in)
	if err != nil {
		return err
	}
	for i := range found {
		var engaged []store.Role
		for role, err := range c.store.RolesOn(c.Vendor, found[i].slug, "").All(ctx) {
			if err != nil {
				return err
			}
			state := role.State()
			if seen[role.User] && state.Counts(now) {
				engaged = append(engaged, role)
			}
		}
		each(&found[i], engaged)
	}
	return nil
}

// visitors returns the users whose last visit is in the period of the parameters.
func (a *api) visitors(ctx context.Context, c *call, in *EngagedFind) (map[string]bool, error) {
	p, err := in.period()
	if err != nil {
		return nil, err
	}
	page := store.VisitorPage{Limit: maxFound}
	if in.StartAt != "" {
		page.Since = time.UnixMilli(p.from)
	}
	list, _, err := c.store.Visitors(ctx, c.Vendor, in.site(c.Vendor), page)
	seen := make(map[string]bool, len(list))
	for i := range list {
		if p.has(list[i].Seen.UnixMilli()) {
			seen[list[i].UserID] = true
		}
	}
	return seen, err
}

// unengaged returns the active subscribers of a provider without an engaged user.
func (a *api) unengaged(ctx context.Context, c *call, j *joiner, in *EngagedFind) (found []subscriber, err error) {
	err = a.engaged(ctx, c, j, in, func(s *subscriber, engaged []store.Role) {
		if len(engaged) == 0 {
			found = append(found, *s)
		}
	})
	return found, err
}

// EngagedSubscriber is a role of an engaged user on a subscribed profile.
type EngagedSubscriber struct {
	CreatedAt       time.Time         `json:"created_at" doc:"The time of creation of the role." example:"2027-01-01T09:30:00Z"`
	User            EngagedUser       `json:"user" doc:"The user."`
	RoleDescription RoleDescription   `json:"role_description" doc:"The type of the role."`
	Profile         SubscriberProfile `json:"profile" doc:"The subscribed profile."`
}

// EngagedUser is a user who visited the site.
type EngagedUser struct {
	UserSummary
	Email string `json:"email" doc:"The user's e-mail address; may be empty." example:"xia@example.com"`
}

// engagedRole is a role of an engaged user with what is shown of it.
type engagedRole struct {
	store.Role
	user store.User
	with *joiner
}

func (r *engagedRole) fullName() string { return r.user.FullName }

// engagedFinder searches and sorts roles of engaged users. A user has one name here.
var engagedFinder = func() *finder[engagedRole] {
	profile := []field[engagedRole]{
		{"profile", func(r *engagedRole) string { return r.Profile }},
		{"profile__full_name", func(r *engagedRole) string { return r.with.profile(r.Profile).FullName }},
	}
	search := append([]field[engagedRole]{{"first_name", (*engagedRole).fullName}, {"last_name", (*engagedRole).fullName}}, profile...)
	created := field[engagedRole]{"created_at", func(r *engagedRole) string { return sorted(r.CreatedAt) }}
	return &finder[engagedRole]{search: search, order: append([]field[engagedRole]{created}, search...)}
}()

func (a *api) registerEngaged() {
	operation := huma.Operation{
		OperationID: "list-engaged-subscribers", Method: http.MethodGet, Path: subscribersPath + "/engaged", Tags: subscriptionTags, Security: needs("subscriptions:read"),
		Summary:     "Lists the engaged users of a provider's active subscribers, with their roles there",
		Description: aboutVisits, Metadata: readers(readersOfProfile),
	}
	register(a, operation, func(ctx context.Context, c *call, in *EngagedFind) (*body[NumberedPage[EngagedSubscriber]], error) {
		j := a.joiner(ctx, c)
		var found []engagedRole
		err := a.engaged(ctx, c, j, in, func(_ *subscriber, roles []store.Role) {
			for i := range roles {
				found = append(found, engagedRole{Role: roles[i], user: j.user(roles[i].User), with: j})
			}
		})
		page, err := findPage(c, engagedFinder, in.FindParams, PeriodParams{}, listed(found, cmp.Or(err, j.err)), wireEngaged)
		return &body[NumberedPage[EngagedSubscriber]]{Body: page}, cmp.Or(err, j.err)
	})
	describeFind(a, operation, engagedFinder)
}

func wireEngaged(r engagedRole) EngagedSubscriber {
	return EngagedSubscriber{
		CreatedAt: r.CreatedAt, Profile: wireSubscriberProfile(r.with.profile(r.Profile)),
		User: EngagedUser{wireUserSummary(r.user), r.user.Email}, RoleDescription: r.with.describes(r.with.roleType(r.Profile, r.Type)),
	}
}
