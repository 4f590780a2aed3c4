package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// What can only be a mistake is refused by the name of its field.
func TestMemberFields(t *testing.T) {
	b := newFixture(t)
	b.world("abc", "ann", "abc/gold")
	now := b.timeNow()
	long := strings.Repeat("x", 300)
	made := func(_ any, err error) error { return err }
	for i, c := range []struct {
		field string
		err   error
	}{
		{"slug", made(b.CreateProfile(t.Context(), vendor, store.Profile{}))},
		{"slug", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "a b"}))},
		{"slug", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "é"}))},
		{"slug", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "a\n"}))},
		{"slug", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: long[:store.MaxSlugSize+1]}))},
		{"type", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "x", Type: "user"}))},
		{"owner", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "x", Owner: "ann"}))},
		{"owner", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "x", Type: store.TypePersonal, Owner: "none"}))},
		{"email", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "x", Contact: store.Contact{Email: "x"}}))},
		{"extra", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "x", Extra: json.RawMessage("{")}))},
		{"extra", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "x", Extra: json.RawMessage(`"` + strings.Repeat("x", 4096) + `"`)}))},
		{"full_name", made(b.CreateProfile(t.Context(), vendor, store.Profile{Slug: "x", FullName: "a\x00b"}))},
		{"slug", made(b.CreateUser(t.Context(), vendor, store.User{}))},
		{"slug", made(b.CreateUser(t.Context(), vendor, store.User{Slug: "a\x00b"}))},
		{"slug", made(b.CreateUser(t.Context(), vendor, store.User{Slug: long}))},
		{"title", made(b.CreateRoleType(t.Context(), vendor, store.RoleType{Slug: "x"}))},
		{"slug", made(b.CreateRoleType(t.Context(), vendor, store.RoleType{Title: "???"}))},
		{"profile", made(b.CreateRoleType(t.Context(), vendor, store.RoleType{Title: "x", Profile: "none"}))},
		{"role_description", made(b.CreateRole(t.Context(), vendor, store.Role{Profile: "abc", User: "ann"}))},
		{"role_description", made(b.CreateRole(t.Context(), vendor, store.Role{Profile: "abc", User: "ann", Type: "none"}))},
		{"user", made(b.CreateRole(t.Context(), vendor, store.Role{Profile: "abc", User: "none", Type: "manager"}))},
		{"profile", made(b.CreatePlan(t.Context(), vendor, store.Plan{Title: "x", Provider: "none"}))},
		{"title", made(b.CreatePlan(t.Context(), vendor, store.Plan{Slug: "x", Provider: "abc"}))},
		{"period_type", made(b.CreatePlan(t.Context(), vendor, store.Plan{Title: "x", Provider: "abc", PeriodType: "fortnightly"}))},
		{"period_length", made(b.CreatePlan(t.Context(), vendor, store.Plan{Title: "x", Provider: "abc", PeriodLength: -1}))},
		{"renewal_type", made(b.CreatePlan(t.Context(), vendor, store.Plan{Title: "x", Provider: "abc", RenewalType: "never"}))},
		{"period_amount", made(b.CreatePlan(t.Context(), vendor, store.Plan{Title: "x", Provider: "abc", PeriodAmount: -1}))},
		{"skus", made(b.CreatePlan(t.Context(), vendor, store.Plan{Title: "x", Provider: "abc", SKUs: []string{""}}))},
		{"role_types", made(b.CreatePlan(t.Context(), vendor, store.Plan{Title: "x", Provider: "abc", RoleTypes: make([]string, 65)}))},
		{"plan", made(b.CreateSubscription(t.Context(), vendor, store.Subscription{Profile: "abc", Plan: "none", StartsAt: now, EndsAt: now}))},
		{"profile", made(b.CreateSubscription(t.Context(), vendor, store.Subscription{Profile: "none", Plan: "gold", StartsAt: now, EndsAt: now}))},
		{"created_at", made(b.CreateSubscription(t.Context(), vendor, store.Subscription{Profile: "abc", Plan: "gold", EndsAt: now}))},
		{"ends_at", made(b.CreateSubscription(t.Context(), vendor, store.Subscription{Profile: "abc", Plan: "gold", StartsAt: now}))},
		{"ends_at", made(b.CreateSubscription(t.Context(), vendor, store.Subscription{Profile: "abc", Plan: "gold", StartsAt: now, EndsAt: now.Add(-time.Second)}))},
		{"title", made(b.CreateAgreement(t.Context(), vendor, store.Agreement{Slug: "x"}))},
	} {
		t.Run(fmt.Sprint(i), func(*testing.T) { b.names(c.err, c.field) })
	}
	// The id of a user is any text that an issuer gives.
	for _, slug := range []string{"auth0|5f7c8ec7", "https://issuer.example/users/1?x=y", "Ünïcode ✓", "abc"} {
		_, err := b.CreateUser(t.Context(), vendor, store.User{Slug: slug})
		b.ok(err)
		b.equal(b.may(slug), "") // whatever it is equal to
	}
	b.equal(store.SlugOf("  Terms of  Use, 2.0! "), "terms-of-use-2-0")
}

// The audit log shows what is done to these records, without the hashes of keys.
func TestAuditOfMembers(t *testing.T) {
	b := newFixture(t)
	b.world("abc zoo", "ann", "abc/gold")
	w := b.as("desk")
	granted, err := w.GrantRole(t.Context(), vendor, store.RoleGrant{Profile: "abc", User: "ann", Type: "manager"})
	b.ok(err)
	_, err = w.GrantSubscription(t.Context(), vendor, store.SubscriptionGrant{Profile: "zoo", Plan: "gold"})
	b.ok(err)
	entries := b.audit(store.AuditQuery{})
	text, err := json.Marshal(entries)
	b.ok(err)
	for _, want := range []string{`"kind":"role","id":["abc","ann"]`, `"kind":"subscription","id":["zoo","gold","sub_`} {
		if !strings.Contains(string(text), want) {
			b.Errorf("the log lacks %s: %s", want, text)
		}
	}
	for _, secret := range []string{"grant_key", granted.Role.GrantKey, granted.Key} {
		if strings.Contains(string(text), secret) {
			b.Errorf("the log has %s: %s", secret, text)
		}
	}
}
