package admin_test

import (
	"net/http"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	b := newFixture(t, true)
	type health struct {
		Status          string
		Store           struct{ Reachable bool }
		SnapshotVersion uint64
		Vendors         []struct {
			Vendor       string
			FeedPosition uint64
			Keys         *struct {
				Signing    string
				Verifying  int
				AgeSeconds int64
			}
		}
	}
	read := func(status int) (got health) {
		t.Helper()
		if answer := b.call(http.MethodGet, "/health", "").want(status, &got); (status == http.StatusServiceUnavailable) != (answer.head.Get("Retry-After") != "") {
			t.Errorf("%d has Retry-After %q", status, answer.head.Get("Retry-After"))
		}
		return got
	}
	if got := read(http.StatusOK); got.Status != "ok" || !got.Store.Reachable || len(got.Vendors) != 0 {
		t.Errorf("a new node says %+v", got)
	}
	b.callAs("other", http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`).want(http.StatusCreated, nil)
	b.call(http.MethodPost, createLink, `{"sku":"s"}`).want(http.StatusOK, nil)
	b.call(http.MethodPost, "/management/keys/rotate", "{}").want(http.StatusCreated, nil)
	b.clock = b.clock.Add(90 * time.Second)
	got := read(http.StatusOK)
	if len(got.Vendors) != 2 || got.Vendors[0].Vendor != "acme" || got.Vendors[1].Vendor != "other" || got.SnapshotVersion == 0 {
		t.Fatalf("the vendors are %+v", got)
	}
	acme, other := got.Vendors[0], got.Vendors[1]
	if acme.FeedPosition != 3 || acme.Keys == nil || acme.Keys.Verifying != 2 || acme.Keys.AgeSeconds != 90 || acme.Keys.Signing == "" {
		t.Errorf("acme is %+v %+v", acme, acme.Keys)
	}
	if other.FeedPosition != 1 || other.Keys != nil {
		t.Errorf("other is %+v", other)
	}
	b.closeStore()
	if got := read(http.StatusServiceUnavailable); got.Status != "failing" || got.Store.Reachable {
		t.Errorf("without its store the node says %+v", got)
	}
}
