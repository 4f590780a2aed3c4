package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/memory"
)

// memberPaths returns an allowed decision under each operator about roles, subscriptions
// and agreements, by a reader with 20 profiles, each of which is subscribed. All is
// cached.
func memberPaths(t testing.TB, others int) map[string]func() Decision {
	env := newTestEnv(t)
	records := env.records
	for _, profile := range []string{"acme", "seller"} {
		records.setProfile(profile, true)
	}
	records.setPlan("premium", Plan{Provider: "seller"})
	records.setAgreement("terms-of-use", 1)
	records.sign("ann", "terms-of-use", 1)
	records.setRole("target", Role{Profile: "customer-7", Type: RoleContributor})
	for i := range 20 {
		profile := fmt.Sprint("customer-", i)
		records.setProfile(profile, true)
		records.setSubscription(Subscription{Profile: profile, Plan: "premium", Provider: "seller", EndsAt: start*1000 + day})
		records.setRole("ann", Role{Profile: profile, Type: RoleManager})
	}
	records.setProfile("client", true)
	records.setSubscription(Subscription{Profile: "client", Plan: "other", Provider: "customer-9"})
	for i := range others {
		profile := fmt.Sprint("stranger-", i)
		records.members.profiles[profile] = true
		records.members.roles = append(records.members.roles, fakeRole{fmt.Sprint("user-", i), Role{Profile: profile, Type: RoleManager}})
	}
	env.setRules(memberRules(t)...)
	token := env.readerToken(keys.ReaderClaims{UserID: "ann", Email: "ann@example.org", EmailVerified: true})
	reader, err := env.policy.Reader(t.Context(), env.verifier(), token, env.now())
	must(t, err)
	paths := map[string]func() Decision{}
	for name, path := range map[string]string{
		"2": "/2", "3": "/3/customer-7", "4": "/4/customer-7", "5": "/5/customer-7", "6": "/6/client", "7": "/7/client", "8": "/8/client", "9": "/9/client",
		"10": "/10/client", "11": "/11/client", "12": "/12/target", "13": "/13/target", "14": "/14/target", "15": "/15/customer-7", "16": "/16/customer-7",
		"17": "/17", "18": "/18/client", "all": "/all/client", "entitled": "/entitled",
	} {
		request := new(Request)
		paths[name] = func() Decision {
			request.Reset()
			request.Site, request.Method, request.Host = env.site, "GET", "news.example"
			request.Reader, request.Now = reader, env.now()
			request.Target, request.EscapedPath = path, path
			return env.policy.Decide(t.Context(), request)
		}
		for range 2 {
			if decision := paths[name](); !decision.Allow() {
				t.Fatalf("%s: %s %v", name, decision.Reason, decision.Err)
			}
		}
		if reader, err = env.policy.Reader(t.Context(), env.verifier(), token, env.now()); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// BenchmarkDecideMembership measures decisions about roles, subscriptions and agreements.
func BenchmarkDecideMembership(b *testing.B) {
	for name, decide := range memberPaths(b, 0) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if decision := decide(); !decision.Allow() {
					b.Fatal(decision.Reason)
				}
			}
		})
	}
}

// 10,000 readers with 20 roles each, on profiles that are subscribed, take at most 40 MiB.
func TestMemoryOfRoles(t *testing.T) {
	const readers, most = 10_000, 40 << 20
	p := &Policy{versions: new(Versions), readers: memory.NewRecordCache(256 << 20)}
	var err error
	p.fingerprints, err = memory.NewFingerprinter()
	must(t, err)
	verifier := NewReaderVerifier("verifier", keys.ReaderIssuer{}, nil)
	for i := range readers {
		reader := Reader{UserID: fmt.Sprintf("reader-%07d", i), Email: fmt.Sprintf("reader-%07d@reader.example", i)}
		var records ReaderRecords
		for j := range 20 {
			profile := fmt.Sprintf("profile-%07d", i*20+j)
			records.Roles = append(records.Roles, Role{Profile: profile, Type: RoleContributor})
			records.Subscriptions = append(records.Subscriptions, Subscription{Profile: profile, Plan: "premium", Provider: "provider-of-all", EndsAt: start})
		}
		packed := records.pack(records.Stripes("default"), 0)
		p.cacheReader(&verifier, fmt.Sprintf("token of reader %d", i), &reader, "default", &packed.Entitlements)
	}
	if bytes := p.readers.Bytes(); bytes > most {
		t.Errorf("%d readers take %.1f MiB", readers, float64(bytes)/(1<<20))
	} else {
		t.Logf("%d readers take %.1f MiB", readers, float64(bytes)/(1<<20))
	}
}

// timesOf returns the times of two decisions, which are measured in turns: the tenth part of
// the measurements is faster, so that other processes do not count.
func timesOf(a, b func() Decision) (ofA, ofB time.Duration) {
	var times [2][]time.Duration
	for range 200 {
		for i, decide := range []func() Decision{a, b} {
			began := time.Now()
			for range 100 {
				decide()
			}
			times[i] = append(times[i], time.Since(began)/100)
		}
	}
	tenth := func(of []time.Duration) time.Duration {
		slices.Sort(of)
		return of[len(of)/10]
	}
	return tenth(times[0]), tenth(times[1])
}

// The time of a decision does not grow with the profiles of others.
func TestDecisionsDoNotDependOnOthers(t *testing.T) {
	few, many := memberPaths(t, 0), memberPaths(t, 50_000)
	for _, name := range []string{"3", "6", "12", "15"} {
		a, b := timesOf(few[name], many[name])
		if b > 3*a+time.Microsecond {
			t.Errorf("%s takes %v, and %v beside 50,000 profiles of others", name, a, b)
		}
	}
}
