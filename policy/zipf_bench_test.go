package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// manyReaders returns an environment with the given number of rules and 100,000 cached
// readers, and the indexes of readers by Zipf's law.
func manyReaders(t testing.TB, rules int) (*testEnv, []Reader, []int) {
	t.Helper()
	const readerCount = 100_000
	env := newTestEnv(t)
	env.policy.Resize(128 << 20) // every reader twice: with a token and without
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

// decideByReader returns a function that decides the next request.
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

// checkMisses fails the benchmark if more than one in a hundred decisions read the
// store, which is empty.
func checkMisses(b *testing.B, env *testEnv) {
	b.Helper()
	if hits, misses := env.policy.counts.entitlements.hits.Load(), env.policy.counts.entitlements.misses.Load(); misses > hits/100+1 {
		b.Errorf("of %d decisions %d read the store", hits+misses, misses)
	}
}

// BenchmarkDecideZipf decides requests of 100,000 readers from the raw path on, on a
// site with 10,000 rules: serially, with percentiles, and on all processors. The
// percentiles do not include the time of reading the clock.
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

// reportCold reports the time of a decision after other work has evicted the
// processor's caches, as in a proxy.
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

// decideByToken returns a function that identifies the next request's reader by a
// cached token, and decides it.
func decideByToken(env *testEnv, readers []Reader, visits []int, rules int) func() Reason {
	verifier := env.verifier()
	random := rand.New(rand.NewPCG(8, 8)) //nolint:gosec // not a secret
	tokens := make([]string, len(readers))
	for i := range tokens {
		token := make([]byte, 400) // the length of one with an e-mail address
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
