package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// rolesOf returns the roles in the claims of a session: `type:profile[plan,…]`, and
// whether there are more.
func rolesOf(t *testing.T, claims map[string]any) (list []string, more bool) {
	t.Helper()
	encoded, err := json.Marshal(claims["roles"])
	must(t, err)
	var roles map[string][]keys.SessionProfile
	must(t, json.Unmarshal(encoded, &roles))
	for _, kind := range []string{RoleManager, RoleContributor, "support"} {
		for _, profile := range roles[kind] {
			var plans []string
			for _, s := range profile.Subscriptions {
				plans = append(plans, s.Plan)
			}
			list = append(list, fmt.Sprintf("%s:%s%v", kind, profile.Slug, plans))
		}
	}
	more, _ = claims["roles_truncated"].(bool)
	return list, more
}

func namedProfiles(slugs ...string) map[string]keys.SessionProfile {
	profiles := map[string]keys.SessionProfile{}
	for _, slug := range slugs {
		created := time.Unix(start, 0).UTC()
		profiles[slug] = keys.SessionProfile{Slug: slug, PrintableName: strings.ToUpper(slug), Type: "organization", CreatedAt: &created, Email: slug + "@example.org"}
	}
	return profiles
}

// Sessions of all formats have the roles that count, with the last subscription of each
// plan, ended ones included.
func TestSessionRoles(t *testing.T) {
	now := int64(start * 1000)
	for _, backend := range []SessionBackend{SessionJWT, SessionAssertion} {
		env := newTestEnv(t)
		env.cowork()
		source := &fakeSessions{key: keys.GenerateSessionKey(), profiles: namedProfiles("abc", "xyz")}
		env.records.setRole("ken", Role{Profile: "xyz", Type: RoleManager, EndsAt: now + 2000})
		env.records.setRole("ken", Role{Profile: "prov", Type: RoleManager, Pending: true})
		env.records.setSubscription(Subscription{Profile: "abc", Plan: "ended", Provider: "prov", EndsAt: now - 1})
		env.records.setSubscription(Subscription{Profile: "abc", Plan: "later", Provider: "prov", StartsAt: now + 1000})
		session := func() (string, []string) {
			value, claims := env.session(source, testRequest{path: "/account", reader: Reader{UserID: "ken"}}, backend)
			roles, more := rolesOf(t, claims)
			if more {
				t.Errorf("more roles than %v", roles)
			}
			return value, roles
		}
		check := func(name string, want ...string) {
			t.Helper()
			if _, got := session(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
			env.waitForCaches()
			before := source.calls
			if _, got := session(); fmt.Sprint(got) != fmt.Sprint(want) || source.calls != before {
				t.Errorf("%s, from memory: %v, %d calls", name, got, source.calls-before)
			}
		}
		check("at first", "manager:xyz[]", "contributor:abc[premium ended]")
		env.advance(time.Second)
		check("when a subscription has begun", "manager:xyz[]", "contributor:abc[later premium ended]")
		env.advance(time.Second)
		check("when a role has ended", "contributor:abc[later premium ended]")
		env.records.setRole("ken", Role{Profile: "abc", Type: RoleManager})
		check("after a promotion", "manager:abc[later premium ended]")
		env.records.setSubscription(Subscription{Profile: "abc", Plan: "later", Provider: "prov", EndsAt: 1})
		check("after a cancellation", "manager:abc[premium ended later]")
		// The store bumps the stripe of a profile that gets another name.
		source.profiles = namedProfiles("abc")
		var renamed Invalidation
		renamed.Add(KindProfile, "acme", "abc")
		env.records.versions.Bump(renamed)
		before := source.calls
		session()
		if source.calls == before {
			t.Error("a changed profile does not change the session")
		}
		// One set of profiles instead of another, with the same sum of versions.
		env.records.removeRole("ken", "abc")
		check("without a role")
	}
}

// A cached session is that of the profiles on which the reader has roles now, whatever
// the sum of their versions is.
func TestSessionsOfDifferentProfilesDiffer(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	source := &fakeSessions{key: keys.GenerateSessionKey(), profiles: namedProfiles("abc", "xyz")}
	of := func() string {
		_, claims := env.session(source, testRequest{path: "/account", reader: Reader{UserID: "ken"}}, SessionJWT)
		env.waitForCaches()
		roles, _ := rolesOf(t, claims)
		return fmt.Sprint(roles)
	}
	stamp := func(profile string) uint64 {
		return env.policy.versions.Reader("acme", &Reader{UserID: "ken"}) + env.policy.versions.stripe[Stripe(KindProfile, "acme", profile)].Load()
	}
	env.records.removeRole("ken", "abc")
	env.records.setRole("ken", Role{Profile: "abc", Type: RoleContributor})
	want := stamp("abc") + 20
	for env.policy.versions.stripe[Stripe(KindProfile, "acme", "abc")].Load(); stamp("abc") < want; {
		var change Invalidation
		change.Add(KindProfile, "acme", "abc")
		env.records.versions.Bump(change)
	}
	if got := of(); got != "[contributor:abc[premium]]" {
		t.Fatal(got)
	}
	env.records.removeRole("ken", "abc")
	env.records.setRole("ken", Role{Profile: "xyz", Type: RoleContributor})
	for stamp("xyz") < want {
		var change Invalidation
		change.Add(KindProfile, "acme", "xyz")
		env.records.versions.Bump(change)
	}
	if stamp("xyz") != want {
		t.Fatal("the sums differ: the test shows nothing")
	}
	if got := of(); got != "[contributor:xyz[]]" {
		t.Errorf("the session is %s", got)
	}
}

// A reader with 1,000 profiles gets the ones that the request is about, those of the
// broker, and a mark that there are more.
func TestSessionOfManyRoles(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	var slugs []string
	for i := range 1000 {
		slug := fmt.Sprintf("company-%04d", i)
		slugs = append(slugs, slug)
		env.records.members.profiles[slug] = true
		env.records.members.roles = append(env.records.members.roles, fakeRole{"ada", Role{Profile: slug, Type: RoleManager}})
	}
	env.records.setRole("ada", Role{Profile: "acme", Type: RoleContributor})
	for i := range 200 {
		env.records.setSubscription(Subscription{Profile: "company-0777", Plan: fmt.Sprint("plan-", i), Provider: "prov", EndsAt: start*1000 - 200 + int64(i)})
	}
	env.setRules(parseRule(t, "/app/{profile}", "3"), parseRule(t, "/x", "1"))
	for _, backend := range []SessionBackend{SessionJWT, SessionAssertion, SessionCookie} {
		source := &fakeSessions{key: keys.GenerateSessionKey(), profiles: namedProfiles(append(slugs, "acme")...)}
		for _, c := range []struct{ path, first string }{
			{"/app/company-0500", "manager:company-0500[]"},
			{"/app/company-0900", "manager:company-0900[]"},
			{"/x", "manager:company-0000[]"},
			{"/app/company-0777", "manager:company-0777[plan-199 plan-198"},
		} {
			value, claims := env.session(source, testRequest{path: c.path, reader: Reader{UserID: "ada"}}, backend)
			if len(value) > 7<<10 {
				t.Errorf("backend %d %s: %d bytes", backend, c.path, len(value))
			}
			if backend == SessionCookie {
				continue
			}
			roles, more := rolesOf(t, claims)
			if !more || len(roles) == 0 || !strings.HasPrefix(roles[0], c.first) {
				t.Errorf("backend %d %s: %v, more: %t", backend, c.path, roles, more)
			}
			if c.path != "/app/company-0777" && (len(roles) < 10 || roles[len(roles)-1] != "contributor:acme[]") {
				t.Errorf("backend %d %s: %v", backend, c.path, roles)
			}
			env.waitForCaches()
		}
		if source.asked > maxSessionProfiles {
			t.Errorf("%d profiles were looked up for a session", source.asked)
		}
	}
}
