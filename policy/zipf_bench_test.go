package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// manyReaders returns a world whose rules are the given number, what 100,000
// readers ask of it by Zipf's law, and all of it in memory.
func manyReaders(t testing.TB, rules int) (*testEnv, []Reader, []int) {
	t.Helper()
	const readerCount = 100_000
	env := newTestEnv(t)
	env.policy.Resize(128 << 20) // every reader twice: by her token, and without
	list := make([]Rule, 0, rules)
	for i := range rules {
		list = append(list, Rule{
			Rank: i, Path: fmt.Sprintf("/section-%d/{publisherContentId}", i), Forward: true,
			Allow: Allow{Operator: "entitled", Arguments: Arguments{"sku": []byte(`["premium"]`)}},
		})
	}
	set, err := CompileRules(list, StandardOperators())
	must(t, err)
	env.site = NewSite(env.site.Vendor, env.site.Name, set, PathOptions{}, env.site.Keys)
	readers := make([]Reader, readerCount)
	for i := range readers {
		readers[i] = Reader{UserID: fmt.Sprintf("reader-%07d", i), Email: fmt.Sprintf("reader-%07d@reader.example", i)}
		var space [keySpace]byte
		key := appendReaderKey(space[:0], env.site.Vendor, &readers[i])
		env.policy.readers.Set(key, []byte(premium.text), env.policy.versions.Reader(env.site.Vendor, &readers[i]), never)
	}
	random := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // not a secret
	zipf := rand.NewZipf(random, 1.0001, 1, readerCount-1)
	visits := make([]int, 1<<18)
	for i := range visits {
		visits[i] = int(zipf.Uint64()) //nolint:gosec // less than readers
	}
	return env, readers, visits
}

// askBy returns a function that decides the next visit.
func decideByReader(env *testEnv, readers []Reader, visits []int, rules, start int) func() Reason {
	paths := zipfPaths(rules)
	request, at := new(Request), start
	now := env.now()
	return func() Reason {
		at++
		request.Reset()
		request.Site, request.Method, request.Host, request.Now = env.site, "GET", "news.example", now
		request.Reader = readers[visits[at&(1<<18-1)]]
		request.EscapedPath = paths[at&1023]
		decision := env.policy.Decide(env.t.Context(), request)
		return decision.Reason
	}
}

// known fails where the store, which has nothing in it, was asked too often: a
// reader in a hundred may have been forgotten.
func checkMisses(b *testing.B, env *testEnv) {
	b.Helper()
	if hits, misses := env.policy.counts.entitlements.hits.Load(), env.policy.counts.entitlements.misses.Load(); misses > hits/100+1 {
		b.Errorf("of %d questions %d were not answered from memory", hits+misses, misses)
	}
}

// BenchmarkDecideZipf decides for 100,000 readers, from the raw path on, on a site
// with 10,000 rules; serially with percentiles, and on all processors. The time of
// the clock that measures each one is taken off the percentiles.
func BenchmarkDecideZipf(b *testing.B) {
	const rules = 10_000
	env, readers, visits := manyReaders(b, rules)
	b.Run("serial", func(b *testing.B) {
		ask := decideByReader(env, readers, visits, rules, 0)
		b.ReportAllocs()
		for b.Loop() {
			ask()
		}
		checkMisses(b, env)
	})
	b.Run("percentiles", func(b *testing.B) {
		ask := decideByReader(env, readers, visits, rules, 0)
		took := make([]time.Duration, 0, 1<<20)
		clock := make([]time.Duration, 0, 1<<16)
		for b.Loop() {
			began := time.Now()
			ask()
			if t := time.Since(began); len(took) < cap(took) {
				took = append(took, t)
			}
			if len(clock) < cap(clock) {
				began = time.Now()
				clock = append(clock, time.Since(began))
			}
		}
		slices.Sort(took)
		slices.Sort(clock)
		own := clock[len(clock)/2]
		b.ReportMetric(float64(took[len(took)/2]-own), "p50-ns")
		b.ReportMetric(float64(took[len(took)*99/100]-own), "p99-ns")
	})
	b.Run("cold", func(b *testing.B) { reportCold(b, decideByReader(env, readers, visits, rules, 0)) })
	b.Run("token", func(b *testing.B) {
		ask := decideByToken(env, readers, visits, rules)
		b.ReportAllocs()
		for b.Loop() {
			ask()
		}
	})
	b.Run("coldtoken", func(b *testing.B) { reportCold(b, decideByToken(env, readers, visits, rules)) })
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			ask := decideByReader(env, readers, visits, rules, rand.IntN(1<<18)) //nolint:gosec // not a secret
			for pb.Next() {
				ask()
			}
		})
		checkMisses(b, env)
	})
}

// reportCold reports how long a question takes after something else had the
// processor's caches, as a proxy's other work has them between two decisions.
func reportCold(b *testing.B, ask func() Reason) {
	b.Helper()
	others := make([]byte, 4<<20)
	took := make([]time.Duration, 0, 1<<16)
	clock := make([]time.Duration, 0, 1<<16)
	for b.Loop() {
		for at := 0; at < len(others); at += 64 {
			others[at]++
		}
		began := time.Now()
		ask()
		ended := time.Now()
		if len(took) < cap(took) {
			took, clock = append(took, ended.Sub(began)), append(clock, time.Since(ended))
		}
	}
	slices.Sort(took)
	slices.Sort(clock)
	own := clock[len(clock)/2]
	b.ReportMetric(float64(took[len(took)/2]-own), "p50-ns")
	b.ReportMetric(float64(took[len(took)*9/10]-own), "p90-ns")
}

// askByToken returns a function that identifies the reader of the next visit by
// her token, and decides it. Every token was verified before.
func decideByToken(env *testEnv, readers []Reader, visits []int, rules int) func() Reason {
	verifier := env.verifier()
	random := rand.New(rand.NewPCG(8, 8)) //nolint:gosec // not a secret
	tokens := make([]string, len(readers))
	for i := range tokens {
		token := make([]byte, 400) // as long as one with an e-mail address
		for j := range token {
			token[j] = byte('A' + random.IntN(26)) //nolint:gosec // a letter
		}
		tokens[i] = string(token)
		env.policy.cacheReader(verifier, tokens[i], &readers[i], env.site.Vendor, premium)
	}
	paths := zipfPaths(rules)
	request, at := new(Request), 0
	now := env.now()
	return func() Reason {
		at++
		request.Reset()
		request.Site, request.Method, request.Host, request.Now = env.site, "GET", "news.example", now
		request.EscapedPath = paths[at&1023]
		var err error
		if request.Reader, err = env.policy.Reader(env.t.Context(), verifier, tokens[visits[at&(1<<18-1)]], now); err != nil {
			return ReasonNone
		}
		decision := env.policy.Decide(env.t.Context(), request)
		return decision.Reason
	}
}

func zipfPaths(rules int) []string {
	paths := make([]string, 1024)
	for i := range paths {
		paths[i] = fmt.Sprintf("/section-%d/article-%d", i*7919%rules, i)
	}
	return paths
}
