package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	planSubscriptionsPath = planPath + "/subscriptions"
	subscriberPath        = planSubscriptionsPath + "/{subscriber}"
	subscribersPath       = profilePath + "/subscribers"
	subscriptionsPath     = profilePath + "/subscriptions"
	subscribedPath        = subscriptionsPath + "/{subscribed_plan}"
)

var subscriptionTags = []string{"Subscriptions"}

func (a *api) registerSubscriptions() {
	a.registerSubscriptionLists()
	a.registerGrantedSubscriptions()
	a.registerRequestedSubscriptions()
	a.registerProviderSubscription()
	a.registerSubscriberSubscription()
	a.registerSubscribers()
}

// onceFor returns the Metadata of an operation that readers may call, and whose response is
// stored for an Idempotency-Key.
func onceFor(rule readerRule) map[string]any {
	return map[string]any{readersKey: rule, repetitionKey: repeatAnswer}
}

// makesSubscription returns the Metadata of an operation that makes a subscription. A response
// with a key is not stored: a repetition has the same without it.
func (a *api) makesSubscription(slug func(s *store.Subscription) string) map[string]any {
	metadata := onceFor(readersOfProfile)
	metadata[rebuildKey] = rebuild(func(ctx context.Context, vendor string, record []string) (rebuilt, error) {
		if len(record) != 3 {
			return rebuilt{}, store.ErrNotFound
		}
		found, _, err := a.Store.ListSubscriptions(vendor, store.SubscriptionQuery{Profile: record[0], Plan: record[1]}).
			Where(func(s *store.Subscription) bool { return s.ID == record[2] }).Page(ctx, 0, 1)
		if err != nil || len(found) == 0 {
			return rebuilt{}, cmp.Or(err, store.ErrNotFound)
		}
		j := a.joiner(ctx, callOf(ctx))
		return rebuilt{status: http.StatusCreated, location: below("subscriptions", slug(&found[0])), body: j.wire(found[0], "")}, j.err
	})
	return metadata
}

func (a *api) registerGrantedSubscriptions() {
	register(a, huma.Operation{
		OperationID: "grant-subscription", Method: http.MethodPost, Path: planSubscriptionsPath, Tags: subscriptionTags, Security: needs("subscriptions:write"),
		Summary: "Subscribes a profile to a plan",
		Description: "The subscription lasts for one period of the plan from now on. It counts at once if the plan has `skip_optin_on_grant`; else the subscriber accepts it by `grant_key`, " +
			"which only this response has. A request of the profile for the plan is accepted. A profile with an active subscription keeps that: 200.",
		DefaultStatus: http.StatusCreated,
		Metadata:      a.makesSubscription(subscriberOf),
	}, func(ctx context.Context, c *call, in *struct {
		PlanPath
		Force bool `query:"force" doc:"Creates the profile if it does not exist. That needs an e-mail address." example:"false"`
		Body  subscriptionBody
	},
	) (*madeSubscription, error) {
		grant, err := a.granted(ctx, c, &in.PlanPath, &in.Body, in.Force)
		if err != nil {
			return nil, err
		}
		made, err := c.store.GrantSubscription(ctx, c.Vendor, grant)
		if refused, ok := errors.AsType[*store.FieldError](err); ok && refused.Field == "plan" { // which is not in the body
			err = newProblem(http.StatusConflict, "The plan "+refused.Problem+".")
		}
		return a.answerMade(ctx, c, made, err, subscriberOf)
	})
	register(a, huma.Operation{
		OperationID: "accept-subscription", Method: http.MethodPut, Path: subscriptionsPath + "/accept/{key}", Tags: subscriptionTags, Security: needs("subscriptions:write"),
		Summary:     "Accepts a subscription that a provider granted",
		Description: "The key is `grant_key` of grant-subscription. It works once, and for this profile only.", Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		Key string `path:"key" maxLength:"64" doc:"The key of the subscription." example:"0123456789abcdef0123456789abcdef01234567"`
	},
	) (*record[Subscription], error) {
		accepted, err := c.store.AcceptSubscription(ctx, c.Vendor, in.Profile, in.Key)
		return a.answerSubscription(ctx, c, accepted, err)
	})
}

// granted returns the subscription that a provider grants. With force, the profile need not
// exist.
func (a *api) granted(ctx context.Context, c *call, in *PlanPath, body *subscriptionBody, force bool) (store.SubscriptionGrant, error) {
	grant := store.SubscriptionGrant{
		Profile: body.Profile.Slug, Plan: in.Plan, Description: body.Description, Extra: body.Extra, EndsAt: body.EndsAt,
	}
	if _, err := c.plan(ctx, in); err != nil {
		return grant, err
	}
	if force {
		grant.Profile = cmp.Or(grant.Profile, store.SlugOf(body.Profile.FullName))
	}
	if grant.Profile == "" {
		return grant, invalid("profile.slug", "is required")
	}
	_, err := c.store.ProfileRecord(ctx, c.Vendor, grant.Profile)
	if !force || !errors.Is(err, store.ErrNotFound) {
		return grant, err
	}
	if body.Profile.Email == "" {
		return grant, invalid("profile.email", "is required to create the profile")
	}
	grant.NewProfile = &store.Profile{
		Type: body.Profile.Type, FullName: body.Profile.FullName, Contact: store.Contact{Email: body.Profile.Email},
	}
	return grant, nil
}

func subscriberOf(s *store.Subscription) string { return s.Profile }
func planOf(s *store.Subscription) string       { return s.Plan }

func (a *api) registerRequestedSubscriptions() {
	register(a, huma.Operation{
		OperationID: "request-subscription", Method: http.MethodPost, Path: subscriptionsPath, Tags: subscriptionTags, Security: needs("subscriptions:write"),
		Summary: "Asks for a subscription to a plan",
		Description: "The plan must have `optin_on_request`. The provider accepts the request by `request_key`, which only this response has, or grants the plan. " +
			"A profile with an active subscription keeps that: 200.",
		DefaultStatus: http.StatusCreated,
		Metadata:      a.makesSubscription(planOf),
	}, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		Body requestBody
	},
	) (*madeSubscription, error) {
		if _, err := c.store.ProfileRecord(ctx, c.Vendor, in.Profile); err != nil {
			return nil, err
		}
		made, err := c.store.RequestSubscription(ctx, c.Vendor, store.SubscriptionGrant{Profile: in.Profile, Plan: in.Body.Plan})
		return a.answerMade(ctx, c, made, err, planOf)
	})
	register(a, huma.Operation{
		OperationID: "accept-subscriber", Method: http.MethodPost, Path: subscribersPath + "/accept/{request_key}", Tags: subscriptionTags, Security: needs("subscriptions:write"),
		Summary:     "Accepts a profile's request for a subscription",
		Description: "The key is `request_key` of request-subscription. It works once, and for the plans of this provider only.", Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		ProfilePath
		Key string `path:"request_key" maxLength:"64" doc:"The key of the request." example:"0123456789abcdef0123456789abcdef01234567"`
	},
	) (*record[Subscription], error) {
		accepted, err := c.store.AcceptSubscriptionRequest(ctx, c.Vendor, in.Profile, in.Key)
		return a.answerSubscription(ctx, c, accepted, err)
	})
}

// registerProviderSubscription adds the operations of the provider on one subscription.
func (a *api) registerProviderSubscription() {
	register(a, huma.Operation{
		OperationID: "get-plan-subscription", Method: http.MethodGet, Path: subscriberPath, Tags: subscriptionTags, Security: needs("subscriptions:read"),
		Summary:     "Returns a profile's subscription to a plan, as its provider",
		Description: aboutCurrent, Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *SubscriberPath) (*record[Subscription], error) {
		found, err := a.ofPlan(ctx, c, in)
		return a.answerSubscription(ctx, c, found, err)
	})
	register(a, huma.Operation{
		OperationID: "update-plan-subscription", Method: http.MethodPut, Path: subscriberPath, Tags: subscriptionTags, Security: needs("subscriptions:write"),
		Summary:     "Changes the named fields of a profile's subscription, as its provider",
		Description: aboutCurrent + " The change applies from the next request on.", Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		SubscriberPath
		IfMatch
		Body subscriptionChange
	},
	) (*record[Subscription], error) {
		found, err := a.ofPlan(ctx, c, &in.SubscriberPath)
		if err != nil {
			return nil, err
		}
		return a.changeSubscription(ctx, c, found, in.IfMatch, func(s *store.Subscription) error {
			in.Body.apply(s)
			return nil
		})
	})
	register(a, huma.Operation{
		OperationID: "cancel-plan-subscription", Method: http.MethodDelete, Path: subscriberPath, Tags: subscriptionTags, Security: needs("subscriptions:write"),
		Summary:       "Ends a profile's subscriptions to a plan now, as its provider",
		Description:   aboutEnd,
		DefaultStatus: http.StatusNoContent, Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *SubscriberPath) (*empty, error) {
		if _, err := c.plan(ctx, &in.PlanPath); err != nil {
			return nil, err
		}
		return &empty{}, a.endSubscription(ctx, c, in.Subscriber, in.Plan)
	})
}

const (
	aboutCurrent = "Of several subscriptions, the active one that ends first; without an active one, the next to come, or one that waits to be accepted."
	aboutEnd     = "Active subscriptions end now, and stay in the lists. Without one, the next to come or one that waits to be accepted is removed."
)

// registerSubscriberSubscription adds the operations of the subscriber on one subscription.
func (a *api) registerSubscriberSubscription() {
	register(a, huma.Operation{
		OperationID: "get-subscription", Method: http.MethodGet, Path: subscribedPath, Tags: subscriptionTags, Security: needs("subscriptions:read"),
		Summary: "Returns a profile's subscription to a plan", Description: aboutCurrent, Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *SubscribedPath) (*record[Subscription], error) {
		found, err := a.currentSubscription(ctx, c, in.Profile, in.Plan)
		return a.answerSubscription(ctx, c, found, err)
	})
	register(a, huma.Operation{
		OperationID: "update-subscription", Method: http.MethodPut, Path: subscribedPath, Tags: subscriptionTags, Security: needs("subscriptions:write"),
		Summary:     "Ends a profile's subscription at an earlier time, or changes its other fields",
		Description: aboutCurrent + " `ends_at` can be brought forward, not before now, and never put off: the provider does that by update-plan-subscription.", Metadata: onceFor(readersOfProfile),
	}, func(ctx context.Context, c *call, in *struct {
		SubscribedPath
		IfMatch
		Body SubscriptionFields
	},
	) (*record[Subscription], error) {
		found, err := a.currentSubscription(ctx, c, in.Profile, in.Plan)
		if err != nil {
			return nil, err
		}
		return a.changeSubscription(ctx, c, found, in.IfMatch, func(s *store.Subscription) error {
			if ends := in.Body.EndsAt; ends != nil && ends.After(s.EndsAt) {
				return invalid("ends_at", "must not be later than it is: only the provider can extend a subscription")
			} else if ends != nil && !ends.Equal(s.EndsAt) && ends.Before(a.Now().Truncate(time.Millisecond)) {
				return invalid("ends_at", "must not be in the past: DELETE ends the subscription now")
			}
			in.Body.apply(s)
			return nil
		})
	})
	register(a, huma.Operation{
		OperationID: "unsubscribe", Method: http.MethodDelete, Path: subscribedPath, Tags: subscriptionTags, Security: needs("subscriptions:write"),
		Summary: "Ends a profile's subscriptions to a plan now", Description: aboutEnd,
		DefaultStatus: http.StatusNoContent, Metadata: readers(readersOfProfile),
	}, func(ctx context.Context, c *call, in *SubscribedPath) (*empty, error) {
		return &empty{}, a.endSubscription(ctx, c, in.Profile, in.Plan)
	})
}

// ofPlan returns the current subscription of a provider's path.
func (a *api) ofPlan(ctx context.Context, c *call, in *SubscriberPath) (store.Subscription, error) {
	if _, err := c.plan(ctx, &in.PlanPath); err != nil {
		return store.Subscription{}, err
	}
	return a.currentSubscription(ctx, c, in.Subscriber, in.Plan)
}

// endSubscription ends the active subscriptions of a profile to a plan or, without one, removes
// the current one, which never counted.
func (a *api) endSubscription(ctx context.Context, c *call, profile, plan string) error {
	_, err := c.store.Unsubscribe(ctx, c.Vendor, profile, plan)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	found, err := a.currentSubscription(ctx, c, profile, plan)
	if err != nil {
		return err
	}
	return c.store.DeleteSubscription(ctx, c.Vendor, profile, plan, found.ID, func(s store.Subscription) error {
		if state := s.State(); state.Active(a.Now()) {
			return store.ErrConflict
		}
		return nil
	})
}

// changeSubscription changes a subscription and returns it.
func (a *api) changeSubscription(ctx context.Context, c *call, found store.Subscription, match IfMatch, change func(*store.Subscription) error) (*record[Subscription], error) {
	// The profile and plan are read before the transaction: it must not open another view.
	j := a.joiner(ctx, c)
	if j.wire(found, ""); j.err != nil {
		return nil, j.err
	}
	changed, err := c.store.UpdateSubscription(ctx, c.Vendor, found.Profile, found.Plan, found.ID, func(s *store.Subscription) error {
		if err := match.check(j.wire(*s, "")); err != nil {
			return err
		}
		return change(s)
	})
	return a.answerSubscription(ctx, c, changed, match.changed(err))
}
