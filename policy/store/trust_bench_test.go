package store_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// BenchmarkTrust is what thousands of trusted domains cost: to read them after a
// start, to change one of them, and to list a page.
func BenchmarkTrust(b *testing.B) {
	for _, domains := range []int{1000, store.MaxDomains} {
		b.Run(fmt.Sprint(domains), func(b *testing.B) { benchmarkTrust(b, domains) })
	}
}

func benchmarkTrust(b *testing.B, domains int) {
	backend, err := boltengine.Open(filepath.Join(b.TempDir(), "gatefold.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Close()
	versions := new(policy.Versions)
	records := store.New(backend, versions, time.Now).As(store.Actor{})
	var all engine.Batch
	for i := range domains {
		all.Puts = append(all.Puts, engine.Put{
			Key: fmt.Appendf(nil, "Dpartner-%05d.example", i),
			Value: fmt.Appendf(nil, `{"domain":"partner-%05d.example","signingKeyPem":%q,"createdAt":"2026-11-25T00:00:00Z","updatedAt":"2026-11-25T00:00:00Z","updatedBy":"ann","probe":{"ok":true,"activeKeys":1,"at":"2026-11-25T00:00:00Z"}}`,
				i, publisherPEM()),
		})
	}
	if _, err := backend.Commit(b.Context(), vendor, &all); err != nil {
		b.Fatal(err)
	}
	all = engine.Batch{}
	newPolicy := func() *policy.Policy {
		decisions, err := policy.New(policy.Options{
			Records: records, Versions: versions, Operators: policy.StandardOperators(), CacheBytes: policy.MinCacheBytes, Now: time.Now,
		})
		if err != nil {
			b.Fatal(err)
		}
		return decisions
	}
	refresh := func(b *testing.B, decisions *policy.Policy) {
		if err := decisions.RefreshDomains(b.Context(), vendor); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			decisions := newPolicy()
			refresh(b, decisions)
			decisions.Close()
		}
	})
	decisions := newPolicy()
	defer decisions.Close()
	held := heap()
	refresh(b, decisions)
	each := float64(heap()-held) / float64(domains)
	b.Run("changed", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, err := records.PutDomain(b.Context(), vendor, store.Domain{Domain: fmt.Sprintf("partner-%05d.example", i%domains), SigningKeyPEM: publisherPEM()})
			if err != nil {
				b.Fatal(err)
			}
			refresh(b, decisions)
		}
		b.ReportMetric(each, "B/domain")
	})
	b.Run("listed", func(b *testing.B) {
		for b.Loop() {
			if page, err := records.TrustedDomains(b.Context(), vendor, store.Page{From: "partner-00500.example"}); err != nil || len(page) != store.DefaultLimit {
				b.Fatal(len(page), err)
			}
		}
	})
}

// heap returns the bytes that are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
