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
	w.policy.Resize(64 << 20)
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
	granted := NewEntitlements([]Grant{{ID: "grant_01m8452fr017b5yjsdtmx64dnr", SKU: "premium", Active: true}})
	for i := range everybody {
		everybody[i] = Reader{UserID: fmt.Sprintf("reader-%07d", i), Email: fmt.Sprintf("reader-%07d@reader.example", i)}
		var space [keySpace]byte
		key := appendReaderKey(space[:0], w.site.Vendor, &everybody[i])
		w.policy.entitlements.set(key, []byte(granted.text), w.policy.versions.Reader(w.site.Vendor, &everybody[i]), never)
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
	paths := make([]string, 1024)
	for i := range paths {
		paths[i] = fmt.Sprintf("/section-%d/article-%d", i*7919%rules, i)
	}
	request, at := new(Request), start
	now := w.now()
	return func() Reason {
		at++
		request.Reset()
		request.Site, request.Method, request.Host, request.Now = w.site, "GET", "news.example", now
		request.Reader = everybody[visits[at&(1<<18-1)]]
		if request.Path.Read(paths[at&1023], PathOptions{}) != nil || w.policy.Match(w.t.Context(), request) != nil {
			return ReasonNone
		}
		decision := w.policy.Decide(w.t.Context(), request)
		return decision.Reason
	}
}

// known fails where the store, which has nothing in it, was asked too often: a
// reader in a hundred may have been forgotten.
func known(b *testing.B, w *world) {
	b.Helper()
	if hits, misses := w.policy.entitlements.counted(); misses > hits/100+1 {
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
