package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// SubscriptionGrant is a subscription to give or to ask for.
type SubscriptionGrant struct {
	Profile, Plan string
	Description   string
	Extra         json.RawMessage
	// EndsAt is when it ends; nil means after one period of the plan.
	EndsAt *time.Time
	// NewProfile, unless nil, is stored if there is no such profile.
	NewProfile *Profile
}

// GrantedSubscription is the result of a grant or a request.
type GrantedSubscription struct {
	Subscription Subscription
	// Key accepts the subscription. It is empty if none has to, and cannot be read again.
	Key string
	// Created reports that the profile had no subscription to the plan that is active or
	// waits.
	Created bool
}

// GrantSubscription subscribes a profile to a plan from now on, for one period. The profile
// has to accept it, unless the plan needs no acceptance. It returns an active subscription
// as it is. A waiting request is granted, and starts now. A waiting invitation gets another
// key.
//
// It returns a *FieldError for a plan that is not active.
func (w Writer) GrantSubscription(ctx context.Context, vendor string, grant SubscriptionGrant) (GrantedSubscription, error) {
	return w.subscribe(ctx, vendor, &grant, func(t *transaction, plan *Plan, waits, next *Subscription) (string, error) {
		switch {
		case waits != nil && waits.RequestKey != "":
			*next = *waits
			next.RequestKey, next.StartsAt, next.EndsAt = "", t.now, plan.after(t.now, 1)
		case plan.SkipOptInOnGrant:
		default:
			key, hash := newMemberKey()
			next.GrantKey = hash
			return key, nil
		}
		return "", nil
	})
}

// RequestSubscription asks a provider for a subscription to a plan. It returns an active one
// as it is. An invitation that waits is accepted instead. A waiting request gets another key.
//
// It returns a *FieldError for a plan that is not active, or that takes no requests.
func (w Writer) RequestSubscription(ctx context.Context, vendor string, request SubscriptionGrant) (GrantedSubscription, error) {
	request.EndsAt = nil
	return w.subscribe(ctx, vendor, &request, func(t *transaction, plan *Plan, waits, next *Subscription) (string, error) {
		if waits != nil && waits.GrantKey != "" && t.now.Before(waits.EndsAt) {
			*next = *waits
			next.GrantKey = ""
			return "", nil
		}
		if !plan.OptInOnRequest {
			return "", &FieldError{"plan", "takes no requests: its provider grants subscriptions, or they are bought"}
		}
		key, hash := newMemberKey()
		next.RequestKey = hash
		return key, nil
	})
}

// subscribe stores what decide makes of a subscription; waits is one that waits for an
// acceptance, nil for none, and next a new one.
func (w Writer) subscribe(ctx context.Context, vendor string, grant *SubscriptionGrant,
	decide func(t *transaction, plan *Plan, waits, next *Subscription) (key string, err error),
) (granted GrantedSubscription, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		granted = GrantedSubscription{}
		plan, err := planKind.get(t, grant.Plan)
		switch {
		case err != nil || plan == nil:
			return errors.Join(err, &FieldError{"plan", "does not exist"})
		case plan.Inactive:
			return &FieldError{"plan", "is not active: it takes no new subscriptions"}
		}
		if err := t.ensureProfile(grant); err != nil {
			return err
		}
		active, err := activeIn(t.snapshot, grant.Profile, grant.Plan, t.now)
		if err != nil {
			return err
		}
		if len(active) > 0 {
			granted.Subscription = active[0]
			return nil
		}
		waits, err := t.waiting(grant.Profile, grant.Plan)
		if err != nil {
			return err
		}
		next := Subscription{
			Profile: grant.Profile, Plan: grant.Plan, StartsAt: t.now, EndsAt: plan.after(t.now, 1),
			AutoRenew: plan.RenewalType == RenewalAuto, Description: grant.Description, Extra: grant.Extra,
		}
		if grant.EndsAt != nil {
			next.EndsAt = *grant.EndsAt
		}
		granted.Key, err = decide(t, plan, waits, &next)
		if err != nil {
			return err
		}
		granted.Created = waits == nil
		if waits == nil {
			err = subscriptionKind.put(t, &next)
		} else {
			err = t.replaceSubscription(waits, &next)
		}
		granted.Subscription = next
		return err
	})
	return granted, err
}

// ensureProfile stores the profile of a grant if there is none.
func (t *transaction) ensureProfile(grant *SubscriptionGrant) error {
	if grant.NewProfile == nil {
		return nil // without a profile, subscriptionKind refuses
	}
	if ok, err := profileKind.exists(t, grant.Profile); ok || err != nil {
		return err
	}
	made := *grant.NewProfile
	made.Slug = grant.Profile
	return profileKind.put(t, &made)
}

// turnTime is how long the record is kept that a new subscription writes.
const turnTime = time.Hour

// waiting returns the subscription of a profile to a plan that waits for an acceptance, the
// newest if there are several, nil for none. Of transactions that ask for the same one, only
// one is committed at a time.
func (t *transaction) waiting(profile, plan string) (found *Subscription, err error) {
	turn := memberKey(memberTurn, profile, plan)
	if _, err := t.load(turn); err != nil {
		return nil, err
	}
	t.set(turn, []byte(newID("", t.now)), t.now.Add(turnTime))
	for entry, err := range t.snapshot.Scan(keyPrefix(prefixSubscription, profile, plan), nil) {
		var subscription Subscription
		if err == nil {
			err = decode(entry.Key, entry.Value, &subscription)
		}
		if err != nil {
			return nil, err
		}
		if state := subscription.State(); !state.Valid() {
			t.scanned(engine.Entry{Key: bytes.Clone(entry.Key), Value: entry.Value})
			found = &subscription
		}
	}
	return found, nil
}

// AcceptSubscription accepts the invitation of a profile that a key is for. It returns
// ErrNotFound when the profile has none with this key, or it ended.
func (w Writer) AcceptSubscription(ctx context.Context, vendor, profile, key string) (accepted Subscription, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		accepted = Subscription{}
		for entry, err := range t.snapshot.Scan(keyPrefix(prefixSubscription, profile), nil) {
			var subscription Subscription
			if err == nil {
				err = decode(entry.Key, entry.Value, &subscription)
			}
			if err != nil {
				return err
			}
			if isMemberKey(subscription.GrantKey, key) && t.now.Before(subscription.EndsAt) {
				t.scanned(engine.Entry{Key: bytes.Clone(entry.Key), Value: entry.Value})
				accepted = subscription
			}
		}
		if accepted.GrantKey == "" {
			return ErrNotFound
		}
		accepted.GrantKey = ""
		return subscriptionKind.put(t, &accepted)
	})
	return accepted, err
}

// AcceptSubscriptionRequest grants the request for a plan of a provider that a key is for:
// the subscription starts now. It returns ErrNotFound when the provider has none with this
// key.
func (w Writer) AcceptSubscriptionRequest(ctx context.Context, vendor, provider, key string) (accepted Subscription, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		place, err := t.snapshot.Get(memberKey(memberRequest, provider, hashMemberKey(key)))
		if err != nil || place == nil {
			return errors.Join(err, errNothing(place == nil))
		}
		old, err := subscriptionKind.need(t, strings.Split(string(place), "\x00")...)
		if err != nil {
			return err
		}
		plan, err := planKind.need(t, old.Plan)
		if err != nil {
			return err
		}
		if plan.Provider != provider || !isMemberKey(old.RequestKey, key) {
			return ErrNotFound
		}
		accepted = *old
		accepted.RequestKey, accepted.StartsAt, accepted.EndsAt = "", t.now, plan.after(t.now, 1)
		return t.replaceSubscription(old, &accepted)
	})
	return accepted, err
}

func errNothing(nothing bool) error {
	if nothing {
		return ErrNotFound
	}
	return nil
}

// ChangeSubscription changes the active subscription of a profile to a plan that ends first:
// change gets the current one. The subscriber cannot set an end that is later, another start,
// the balance, or a description. It returns ErrNotFound when none is active.
func (w Writer) ChangeSubscription(
	ctx context.Context, vendor, profile, plan string, subscriber bool, change func(*Subscription) error,
) (made Subscription, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		active, err := activeIn(t.snapshot, profile, plan, t.now)
		if err != nil || len(active) == 0 {
			return errors.Join(err, errNothing(len(active) == 0))
		}
		old, err := subscriptionKind.need(t, profile, plan, active[0].ID)
		if err != nil {
			return err
		}
		made = *old
		if err := change(&made); err != nil {
			return err
		}
		made.GrantKey, made.RequestKey = old.GrantKey, old.RequestKey
		if subscriber {
			if made.EndsAt.After(old.EndsAt) {
				return &FieldError{"ends_at", "is later than now: only the provider of the plan may extend a subscription"}
			}
			made.StartsAt, made.BalanceDue, made.Description = old.StartsAt, old.BalanceDue, old.Description
			if made.EndsAt.Before(t.now) {
				made.EndsAt = t.now
			}
		}
		return t.replaceSubscription(old, &made)
	})
	return made, err
}

// RenewSubscription extends the valid subscription of a profile to a plan that ends last by
// periods of the plan, from its end or, if that is over, from now. It returns ErrNotFound
// when there is none.
func (w Writer) RenewSubscription(ctx context.Context, vendor, profile, plan string, periods int) (renewed Subscription, err error) {
	if periods < 1 || periods > maxPeriods {
		return Subscription{}, &FieldError{"period_length", "must be from 1 to 1000"}
	}
	err = w.transact(ctx, vendor, func(t *transaction) error {
		all, err := all[Subscription](t.snapshot, keyPrefix(prefixSubscription, profile, plan))
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(s Subscription) bool { return s.GrantKey != "" || s.RequestKey != "" })
		if len(all) == 0 {
			return ErrNotFound
		}
		last := slices.MaxFunc(all, func(a, b Subscription) int { return a.EndsAt.Compare(b.EndsAt) })
		old, err := subscriptionKind.need(t, profile, plan, last.ID)
		if err != nil {
			return err
		}
		sold, err := planKind.need(t, plan)
		if err != nil {
			return err
		}
		renewed = *old
		renewed.EndsAt = sold.renewed(old, t.now, periods)
		return subscriptionKind.put(t, &renewed)
	})
	return renewed, err
}

// renewed returns the end of a subscription after more periods. One that began on the 31st
// ends on the 31st again, where there is one.
func (p *Plan) renewed(s *Subscription, now time.Time, periods int) time.Time {
	if s.EndsAt.Before(now) {
		return p.after(now, periods)
	}
	if p.PeriodType == PeriodMonthly || p.PeriodType == PeriodYearly {
		for n := 1; n <= maxPeriods; n++ {
			end := p.after(s.StartsAt, n)
			if end.Equal(s.EndsAt) {
				return p.after(s.StartsAt, n+periods)
			}
			if end.After(s.EndsAt) {
				break
			}
		}
	}
	return p.after(s.EndsAt, periods)
}

// Unsubscribe ends all active subscriptions of a profile to a plan now, and returns them. It
// erases nothing. It returns ErrNotFound when none is active.
func (w Writer) Unsubscribe(ctx context.Context, vendor, profile, plan string) (ended []Subscription, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		ended, err = activeIn(t.snapshot, profile, plan, t.now)
		if err != nil || len(ended) == 0 {
			return errors.Join(err, errNothing(len(ended) == 0))
		}
		for i := range ended {
			if _, err := subscriptionKind.need(t, profile, plan, ended[i].ID); err != nil {
				return err
			}
			ended[i].EndsAt, ended[i].AutoRenew = t.now, false
			if err := subscriptionKind.put(t, &ended[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return ended, err
}
