package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Subscription is a profile's subscription to a plan. A profile may have several to one
// plan, one after the other.
type Subscription struct {
	// ID is made of the profile, the plan and StartsAt.
	ID      string `json:"id"`
	Profile string `json:"profile"`
	Plan    string `json:"plan"`
	// Provider is the profile that owns the plan.
	Provider string `json:"provider"`
	// StartsAt is the API's created_at, which a billing system may set.
	StartsAt  time.Time `json:"starts_at"`
	EndsAt    time.Time `json:"ends_at"`
	AutoRenew bool      `json:"auto_renew,omitempty"`
	// BalanceDue locks the subscription: the profile owes money for it.
	BalanceDue  bool   `json:"balance_due,omitempty"`
	Description string `json:"description,omitempty"`
	// GrantKey and RequestKey are hashes of the keys that accept it. With either one the
	// subscription gives nothing.
	GrantKey   string          `json:"grant_key,omitempty"`
	RequestKey string          `json:"request_key,omitempty"`
	Extra      json.RawMessage `json:"extra,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

var subscriptionKind = &kind[Subscription]{
	prefix:    prefixSubscription,
	path:      func(s *Subscription) []string { return []string{s.Profile, s.Plan, s.ID} },
	normalize: (*Subscription).normalize,
	keep:      func(next, old *Subscription) { next.Provider = old.Provider },
	stamps:    func(s *Subscription) (created, updated *time.Time) { return &s.CreatedAt, &s.UpdatedAt },
	check:     checkSubscription,
	index: func(s *Subscription, add func(k, value []byte)) {
		add(memberKey(memberPlan, s.Plan, s.Profile, s.ID), s.state())
		if s.RequestKey != "" {
			add(memberKey(memberRequest, s.Provider, s.RequestKey), key(0, s.Profile, s.Plan, s.ID)[1:])
		}
	},
	stale: func(change *policy.Invalidation, vendor string, old, next *Subscription) {
		change.Add(policy.KindProfile, vendor, cmp.Or(next, old).Profile)
	},
}

// normalize checks the subscription and sets its id.
func (s *Subscription) normalize() error {
	if err := cmp.Or(checkSlug("profile", s.Profile), checkSlug("plan", s.Plan)); err != nil {
		return err
	}
	s.StartsAt, s.EndsAt = s.StartsAt.UTC().Truncate(time.Millisecond), s.EndsAt.UTC().Truncate(time.Millisecond)
	switch {
	case s.StartsAt.UnixMilli() <= 0:
		return &FieldError{"created_at", "is required, and is not before 1970"}
	case s.EndsAt.IsZero():
		return &FieldError{"ends_at", "is required"}
	case s.EndsAt.Before(s.StartsAt):
		return &FieldError{"ends_at", "must not be before created_at"}
	case s.EndsAt.Year() > 9999:
		return &FieldError{"ends_at", "is too late"}
	}
	s.ID = subscriptionID(s.Profile, s.Plan, s.StartsAt)
	return cmp.Or(checkLines("description", s.Description, 1024), normalizeExtra(&s.Extra))
}

// subscriptionID returns the id of a subscription, which sorts by its start.
func subscriptionID(profile, plan string, startsAt time.Time) string {
	sum := sha256.Sum256(key(0, profile, plan, strconv.FormatInt(startsAt.UnixMilli(), 10)))
	id := []byte(newID("sub_", startsAt))
	for i, b := range sum[:16] {
		id[len(id)-16+i] = idDigits[b&31]
	}
	return string(id)
}

// checkSubscription checks that the profile and the plan of a new subscription exist, and
// sets its provider.
func checkSubscription(t *transaction, old, next *Subscription) error {
	if old != nil || next == nil {
		return nil
	}
	if ok, err := profileKind.exists(t, next.Profile); err != nil || !ok {
		return errors.Join(err, &FieldError{"profile", "does not exist"})
	}
	plan, err := planKind.get(t, next.Plan)
	if err != nil || plan == nil {
		return errors.Join(err, &FieldError{"plan", "does not exist"})
	}
	next.Provider = plan.Provider
	return nil
}

// SubscriptionState is what the index says of a subscription.
type SubscriptionState struct {
	// StartsAt and EndsAt are in Unix milliseconds.
	StartsAt, EndsAt                             int64
	Invited, RequestWaits, AutoRenew, BalanceDue bool
}

// Valid reports whether the subscription is neither invited nor asked for. It may have
// ended.
func (s *SubscriptionState) Valid() bool { return !s.Invited && !s.RequestWaits }

// Active reports whether the subscription is valid and a time is in its interval.
func (s *SubscriptionState) Active(now time.Time) bool {
	ms := now.UnixMilli()
	return s.Valid() && s.StartsAt <= ms && ms < s.EndsAt
}

// State returns the state of the subscription.
func (s *Subscription) State() SubscriptionState {
	return SubscriptionState{
		StartsAt: s.StartsAt.UnixMilli(), EndsAt: s.EndsAt.UnixMilli(),
		Invited: s.GrantKey != "", RequestWaits: s.RequestKey != "", AutoRenew: s.AutoRenew, BalanceDue: s.BalanceDue,
	}
}

// state encodes the state for the index: a byte, and both times in 8 bytes each.
func (s *Subscription) state() []byte {
	state := s.State()
	value := []byte{flag(stateGrantKey, state.Invited) | flag(stateRequestKey, state.RequestWaits) |
		flag(stateAutoRenew, state.AutoRenew) | flag(stateBalanceDue, state.BalanceDue)}
	value = binary.BigEndian.AppendUint64(value, uint64(state.StartsAt))
	return binary.BigEndian.AppendUint64(value, uint64(state.EndsAt))
}

func subscriptionState(value []byte) (SubscriptionState, error) {
	if len(value) != 17 {
		return SubscriptionState{}, errIndexValue
	}
	return SubscriptionState{
		StartsAt: int64(binary.BigEndian.Uint64(value[1:])), EndsAt: int64(binary.BigEndian.Uint64(value[9:])),
		Invited: value[0]&stateGrantKey != 0, RequestWaits: value[0]&stateRequestKey != 0,
		AutoRenew: value[0]&stateAutoRenew != 0, BalanceDue: value[0]&stateBalanceDue != 0,
	}, nil
}

// CreateSubscription stores a new subscription as it is. It returns ErrExists when the
// profile has one to the plan that starts at the same time.
func (w Writer) CreateSubscription(ctx context.Context, vendor string, subscription Subscription) (Subscription, error) {
	return create(ctx, w, vendor, subscriptionKind, subscription)
}

// SubscriptionRecord returns the active subscription of a profile to a plan that ends first,
// or ErrNotFound.
func (s *Store) SubscriptionRecord(ctx context.Context, vendor, profile, plan string) (found Subscription, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		active, err := activeIn(snapshot, profile, plan, s.now())
		if err != nil || len(active) == 0 {
			return cmp.Or(err, ErrNotFound)
		}
		found = active[0]
		return nil
	})
	return found, err
}

// activeIn returns the active subscriptions of a profile to a plan, those that end first at
// the beginning.
func activeIn(snapshot engine.Snapshot, profile, plan string, now time.Time) ([]Subscription, error) {
	all, err := all[Subscription](snapshot, keyPrefix(prefixSubscription, profile, plan))
	all = slices.DeleteFunc(all, func(s Subscription) bool {
		state := s.State()
		return !state.Active(now)
	})
	slices.SortStableFunc(all, func(a, b Subscription) int { return a.EndsAt.Compare(b.EndsAt) })
	return all, err
}

// UpdateSubscription changes a subscription: change gets the current one. Its profile, plan
// and time of creation cannot be changed. One with another start has another id.
func (w Writer) UpdateSubscription(ctx context.Context, vendor, profile, plan, id string, change func(*Subscription) error) (Subscription, error) {
	var made Subscription
	err := w.transact(ctx, vendor, func(t *transaction) error {
		old, err := subscriptionKind.need(t, profile, plan, id)
		if err != nil {
			return err
		}
		made = *old
		if err := change(&made); err != nil {
			return err
		}
		return t.replaceSubscription(old, &made)
	})
	return made, err
}

// replaceSubscription replaces a subscription by one that may start at another time.
func (t *transaction) replaceSubscription(old, next *Subscription) error {
	next.Profile, next.Plan, next.Provider = old.Profile, old.Plan, old.Provider
	if err := next.normalize(); err != nil {
		return err
	}
	if next.ID == old.ID {
		return subscriptionKind.put(t, next)
	}
	if taken, err := subscriptionKind.exists(t, next.Profile, next.Plan, next.ID); err != nil || taken {
		return errors.Join(err, &FieldError{"created_at", "is that of another subscription to the plan"})
	}
	if err := subscriptionKind.remove(t, old.Profile, old.Plan, old.ID); err != nil {
		return err
	}
	next.CreatedAt, next.UpdatedAt = old.CreatedAt, t.now
	return subscriptionKind.rewrite(t, nil, next)
}

// DeleteSubscription erases a subscription, unless allowed returns an error; it may be nil.
// Unsubscribe ends one, and keeps it.
func (w Writer) DeleteSubscription(ctx context.Context, vendor, profile, plan, id string, allowed func(Subscription) error) error {
	return removeRecord(ctx, w, vendor, subscriptionKind, allowed, profile, plan, id)
}
