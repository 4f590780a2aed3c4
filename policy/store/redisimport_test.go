package store_test

import (
	"fmt"
	"testing"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// onRedis returns a fixture over a Redis server.
func onRedis(t *testing.T) *fixture {
	t.Helper()
	options, err := redisengine.ParseURLs([]string{redistest.Start(t).URL()})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	b := newFixture(t)
	b.records = backend
	b.Writer = store.New(backend, b.versions, b.now).As(store.Actor{})
	return b
}

// A shared store imports, finds, replaces and undoes as a database does.
func TestImportsOnRedis(t *testing.T) {
	b := onRedis(t)
	var rows []string
	for i := range 1200 {
		rows = append(rows, fmt.Sprintf("u%04d s", i))
	}
	if got := b.importFile("one", 500, false, append(rows, "v archive p1", "w s - a", "w s - b")...); got != "1203 0 0 0" {
		t.Fatalf("the first file: %s", got)
	}
	before := b.grantRows()
	if got := b.importFile("two", 500, true, append(rows[:600:600], "v archive p1 note", "w s - a", "w s - b", "x s")...); got != "1 1 602 600" {
		t.Errorf("the second file: %s", got)
	}
	if got := b.found(store.GrantQuery{SKU: "archive"}); got != "v" || b.count("m") != 0 {
		t.Errorf("found %s, %d markers", got, b.count("m"))
	}
	if got := b.skus(policy.Reader{UserID: "u0600"}); got != "" {
		t.Errorf("a removed reader has %s", got)
	}
	if undone := b.undo(store.DefaultList, "two"); undone.Restored != 601 || undone.Removed != 1 || b.grantRows() != before {
		t.Errorf("undone %+v", undone)
	}
	b.forgetIndex()
	if got := b.importFile("three", 500, true, append(rows, "v archive p1", "w s - a", "w s - b")...); got != "0 0 1203 0" {
		t.Errorf("without an index: %s", got)
	}
}
