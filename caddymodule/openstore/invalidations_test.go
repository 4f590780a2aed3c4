package openstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// What requests change is sent to the other nodes in few purges that a store takes: what
// cannot be named, or is too much, purges more. What could not be sent is sent again.
func TestPageInvalidationsAreBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	sent, again := make(chan policy.PagePurge), make(chan error, 1)
	fails := true
	invalidations := newPageInvalidations(ctx, time.Millisecond, func(_ context.Context, _ string, purge *policy.PagePurge) error {
		if fails {
			fails = false
			return errors.New("the store is away")
		}
		sent <- *purge
		return nil
	}, func(err error) { again <- err })
	invalidations.add("acme", &policy.PagePurge{Site: "news", Paths: []string{"/a"}})
	if <-again == nil {
		t.Error("a failure is not told")
	}
	if got := <-sent; len(got.Paths) != 1 || got.Paths[0] != "/a" {
		t.Errorf("after the failure %+v is sent", got)
	}
	long := "/blog/" + strings.Repeat("x", store.MaxPurgedText)
	invalidations.mu.Lock() // so that all is pending at once
	for range 3 {
		invalidations.merge("acme", &policy.PagePurge{Site: "news", Paths: []string{"/a", long}, Tags: []string{"t"}})
	}
	for i := range store.MaxPurged + 1 {
		invalidations.merge("acme", &policy.PagePurge{Site: "shop", Paths: []string{fmt.Sprint("/", i)}})
	}
	invalidations.mu.Unlock()
	invalidations.add("acme", &policy.PagePurge{Site: "shop", Paths: []string{"/b"}})
	for range 2 {
		switch got := <-sent; got.Site {
		case "news":
			if got.All || len(got.Paths) != 1 || len(got.Prefixes) != 1 || got.Prefixes[0] != "/blog" || len(got.Tags) != 1 {
				t.Errorf("of the site news %+v is sent", got)
			}
		case "shop":
			if !got.All || len(got.Paths) != 0 {
				t.Errorf("of the site shop %d paths are sent", len(got.Paths))
			}
		}
	}
	cancel()
	invalidations.close()
}
