package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// meanwhile is an engine that calls a function before each view and commit, once at a time.
type meanwhile struct {
	engine.Engine
	do func()
}

func (e *meanwhile) interrupt() {
	if do := e.do; do != nil {
		e.do = nil
		do()
		e.do = do
	}
}

func (e *meanwhile) View(ctx context.Context, partition string, read func(engine.Snapshot) error) error {
	e.interrupt()
	return e.Engine.View(ctx, partition, read)
}

func (e *meanwhile) Commit(ctx context.Context, partition string, batch *engine.Batch) (engine.Committed, error) {
	e.interrupt()
	return e.Engine.Commit(ctx, partition, batch)
}

// usersLinks returns the ids of a user's links, the newest first, a few in a page.
func (b *fixture) usersLinks(user string) (ids []string) {
	b.Helper()
	query := store.LinkQuery{UserID: user, Created: store.Created{Order: store.NewestFirst}, Page: store.Page{Limit: 7}}
	for {
		links, next, more, err := b.FindLinks(b.Context(), vendor, keys.VendorIssuer(vendor), query)
		b.ok(err)
		for _, l := range links {
			ids = append(ids, l.Claims.ID)
		}
		if !more {
			return ids
		}
		query.From = next
	}
}

// Between any two steps of the node that adds links to the index, another node, whose clock is
// behind, makes links with ids before and after the frontier. Each is found, once, in order:
// before it is in the index, and after.
func TestNoLinkIsMissedByTheIndex(t *testing.T) {
	onBoth(t, func(b *fixture) {
		began, made := b.clock, []string{}
		random := 0
		add := func(at time.Time) {
			random++
			id := store.DerivedLinkID(at, random, []byte(fmt.Sprintf("%016d", random)))
			made = append(made, id)
			b.ok(b.CreateLinks(b.Context(), vendor, []keys.LinkClaims{
				{Issuer: keys.VendorIssuer(vendor), ID: id, SKU: "premium", Subject: "ada", ExpiresAt: began.Unix() + 1e6},
			}, false))
		}
		for i := range 30 {
			add(began.Add(time.Duration(i) * time.Minute))
		}
		interrupted := &meanwhile{Engine: b.records}
		builder := store.New(interrupted, b.versions, b.now)
		for turn := range 4 {
			interrupted.do = func() {
				add(began.Add(-time.Duration(random) * time.Minute))              // before all
				add(began.Add(time.Duration(random*7%40) * time.Minute))          // among them
				add(began.Add(time.Duration(100+turn*1000+random) * time.Minute)) // after all
			}
			if turn == 3 {
				interrupted.do = nil // the last links get into the index
			}
			ctx, cancel := context.WithCancel(b.Context())
			if stop := interrupted.do; stop != nil {
				left := 12
				interrupted.do = func() {
					if left--; left == 0 {
						cancel() // it would go on for as long as others make links
					}
					stop()
				}
			}
			_ = builder.BuildIndexes(ctx)
			cancel()
			slices.Sort(made)
			slices.Reverse(made)
			if got := b.usersLinks("ada"); !slices.Equal(got, made) {
				b.Fatalf("turn %d: %d links are found, %d were made:\n%s\n%s", turn, len(got), len(made), strings.Join(got, "\n"), strings.Join(made, "\n"))
			}
		}
		// A node reads the frontier, and stores the link when others have moved it past its id.
		moves := 5
		slow := store.New(&meanwhile{Engine: b.records, do: func() {
			if moves--; moves < 0 {
				return
			}
			add(began.Add(time.Duration(10000+random) * time.Minute))
			b.ok(b.BuildIndexes(b.Context()))
		}}, b.versions, b.now).As(store.Actor{})
		old := store.DerivedLinkID(began.Add(time.Hour), 1<<19, []byte("0123456789abcdef"))
		made = append(made, old)
		b.ok(slow.CreateLinks(b.Context(), vendor, []keys.LinkClaims{
			{Issuer: keys.VendorIssuer(vendor), ID: old, SKU: "premium", Subject: "ada", ExpiresAt: began.Unix() + 1e6},
		}, false))
		slices.Sort(made)
		slices.Reverse(made)
		if got := b.usersLinks("ada"); !slices.Equal(got, made) {
			b.Fatalf("beside a slow node %d links are found, %d were made", len(got), len(made))
		}
		if n := b.count("~u"); n != len(made) {
			b.Errorf("%d of %d links are in the index", n, len(made))
		}
	})
}

// Nodes make links, and two nodes add them to the index, all at the same time.
func TestIndexOfLinksUnderConcurrentWrites(t *testing.T) {
	onBoth(t, func(b *fixture) {
		var mu sync.Mutex
		var made []string
		var writers, builders sync.WaitGroup
		done := make(chan struct{})
		for writer := range 4 {
			writers.Go(func() {
				for i := range 40 {
					at := b.clock.Add(time.Duration(i-writer*10) * time.Second)
					id := store.DerivedLinkID(at, writer<<10|i, []byte(fmt.Sprintf("%08d%08d", writer, i)))
					err := b.CreateLinks(b.Context(), vendor, []keys.LinkClaims{
						{Issuer: keys.VendorIssuer(vendor), ID: id, SKU: "premium", Subject: "ada", ExpiresAt: 4e9},
					}, false)
					if err != nil {
						b.Error(err)
						return
					}
					mu.Lock()
					made = append(made, id)
					mu.Unlock()
				}
			})
		}
		for range 2 {
			builders.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						if err := b.BuildIndexes(b.Context()); err != nil {
							b.Error(err)
							return
						}
					}
				}
			})
		}
		writers.Wait()
		close(done)
		builders.Wait()
		slices.Sort(made)
		slices.Reverse(made)
		if got := b.usersLinks("ada"); len(made) != 160 || !slices.Equal(got, made) {
			b.Errorf("%d of %d links are found", len(got), len(made))
		}
	})
}

// A link is erased while a step has read it: the index gets no entry that names the reader.
func TestErasureBesideTheIndex(t *testing.T) {
	onBoth(t, func(b *fixture) {
		b.link(keys.LinkClaims{SKU: "premium", Subject: "bob"})
		ended := false
		for moment := 0; !ended; moment++ {
			user := fmt.Sprint("ada", moment)
			b.link(keys.LinkClaims{SKU: "premium", Subject: user})
			calls := 0
			builder := store.New(&meanwhile{Engine: b.records, do: func() {
				if calls++; calls == moment {
					_, err := b.Erase(b.Context(), vendor, user)
					b.ok(err)
				}
			}}, b.versions, b.now)
			b.ok(builder.BuildIndexes(b.Context()))
			if ended = calls < moment; !ended && moment > 0 && b.count("~u"+user+"\x00") != 0 {
				b.Errorf("erased at moment %d, the reader is in the index", moment)
			}
			if ended && moment < 6 {
				b.Errorf("a step has %d moments", moment)
			}
		}
		if n := b.count("~ubob"); n != 1 {
			b.Errorf("%d entries name another reader", n)
		}
	})
}

// What is being built is known while it is built, and not after.
func TestIndexBuildsAreShown(t *testing.T) {
	b := newFixture(t)
	var claims []keys.LinkClaims
	for i := range 3500 {
		claims = append(claims, keys.LinkClaims{Issuer: keys.VendorIssuer(vendor), ID: b.NewLinkID(), SKU: "s", Subject: fmt.Sprint("u", i), ExpiresAt: 4e9})
	}
	b.ok(b.CreateLinks(t.Context(), vendor, claims, false))
	interrupted := &meanwhile{Engine: b.records}
	builder := store.New(interrupted, b.versions, b.now)
	most := 0
	interrupted.do = func() {
		for _, build := range builder.IndexBuilds() {
			if build.Vendor != vendor || !build.Since.Equal(b.clock) {
				t.Errorf("%+v is built", build)
			}
			most = max(most, build.Records)
		}
	}
	b.ok(builder.BuildIndexes(t.Context()))
	if left := builder.IndexBuilds(); most < 3000 || len(left) != 0 {
		t.Errorf("%d records were shown, and after the build %v", most, left)
	}
}
