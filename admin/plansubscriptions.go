package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// SubscriberPath identifies a profile's subscription to a plan in a path of the provider.
type SubscriberPath struct {
	PlanPath
	Subscriber string `path:"subscriber" maxLength:"128" doc:"The slug of the subscribed profile." example:"xia"`
}

// SubscribedPath identifies a profile's subscription to a plan in a path of the subscriber.
type SubscribedPath struct {
	ProfilePath
	Plan string `path:"subscribed_plan" maxLength:"128" doc:"The plan's slug." example:"open-space"`
}

// SubscriptionFields are the fields of a subscription that both sides may change.
type SubscriptionFields struct {
	EndsAt      *time.Time      `json:"ends_at,omitempty" doc:"The end of the subscription (exclusive)." example:"2028-01-01T00:00:00Z"`
	AutoRenew   *bool           `json:"auto_renew,omitempty" doc:"Whether the billing system renews the subscription at its end. The gate does not." example:"true"`
	Description *string         `json:"description,omitempty" maxLength:"1024" doc:"A text about the subscription." example:"extended after call with customer"`
	Extra       json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB. Null removes it."`
}

// subscriptionChange changes the named fields of a subscription as its provider.
type subscriptionChange struct {
	StartsAt *time.Time `json:"created_at,omitempty" doc:"The start of the subscription (inclusive)." example:"2027-01-01T00:00:00Z"`
	SubscriptionFields
	BalanceDue *bool `json:"balance_due,omitempty" doc:"Whether the profile owes money for the subscription, which then gives nothing." example:"false"`
}

func (f *SubscriptionFields) apply(s *store.Subscription) {
	set(&s.EndsAt, f.EndsAt)
	set(&s.AutoRenew, f.AutoRenew)
	set(&s.Description, f.Description)
	setExtra(&s.Extra, f.Extra)
}

func (b *subscriptionChange) apply(s *store.Subscription) {
	b.SubscriptionFields.apply(s)
	set(&s.StartsAt, b.StartsAt)
	set(&s.BalanceDue, b.BalanceDue)
}

// subscriptionBody grants a subscription.
type subscriptionBody struct {
	Profile grantedProfile `json:"profile" doc:"The profile that is to be subscribed."`
	Message string         `json:"message,omitempty" maxLength:"1024" doc:"A text for the subscriber. It is not stored: the caller sends it with the key." example:"Welcome"`
	EndsAt  *time.Time     `json:"ends_at,omitempty" doc:"The end of the subscription (exclusive). Default: after one period of the plan." example:"2037-01-01T00:00:00Z"`

	Description string          `json:"description,omitempty" maxLength:"1024" doc:"A text about the subscription." example:"signed at the fair"`
	Extra       json.RawMessage `json:"extra,omitempty" doc:"Own data: any JSON value of at most 4 KiB."`
}

// grantedProfile names the profile of a subscription. The fields beside the slug describe a
// new profile, see force.
type grantedProfile struct {
	Slug     string `json:"slug,omitempty" maxLength:"128" doc:"The profile's slug. Default, with force: the full name in lower case with hyphens." example:"xia"`
	FullName string `json:"full_name,omitempty" maxLength:"255" doc:"The name of a new profile." example:"Xia Lee"`
	Email    string `json:"email,omitempty" maxLength:"254" doc:"The e-mail address of a new profile, which force requires." example:"xia@example.com"`
	Type     string `json:"type,omitempty" enum:"organization,personal" doc:"The kind of a new profile." example:"organization"`
}

// requestBody asks for a subscription.
type requestBody struct {
	Plan    string `json:"plan" minLength:"1" maxLength:"128" doc:"The plan's slug." example:"open-space"`
	Message string `json:"message,omitempty" maxLength:"1024" doc:"A text for the provider. It is not stored: the caller sends it with the key." example:"For our new office"`
}

// madeSubscription is the response with a subscription that may be new.
type madeSubscription struct {
	Status   int    `doc:"201 for a new subscription, 200 for the one that there is."`
	Location string `header:"Location" doc:"The URL of the subscription, relative to the request URL."`
	ETag     string `header:"ETag" doc:"A validator of the record's state, for If-Match."`
	Body     Subscription
}

// answerMade returns the response with a subscription and the key that the call made, or err.
// Slug returns the last segment of its path.
func (a *api) answerMade(ctx context.Context, c *call, made store.GrantedSubscription, err error, slug func(*store.Subscription) string) (*madeSubscription, error) {
	if err != nil {
		return nil, err
	}
	c.secret = made.Key != ""
	j, s := a.joiner(ctx, c), made.Subscription
	answer := &madeSubscription{Status: http.StatusOK, Location: below("subscriptions", slug(&s)), ETag: etagOf(j.wire(s, "")), Body: j.wire(s, made.Key)}
	if made.Created {
		answer.Status = http.StatusCreated
	}
	return answer, j.err
}

// answerSubscription returns the response with a subscription, or err.
func (a *api) answerSubscription(ctx context.Context, c *call, s store.Subscription, err error) (*record[Subscription], error) {
	if err != nil {
		return nil, err
	}
	j := a.joiner(ctx, c)
	wire := j.wire(s, "")
	return newRecord(wire, j.err)
}

// currentSubscription returns the subscription of a profile to a plan that is meant without a
// time: the active one that ends first or, without one, the next to come, or one that waits.
func (a *api) currentSubscription(ctx context.Context, c *call, profile, plan string) (store.Subscription, error) {
	now := a.Now().UnixMilli()
	held, _, err := c.store.ListSubscriptions(c.Vendor, store.SubscriptionQuery{
		Profile: profile, Plan: plan, Keep: func(s store.SubscriptionState) bool { return now < s.EndsAt },
	}).Page(ctx, 0, store.MaxLimit)
	if err != nil || len(held) == 0 {
		return store.Subscription{}, cmp.Or(err, store.ErrNotFound)
	}
	rank := func(s *store.Subscription) int {
		state := s.State()
		switch {
		case !state.Valid():
			return 2
		case state.StartsAt > now:
			return 1
		}
		return 0
	}
	return slices.MinFunc(held, func(a, b store.Subscription) int {
		return cmp.Or(rank(&a)-rank(&b), a.EndsAt.Compare(b.EndsAt))
	}), nil
}
