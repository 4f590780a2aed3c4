package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func (b *fixture) subscribe(profile, plan string) store.GrantedSubscription {
	b.Helper()
	granted, err := b.GrantSubscription(b.Context(), vendor, store.SubscriptionGrant{Profile: profile, Plan: plan})
	b.ok(err)
	return granted
}

func (b *fixture) changePlan(slug string, change func(*store.Plan)) {
	b.Helper()
	_, err := b.UpdatePlan(b.Context(), vendor, slug, func(p *store.Plan) error { change(p); return nil })
	b.ok(err)
}

// has shows the subscriptions of a profile as decisions see them, sorted: plan, provider and
// whether each is active now.
func (b *fixture) has(profile string) string {
	b.Helper()
	found, err := b.Profile(b.Context(), vendor, profile)
	b.ok(err)
	if !found.Exists {
		return "-"
	}
	var names []string
	now := b.timeNow().UnixMilli()
	for _, s := range found.Subscriptions {
		name := s.Provider + "/" + s.Plan
		if s.StartsAt <= now && now < s.EndsAt {
			name += "+"
		}
		if s.Locked {
			name += "!"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// A subscription is granted, accepted, renewed, shortened and ended, and stays known.
func TestSubscriptions(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc zoo eve", "", "abc/gold abc/desk")
		granted := b.subscribe("zoo", "gold")
		s := granted.Subscription
		if len(granted.Key) != 40 || !granted.Created || s.GrantKey == granted.Key || !s.AutoRenew ||
			!s.StartsAt.Equal(b.timeNow()) || !s.EndsAt.Equal(b.timeNow().AddDate(0, 1, 0)) {
			b.Fatalf("%+v", granted)
		}
		b.equal(b.has("zoo"), "")
		other := b.subscribe("eve", "gold")
		for profile, key := range map[string]string{"eve": granted.Key, "zoo": other.Key, "abc": granted.Key} {
			_, err := b.AcceptSubscription(b.Context(), vendor, profile, key)
			b.is(err, store.ErrNotFound)
		}
		// The subscriber's key is not one with which a provider accepts.
		_, err := b.AcceptSubscriptionRequest(b.Context(), vendor, "abc", granted.Key)
		b.is(err, store.ErrNotFound)
		stamp := b.versions.Shared()
		_, err = b.AcceptSubscription(b.Context(), vendor, "zoo", granted.Key)
		b.ok(err)
		b.equal(b.has("zoo"), "abc/gold+")
		_, err = b.AcceptSubscription(b.Context(), vendor, "zoo", granted.Key)
		b.is(err, store.ErrNotFound)
		if again := b.subscribe("zoo", "gold"); again.Created || again.Key != "" || again.Subscription.ID != s.ID {
			b.Errorf("granted again: %+v", again)
		}
		if b.versions.Shared() != stamp {
			b.Error("a subscription makes stale what is cached of all readers")
		}

		change := func(subscriber bool, change func(*store.Subscription)) error {
			_, err := b.ChangeSubscription(b.Context(), vendor, "zoo", "gold", subscriber, func(s *store.Subscription) error {
				change(s)
				return nil
			})
			return err
		}
		b.names(change(true, func(s *store.Subscription) { s.EndsAt = s.EndsAt.Add(time.Second) }), "ends_at")
		b.ok(change(true, func(s *store.Subscription) {
			s.EndsAt, s.StartsAt, s.GrantKey = s.EndsAt.Add(-time.Hour), s.StartsAt.Add(-time.Hour), "x"
		}))
		b.equal(b.has("zoo"), "abc/gold+")
		b.ok(change(false, func(s *store.Subscription) { s.BalanceDue, s.StartsAt = true, s.StartsAt.Add(-24*time.Hour) }))
		b.equal(b.has("zoo"), "abc/gold+!")
		b.ok(change(true, func(s *store.Subscription) { s.BalanceDue = false }))
		b.equal(b.has("zoo"), "abc/gold+!")
		record, err := b.SubscriptionRecord(b.Context(), vendor, "zoo", "gold")
		b.ok(err)
		if !record.StartsAt.Equal(s.StartsAt.Add(-24*time.Hour)) || !record.EndsAt.Equal(s.EndsAt.Add(-time.Hour)) || record.ID == s.ID {
			b.Errorf("changed: %+v", record)
		}
		ended, err := b.Unsubscribe(b.Context(), vendor, "zoo", "gold")
		if err != nil || len(ended) != 1 || ended[0].AutoRenew || b.has("zoo") != "abc/gold!" {
			b.Errorf("ended %+v, %v: %s", ended, err, b.has("zoo"))
		}
		_, err = b.Unsubscribe(b.Context(), vendor, "zoo", "gold")
		b.is(err, store.ErrNotFound)
		_, err = b.SubscriptionRecord(b.Context(), vendor, "zoo", "gold")
		b.is(err, store.ErrNotFound)
		b.moveClock(time.Hour)
		renewed, err := b.RenewSubscription(b.Context(), vendor, "zoo", "gold", 2)
		if err != nil || !renewed.EndsAt.Equal(b.timeNow().AddDate(0, 2, 0)) || b.has("zoo") != "abc/gold+!" {
			b.Errorf("renewed %+v, %v: %s", renewed, err, b.has("zoo"))
		}
		_, err = b.RenewSubscription(b.Context(), vendor, "abc", "gold", 1)
		b.is(err, store.ErrNotFound)

		b.changePlan("desk", func(p *store.Plan) { p.SkipOptInOnGrant = true })
		if granted := b.subscribe("zoo", "desk"); granted.Key != "" || b.has("zoo") != "abc/desk+ abc/gold+!" {
			b.Errorf("%+v: %s", granted, b.has("zoo"))
		}
		b.changePlan("desk", func(p *store.Plan) { p.Inactive = true })
		_, err = b.GrantSubscription(b.Context(), vendor, store.SubscriptionGrant{Profile: "eve", Plan: "desk"})
		b.names(err, "plan")
		_, err = b.GrantSubscription(b.Context(), vendor, store.SubscriptionGrant{Profile: "none", Plan: "gold"})
		b.names(err, "profile")
		_, err = b.GrantSubscription(b.Context(), vendor, store.SubscriptionGrant{Profile: "none", Plan: "gold", NewProfile: &store.Profile{FullName: "None"}})
		b.ok(err)
	})
}

// A subscriber asks; the provider of the plan accepts with the key, or grants.
func TestSubscriptionRequests(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc zoo eve", "", "abc/gold eve/other")
		request := store.SubscriptionGrant{Profile: "zoo", Plan: "gold"}
		_, err := b.RequestSubscription(b.Context(), vendor, request)
		b.names(err, "plan")
		b.changePlan("gold", func(p *store.Plan) { p.OptInOnRequest = true })
		asked, err := b.RequestSubscription(b.Context(), vendor, request)
		b.ok(err)
		b.equal(b.has("zoo"), "")
		b.moveClock(48 * time.Hour)
		for provider, key := range map[string]string{"eve": asked.Key, "zoo": asked.Key, "abc": asked.Key[1:] + "0", "": asked.Key} {
			_, err := b.AcceptSubscriptionRequest(b.Context(), vendor, provider, key)
			b.is(err, store.ErrNotFound)
		}
		_, err = b.AcceptSubscription(b.Context(), vendor, "zoo", asked.Key) // by the subscriber
		b.is(err, store.ErrNotFound)
		accepted, err := b.AcceptSubscriptionRequest(b.Context(), vendor, "abc", asked.Key)
		b.ok(err)
		if !accepted.StartsAt.Equal(b.timeNow()) || !accepted.EndsAt.Equal(b.timeNow().AddDate(0, 1, 0)) || b.has("zoo") != "abc/gold+" {
			b.Errorf("%+v: %s", accepted, b.has("zoo"))
		}
		_, err = b.AcceptSubscriptionRequest(b.Context(), vendor, "abc", asked.Key)
		b.is(err, store.ErrNotFound)

		// A grant answers a request, and a request an invitation.
		_, err = b.RequestSubscription(b.Context(), vendor, store.SubscriptionGrant{Profile: "eve", Plan: "gold"})
		b.ok(err)
		if granted := b.subscribe("eve", "gold"); granted.Key != "" || granted.Created || b.has("eve") != "abc/gold+" {
			b.Errorf("%+v: %s", granted, b.has("eve"))
		}
		b.subscribe("abc", "other")
		taken, err := b.RequestSubscription(b.Context(), vendor, store.SubscriptionGrant{Profile: "abc", Plan: "other"})
		if err != nil || taken.Key != "" || b.has("abc") != "eve/other+" {
			b.Errorf("%+v, %v: %s", taken, err, b.has("abc"))
		}
		if all, err := b.ListSubscriptions(vendor, store.SubscriptionQuery{}).Count(b.Context()); err != nil || all != 3 {
			b.Errorf("%d subscriptions, %v", all, err)
		}
	})
}

// Of two grants at the same time one subscribes, and of two that accept one key, one does.
func TestSubscriptionsConcurrently(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc", "", "abc/gold")
		for i := range 10 {
			profile := fmt.Sprint("p", i)
			b.world(profile, "", "")
			b.changePlan("gold", func(p *store.Plan) { p.SkipOptInOnGrant = i%2 == 0 })
			var group sync.WaitGroup
			granted := make([]store.GrantedSubscription, 2)
			for n := range granted {
				group.Go(func() {
					granted[n], _ = b.GrantSubscription(b.Context(), vendor, store.SubscriptionGrant{Profile: profile, Plan: "gold"})
				})
			}
			group.Wait()
			if granted[0].Created == granted[1].Created {
				b.Fatalf("%+v", granted)
			}
			if all, err := b.ListSubscriptions(vendor, store.SubscriptionQuery{Profile: profile}).Count(b.Context()); err != nil || all != 1 {
				b.Fatalf("%d subscriptions, %v", all, err)
			}
			if i%2 == 0 {
				continue
			}
			key := b.subscribe(profile, "gold").Key
			errs := make([]error, 2)
			for n := range errs {
				group.Go(func() { _, errs[n] = b.AcceptSubscription(b.Context(), vendor, profile, key) })
			}
			group.Wait()
			if (errs[0] == nil) == (errs[1] == nil) {
				b.Fatalf("one key was accepted by both or none: %v", errs)
			}
		}
	})
}

// Months and years keep the day, or end on the last one of their month. Renewing returns to
// the day of the start.
func TestPeriods(t *testing.T) {
	b := newFixture(t)
	b.world("abc zoo", "", "")
	for i, c := range []struct {
		kind          string
		length        int
		start         string
		first, second string
	}{
		{store.PeriodMonthly, 1, "2027-01-31T10:00:00Z", "2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z"},
		{store.PeriodMonthly, 1, "2028-01-31T10:00:00Z", "2028-02-29T10:00:00Z", "2028-03-31T10:00:00Z"},
		{store.PeriodMonthly, 3, "2027-11-30T23:59:59Z", "2028-02-29T23:59:59Z", "2028-05-30T23:59:59Z"},
		{store.PeriodYearly, 1, "2028-02-29T00:00:00Z", "2029-02-28T00:00:00Z", "2030-02-28T00:00:00Z"},
		{store.PeriodMonthly, 12, "2028-12-31T00:00:00Z", "2029-12-31T00:00:00Z", "2030-12-31T00:00:00Z"},
		{store.PeriodWeekly, 2, "2028-02-20T00:00:00Z", "2028-03-05T00:00:00Z", "2028-03-19T00:00:00Z"},
		{store.PeriodDaily, 1, "2028-02-28T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},
		{store.PeriodHourly, 36, "2028-02-28T00:00:00Z", "2028-02-29T12:00:00Z", "2028-03-02T00:00:00Z"},
	} {
		plan := fmt.Sprint("plan", i)
		_, err := b.CreatePlan(t.Context(), vendor, store.Plan{
			Slug: plan, Provider: "abc", Title: plan, PeriodType: c.kind, PeriodLength: c.length, SkipOptInOnGrant: true,
		})
		b.ok(err)
		b.clock, err = time.Parse(time.RFC3339, c.start)
		b.ok(err)
		first := b.subscribe("zoo", plan).Subscription.EndsAt
		renewed, err := b.RenewSubscription(t.Context(), vendor, "zoo", plan, 1)
		b.ok(err)
		if got := first.Format(time.RFC3339) + " " + renewed.EndsAt.Format(time.RFC3339); got != c.first+" "+c.second {
			b.Errorf("%+v: %s", c, got)
		}
	}
}

// Decisions see valid subscriptions of active profiles: all that are not over, and of those
// to one plan that are, the last.
func TestWhatDecidesOfSubscriptions(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.world("abc zoo", "ann", "abc/gold")
		now := b.timeNow()
		for _, days := range [][2]int{{-90, -60}, {-60, -30}, {-10, 10}, {20, 40}} {
			_, err := b.CreateSubscription(b.Context(), vendor, store.Subscription{
				Profile: "zoo", Plan: "gold", StartsAt: now.AddDate(0, 0, days[0]), EndsAt: now.AddDate(0, 0, days[1]),
			})
			b.ok(err)
		}
		b.equal(b.has("zoo"), "abc/gold abc/gold abc/gold+") // to come, the last that is over, active
		b.changePlan("gold", func(p *store.Plan) { p.SKUs, p.RoleTypes = []string{"y", "x", "x"}, []string{"manager"} })
		b.staff("zoo", "ann")
		records, err := b.ReaderRecords(b.Context(), vendor, policy.Reader{UserID: "ann"})
		b.ok(err)
		if len(records.Subscriptions) != 3 || fmt.Sprint(records.Subscriptions[0].SKUs, records.Subscriptions[0].RoleTypes) != "[x y] [manager]" {
			b.Errorf("%+v", records)
		}
		plan, err := b.Plan(b.Context(), vendor, "gold")
		if want := (policy.Plan{Exists: true, Provider: "abc"}); err != nil || plan != want {
			b.Errorf("%+v, %v", plan, err)
		}
		for _, inactive := range []bool{true, false} {
			stamp := b.versions.Shared()
			_, err = b.UpdateProfile(b.Context(), vendor, "zoo", func(p *store.Profile) error { p.Inactive = inactive; return nil })
			b.ok(err)
			records, err = b.ReaderRecords(b.Context(), vendor, policy.Reader{UserID: "ann"})
			if counts := len(records.Roles) == 1 && len(records.Subscriptions) == 3; err != nil || counts == inactive || (b.has("zoo") == "-") != inactive {
				b.Errorf("inactive %t: %+v, %v", inactive, records, err)
			}
			if b.versions.Shared() == stamp {
				b.Error("a profile's activity leaves what is cached")
			}
		}
		_, err = b.UpdateUser(b.Context(), vendor, "ann", func(u *store.User) error { u.Inactive = true; return nil })
		b.ok(err)
		b.equal(b.may("ann"), "")
	})
}
