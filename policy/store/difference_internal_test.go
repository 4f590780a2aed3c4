package store

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// An operator is told what a backup of yesterday would open and lose, before it takes the place
// of the database. What the sweep removes and bookkeeping is no news.
func TestDifferences(t *testing.T) {
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	side := func(name string, puts map[string]string, counters map[string]int) *boltengine.Engine {
		backend, err := boltengine.Open(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = backend.Close() })
		batch := &engine.Batch{}
		for k, value := range puts {
			put := engine.Put{Key: []byte(k), Value: []byte(value)}
			if value == "ended" {
				put.Expires = at.Add(-time.Hour)
			}
			batch.Puts = append(batch.Puts, put)
		}
		for k, n := range counters {
			for range n {
				batch.Counters = append(batch.Counters, engine.Counter{Key: []byte(k)})
			}
		}
		if _, err := backend.Commit(t.Context(), "acme", batch); err != nil {
			t.Fatal(err)
		}
		return backend
	}
	current := side("current", map[string]string{
		"X one": "2026-11-29T10:00:00Z", "X two": "2026-11-29T10:00:00Z", "B kid": "denied",
		"G lost": "{}", "G same": "{}", "R changed": `{"new":true}`, "A entry": "{}", "G over": "ended",
	}, map[string]int{"C one": 5, "C two": 2, "C same": 1})
	backup := side("backup", map[string]string{
		"X two": "2026-11-29T10:00:00Z", "X older": "2026-11-28T10:00:00Z", "G back": "{}", "G same": "{}", "R changed": `{"new":false}`, "G ended": "ended",
	}, map[string]int{"C one": 3, "C same": 1})
	got, err := Differences(t.Context(), current, backup, at)
	want := []Difference{{
		Partition: "acme", Reopened: 1, Undenied: 1, Links: 2, Uses: 4,
		Kinds: []KindDifference{{Kind: "grant", Back: 1, Lost: 1}, {Kind: "rule", Changed: 1}},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Differences(t.Context(), current, current, at); err != nil || got != nil {
		t.Errorf("with itself: %+v, %v", got, err)
	}
}
