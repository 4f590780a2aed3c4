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
func manyReaders(t testing.TB, rules int) (*world, []Reader, []int) {
	t.Helper()
	const readers = 100_000
	w := newWorld(t)
	w.policy.Resize(128 << 20) // every reader twice: by her token, and without
	list := make([]Rule, 0, rules)
	for i := range rules {
		list = append(list, Rule{
			Rank: i, Path: fmt.Sprintf("/section-%d/{publisherContentId}", i), Forward: true,
			Allow: Allow{Operator: "entitled", Arguments: Arguments{"sku": []byte(`["premium"]`)}},
		})
	}
	set, err := CompileRules(list, StandardOperators())
	must(t, err)
	w.site = NewSite(w.site.Vendor, w.site.Name, set, PathOptions{}, w.site.Keys)
	everybody := make([]Reader, readers)
	for i := range everybody {
		everybody[i] = Reader{UserID: fmt.Sprintf("reader-%07d", i), Email: fmt.Sprintf("reader-%07d@reader.example", i)}
		var space [keySpace]byte
		key := appendReaderKey(space[:0], w.site.Vendor, &everybody[i])
		w.policy.readers.Set(key, []byte(premium.text), w.policy.versions.Reader(w.site.Vendor, &everybody[i]), never)
	}
	random := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // not a secret
	zipf := rand.NewZipf(random, 1.0001, 1, readers-1)
	visits := make([]int, 1<<18)
	for i := range visits {
		visits[i] = int(zipf.Uint64()) //nolint:gosec // less than readers
	}
	return w, everybody, visits
}

// askBy returns a function that decides the next visit.
func askBy(w *world, everybody []Reader, visits []int, rules, start int) func() Reason {
	paths := zipfPaths(rules)
	request, at := new(Request), start
	now := w.now()
	return func() Reason {
		at++
		request.Reset()
		request.Site, request.Method, request.Host, request.Now = w.site, "GET", "news.example", now
		request.Reader = everybody[visits[at&(1<<18-1)]]
		request.EscapedPath = paths[at&1023]
		decision := w.policy.Decide(w.t.Context(), request)
		return decision.Reason
	}
}

// known fails where the store, which has nothing in it, was asked too often: a
// reader in a hundred may have been forgotten.
func known(b *testing.B, w *world) {
	b.Helper()
	if hits, misses := w.policy.counts.entitlements.hits.Load(), w.policy.counts.entitlements.misses.Load(); misses > hits/100+1 {
		b.Errorf("of %d questions %d were not answered from memory", hits+misses, misses)
	}
}

// BenchmarkDecideZipf decides for 100,000 readers, from the raw path on, on a site
// with 10,000 rules; serially with percentiles, and on all processors. The time of
// the clock that measures each one is taken off the percentiles.
func BenchmarkDecideZipf(b *testing.B) {
	const rules = 10_000
	w, everybody, visits := manyReaders(b, rules)
	b.Run("serial", func(b *testing.B) {
		ask := askBy(w, everybody, visits, rules, 0)
		b.ReportAllocs()
		for b.Loop() {
			ask()
		}
		known(b, w)
	})
	b.Run("percentiles", func(b *testing.B) {
		ask := askBy(w, everybody, visits, rules, 0)
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
	b.Run("cold", func(b *testing.B) { reportCold(b, askBy(w, everybody, visits, rules, 0)) })
	b.Run("token", func(b *testing.B) {
		ask := askByToken(w, everybody, visits, rules)
		b.ReportAllocs()
		for b.Loop() {
			ask()
		}
	})
	b.Run("coldtoken", func(b *testing.B) { reportCold(b, askByToken(w, everybody, visits, rules)) })
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			ask := askBy(w, everybody, visits, rules, rand.IntN(1<<18)) //nolint:gosec // not a secret
			for pb.Next() {
				ask()
			}
		})
		known(b, w)
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
func askByToken(w *world, everybody []Reader, visits []int, rules int) func() Reason {
	verifier := w.verifier()
	random := rand.New(rand.NewPCG(8, 8)) //nolint:gosec // not a secret
	tokens := make([]string, len(everybody))
	for i := range tokens {
		token := make([]byte, 400) // as long as one with an e-mail address
		for j := range token {
			token[j] = byte('A' + random.IntN(26)) //nolint:gosec // a letter
		}
		tokens[i] = string(token)
		w.policy.rememberReader(verifier, tokens[i], &everybody[i], w.site.Vendor, premium)
	}
	paths := zipfPaths(rules)
	request, at := new(Request), 0
	now := w.now()
	return func() Reason {
		at++
		request.Reset()
		request.Site, request.Method, request.Host, request.Now = w.site, "GET", "news.example", now
		request.EscapedPath = paths[at&1023]
		var err error
		if request.Reader, err = w.policy.Reader(w.t.Context(), verifier, tokens[visits[at&(1<<18-1)]], now); err != nil {
			return ReasonNone
		}
		decision := w.policy.Decide(w.t.Context(), request)
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
