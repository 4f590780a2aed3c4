package main

import (
	"context"
	"encoding/json"
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

// The number of servers that run at once, and of crashes of each.
const (
	crashes        = 100
	crashMachines  = 5
	crashImport    = 20 // rows of a batch
	crashMaxUses   = 40 // of the links that end under way
	crashCountless = 1_000_000
)

// Servers are killed a hundred times at random moments, during grants, links,
// imports and redemptions. After each restart the file opens, every acknowledged
// write is there, every delivered page is counted, and no use was given twice. Five
// servers run side by side, with twenty crashes each.
func TestHundredCrashes(t *testing.T) {
	t.Parallel()
	for n := range crashMachines {
		t.Run(fmt.Sprint("machine", n), func(t *testing.T) {
			t.Parallel()
			crashMachine(t, crashes/crashMachines)
		})
	}
}

// acknowledged is what a server acknowledged, and what it did not answer.
type acknowledged struct {
	mu     sync.Mutex
	grants map[string]bool // by id
	links  map[string]bool
	// counted are links by their URL: delivered pages, and unanswered requests, each
	// of which may have spent a use.
	counted map[string]*countedLink
	// position is the number of imported rows; an unanswered batch may be imported,
	// too.
	position int64
}

type countedLink struct {
	id                string
	maxUses           int
	pages, unanswered int
}

func crashMachine(t *testing.T, crashes int) {
	t.Helper()
	s := startServer(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	done := &acknowledged{grants: map[string]bool{}, links: map[string]bool{}, counted: map[string]*countedLink{}}
	for _, maxUses := range []int{crashCountless, crashMaxUses, crashMaxUses} {
		var link struct{ SignedURL, TokenID string }
		decode(t, s.must("link", "create", s.site+"/articles/hello", "--json", "--max-uses", fmt.Sprint(maxUses)), &link)
		done.counted[link.SignedURL] = &countedLink{id: link.TokenID, maxUses: maxUses}
	}
	for range crashes {
		ctx, stop := context.WithCancel(t.Context())
		var traffic sync.WaitGroup
		traffic.Go(func() { done.grant(ctx, s) })
		traffic.Go(func() { done.link(ctx, s) })
		traffic.Go(func() { done.imports(ctx, s) })
		for address := range done.counted {
			traffic.Go(func() { done.redeem(ctx, address) })
		}
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond) // the moment is the test's own dice
		s.kill()
		stop()
		traffic.Wait()
		s.start()
		done.checkCounts(t, s)
		done.checkImport(t, s)
	}
	done.checkRecords(t, s)
	done.drain(t, s)
	copied := filepath.Join(s.dir, "copy.db")
	s.must("store", "backup", copied)
	if got := runCommand(t, s.dir, s.environment(), "store", "verify", copied, "--database", s.database()); got.code != 0 {
		t.Errorf("verify: %+v", got)
	}
}

// post calls the API of a server that may be killed during the call.
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

const crashImportPath = "/management/access-lists/src_default/grants"

// imports sends batch after batch of one import, from its position.
func (a *acknowledged) imports(ctx context.Context, s *server) {
	a.mu.Lock()
	position := a.position
	a.mu.Unlock()
	for ctx.Err() == nil {
		rows := make([]string, crashImport)
		for i := range rows {
			rows[i] = fmt.Sprintf(`{"userId":"row-%d","sku":"premium"}`, position+int64(i))
		}
		body, ok := post(ctx, s, crashImportPath+"/batch", fmt.Sprintf(`{"importId":"crash","position":%d,"grants":[%s]}`, position, strings.Join(rows, ",")))
		if !ok {
			return
		}
		var answer struct{ Position int64 }
		if json.Unmarshal([]byte(body), &answer) != nil {
			return
		}
		position = answer.Position
		a.mu.Lock()
		a.position = position
		a.mu.Unlock()
	}
}

// redeem opens a counted link repeatedly.
func (a *acknowledged) redeem(ctx context.Context, address string) {
	for ctx.Err() == nil {
		got, err := fetch(address)
		a.mu.Lock()
		link := a.counted[address]
		switch {
		case err != nil:
			link.unanswered++
		case got.StatusCode == http.StatusOK:
			link.pages++
		}
		a.mu.Unlock()
		if err != nil || got.StatusCode != http.StatusOK {
			return
		}
	}
}

// checkCounts checks that every delivered page is counted, and nothing that was not
// requested.
func (a *acknowledged) checkCounts(t *testing.T, s *server) {
	t.Helper()
	for _, link := range a.counted {
		got := s.get("http://" + s.admin + "/gatefold/management/signed-links/" + link.id)
		var shown struct{ Uses int }
		decode(t, got.body, &shown)
		if shown.Uses < link.pages || shown.Uses > link.pages+link.unanswered || shown.Uses > link.maxUses {
			t.Errorf("a link of %d uses: %d pages were given and %d requests never answered; it counts %d uses",
				link.maxUses, link.pages, link.unanswered, shown.Uses)
		}
	}
}

// checkImport checks that the import is at the acknowledged position, or one batch
// further, and continues from there.
func (a *acknowledged) checkImport(t *testing.T, s *server) {
	t.Helper()
	got := s.get("http://" + s.admin + "/gatefold" + crashImportPath + "/imports/crash")
	var known struct{ Position int64 }
	if got.StatusCode == http.StatusOK {
		decode(t, got.body, &known)
	}
	if known.Position != a.position && known.Position != a.position+crashImport {
		t.Errorf("%d rows were acknowledged, the import is at %d: %s", a.position, known.Position, got.body)
	}
	a.position = known.Position
}

// checkRecords checks that every acknowledged grant and link exists, and every row
// of the import once.
func (a *acknowledged) checkRecords(t *testing.T, s *server) {
	t.Helper()
	var grants []struct{ ID, UserID string }
	decode(t, s.must("grant", "list", "--json"), &grants)
	rows := map[string]int{}
	for _, grant := range grants {
		delete(a.grants, grant.ID)
		rows[grant.UserID]++
	}
	for i := range a.position {
		if n := rows[fmt.Sprintf("row-%d", i)]; n != 1 {
			t.Errorf("row %d of %d of the import made %d grants", i, a.position, n)
		}
	}
	var links []struct{ TokenID string }
	decode(t, s.must("link", "list", "--json"), &links)
	for _, link := range links {
		delete(a.links, link.TokenID)
	}
	if len(a.grants)+len(a.links) > 0 {
		t.Errorf("acknowledged and lost: grants %v, links %v", slices.Collect(maps.Keys(a.grants)), slices.Collect(maps.Keys(a.links)))
	}
	t.Logf("%d grants, %d of them imported, and %d links were made", len(grants), a.position, len(links))
	if a.position == 0 || len(links) <= 3 || int64(len(grants)) <= a.position {
		t.Error("too little was made under way for this to show anything")
	}
}

// drain spends the remaining uses of the links: all delivered pages are never more
// than the uses.
func (a *acknowledged) drain(t *testing.T, s *server) {
	t.Helper()
	pages := 0
	for address, link := range a.counted {
		pages += link.pages
		if link.maxUses == crashCountless {
			continue
		}
		for {
			got := s.get(address)
			if got.StatusCode != http.StatusOK {
				got.expect(t, http.StatusForbidden, "link_used_up")
				break
			}
			link.pages++
		}
		if link.pages > link.maxUses || link.pages+link.unanswered < link.maxUses {
			t.Errorf("%d pages for a link of %d uses, %d requests were never answered", link.pages, link.maxUses, link.unanswered)
		}
	}
	if t.Logf("%d pages were given under way", pages); pages == 0 {
		t.Error("no link was redeemed under way")
	}
}

// between returns the text after a mark, up to the next quote.
func between(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
