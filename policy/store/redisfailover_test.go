package store_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// Readers open a link, each once, while the master of a Redis with ack_replicas fails and
// a replica takes its place. Those who get 503 never come back. In the end as many uses are
// counted as pages were delivered: a 503 costs no use.
func TestFailoverSpendsNoUse(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		t.Run(strconv.Itoa(replicas)+" replicas", func(t *testing.T) {
			t.Parallel()
			failover(t, replicas)
		})
	}
}

func failover(t *testing.T, replicas int) {
	t.Helper()
	master := redistest.Start(t)
	var followers []*redistest.Server
	for range replicas {
		followers = append(followers, master.StartReplica())
	}
	var urls []string
	for _, sentinel := range redistest.StartSentinels(t, "gate", master, 3) {
		urls = append(urls, "redis+sentinel://"+sentinel.Address()+"/gate")
	}
	options, err := redisengine.ParseURLs(urls)
	if err != nil {
		t.Fatal(err)
	}
	options.AckReplicas, options.AckTimeout, options.Timeout = 1, 100*time.Millisecond, time.Second
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	b := newFixture(t)
	b.Writer = store.New(backend, b.versions, b.now).As(store.Actor{})
	b.until("the replicas acknowledge", func() bool { return b.Probe(t.Context(), vendor) == nil })
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 1 << 30})

	var pages, refused atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var readers sync.WaitGroup
	for reader := range 8 {
		readers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if b.redeem(link, fmt.Sprintf("%d/%d", reader, n)) == nil {
					pages.Add(1)
				} else {
					refused.Add(1)
				}
				time.Sleep(time.Millisecond) // readers come one after the other
			}
		})
	}
	b.until("pages are delivered", func() bool { return pages.Load() >= 50 })
	master.Kill()
	b.until("a replica is promoted", func() bool {
		return slices.ContainsFunc(followers, func(s *redistest.Server) bool {
			info, err := s.Client().Info(t.Context(), "replication").Result()
			return err == nil && strings.Contains(info, "role:master")
		})
	})
	if replicas == 1 { // the promoted one has no replica until the former master is back
		refusedBefore := refused.Load()
		b.until("too few replicas have a use", func() bool { return refused.Load() >= refusedBefore+50 })
		master.Start()
	}
	before := pages.Load()
	b.until("pages are delivered again", func() bool { return pages.Load() >= before+50 })
	stop()
	readers.Wait()
	uses := func() int64 { // -1 while the store is away
		found, err := b.SignedLink(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID)
		if err != nil {
			return -1
		}
		return found.Uses
	}
	during := int64(-1)
	b.until("the uses are read", func() bool { during = uses(); return during >= 0 })
	b.until(fmt.Sprintf("%d pages are %d uses", pages.Load(), during), func() bool { return uses() == pages.Load() })
	t.Logf("%d pages, %d readers refused, %d uses at the end of the failover and %d afterwards; %+v",
		pages.Load(), refused.Load(), during, b.uses(link), b.Refunds())
	if given := b.Refunds().GivenUp; given > 0 {
		t.Errorf("%d refunds were given up", given)
	}
}
