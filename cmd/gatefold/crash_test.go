package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// crashes is how often the server is killed.
const crashes = 100

// acknowledged is what the server said that it did.
type acknowledged struct {
	mu     sync.Mutex
	grants map[string]bool // by id
	links  map[string]bool
	pages  map[string]int // pages given for a counted link, by its URL
}

// The machine loses power a hundred times, at any moment, under grants, links and
// redemptions. After each restart the file opens; in the end everything that was
// acknowledged is there, and no use was given twice.
func TestHundredCrashes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const maxUses = 40
	done := &acknowledged{grants: map[string]bool{}, links: map[string]bool{}, pages: map[string]int{}}
	counted := make([]string, 3)
	for i := range counted {
		counted[i] = s.must("link", "create", s.site+"/articles/hello", "--max-uses", fmt.Sprint(maxUses))
	}
	for range crashes {
		ctx, stop := context.WithCancel(t.Context())
		var traffic sync.WaitGroup
		traffic.Go(func() { done.grant(ctx, s) })
		traffic.Go(func() { done.link(ctx, s) })
		traffic.Go(func() { done.redeem(ctx, counted) })
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond) // the moment is the test's own dice
		s.kill()
		stop()
		traffic.Wait()
		s.start()
	}

	var grants []struct{ ID string }
	decode(t, s.must("grant", "list", "--json"), &grants)
	for _, grant := range grants {
		delete(done.grants, grant.ID)
	}
	var links []struct{ TokenID string }
	decode(t, s.must("link", "list", "--json"), &links)
	for _, link := range links {
		delete(done.links, link.TokenID)
	}
	if len(done.grants)+len(done.links) > 0 {
		t.Errorf("acknowledged and lost: grants %v, links %v", slices.Collect(maps.Keys(done.grants)), slices.Collect(maps.Keys(done.links)))
	}
	for _, link := range counted {
		for {
			got := s.get(link)
			if got.StatusCode != http.StatusOK {
				got.expect(t, http.StatusForbidden, "link_used_up")
				break
			}
			done.pages[link]++
		}
		if done.pages[link] > maxUses || done.pages[link] == 0 {
			t.Errorf("%d pages for a link of %d uses", done.pages[link], maxUses)
		}
	}
	t.Logf("%d grants and %d links were made", len(grants), len(links))
	if len(grants) < crashes/4 {
		t.Errorf("only %d grants were made under way", len(grants))
	}
	copied := filepath.Join(s.dir, "copy.db")
	s.must("store", "backup", copied)
	if got := runCommand(t, s.dir, s.environment(), "store", "verify", copied); got.code != 0 {
		t.Errorf("verify: %+v", got)
	}
}

// post calls the API of a server that may be killed at any moment.
func post(ctx context.Context, s *server, path, body string) (string, bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.admin+"/gatefold"+path, strings.NewReader(body))
	if err != nil {
		return "", false
	}
	request.Header.Set("Content-Type", "application/json")
	got, err := send(request)
	return got.body, err == nil && got.StatusCode < 300
}

func (a *acknowledged) grant(ctx context.Context, s *server) {
	for i := 0; ctx.Err() == nil; i++ {
		body, ok := post(ctx, s, "/management/access-lists/src_default/grants", fmt.Sprintf(`{"userId":"u-%d","sku":"premium"}`, i))
		if !ok {
			return
		}
		a.mu.Lock()
		a.grants[between(body, `"id":"`)] = true
		a.mu.Unlock()
	}
}

func (a *acknowledged) link(ctx context.Context, s *server) {
	for ctx.Err() == nil {
		body, ok := post(ctx, s, "/management/create-signed-link", `{"sku":"premium","maxUses":1}`)
		if !ok {
			return
		}
		a.mu.Lock()
		a.links[between(body, `"tokenId":"`)] = true
		a.mu.Unlock()
	}
}

func (a *acknowledged) redeem(ctx context.Context, links []string) {
	for i := 0; ctx.Err() == nil; i++ {
		link := links[i%len(links)]
		got, err := fetch(link)
		if err != nil {
			return
		}
		if got.StatusCode == http.StatusOK {
			a.mu.Lock()
			a.pages[link]++
			a.mu.Unlock()
		}
		if i > 4 { // some uses are left for later rounds
			return
		}
	}
}

// between returns what stands behind a mark, up to the next quote.
func between(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
