package caddymodule

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// A reader posts a comment through one node. Another node, which has the article in memory,
// does not go on with the old one.
func TestUnsafeRequestIsHeardByOtherNodes(t *testing.T) {
	s := newCachingRedisSite(t)
	s.origin.Handle(page("page", "Content-Location", "/feed"))
	options, err := redisengine.ParseURLs([]string{s.redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	other := new(policy.Versions)
	follower := store.Follow(backend, store.FollowOptions{Versions: other, Refresh: func(context.Context, string) {}, StaleFor: time.Minute, Now: now})
	t.Cleanup(func() { _ = follower.Close() })
	if err := follower.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := follower.View(t.Context(), defaultVendor, func(engine.Snapshot) error { return nil }); err != nil {
		t.Fatal(err)
	}
	stamp := func(path string) uint64 {
		hard, _ := other.Pages(policy.PageSlots(defaultVendor, defaultVendor, path))
		return hard
	}
	article, feed, another := stamp("/a"), stamp("/feed"), stamp("/b")
	if got := s.do(http.MethodPost, "/a"); got.StatusCode != http.StatusOK {
		t.Fatal(got.StatusCode, got.body)
	}
	s.waitFor("the other node hears of it", func() bool { return stamp("/a") != article && stamp("/feed") != feed })
	if stamp("/b") != another {
		t.Error("a page that was not changed is purged too")
	}
}
