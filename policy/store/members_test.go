package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// onBoth runs a story on both engines.
func onBoth(t *testing.T, story func(b *fixture)) {
	t.Helper()
	t.Run("Bolt", func(t *testing.T) { story(newFixture(t)) })
	t.Run("Redis", func(t *testing.T) { story(onRedis(t)) })
}

// world stores profiles, users and plans: a plan is written as provider/slug.
func (b *fixture) world(profiles, users, plans string) {
	b.Helper()
	for slug := range strings.FieldsSeq(profiles) {
		_, err := b.CreateProfile(b.Context(), vendor, store.Profile{Slug: slug, FullName: "The " + slug})
		b.ok(err)
	}
	for slug := range strings.FieldsSeq(users) {
		_, err := b.CreateUser(b.Context(), vendor, store.User{Slug: slug})
		b.ok(err)
	}
	for text := range strings.FieldsSeq(plans) {
		provider, slug, _ := strings.Cut(text, "/")
		_, err := b.CreatePlan(b.Context(), vendor, store.Plan{Slug: slug, Provider: provider, Title: slug})
		b.ok(err)
	}
}

// listed shows the records of a listing, and wants pages of every size to agree with it.
func listed[T any](b *fixture, list store.Listing[T], show func(T) string) string {
	b.Helper()
	var names []string
	for record, err := range list.All(b.Context()) {
		b.ok(err)
		names = append(names, show(record))
	}
	for size := 1; size <= len(names)+1; size++ {
		var paged []string
		for offset := 0; offset <= len(names); offset += size {
			page, count, err := list.Page(b.Context(), offset, size)
			b.ok(err)
			if count != len(names) {
				b.Fatalf("a page of %d counts %d records of %v", size, count, names)
			}
			for _, record := range page {
				paged = append(paged, show(record))
			}
		}
		if !slices.Equal(paged, names) {
			b.Fatalf("pages of %d have %v, the list %v", size, paged, names)
		}
	}
	return strings.Join(names, " ")
}

func (b *fixture) equal(got, want string) {
	b.Helper()
	if got != want {
		b.Errorf("got %q, want %q", got, want)
	}
}

// Profiles, users, plans and what is between them are stored, listed and removed. The
// broker and two role types are there from the start.
func TestMembers(t *testing.T) {
	onBoth(t, func(b *fixture) {
		profile := func(p store.Profile) string { return p.Slug }
		b.equal(listed(b, b.ListProfiles(vendor), profile), "acme")
		b.world("zoo abc", "ann bob", "abc/gold abc/silver zoo/free")
		b.equal(listed(b, b.ListProfiles(vendor), profile), "abc acme zoo")
		_, err := b.CreateProfile(b.Context(), vendor, store.Profile{Slug: vendor})
		b.is(err, store.ErrExists)
		_, err = b.UpdateProfile(b.Context(), vendor, vendor, func(p *store.Profile) error {
			p.FullName, p.Slug = "Acme Publishing", "other"
			return nil
		})
		b.ok(err)
		b.equal(listed(b, b.ListProfiles(vendor), func(p store.Profile) string { return p.Slug + "=" + p.FullName }),
			"abc=The abc acme=Acme Publishing zoo=The zoo")
		_, err = b.UpdateProfile(b.Context(), vendor, vendor, func(p *store.Profile) error { p.Inactive = true; return nil })
		b.names(err, "is_active")
		b.is(b.DeleteProfile(b.Context(), vendor, vendor, nil), store.ErrBuiltIn)

		_, err = b.CreateRoleType(b.Context(), vendor, store.RoleType{Title: "Front Desk", Profile: "abc"})
		b.ok(err)
		roleType := func(r store.RoleType) string { return r.Slug }
		b.equal(listed(b, b.ListRoleTypes(vendor, "abc"), roleType), "front-desk")
		b.equal(listed(b, b.ListRoleTypes(vendor, ""), roleType), "contributor manager")
		_, err = b.CreateRoleType(b.Context(), vendor, store.RoleType{Title: "Manager", Profile: "abc"})
		b.is(err, store.ErrExists)
		b.is(b.DeleteRoleType(b.Context(), vendor, "", policy.RoleManager, nil), store.ErrBuiltIn)

		for _, text := range []string{"abc ann manager", "abc bob front-desk", "zoo ann contributor"} {
			f := strings.Fields(text)
			_, err := b.CreateRole(b.Context(), vendor, store.Role{Profile: f[0], User: f[1], Type: f[2]})
			b.ok(err)
		}
		_, err = b.CreateRole(b.Context(), vendor, store.Role{Profile: "zoo", User: "bob", Type: "front-desk"})
		b.names(err, "role_description")
		role := func(r store.Role) string { return r.Profile + "/" + r.User + "/" + r.Type }
		b.equal(listed(b, b.RolesOn(vendor, "abc", ""), role), "abc/ann/manager abc/bob/front-desk")
		b.equal(listed(b, b.RolesOn(vendor, "abc", "manager"), role), "abc/ann/manager")
		b.equal(listed(b, b.RolesOf(vendor, "ann"), role), "abc/ann/manager zoo/ann/contributor")
		b.is(b.DeleteRoleType(b.Context(), vendor, "abc", "front-desk", nil), store.ErrInUse)

		start := b.timeNow()
		for i, text := range []string{"zoo gold 10", "zoo gold -5", "acme gold 30", "acme free 1"} {
			var subscriber, plan string
			var days int
			_, err := fmt.Sscan(text, &subscriber, &plan, &days)
			b.ok(err)
			from := start.Add(-time.Duration(10+i) * 24 * time.Hour)
			_, err = b.CreateSubscription(b.Context(), vendor, store.Subscription{
				Profile: subscriber, Plan: plan, StartsAt: from, EndsAt: start.Add(time.Duration(days) * 24 * time.Hour),
			})
			b.ok(err)
		}
		subscription := func(s store.Subscription) string {
			return fmt.Sprintf("%s/%s/%d", s.Profile, s.Plan, s.EndsAt.Sub(start)/(24*time.Hour))
		}
		list := func(q store.SubscriptionQuery) string { return listed(b, b.ListSubscriptions(vendor, q), subscription) }
		b.equal(list(store.SubscriptionQuery{Profile: "zoo"}), "zoo/gold/-5 zoo/gold/10")
		b.equal(list(store.SubscriptionQuery{Plan: "gold", Keep: store.ActiveAt(start)}), "acme/gold/30 zoo/gold/10")
		ended := func(s store.SubscriptionState) bool { return s.Valid() && s.EndsAt <= start.UnixMilli() }
		b.equal(list(store.SubscriptionQuery{Provider: "abc", Keep: ended}), "zoo/gold/-5")
		b.equal(list(store.SubscriptionQuery{}), "acme/free/1 acme/gold/30 zoo/gold/-5 zoo/gold/10")
		b.is(b.DeletePlan(b.Context(), vendor, "gold", nil), store.ErrInUse)
		b.ok(b.DeletePlan(b.Context(), vendor, "silver", nil))
		active, err := b.SubscriptionRecord(b.Context(), vendor, "zoo", "gold")
		b.ok(err)
		b.equal(subscription(active), "zoo/gold/10")
	})
}

func (b *fixture) timeNow() time.Time { return b.now().UTC().Truncate(time.Millisecond) }
