package store_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

// manyRules are the rules of a large site.
func manyRules(n int) []policy.Rule {
	rules := make([]policy.Rule, n)
	for i := range rules {
		rules[i] = policy.Rule{
			Rank: i + 1, Path: fmt.Sprintf("/section-%d/{publisherContentId}", i), Forward: true,
			Allow: policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["premium","{publisherContentId}"]`)}},
		}
	}
	return rules
}

// BenchmarkPublish replaces 10,000 rules by 10,000, and lets requests be decided
// by them: "stored" is the part of it that ends on the disk, "compiled" the part
// that every node does when it hears of it.
func BenchmarkPublish(b *testing.B) {
	const rules = 10_000
	backend, err := boltengine.Open(filepath.Join(b.TempDir(), "gatefold.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Close()
	versions := new(policy.Versions)
	records := store.New(backend, versions, time.Now).As(store.Actor{})
	operators := policy.StandardOperators()
	decisions, err := policy.New(policy.Options{
		Records: records, Versions: versions, Operators: operators, CacheBytes: policy.MinCacheBytes, Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer decisions.Close()
	b.Run("stored", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := records.ReplaceRules(b.Context(), vendor, "news", manyRules(rules), operators); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("compiled", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if set, err := decisions.RefreshRules(b.Context(), vendor, "news"); err != nil || set.Len() != rules {
				b.Fatal(err)
			}
		}
	})
}
