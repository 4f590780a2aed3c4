package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// cowork makes the records of a small world: the broker acme, the provider prov with the
// plans premium and basic, and the profile abc, which subscribes to premium. Their users
// are donny and bob at the broker, pam and pat at the provider, and xia, ken and sue.
func (env *testEnv) cowork() {
	env.t.Helper()
	for _, profile := range []string{"acme", "prov", "abc", "xyz"} {
		env.records.setProfile(profile, true)
	}
	env.records.setPlan("premium", Plan{Provider: "prov"})
	env.records.setPlan("basic", Plan{Provider: "prov"})
	for _, r := range [][3]string{
		{"donny", "acme", RoleManager},
		{"bob", "acme", RoleContributor},
		{"pam", "prov", RoleManager},
		{"pat", "prov", RoleContributor},
		{"xia", "abc", RoleManager},
		{"ken", "abc", RoleContributor},
		{"sue", "abc", "support"},
	} {
		env.records.setRole(r[0], Role{Profile: r[1], Type: r[2]})
	}
	env.records.setRole("pend", Role{Profile: "abc", Type: RoleManager, Pending: true})
	env.records.setRole("gone", Role{Profile: "abc", Type: RoleManager, EndsAt: start * 1000})
	env.records.setSubscription(Subscription{Profile: "abc", Plan: "premium", Provider: "prov", StartsAt: start*1000 - day})
}

// rule sets the one rule of the site.
func (env *testEnv) rule(path, allow string) {
	env.t.Helper()
	parsed, err := ParseAllow(allow)
	must(env.t, err)
	env.setRules(Rule{Path: path, Allow: parsed})
}

// by returns the decision about a request to a path by a user.
func (env *testEnv) by(user, method, path string) Decision {
	env.t.Helper()
	return env.decide(testRequest{method: method, path: path, reader: Reader{UserID: user}})
}

// The truth table of the three strengths, from the reference implementation, with HEAD
// judged as GET. A cell has + or - for GET, HEAD, OPTIONS and POST.
func TestStrengths(t *testing.T) {
	users := strings.Fields("donny bob xia ken sue pam pat joe pend gone")
	for _, row := range []string{
		"3:    ++++ ++-- ++++ ++-- ---- ---- ---- ---- ---- ----",
		"4:    ++++ ++++ ++++ ++++ ---- ---- ---- ---- ---- ----",
		"5:    ++++ ---- ++++ ---- ---- ---- ---- ---- ---- ----",
		"6:    ++++ ++-- ++++ ++-- ---- ++++ ++-- ---- ---- ----",
		"7:    ++++ ++++ ++++ ++++ ---- ++++ ++++ ---- ---- ----",
		"8:    ++++ ---- ++++ ---- ---- ++++ ---- ---- ---- ----",
		"9:    ++++ ++-- ---- ---- ---- ++++ ++-- ---- ---- ----",
		"10:   ++++ ++-- ---- ---- ---- ++++ ++-- ---- ---- ----",
		"11:   ++++ ---- ---- ---- ---- ++++ ---- ---- ---- ----",
		"18:   ++++ ++-- ++++ ++-- ---- +++- ++-- ---- ---- ----",
		`3/{"roledescription":"support"}:                 ++++ ---- ++++ ---- ++-- ---- ---- ---- ---- ----`,
		`4/{"roledescription":["contributor","support"]}: ++++ ++++ ++++ ++++ ++++ ---- ---- ---- ---- ----`,
	} {
		allow, cells, _ := strings.Cut(row, ": ")
		env := newTestEnv(t)
		env.cowork()
		env.rule("/app/{profile}", allow)
		for i, want := range strings.Fields(cells) {
			got := ""
			for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST"} {
				d := env.by(users[i], method, "/app/abc/x")
				switch {
				case d.Reason == ReasonRole && d.Demand.Profile != "" && d.Demand.Role != "":
					got += "+"
				case d.Reason == ReasonRoleRequired && d.Demand.Profile == "abc", d.Reason == ReasonRolePending && users[i] == "pend":
					got += "-"
				default:
					t.Errorf("%s %s by %s: %s %+v", allow, method, users[i], d.Reason, d.Demand)
				}
			}
			if got != want {
				t.Errorf("%s by %s: %s, want %s", allow, users[i], got, want)
			}
		}
	}
}

// The edges of the operators about roles.
func TestEdgesOfRoles(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.records.setProfile("closed", false)
	env.records.setRole("zoe", Role{Profile: "closed", Type: RoleManager})
	env.records.setSubscription(Subscription{Profile: "closed", Plan: "premium", Provider: "prov"})
	env.records.setRole("bea", Role{Profile: "xyz", Type: RoleManager})
	env.records.setRole("abc", Role{Profile: "xyz", Type: "support"}) // a user with the name of a profile
	env.records.setRole("amy", Role{Profile: "prov", Type: "support"})
	env.records.setUserActive("amy", true)
	for _, c := range []struct {
		path, allow, user, method, request string
		want                               Reason
	}{
		// An unknown profile is no profile: only the broker's users pass.
		{"/{profile}", "3", "xia", "GET", "/nope", ReasonRoleRequired},
		{"/{profile}", "3", "donny", "POST", "/nope", ReasonRole},
		{"/{profile}", "9", "donny", "POST", "/nope", ReasonRole},
		{"/{profile}", "6", "pam", "GET", "/nope", ReasonRoleRequired},
		{"/x", "3", "xia", "GET", "/x", ReasonRoleRequired},
		{"/x", "3", "bob", "GET", "/x", ReasonRole},
		// Slugs are compared byte by byte.
		{"/{profile}", "3", "xia", "GET", "/ABC", ReasonRoleRequired},
		// A profile that is not active counts as none, for its users and its providers.
		{"/{profile}", "3", "zoe", "GET", "/closed", ReasonRoleRequired},
		{"/{profile}", "6", "pam", "GET", "/closed", ReasonRoleRequired},
		{"/{profile}", "18", "donny", "POST", "/closed", ReasonRoleRequired},
		// 18: without a profile that exists, only GET and OPTIONS are allowed.
		{"/{profile}", "18", "donny", "POST", "/nope", ReasonRoleRequired},
		{"/x", "18", "donny", "POST", "/x", ReasonRoleRequired},
		{"/{profile}", "18", "donny", "OPTIONS", "/nope", ReasonRole},
		{"/{profile}", "18", "donny", "GET", "/nope", ReasonRole},
		{"/{profile}", "18", "bob", "GET", "/nope", ReasonRole},
		{"/{profile}", "18", "bob", "OPTIONS", "/nope", ReasonRoleRequired},
		{"/{profile}", "18", "donny", "POST", "/abc", ReasonRole},
		{"/{profile}", "18", "pam", "OPTIONS", "/abc", ReasonRole},
		{"/{profile}", "18", "pam", "POST", "/abc", ReasonRoleRequired},
		// The first step of 18 ignores brokers, its second step uses them.
		{"/{profile}", `18/{"brokers":["xyz"]}`, "bea", "POST", "/abc", ReasonRoleRequired},
		{"/{profile}", `18/{"brokers":["xyz"]}`, "bea", "GET", "/abc", ReasonRole},
		{"/{profile}", `3/{"brokers":["xyz"]}`, "bea", "POST", "/abc", ReasonRole},
		{"/{profile}", `15/{"brokers":["xyz"]}`, "bea", "POST", "/abc", ReasonRole},
		{"/{profile}/{brokers}", `9`, "bea", "POST", "/abc/xyz", ReasonRole},
		{"/{profile}", `3`, "bea", "POST", "/abc", ReasonRoleRequired},
		// 9 is not for the profile itself.
		{"/{profile}", "9", "xia", "GET", "/abc", ReasonRoleRequired},
		// The named role may be captured, and replaces the default.
		{"/{profile}/{roledescription}", "4", "sue", "POST", "/abc/support", ReasonRole},
		{"/{profile}/{roledescription}", "4", "ken", "POST", "/abc/support", ReasonRoleRequired},
		// An argument replaces a capture, and null does not.
		{"/{profile}", `3/{"profile":"abc"}`, "xia", "GET", "/xyz", ReasonRole},
		{"/{profile}", `3/{"profile":null}`, "xia", "GET", "/xyz", ReasonRoleRequired},
		{"/{profile}", `3/{"profile":null}`, "xia", "GET", "/abc", ReasonRole},
		// No role follows from two names being equal.
		{"/{profile}", "4", "abc", "GET", "/abc", ReasonRoleRequired},
		{"/{profile}", "4", "acme", "GET", "/acme", ReasonRoleRequired},
		{"/{profile}", "15", "abc", "GET", "/abc", ReasonNotSubscribed},
		{"/{user}", "12", "abc", "GET", "/xia", ReasonRoleRequired},
		// 12 to 14: the user, those who work beside them, and those who serve them.
		{"/{user}", "14", "ken", "DELETE", "/ken", ReasonAuthenticated},
		{"/{user}", "14", "Ken", "GET", "/ken", ReasonRoleRequired},
		{"/{user}", "12", "xia", "POST", "/ken", ReasonRole},
		{"/{user}", "12", "ken", "GET", "/xia", ReasonRole},
		{"/{user}", "12", "ken", "POST", "/xia", ReasonRoleRequired},
		{"/{user}", "13", "ken", "POST", "/xia", ReasonRole},
		{"/{user}", "14", "ken", "GET", "/xia", ReasonRoleRequired},
		{"/{user}", "12", "pam", "POST", "/sue", ReasonRole},
		{"/{user}", "12", "pat", "GET", "/sue", ReasonRole},
		{"/{user}", "14", "pat", "GET", "/sue", ReasonRoleRequired},
		{"/{user}", "12", "xia", "GET", "/pam", ReasonRoleRequired}, // not the other way round
		{"/{user}", "12", "xia", "GET", "/pend", ReasonRoleRequired},
		{"/{user}", "12", "pam", "GET", "/gone", ReasonRoleRequired},
		{"/{user}", "12", "xia", "GET", "/unknown", ReasonRoleRequired},
		{"/{user}", "12", "donny", "POST", "/unknown", ReasonRole},
		{"/{user}", `13/{"roledescription":"support"}`, "sue", "POST", "/ken", ReasonRole},
		{"/{user}", `13/{"roledescription":"support"}`, "amy", "POST", "/ken", ReasonRole},
		{"/{user}", "12", "bea", "GET", "/xia", ReasonRoleRequired},
	} {
		env.rule(c.path, c.allow)
		if d := env.by(c.user, c.method, c.request); d.Reason != c.want {
			t.Errorf("%s on %s: %s %s by %s: %s, want %s", c.allow, c.path, c.method, c.request, c.user, d.Reason, c.want)
		}
	}
	// A user who is not active has no role that counts.
	env.rule("/{profile}", "3")
	env.records.setUserActive("xia", false)
	if d := env.by("xia", "GET", "/abc"); d.Reason != ReasonRoleRequired {
		t.Errorf("a user who is not active: %s", d.Reason)
	}
	if d := env.decide(testRequest{path: "/abc"}); d.Reason != ReasonLoginRequired {
		t.Errorf("an anonymous reader: %s", d.Reason)
	}
}

// 15 and 16 step by step.
func TestSubscribedSteps(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.records.setPlan("contact", Plan{Provider: "prov", NotPriced: true})
	env.records.setProfile("old", true)
	env.records.setProfile("owes", true)
	env.records.setRole("olga", Role{Profile: "old", Type: "support"})
	env.records.setRole("owen", Role{Profile: "owes", Type: RoleContributor})
	env.records.setSubscription(Subscription{Profile: "old", Plan: "premium", Provider: "prov", StartsAt: start*1000 - 9*day, EndsAt: start * 1000})
	env.records.setSubscription(Subscription{Profile: "owes", Plan: "premium", Provider: "prov", Locked: true})
	env.records.setSubscription(Subscription{Profile: "xyz", Plan: "basic", Provider: "prov", StartsAt: start*1000 + day})
	env.records.setRole("fay", Role{Profile: "xyz", Type: "support"})
	for _, c := range []struct {
		allow, user, method, path string
		want                      Reason
		demand                    Demand
	}{
		{`15/{"plan":"premium"}`, "donny", "POST", "/any", ReasonRole, Demand{Profile: "acme", Role: RoleManager}},
		{`15/{"plan":"premium"}`, "bob", "GET", "/any", ReasonRole, Demand{Profile: "acme", Role: RoleContributor}},
		{`15/{"plan":"premium"}`, "bob", "POST", "/any", ReasonNotSubscribed, Demand{Plan: "premium"}},
		{`15/{"plan":"premium"}`, "sue", "POST", "/any", ReasonEntitled, Demand{Profile: "abc", Plan: "premium"}}, // any role counts
		{`15/{"plan":"premium"}`, "sue", "POST", "/abc", ReasonEntitled, Demand{Profile: "abc", Plan: "premium"}},
		{`15/{"plan":"premium"}`, "sue", "GET", "/xyz", ReasonNotSubscribed, Demand{Profile: "xyz", Plan: "premium"}},
		{`15/{"plan":"premium"}`, "joe", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc", Plan: "premium"}},
		{`15/{"plan":"premium"}`, "pend", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc", Plan: "premium"}},
		{`15/{"plan":"premium"}`, "pat", "POST", "/xyz", ReasonRole, Demand{Profile: "prov", Role: RoleContributor}}, // the plan's owner
		{`15`, "pam", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc"}},                                    // without a plan there is no owner
		{`15`, "xia", "GET", "/abc", ReasonEntitled, Demand{Profile: "abc", Plan: "premium"}},
		{`15/{"plan":["basic","premium"]}`, "xia", "GET", "/abc", ReasonEntitled, Demand{Profile: "abc", Plan: "premium"}},
		{`15/{"plan":["basic","premium"]}`, "joe", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc"}},
		{`15/{"plan":["premium"]}`, "joe", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc"}}, // a list, even of one
		{`15/{"plan":"contact"}`, "xia", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc", Plan: "contact"}},
		{`16/{"plan":"contact"}`, "xia", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc"}},
		{`15/{"plan":"nope"}`, "xia", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc", Plan: "nope"}},
		{`15/{"plan":"premium"}`, "olga", "GET", "/old", ReasonNotSubscribed, Demand{Profile: "old", Plan: "premium"}},
		{`16/{"plan":"premium"}`, "olga", "GET", "/old", ReasonEntitled, Demand{Profile: "old", Plan: "premium"}},
		{`16/{"plan":"premium"}`, "olga", "GET", "/abc", ReasonNotEntitled, Demand{Profile: "abc"}}, // through another profile
		{`16/{"plan":"basic"}`, "olga", "GET", "/abc", ReasonNotSubscribed, Demand{Profile: "abc", Plan: "basic"}},
		{`16/{"plan":"basic"}`, "fay", "GET", "/xyz", ReasonNotSubscribed, Demand{Profile: "xyz", Plan: "basic"}}, // it begins tomorrow
		{`15/{"plan":"premium"}`, "owen", "GET", "/owes", ReasonBalanceDue, Demand{Profile: "owes", Plan: "premium"}},
		{`16/{"plan":"premium"}`, "owen", "GET", "/owes", ReasonEntitled, Demand{Profile: "owes", Plan: "premium"}},
		// A null argument does not open another tenant's pages.
		{`15/{"profile":null,"plan":"premium"}`, "xia", "GET", "/xyz", ReasonNotSubscribed, Demand{Profile: "xyz", Plan: "premium"}},
		{`16/{"profile":null,"plan":"premium"}`, "xia", "GET", "/xyz", ReasonNotEntitled, Demand{Profile: "xyz"}},
	} {
		path := "/{profile}"
		if c.path == "/any" {
			path = "/any"
		}
		env.rule(path, c.allow)
		d := env.by(c.user, c.method, c.path)
		if d.Reason != c.want || d.Demand != c.demand {
			t.Errorf("%s: %s %s by %s: %s %+v, want %s %+v", c.allow, c.method, c.path, c.user, d.Reason, d.Demand, c.want, c.demand)
		}
		if d.Reason == ReasonEntitled && d.Grant != "subscription:"+d.Demand.Profile+"/"+d.Demand.Plan {
			t.Errorf("%s by %s: entitled by %q", c.allow, c.user, d.Grant)
		}
	}
	// A subscription that is not locked counts beside one that is.
	env.records.setSubscription(Subscription{Profile: "owes", Plan: "basic", Provider: "prov"})
	env.rule("/{profile}", `15/{"plan":["premium","basic"]}`)
	if d := env.by("owen", "GET", "/owes"); d.Reason != ReasonEntitled || d.SKU != "basic" {
		t.Errorf("beside a locked one: %s by %s", d.Reason, d.SKU)
	}
}

// A subscription gives the skus of its plan to readers with a role that the plan accepts,
// while both last. So entitled and subscribed agree.
func TestSubscriptionsEntitle(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	now := int64(start * 1000)
	env.records.setSubscription(Subscription{
		Profile: "abc", Plan: "premium", Provider: "prov", StartsAt: now + 1000, EndsAt: now + 5000,
		SKUs: []string{"articles", "archive"}, RoleTypes: []string{RoleContributor, "support"},
	})
	env.records.setRole("sue", Role{Profile: "abc", Type: "support", EndsAt: now + 3000})
	env.setRules(
		parseRule(t, "/archive", `entitled/{"sku":"archive"}`), parseRule(t, "/premium", `entitled/{"sku":"premium"}`),
		parseRule(t, "/plan/{profile}", `15/{"plan":"premium"}`),
	)
	for second := range int64(6) {
		for _, c := range []struct {
			user string
			want bool
		}{
			{"ken", 1 <= second && second < 5},
			{"sue", 1 <= second && second < 3},
			{"xia", false}, // managers are not among the plan's roles
			{"pend", false},
			{"joe", false},
		} {
			entitled := env.by(c.user, "GET", "/archive")
			subscribed := env.by(c.user, "GET", "/plan/abc")
			if entitled.Allow() != c.want || subscribed.Allow() != c.want {
				t.Errorf("after %d s %s: entitled %s, subscribed %s", second, c.user, entitled.Reason, subscribed.Reason)
			}
			if c.want && (entitled.Grant != "subscription:abc/premium" || entitled.SKU != "archive" || entitled.Until != subscribed.Until) {
				t.Errorf("after %d s %s: by %q until %d and %d", second, c.user, entitled.Grant, entitled.Until, subscribed.Until)
			}
			if d := env.by(c.user, "GET", "/premium"); d.Allow() {
				t.Errorf("%s has the slug of a plan that names its skus", c.user)
			}
		}
		env.advance(time.Second)
	}
	env.records.setSubscription(Subscription{Profile: "abc", Plan: "premium", Provider: "prov", Locked: true})
	if d := env.by("ken", "GET", "/premium"); d.Allow() {
		t.Error("a locked subscription entitles")
	}
	env.records.setSubscription(Subscription{Profile: "abc", Plan: "premium", Provider: "prov"})
	if d := env.by("xia", "GET", "/premium"); d.Reason != ReasonEntitled || d.SKU != "premium" {
		t.Errorf("by default a plan gives its slug: %s", d.Reason)
	}
}

// A role and a subscription end at their moment, not after it, and a decision holds until
// the earliest end on which it depends.
func TestRolesInTime(t *testing.T) {
	now := int64(start * 1000)
	for _, c := range []struct {
		path, allow, user, request string
		want                       []bool // after 0 to 4 seconds
	}{
		{"/{profile}", "3", "eve", "/xyz", []bool{true, true, true, false, false}},
		{"/{profile}", "6", "pam", "/xyz", []bool{false, true, true, true, false}},
		{"/{profile}", "18", "pam", "/xyz", []bool{false, true, true, true, false}},
		{"/{user}", "12", "pam", "/eve", []bool{false, true, true, false, false}},
		{"/{user}", "12", "xavier", "/eve", []bool{true, true, true, false, false}},
		{"/{profile}", `15/{"plan":"premium"}`, "eve", "/xyz", []bool{false, true, true, false, false}},
		{"/{profile}", `15/{"plan":"premium"}`, "xavier", "/xyz", []bool{false, true, true, true, false}},
		{"/{profile}", `16/{"plan":"premium"}`, "xavier", "/xyz", []bool{false, true, true, true, true}},
	} {
		env := newTestEnv(t)
		env.cowork()
		env.records.setRole("eve", Role{Profile: "xyz", Type: RoleManager, EndsAt: now + 3000})
		env.records.setRole("xavier", Role{Profile: "xyz", Type: RoleManager})
		env.records.setSubscription(Subscription{Profile: "xyz", Plan: "premium", Provider: "prov", StartsAt: now + 1000, EndsAt: now + 4000})
		env.rule(c.path, c.allow)
		until := int64(0)
		for second, want := range c.want {
			d := env.by(c.user, "GET", c.request)
			if d.Allow() != want {
				t.Errorf("%s by %s after %d s: %s", c.allow, c.user, second, d.Reason)
			}
			if second > 0 && want != c.want[second-1] && until != now+int64(second)*1000 {
				t.Errorf("%s by %s changes after %d s; before, it held until %d ms", c.allow, c.user, second, until-now)
			}
			until = d.Until
			env.advance(time.Second - time.Millisecond)
			if d := env.by(c.user, "GET", c.request); d.Allow() != want {
				t.Errorf("%s by %s a millisecond before %d s: %s", c.allow, c.user, second+1, d.Reason)
			}
			env.advance(time.Millisecond)
		}
	}
}

// A signature counts unless the agreement was updated after it.
func TestSigned(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(parseRule(t, "/terms", "2"), parseRule(t, "/a/{agreement}", "signed"), parseRule(t, "/lost", `2/{"agreement":"lost"}`))
	env.records.setAgreement("terms-of-use", 1000)
	env.records.setAgreement("privacy", 2000)
	for _, agreement := range []string{"terms-of-use", "lost"} {
		env.records.sign("ann", agreement, 1000)
	}
	check := func(path string, want Reason, agreement string) {
		t.Helper()
		if d := env.want(testRequest{path: path, reader: ann}, want); d.Demand.Agreement != agreement {
			t.Errorf("%s: %+v", path, d.Demand)
		}
	}
	check("/terms", ReasonAuthenticated, "terms-of-use")
	check("/a/privacy", ReasonAgreementRequired, "privacy")
	check("/lost", ReasonAgreementRequired, "lost") // an agreement that does not exist is a mistake of the rule
	env.want(testRequest{path: "/terms"}, ReasonLoginRequired)
	env.want(testRequest{path: "/terms", reader: bob}, ReasonAgreementRequired)
	env.cowork()
	env.want(testRequest{path: "/terms", reader: Reader{UserID: "donny"}}, ReasonAgreementRequired) // not for the broker either
	env.records.setAgreement("terms-of-use", 1001)
	check("/terms", ReasonAgreementRequired, "terms-of-use")
	env.records.sign("ann", "terms-of-use", 1001)
	check("/terms", ReasonAuthenticated, "terms-of-use")
}

// verified asks for a verified address, and for a second factor where the rule or a role
// does.
func TestVerified(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.setRules(
		parseRule(t, "/plain", "17"), parseRule(t, "/amr", `verified/{"amr":["otp","mfa"]}`),
		parseRule(t, "/acr", `17/{"acr":"urn:gold"}`), parseRule(t, "/both", `17/{"acr":["urn:gold"],"amr":"hwk"}`),
	)
	env.records.setRole("sec", Role{Profile: "abc", Type: "treasurer", SecondFactor: true, EndsAt: start*1000 + 1000})
	claims := func(user, email, acr, amr string) keys.ReaderClaims {
		return keys.ReaderClaims{UserID: user, Email: email, EmailVerified: email != "", ACR: acr, AMR: amr}
	}
	for range 2 { // verified, and then from memory
		for _, c := range []struct {
			path   string
			claims keys.ReaderClaims
			want   Reason
		}{
			{"/plain", claims("ken", "ken@example.org", "", ""), ReasonAuthenticated},
			{"/plain", claims("ken", "", "", ""), ReasonVerifyRequired},
			{"/plain", keys.ReaderClaims{UserID: "ken", Email: "ken@example.org"}, ReasonVerifyRequired},
			{"/plain", claims("sec", "sec@example.org", "", "pwd"), ReasonVerifyRequired},
			{"/plain", claims("sec", "sec@example.org", "", "pwd otp"), ReasonAuthenticated},
			{"/amr", claims("ken", "ken@example.org", "", "pwd"), ReasonVerifyRequired},
			{"/amr", claims("ken", "ken@example.org", "", "pwd mfa"), ReasonAuthenticated},
			{"/amr", claims("ken", "ken@example.org", "", "pwd mfas"), ReasonVerifyRequired},
			{"/acr", claims("ken", "ken@example.org", "urn:silver", "mfa"), ReasonVerifyRequired},
			{"/acr", claims("ken", "ken@example.org", "urn:gold", ""), ReasonAuthenticated},
			{"/both", claims("ken", "ken@example.org", "urn:gold", "otp"), ReasonVerifyRequired},
			{"/both", claims("ken", "ken@example.org", "urn:gold", "hwk"), ReasonAuthenticated},
			{"/both", claims("ken", "", "urn:gold", "hwk"), ReasonVerifyRequired},
		} {
			reader, err := env.policy.Reader(t.Context(), env.verifier(), env.readerToken(c.claims), env.now())
			must(t, err)
			if d := env.decide(testRequest{path: c.path, reader: reader}); d.Reason != c.want {
				t.Errorf("%s with %+v: %s, want %s", c.path, c.claims, d.Reason, c.want)
			}
		}
	}
	env.want(testRequest{path: "/plain"}, ReasonLoginRequired)
	env.advance(time.Second) // the role ends
	env.want(testRequest{path: "/plain", reader: Reader{UserID: "sec", Email: "sec@example.org"}}, ReasonAuthenticated)
}

// all allows if each of its steps does, and denies for the first that does not.
func TestAll(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.rule("/{profile}", `all/{"steps":["signed","5"]}`)
	env.records.setAgreement("terms-of-use", 1)
	for i, c := range []struct {
		prepare func()
		user    string
		want    Reason
		demand  Demand
	}{
		{func() {}, "", ReasonLoginRequired, Demand{}},
		{func() {}, "xia", ReasonAgreementRequired, Demand{Agreement: "terms-of-use"}},
		{func() { env.records.sign("xia", "terms-of-use", 2) }, "xia", ReasonRole, Demand{Profile: "abc", Role: RoleManager}},
		{func() { env.records.sign("ken", "terms-of-use", 2) }, "ken", ReasonRoleRequired, Demand{Profile: "abc", Role: RoleManager}},
	} {
		c.prepare()
		if d := env.by(c.user, "GET", "/abc"); d.Reason != c.want || d.Demand != c.demand {
			t.Errorf("%d: %s %+v, want %s", i, d.Reason, d.Demand, c.want)
		}
	}
	env.records.profilesDown = errDown
	env.records.versions.Bump(Invalidation{Shared: true})
	if d := env.by("xia", "GET", "/abc"); d.Reason != ReasonStoreUnavailable {
		t.Errorf("an agreement that cannot be read: %s", d.Reason)
	}
}

// What one step demands does not remain when another allows.
func TestDemandIsThatOfTheStepThatDecides(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.setRules(Rule{Path: "/{profile}", Allow: Allow{Operator: "5"}, Then: []Allow{entitledTo("premium")}})
	if d := env.by("ken", "GET", "/abc"); d.Reason != ReasonEntitled || d.Demand != (Demand{}) {
		t.Errorf("%s %+v", d.Reason, d.Demand)
	}
	env.setRules(Rule{Path: "/{profile}", Allow: Allow{Operator: "5"}, Then: []Allow{{Operator: "2"}}})
	if d := env.by("ken", "GET", "/abc"); d.Reason != ReasonAgreementRequired || d.Demand != (Demand{Agreement: "terms-of-use"}) {
		t.Errorf("%s %+v", d.Reason, d.Demand)
	}
}

// A role that waits is named only if it would be accepted.
func TestPendingRoles(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.records.setRole("ina", Role{Profile: "abc", Type: RoleContributor, Pending: true})
	env.records.setRole("ray", Role{Profile: "abc", Pending: true})
	env.records.setRole("ken", Role{Profile: "abc", Type: RoleManager, Pending: true}) // a request beside an active role
	for _, c := range []struct {
		allow, user, method string
		want                Reason
	}{
		{"3", "ina", "GET", ReasonRolePending},
		{"3", "ina", "POST", ReasonRoleRequired},
		{"5", "ina", "GET", ReasonRoleRequired},
		{"5", "ray", "GET", ReasonRolePending},
		{"3", "ken", "GET", ReasonRole},
		{"3", "ken", "POST", ReasonRolePending},
	} {
		env.rule("/{profile}", c.allow)
		if d := env.by(c.user, c.method, "/abc"); d.Reason != c.want {
			t.Errorf("%s %s by %s: %s, want %s", c.allow, c.method, c.user, d.Reason, c.want)
		}
	}
}

// Texts that are too long for a record are not looked up, and neither is anything for a
// reader without roles: a client can send any number of names.
func TestNamesThatNoRecordHasAreNotLookedUp(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.setRules(parseRule(t, "/p/{profile}", "6"), parseRule(t, "/u/{user}", "12"), parseRule(t, "/s/{profile}/{plan}", "15"), parseRule(t, "/a/{agreement}", "2"))
	for _, c := range []struct{ user, path string }{
		{"ken", "/p/" + strings.Repeat("x", maxSlug+1)},
		{"ken", "/u/" + strings.Repeat("x", maxUser+1)},
		{"ken", "/s/abc/" + strings.Repeat("x", maxSlug+1)},
		{"joe", "/p/name"},
		{"joe", "/u/name"},
		{"joe", "/s/name/name"},
		{"joe", "/a/name"},
	} {
		env.by(c.user, "GET", "/a/name") // reads the reader's own records
		before := env.records.readCount()
		if d := env.by(c.user, "GET", c.path); d.Allow() {
			t.Errorf("%.20s by %s: %s", c.path, c.user, d.Reason)
		}
		if reads := env.records.readCount() - before; reads > 0 {
			t.Errorf("%.20s by %s: %d reads", c.path, c.user, reads)
		}
	}
}

// The reasons of the access model, for TestDecide.
func init() {
	ruled := func(user, allow string, write func(env *testEnv)) func(env *testEnv) testRequest {
		return func(env *testEnv) testRequest {
			env.cowork()
			env.rule("/{profile}", allow)
			if write != nil {
				write(env)
			}
			return testRequest{path: "/abc", reader: Reader{UserID: user}}
		}
	}
	decideCases = append(decideCases,
		decideCase{"a contributor reads", ruled("ken", "3", nil), ReasonRole},
		decideCase{"a stranger", ruled("joe", "3", nil), ReasonRoleRequired},
		decideCase{"an invitation waits", ruled("pend", "3", nil), ReasonRolePending},
		decideCase{"no subscription", ruled("ken", `15/{"plan":"basic"}`, nil), ReasonNotSubscribed},
		decideCase{"money is owed", ruled("ken", `15/{"plan":"premium"}`, func(env *testEnv) {
			env.records.setSubscription(Subscription{Profile: "abc", Plan: "premium", Provider: "prov", Locked: true})
		}), ReasonBalanceDue},
		decideCase{"the terms are not signed", ruled("ken", "2", nil), ReasonAgreementRequired},
		decideCase{"the address is not verified", ruled("ken", "17", nil), ReasonVerifyRequired},
		decideCase{"a profile cannot be read", ruled("pam", "6", func(env *testEnv) { env.records.profilesDown = errDown }), ReasonStoreUnavailable},
		decideCase{"a plan cannot be read", ruled("pam", `15/{"plan":"basic"}`, func(env *testEnv) { env.records.profilesDown = errDown }), ReasonStoreUnavailable},
	)
}

// Overrides replace the roles of the reader, and not those of the user whom a page names.
func TestOverridesReplaceRoles(t *testing.T) {
	env := newTestEnv(t)
	env.cowork()
	env.setRules(parseRule(t, "/p/{profile}", "3"), parseRule(t, "/u/{user}", "12"))
	hypothetical := env.policy.WithOverrides(Overrides{Grants: true, Membership: ReaderRecords{Roles: []Role{{Profile: "abc", Type: RoleManager}}}})
	nothing := env.policy.WithOverrides(Overrides{Grants: true})
	for _, path := range []string{"/p/abc", "/u/ken"} {
		if d := hypothetical.Decide(t.Context(), env.request(testRequest{path: path, reader: Reader{UserID: "joe"}})); d.Reason != ReasonRole {
			t.Errorf("%s with a role: %s", path, d.Reason)
		}
		if d := nothing.Decide(t.Context(), env.request(testRequest{path: path, reader: Reader{UserID: "xia"}})); d.Reason != ReasonRoleRequired {
			t.Errorf("%s without one: %s", path, d.Reason)
		}
	}
}

// Steps in JSON and in words.
func TestWordsOfOperators(t *testing.T) {
	for _, c := range []struct {
		operator string
		words    []string
		want     string
	}{
		{"direct", []string{"support"}, `{"roledescription":"support"}`},
		{"provider_weak", []string{"a", "b"}, `{"roledescription":["a","b"]}`},
		{"signed", []string{"terms"}, `{"agreement":"terms"}`},
		{"verified", []string{"mfa", "otp"}, `{"amr":["mfa","otp"]}`},
		{"was_subscribed", []string{"premium"}, `{"plan":"premium"}`},
		{"all", []string{"signed", "direct"}, `{"steps":["signed","direct"]}`},
	} {
		allow, err := StandardOperators().Words(c.operator, c.words)
		must(t, err)
		if got, err := json.Marshal(allow.Arguments); err != nil || string(got) != c.want {
			t.Errorf("%s %s: %s, %v", c.operator, c.words, got, err)
		}
	}
	for _, c := range [][]string{{"direct_strong", "support"}, {"signed", "a", "b"}} {
		if allow, err := StandardOperators().Words(c[0], c[1:]); err == nil {
			t.Errorf("%s is accepted: %s", fmt.Sprint(c), allow)
		}
	}
}
