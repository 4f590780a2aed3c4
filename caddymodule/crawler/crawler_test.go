package crawler_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/crawler"
	"github.com/gatefold/gatefold/keys"
)

const published = `{"creationTime": "2026-11-01T00:00:00", "prefixes": [{"ipv4Prefix": "66.249.64.0/27"}, {"ipv6Prefix": "2001:4860:4801:10::/64"}]}`

// Lists come as the JSON of search engines and as lines of text; an address is found in each
// form that it can have.
func TestRanges(t *testing.T) {
	for name, list := range map[string]string{
		"json":        published,
		"text":        "# Googlebot\r\n66.249.64.0/27 # one\n\n2001:4860:4801:10::/64\n",
		"mapped":      "::ffff:66.249.64.0/123\n2001:4860:4801:10::/64",
		"single":      strings.Join(addresses("66.249.64.%d", 32), "\n") + "\n2001:4860:4801:10::/64",
		"with a mark": "\xef\xbb\xbf66.249.64.0/27\n2001:4860:4801:10::/64",
	} {
		ranges, err := crawler.ParseRanges([]byte(list))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for address, want := range map[string]bool{
			"66.249.64.1": true, "66.249.64.31": true, "::ffff:66.249.64.1": true, "2001:4860:4801:10::5": true, "2001:4860:4801:10::5%eth0": true,
			"66.249.64.32": false, "66.249.63.255": false, "2001:4860:4801:11::1": false, "::66.249.64.1": false,
		} {
			if got := ranges.Contains(netip.MustParseAddr(address)); got != want {
				t.Errorf("%s: %s is in the list: %t", name, address, got)
			}
		}
		if ranges.Contains(netip.Addr{}) {
			t.Errorf("%s: an unknown address is in the list", name)
		}
	}
}

func addresses(format string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf(format, i))
	}
	return list
}

// A list that is empty, too long, broken, or of half the internet is refused as a whole.
func TestRangesThatAreRefused(t *testing.T) {
	for list, want := range map[string]string{
		"": "no range", "{}": "no range", `{"prefixes": []}`: "no range", "# nothing": "no range", `{"prefixes": "x"}`: "no JSON object",
		`{"prefixes": [{"ipv4Prefix": "66.249.64.0/27"}, {}]}`: "neither", "66.249.64.0/27\n<html>": "no range of addresses",
		"0.0.0.0/0": "too large", "::/0": "too large", "10.0.0.0/7": "too large", "2000::/3": "too large", "::ffff:0.0.0.0/96": "too large", "::ffff:0:0/90": "too large",
		strings.Repeat("66.249.64.1\n", crawler.MaxRanges+1): "more than",
	} {
		if _, err := crawler.ParseRanges([]byte(list)); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 200 {
			t.Errorf("%.40q: %v, want %q", list, err, want)
		}
	}
}

func FuzzRanges(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte("66.249.64.0/27\n::ffff:1.2.3.4"))
	f.Fuzz(func(t *testing.T, list []byte) {
		ranges, err := crawler.ParseRanges(list)
		if err == nil && (ranges.Len() == 0 || ranges.Len() > crawler.MaxRanges) {
			t.Errorf("%d ranges", ranges.Len())
		}
	})
}

// host is the host of a list, and the store that keeps the last good copy.
type host struct {
	mu      sync.Mutex
	body    string
	err     error
	now     time.Time
	saved   map[string]keys.Document
	fetched chan struct{}
}

func newHost(body string) *host {
	return &host{body: body, now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC), saved: map[string]keys.Document{}, fetched: make(chan struct{}, 99)}
}

func (h *host) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *host) set(body string, err error, later time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.body, h.err, h.now = body, err, h.now.Add(later)
}

func (h *host) Document(context.Context, string, keys.Document) (keys.Document, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.fetched <- struct{}{} }()
	return keys.Document{Body: []byte(h.body), FetchedAt: h.now}, h.err
}

func (h *host) SavedDocument(_ context.Context, address string) (keys.Document, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	document, ok := h.saved[address]
	return document, ok
}

func (h *host) SaveDocument(_ context.Context, address string, document keys.Document, _ time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.saved[address] = document
	return nil
}

const listURL = "https://search.example/bot.json"

var (
	google = netip.MustParseAddr("66.249.64.1")
	agent  = "Mozilla/5.0 (compatible; GoogleBot/2.1)"
)

// A list is fetched in the background, and again every day. While it cannot be fetched, or is
// broken, the last good copy counts, for a week; then no crawler is recognized. After a restart
// the kept copy counts at once.
func TestListIsKeptFresh(t *testing.T) {
	h := newHost("")
	h.set("", errors.New("down"), 0)
	lists := crawler.NewLists(h.clock)
	list := lists.Use(listURL, h)
	defer lists.Release(list)
	<-h.fetched
	if list.Contains(google) {
		t.Error("a list that was never fetched has an address")
	}
	h.set(published, nil, time.Minute)
	if again := list.Refresh(t.Context()); again < crawler.RefreshEvery || again > crawler.RefreshEvery*11/10 {
		t.Errorf("again in %v", again)
	}
	if !list.Contains(google) {
		t.Error("the fetched list has not the address")
	}
	for _, broken := range []string{"", "<html>", "0.0.0.0/0"} {
		h.set(broken, nil, 0)
		if again := list.Refresh(t.Context()); again > 80*time.Minute || !list.Contains(google) {
			t.Errorf("after %q: again in %v, it counts: %t", broken, again, list.Contains(google))
		}
	}
	h.set("", errors.New("down"), crawler.MaxAge-time.Second)
	list.Refresh(t.Context())
	if status := lists.Statuses()[0]; !list.Contains(google) || status.Err == nil || status.Ranges != 2 {
		t.Errorf("the last good copy does not count: %+v", status)
	}
	for len(h.fetched) > 0 {
		<-h.fetched
	}
	restarted := crawler.NewLists(h.clock)
	kept := restarted.Use(listURL, h)
	<-h.fetched
	if !kept.Contains(google) {
		t.Error("the kept copy does not count after a restart")
	}
	restarted.Release(kept)
	h.set("", errors.New("down"), time.Second)
	if list.Contains(google) {
		t.Error("a list of a week ago counts")
	}
	if len(restarted.Statuses()) != 0 {
		t.Error("a released list is kept")
	}
}

// Both the agent and the address must be the crawler's.
func TestCrawler(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ranges.txt")
	if err := os.WriteFile(file, []byte("66.249.64.0/27\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost("192.0.2.0/24")
	lists := crawler.NewLists(h.clock)
	crawlers, err := crawler.Open(map[string]*crawler.Config{
		"googlebot": {Ranges: []string{file}, Agents: []string{"Googlebot", "Storebot"}}, "other": {Ranges: []string{listURL}, Agents: []string{"otherbot"}},
	}, lists, h)
	if err != nil {
		t.Fatal(err)
	}
	<-h.fetched
	for _, c := range []struct {
		name, agent, address string
		want                 bool
	}{
		{"googlebot", agent, "66.249.64.1", true},
		{"googlebot", "Storebot-Google/1.0", "::ffff:66.249.64.1", true},
		{"googlebot", "curl/8", "66.249.64.1", false},
		{"googlebot", agent, "192.0.2.1", false},
		{"googlebot", "", "66.249.64.1", false},
		{"bingbot", agent, "66.249.64.1", false},
		{"other", agent, "192.0.2.1", false},
	} {
		if got := crawlers.IsCrawler(c.name, c.agent, netip.MustParseAddr(c.address)); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
	crawlers.Close()
	if len(lists.Statuses()) != 0 {
		t.Error("the list is kept")
	}
}

func TestMistakesInCrawlers(t *testing.T) {
	for want, config := range map[string]crawler.Config{
		"needs 1 to 16 lists":  {Agents: []string{"Googlebot"}},
		"needs 1 to 16 agents": {Ranges: []string{listURL}},
		"of others":            {Ranges: []string{listURL}, Agents: []string{"bot"}},
		"is not an https URL":  {Ranges: []string{"http://search.example/bot.json"}, Agents: []string{"Googlebot"}},
	} {
		if err := config.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	missing := crawler.Config{Ranges: []string{"/does/not/exist"}, Agents: []string{"Googlebot"}}
	if err := missing.CheckFiles(); err == nil {
		t.Error("a missing file")
	}
}
