package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// Plan is what a provider sells to profiles.
type Plan struct {
	Slug        string `json:"slug"`
	Provider    string `json:"provider"` // slug of the profile that owns it
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	// Inactive plans take no new subscriptions.
	Inactive    bool `json:"inactive,omitempty"`
	IsNotPriced bool `json:"is_not_priced,omitempty"`
	// Amounts are in the smallest unit of the currency Unit. They are data: the gate moves
	// no money.
	SetupAmount  int64  `json:"setup_amount,omitempty"`
	PeriodAmount int64  `json:"period_amount,omitempty"`
	Unit         string `json:"unit,omitempty"`
	// PeriodType is hourly, daily, weekly, monthly or yearly, and PeriodLength the number
	// of them.
	PeriodType   string `json:"period_type"`
	PeriodLength int    `json:"period_length"`
	// RenewalType is one-time, auto-renew or repeat.
	RenewalType      string `json:"renewal_type"`
	SkipOptInOnGrant bool   `json:"skip_optin_on_grant,omitempty"`
	OptInOnRequest   bool   `json:"optin_on_request,omitempty"`
	// SKUs are what a subscription gives to readers with a role on the subscribed profile;
	// none means the plan's slug. RoleTypes are the roles that give it; none means any.
	SKUs      []string        `json:"skus,omitempty"`
	RoleTypes []string        `json:"role_types,omitempty"`
	Extra     json.RawMessage `json:"extra,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
}

// Types of periods and of renewals.
const (
	PeriodHourly  = "hourly"
	PeriodDaily   = "daily"
	PeriodWeekly  = "weekly"
	PeriodMonthly = "monthly"
	PeriodYearly  = "yearly"

	RenewalOneTime = "one-time"
	RenewalAuto    = "auto-renew"
	RenewalRepeat  = "repeat"
)

const (
	// maxPlanSKUs bounds the skus and the role types of a plan, and maxPeriods the periods
	// of a subscription.
	maxPlanSKUs = 64
	maxPeriods  = 1000
	// maxAmount keeps amounts exact in floating point, as in JavaScript.
	maxAmount = 1 << 53
)

var planKind = &kind[Plan]{
	prefix:    prefixPlan,
	path:      func(p *Plan) []string { return []string{p.Slug} },
	normalize: (*Plan).normalize,
	keep:      func(next, old *Plan) { next.Slug, next.Provider = old.Slug, old.Provider },
	stamps:    func(p *Plan) (created, updated *time.Time) { return &p.CreatedAt, &p.UpdatedAt },
	check:     checkPlan,
	index: func(p *Plan, add func(k, value []byte)) {
		add(memberKey(memberProvider, p.Provider, p.Slug), nil)
	},
	stale: func(change *policy.Invalidation, _ string, old, next *Plan) {
		if old == nil || next == nil || old.IsNotPriced != next.IsNotPriced ||
			!slices.Equal(old.SKUs, next.SKUs) || !slices.Equal(old.RoleTypes, next.RoleTypes) {
			change.Join(policy.Invalidation{Shared: true, SameDomains: true})
		}
	},
}

// normalize fills in defaults and checks the plan.
func (p *Plan) normalize() error {
	p.PeriodType, p.PeriodLength = cmp.Or(p.PeriodType, PeriodMonthly), cmp.Or(p.PeriodLength, 1)
	p.RenewalType = cmp.Or(p.RenewalType, RenewalAuto)
	switch {
	case !slices.Contains([]string{PeriodHourly, PeriodDaily, PeriodWeekly, PeriodMonthly, PeriodYearly}, p.PeriodType):
		return &FieldError{"period_type", "must be hourly, daily, weekly, monthly or yearly"}
	case p.PeriodLength < 1 || p.PeriodLength > maxPeriods:
		return &FieldError{"period_length", fmt.Sprintf("must be from 1 to %d", maxPeriods)}
	case !slices.Contains([]string{RenewalOneTime, RenewalAuto, RenewalRepeat}, p.RenewalType):
		return &FieldError{"renewal_type", "must be one-time, auto-renew or repeat"}
	case p.Title == "":
		return &FieldError{"title", "is required"}
	}
	for name, amount := range map[string]int64{"setup_amount": p.SetupAmount, "period_amount": p.PeriodAmount} {
		if amount < 0 || amount > maxAmount {
			return &FieldError{name, "must not be negative, nor more than 2^53"}
		}
	}
	for name, list := range map[string]*[]string{"skus": &p.SKUs, "role_types": &p.RoleTypes} {
		if len(*list) > maxPlanSKUs {
			return &FieldError{name, fmt.Sprintf("are more than %d", maxPlanSKUs)}
		}
		for _, text := range *list {
			if err := checkUser(name, text); err != nil {
				return err
			}
		}
		*list = slices.Compact(slices.Sorted(slices.Values(*list)))
	}
	return cmp.Or(
		checkSlug("slug", p.Slug), checkSlug("profile", p.Provider), checkText("title", p.Title, 255),
		checkLines("description", p.Description, 4096), checkText("unit", p.Unit, 16), normalizeExtra(&p.Extra),
	)
}

// checkPlan checks that the provider of a new plan exists, and that nothing is subscribed to
// a removed one.
func checkPlan(t *transaction, old, next *Plan) error {
	switch {
	case next == nil:
		used, err := t.scan(memberPrefix(memberPlan, old.Slug), 1)
		if err == nil && len(used) > 0 {
			err = ErrInUse
		}
		return err
	case old == nil:
		if ok, err := profileKind.exists(t, next.Provider); err != nil || !ok {
			return errors.Join(err, &FieldError{"profile", "does not exist"})
		}
	}
	return nil
}

// after returns the time n periods of the plan after a time. Of months and years the day is
// kept, or is the last of its month.
func (p *Plan) after(from time.Time, periods int) time.Time {
	n := periods * p.PeriodLength
	switch p.PeriodType {
	case PeriodHourly:
		return from.Add(time.Duration(n) * time.Hour)
	case PeriodDaily:
		return from.AddDate(0, 0, n)
	case PeriodWeekly:
		return from.AddDate(0, 0, 7*n)
	case PeriodYearly:
		n *= 12
	}
	month := time.Date(from.Year(), from.Month()+time.Month(n), 1, 0, 0, 0, 0, from.Location())
	last := month.AddDate(0, 1, -1).Day()
	return from.AddDate(0, 0, 1-from.Day()).AddDate(0, n, min(from.Day(), last)-1)
}

// CreatePlan stores a new plan; without a slug it has that of its title. It returns
// ErrExists when there is one.
func (w Writer) CreatePlan(ctx context.Context, vendor string, plan Plan) (Plan, error) {
	plan.Slug = cmp.Or(plan.Slug, SlugOf(plan.Title))
	return create(ctx, w, vendor, planKind, plan)
}

// PlanRecord returns a plan, or ErrNotFound.
func (s *Store) PlanRecord(ctx context.Context, vendor, slug string) (Plan, error) {
	return read(ctx, s, vendor, planKind, slug)
}

// UpdatePlan changes a plan: change gets the current one. Its slug, provider and time of
// creation cannot be changed.
func (w Writer) UpdatePlan(ctx context.Context, vendor, slug string, change func(*Plan) error) (Plan, error) {
	return update(ctx, w, vendor, planKind, change, slug)
}

// DeletePlan removes a plan, unless allowed returns an error; it may be nil. It returns
// ErrInUse for one that was ever subscribed to.
func (w Writer) DeletePlan(ctx context.Context, vendor, slug string, allowed func(Plan) error) error {
	return removeRecord(ctx, w, vendor, planKind, allowed, slug)
}
