package admin

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

// SubscriptionFind selects a page of a listing of subscriptions.
type SubscriptionFind struct {
	FindParams
	PeriodParams
}

// subscriptionListing is a listing of subscriptions of a plan, a provider or a subscriber.
type subscriptionListing struct {
	id, path, summary, description string
	// selects reports whether a subscription is listed; the period is that of the parameters.
	selects func(s *store.SubscriptionState, p period, now time.Time) bool
}

const (
	aboutActive = "Those that neither wait to be accepted nor have ended: `created_at` ≤ now < `ends_at`. `start_at` and `ends_at` select by `created_at`."
	aboutAll    = "Those that wait and those that have ended too. `start_at` and `ends_at` select those whose time overlaps with that period."
	aboutEnded  = "Those whose `ends_at` is now or earlier. `start_at` and `ends_at` select by `ends_at`."
	aboutHeld   = "Those that have not ended, with those that wait to be accepted. `start_at` and `ends_at` select by `created_at`."
)

var planListings = []subscriptionListing{
	{"list-plan-subscriptions", planPath + "/subscriptions", "Lists the active subscriptions to a plan", aboutActive, activeOnly},
	{"list-all-plan-subscriptions", planPath + "/subscriptions/all", "Lists all subscriptions to a plan", aboutAll, overlapping},
	{"list-churned-plan-subscriptions", planPath + "/subscriptions/churned", "Lists the subscriptions to a plan that have ended", aboutEnded, endedOnly},
}

var providerListings = []subscriptionListing{
	{"list-provider-subscriptions", subscribersPath + "/subscriptions", "Lists the active subscriptions to a provider's plans", aboutActive, activeOnly},
	{"list-all-provider-subscriptions", subscribersPath + "/subscriptions/all", "Lists all subscriptions to a provider's plans", aboutAll, overlapping},
	{"list-churned-provider-subscriptions", subscribersPath + "/subscriptions/churned", "Lists the subscriptions to a provider's plans that have ended", aboutEnded, endedOnly},
}

var profileListings = []subscriptionListing{
	{"list-subscriptions", subscriptionsPath, "Lists a profile's subscriptions", aboutHeld, heldOnly},
	{"list-expired-subscriptions", subscriptionsPath + "/expired", "Lists a profile's subscriptions that have ended", aboutEnded, endedOnly},
}

// period is a half-open period in Unix milliseconds.
type period struct{ from, to int64 }

func (p period) has(at int64) bool { return p.from <= at && at < p.to }

func activeOnly(s *store.SubscriptionState, p period, now time.Time) bool {
	return s.Active(now) && p.has(s.StartsAt)
}

func heldOnly(s *store.SubscriptionState, p period, now time.Time) bool {
	return now.UnixMilli() < s.EndsAt && p.has(s.StartsAt)
}

func endedOnly(s *store.SubscriptionState, p period, now time.Time) bool {
	return s.Valid() && s.EndsAt <= now.UnixMilli() && p.has(s.EndsAt)
}

func overlapping(s *store.SubscriptionState, p period, _ time.Time) bool {
	return s.StartsAt < p.to && p.from < s.EndsAt
}

// period returns the period of the parameters; without one of them it has no bound there.
func (p PeriodParams) period() (period, error) {
	from, err := parseMoment("start_at", p.StartAt)
	if err != nil {
		return period{}, err
	}
	to, err := parseMoment("ends_at", p.EndsAt)
	found := period{from: math.MinInt64, to: math.MaxInt64}
	if !from.IsZero() {
		found.from = from.UnixMilli()
	}
	if !to.IsZero() {
		found.to = to.UnixMilli()
	}
	return found, err
}

func (a *api) registerSubscriptionLists() {
	tags := []string{"Subscriptions"}
	operation := func(l *subscriptionListing) huma.Operation {
		return huma.Operation{
			OperationID: l.id, Method: http.MethodGet, Path: l.path, Tags: tags, Security: needs("subscriptions:read"),
			Summary: l.summary, Description: l.description, Metadata: readers(readersOfProfile),
		}
	}
	type page = body[NumberedPage[Subscription]]
	for i := range planListings {
		l := &planListings[i]
		register(a, operation(l), func(ctx context.Context, c *call, in *struct {
			PlanPath
			SubscriptionFind
		},
		) (*page, error) {
			if _, err := c.plan(ctx, &in.PlanPath); err != nil {
				return nil, err
			}
			return a.findSubscriptions(ctx, c, l, &in.SubscriptionFind, store.SubscriptionQuery{Plan: in.Plan})
		})
		describeFind(a, operation(l), subscriptionFinder)
	}
	for i := range providerListings {
		l := &providerListings[i]
		register(a, operation(l), func(ctx context.Context, c *call, in *struct {
			ProfilePath
			SubscriptionFind
		},
		) (*page, error) {
			if _, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile); err != nil {
				return nil, err
			}
			return a.findSubscriptions(ctx, c, l, &in.SubscriptionFind, store.SubscriptionQuery{Provider: in.Profile})
		})
		describeFind(a, operation(l), subscriptionFinder)
	}
	for i := range profileListings {
		l := &profileListings[i]
		register(a, operation(l), func(ctx context.Context, c *call, in *struct {
			ProfilePath
			SubscriptionFind
		},
		) (*page, error) {
			if _, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile); err != nil {
				return nil, err
			}
			return a.findSubscriptions(ctx, c, l, &in.SubscriptionFind, store.SubscriptionQuery{Profile: in.Profile})
		})
		describeFind(a, operation(l), subscriptionFinder)
	}
}

// findSubscriptions returns a page of a listing.
func (a *api) findSubscriptions(
	ctx context.Context, c *call, l *subscriptionListing, in *SubscriptionFind, query store.SubscriptionQuery,
) (*body[NumberedPage[Subscription]], error) {
	period, err := in.period()
	if err != nil {
		return nil, err
	}
	j, now := a.joiner(ctx, c), a.Now()
	query.Keep = func(s store.SubscriptionState) bool { return l.selects(&s, period, now) }
	join := func(s store.Subscription) subscribed { return subscribed{s, j} }
	page, err := findPage(c, subscriptionFinder, in.FindParams, PeriodParams{}, readListing(ctx, c.store.ListSubscriptions(c.Vendor, query), join), j.wireListed)
	return &body[NumberedPage[Subscription]]{Body: page}, cmp.Or(err, j.err)
}

// readListing returns the records of a listing. Those that are searched or sorted are read
// before the first is yielded: a finder may read other records, which it must not do while a
// listing has a snapshot.
func readListing[T, R any](ctx context.Context, list store.Listing[T], wrap func(T) R) source[R] {
	return source[R]{
		page: func(skip, limit int) ([]R, int, error) {
			page, count, err := list.Page(ctx, skip, limit)
			return wireAll(page, wrap), count, err
		},
		all: func(yield func(R, error) bool) {
			var all []T
			for record, err := range list.All(ctx) {
				if err != nil {
					var none R
					yield(none, err)
					return
				}
				if all = append(all, record); len(all) > maxFound {
					break
				}
			}
			for _, record := range all {
				if !yield(wrap(record), nil) {
					return
				}
			}
		},
	}
}
