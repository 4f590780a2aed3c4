package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// memberRules are a rule for each operator about roles, subscriptions and agreements.
func memberRules(t testing.TB) (rules []Rule) {
	t.Helper()
	for _, r := range [][2]string{
		{"/2", "2"},
		{"/3/{profile}", "3"},
		{"/4/{profile}", "4"},
		{"/5/{profile}", "5"},
		{"/6/{profile}", "6"},
		{"/7/{profile}", "7"},
		{"/8/{profile}", "8"},
		{"/9/{profile}", "9"},
		{"/10/{profile}", "10"},
		{"/11/{profile}", "11"},
		{"/12/{user}", "12"},
		{"/13/{user}", "13"},
		{"/14/{user}", "14"},
		{"/15/{profile}", `15/{"plan":"premium"}`},
		{"/16/{profile}", `16/{"plan":"premium"}`},
		{"/17", "17"},
		{"/18/{profile}", "18"},
		{"/any/15", "15"},
		{"/all/{profile}", `all/{"steps":["2","6"]}`},
		{"/entitled", `entitled/{"sku":"premium"}`},
	} {
		allow, err := ParseAllow(r[1])
		must(t, err)
		rules = append(rules, Rule{Path: r[0], Allow: allow})
	}
	return rules
}

var (
	memberUsers    = []string{"u0", "u1", "u2", "u3"}
	memberProfiles = []string{"acme", "p0", "p1", "p2", "p3"}
)

// memberWrite makes one random write of the access model.
func (env *testEnv) memberWrite(random *rand.Rand) {
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	moment := func() int64 { return start*1000 + random.Int64N(20)*1000 }
	records, user, profile, now := env.records, pick(memberUsers), pick(memberProfiles), env.now().UnixMilli()
	switch random.IntN(9) {
	case 0, 1:
		role := Role{Profile: profile, Type: pick([]string{RoleManager, RoleContributor, "support"}), Pending: random.IntN(4) == 0, SecondFactor: random.IntN(3) == 0}
		if random.IntN(2) == 0 {
			role.EndsAt = max(moment(), now+1)
		}
		records.setRole(user, role)
	case 2:
		records.removeRole(user, profile)
	case 3, 4:
		records.setSubscription(Subscription{
			Profile: profile, Plan: pick([]string{"premium", "basic"}), Provider: pick(memberProfiles),
			StartsAt: moment(), EndsAt: moment(), Locked: random.IntN(4) == 0, RoleTypes: [][]string{nil, {RoleManager}}[random.IntN(2)],
		})
	case 5:
		records.sign(user, "terms-of-use", moment())
	case 6:
		records.setAgreement("terms-of-use", moment())
	case 7:
		records.setPlan("premium", Plan{Provider: pick(memberProfiles), NotPriced: random.IntN(2) == 0})
	default:
		if random.IntN(2) == 0 {
			records.setProfile(profile, random.IntN(4) > 0)
		} else {
			records.setUserActive(user, random.IntN(4) > 0)
		}
	}
}

// memberHistory makes random writes and decisions, and returns how many decisions were
// made, and how many from memory differ from the store.
func memberHistory(t testing.TB, seed uint64, silent bool) (decided, differed int, hits uint64) {
	env := newTestEnv(t)
	rules := memberRules(t)
	env.setRules(rules...)
	for _, profile := range memberProfiles {
		env.records.setProfile(profile, true)
	}
	env.records.unannounced = silent
	random := rand.New(rand.NewPCG(seed, 1))
	tokens := map[string]string{}
	for _, user := range memberUsers {
		tokens[user] = env.readerToken(keys.ReaderClaims{UserID: user, Email: user + "@example.org", EmailVerified: true})
	}
	for range 400 {
		switch random.IntN(8) {
		case 0, 1, 2:
			env.memberWrite(random)
		case 3:
			env.advance(time.Duration(random.IntN(500)) * time.Millisecond)
		}
		who := memberUsers[random.IntN(len(memberUsers))]
		reader := Reader{UserID: who}
		if random.IntN(2) == 0 {
			var err error
			reader, err = env.policy.Reader(context.Background(), env.verifier(), tokens[who], env.now())
			must(t, err)
		}
		rule := &rules[random.IntN(len(rules))]
		argument := memberProfiles[random.IntN(len(memberProfiles))]
		if strings.HasSuffix(rule.Path, "{user}") {
			argument = memberUsers[random.IntN(len(memberUsers))]
		}
		v := testRequest{method: []string{"GET", "HEAD", "POST", "OPTIONS"}[random.IntN(4)], path: rule.Path, reader: reader}
		for i := range rule.Path {
			if rule.Path[i] == '{' {
				v.path = rule.Path[:i] + argument
			}
		}
		remembered, read := env.policy.Decide(t.Context(), env.request(v)), env.policy.uncached().Decide(t.Context(), env.request(v))
		decided++
		if !sameAnswer(&remembered, &read) || remembered.Demand != read.Demand {
			if differed++; !silent {
				t.Errorf("history %d: %s by %s: %s %+v from memory, %s %+v from the store", seed, v.path, who, remembered.Reason, remembered.Demand, read.Reason, read.Demand)
			}
		}
	}
	return decided, differed, env.policy.counts.entitlements.hits.Load()
}

func TestCachedMembershipEqualsUncached(t *testing.T) {
	var hits uint64
	for seed := range uint64(30) {
		_, _, hit := memberHistory(t, seed, false)
		hits += hit
	}
	if hits < 1000 {
		t.Errorf("too few cache hits: %d", hits)
	}
	// The test can detect a fault.
	if decided, differed, _ := memberHistory(t, 1, true); differed == 0 {
		t.Errorf("without announcements none of %d decisions differs", decided)
	}
}

// A write that was acknowledged before a decision is seen by it, while others read and
// write the same records.
func TestMembershipIsConcurrent(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(memberRules(t)...)
	for i := range 4 {
		env.records.setProfile(fmt.Sprint("c", i), true)
	}
	env.records.setProfile("shared", true)
	env.records.setProfile("seller", true)
	env.records.setPlan("premium", Plan{Provider: "seller"})
	env.records.setRole("sam", Role{Profile: "seller", Type: RoleManager})
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			user, profile := fmt.Sprint("w", worker), fmt.Sprint("c", worker)
			check := func(by, path string, want Reason, after string) {
				if d := env.policy.Decide(context.Background(), env.request(testRequest{path: path, reader: Reader{UserID: by}})); d.Reason != want {
					t.Errorf("%s by %s after %s: %s, want %s", path, by, after, d.Reason, want)
				}
			}
			for i := range int64(60) {
				env.records.setRole(user, Role{Profile: profile, Type: RoleContributor})
				check(user, "/3/"+profile, ReasonRole, "a role")
				env.records.setRole(user, Role{Profile: "shared", Type: RoleContributor})
				env.records.setSubscription(Subscription{Profile: profile, Plan: "premium", Provider: "seller"})
				check(user, "/15/"+profile, ReasonEntitled, "a subscription")
				check(user, "/entitled", ReasonEntitled, "a subscription")
				check("sam", "/6/"+profile, ReasonRole, "a subscription")
				check("sam", "/12/"+user, ReasonRole, "a subscription")
				env.records.setSubscription(Subscription{Profile: profile, Plan: "premium", Provider: "seller", EndsAt: 1})
				check(user, "/15/"+profile, ReasonNotSubscribed, "its end")
				check("sam", "/6/"+profile, ReasonRoleRequired, "its end")
				env.records.sign(user, "terms-of-use", i)
				env.records.removeRole(user, profile)
				check(user, "/3/"+profile, ReasonRoleRequired, "the removal of the role")
				check("sam", "/12/"+user, ReasonRoleRequired, "the removal of the role")
			}
		})
	}
	group.Wait()
}

// A write during a read makes what was read stale, also one to a profile that is known
// only once the roles are read.
func TestWriteDuringTheReadOfRoles(t *testing.T) {
	for name, write := range map[string]func(env *testEnv){
		"the role ends": func(env *testEnv) { env.records.removeRole("ken", "abc") },
		"the subscription ends": func(env *testEnv) {
			env.records.setSubscription(Subscription{Profile: "abc", Plan: "premium", Provider: "prov", EndsAt: 1})
		},
		"another role begins": func(env *testEnv) {
			env.records.removeRole("ken", "abc")
			env.records.setRole("ken", Role{Profile: "xyz", Type: RoleManager})
		},
	} {
		for _, second := range []bool{false, true} {
			env := newTestEnv(t)
			env.cowork()
			env.rule("/{profile}", `15/{"plan":"premium"}`)
			env.records.afterRead = func() {
				if second {
					env.records.mu.Lock()
					env.records.afterRead = func() { write(env) }
					env.records.mu.Unlock()
					return
				}
				write(env)
			}
			env.by("ken", "GET", "/abc") // may be decided by what was read
			if d := env.by("ken", "GET", "/abc"); d.Reason != ReasonNotSubscribed {
				t.Errorf("%s during a read (the second: %t): %s", name, second, d.Reason)
			}
		}
	}
}

// A write makes stale the records that depend on it, and no others.
func TestInvalidationOfMembership(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.records.setRole("oda", Role{Profile: "xyz", Type: RoleManager})
	env.setRules(memberRules(t)...)
	decisions := []struct{ user, path string }{
		{"ken", "/3/abc"},   // ken: the user, abc
		{"pam", "/6/abc"},   // pam: the user, prov, and the record of abc
		{"oda", "/3/xyz"},   // oda: the user, xyz
		{"joe", "/3/abc"},   // joe: the user alone
		{"xia", "/12/sue"},  // xia: the user, abc, and the records of sue
		{"pam", "/15/none"}, // pam, and the plan premium
	}
	warm := func() {
		for range 2 {
			for _, d := range decisions {
				env.by(d.user, "GET", d.path)
			}
		}
	}
	for _, c := range []struct {
		name  string
		write func(r *fakeRecords)
		// stale are the indexes of the decisions that read the store again.
		stale string
	}{
		{"nothing", func(*fakeRecords) {}, "------"},
		{"ken's role", func(r *fakeRecords) { r.setRole("ken", Role{Profile: "abc", Type: RoleContributor}) }, "++--+-"},
		{"a stranger's role on another profile", func(r *fakeRecords) { r.setRole("new", Role{Profile: "zzz", Type: RoleContributor}) }, "------"},
		{"a subscription of abc", func(r *fakeRecords) { r.setSubscription(Subscription{Profile: "abc", Plan: "basic", Provider: "prov"}) }, "++--+-"},
		{"a subscription of xyz", func(r *fakeRecords) { r.setSubscription(Subscription{Profile: "xyz", Plan: "basic", Provider: "prov"}) }, "--+---"},
		{"ken's signature", func(r *fakeRecords) { r.sign("ken", "terms-of-use", 1) }, "+-----"},
		{"joe's signature", func(r *fakeRecords) { r.sign("joe", "terms-of-use", 1) }, "---+--"},
		{"sue's activity", func(r *fakeRecords) { r.setUserActive("sue", true) }, "----+-"},
		{"an agreement", func(r *fakeRecords) { r.setAgreement("terms-of-use", 1) }, "++++++"},
	} {
		warm()
		c.write(env.records)
		got := ""
		for _, d := range decisions {
			before := env.records.readCount()
			env.by(d.user, "GET", d.path)
			if env.records.readCount() > before {
				got += "+"
			} else {
				got += "-"
			}
		}
		if got != c.stale {
			t.Errorf("%s: %s, want %s", c.name, got, c.stale)
		}
	}
	// A reader without roles costs one read, and one with roles two.
	for user, want := range map[string]int{"joe": 1, "ken": 2} {
		env.records.versions.Bump(Invalidation{Shared: true, SameDomains: true})
		before := env.records.readCount()
		env.by(user, "GET", "/3/abc")
		if reads := env.records.readCount() - before; reads != want {
			t.Errorf("%s: %d reads, want %d", user, reads, want)
		}
	}
}

// The stamp of a decision changes with every write that can change the decision, so that
// a stream that is allowed does not outlive its reason.
func TestStampOfMembership(t *testing.T) {
	for _, c := range []struct {
		user, path string
		write      func(r *fakeRecords)
		changes    bool
	}{
		{"ken", "/3/abc", func(r *fakeRecords) { r.removeRole("ken", "abc") }, true},
		{"ken", "/15/abc", func(r *fakeRecords) {
			r.setSubscription(Subscription{Profile: "abc", Plan: "premium", Provider: "prov", EndsAt: 1})
		}, true},
		{"pam", "/6/abc", func(r *fakeRecords) {
			r.setSubscription(Subscription{Profile: "abc", Plan: "premium", Provider: "prov", EndsAt: 1})
		}, true},
		{"xia", "/12/sue", func(r *fakeRecords) { r.removeRole("sue", "abc") }, true},
		{"pam", "/12/sue", func(r *fakeRecords) {
			r.setSubscription(Subscription{Profile: "abc", Plan: "premium", Provider: "prov", EndsAt: 1})
		}, true},
		{"ken", "/3/abc", func(r *fakeRecords) { r.setRole("other", Role{Profile: "xyz", Type: RoleManager}) }, false},
	} {
		env := newTestEnv(t)
		env.cowork()
		env.setRules(memberRules(t)...)
		request := env.request(testRequest{path: c.path, reader: Reader{UserID: c.user}})
		if d := env.policy.Decide(t.Context(), request); !d.Allow() {
			t.Fatalf("%s by %s: %s", c.path, c.user, d.Reason)
		}
		stamp := env.policy.Stamp(t.Context(), request)
		before := stamp()
		c.write(env.records)
		if changed := stamp() != before; changed != c.changes {
			t.Errorf("%s by %s: the stamp changed: %t", c.path, c.user, changed)
		}
	}
}
