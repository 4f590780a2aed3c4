package caddymodule

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/crawler"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
)

// listHost is a host on the web that publishes the addresses of a crawler, with a certificate of
// an authority that the configuration names.
type listHost struct {
	*keystest.KeyHost
	list *crawler.List
}

// newListSite runs a site that lets in the crawler of a host's list.
func newListSite(t *testing.T) (*testSite, *listHost) {
	t.Helper()
	keepClock(t)
	host := &listHost{KeyHost: keystest.NewKeyHost(t, nil)}
	host.publish("v1", "66.249.64.0/27")
	s := newTestSite(t, standardRules)
	config := s.config(strictProxy, strings.ReplaceAll(crawlerRules, "FILE", host.URL+"/bot.json?key=SECRET"), "")
	s.load(strings.Replace(config, "store bolt", "jwks {\n\t\tca "+host.WriteRoots(t)+"\n\t}\n\tstore bolt", 1))
	host.list = crawlerLists.Use(host.URL+"/bot.json?key=SECRET", s.shared().KeySets)
	t.Cleanup(func() { crawlerLists.Release(host.list) })
	s.waitFor("the list is fetched", func() bool { return host.list.Status().Ranges == 1 && host.list.Status().Err == nil })
	return s, host
}

// publish answers a list with an entity tag, and 304 to who has it.
func (h *listHost) publish(etag, ranges string) {
	h.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+etag+`"`)
		if r.Header.Get("If-None-Match") == `"`+etag+`"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"prefixes":[{"ipv4Prefix":"`+ranges+`"}]}`)
	})
}

// comes sends a request of the crawler from an address, and reports whether it gets the page.
func (s *testSite) comes(address string) bool {
	s.Helper()
	got := s.get("/articles/hello", "X-Forwarded-For", address, "User-Agent", googlebot)
	if got.StatusCode != http.StatusOK && got.StatusCode != http.StatusUnauthorized {
		s.Errorf("%s: %d %s", address, got.StatusCode, got.body)
	}
	return got.StatusCode == http.StatusOK
}

// The host of a list redirects, fails, sends too much, too slowly, half of it, an HTML page, a
// broken list, or a list of the whole internet, or has another's certificate. The old list counts
// and no other, for a week; after three days the node says so, without the query of the URL. A 304
// makes it fresh, and a new list replaces it.
func TestCrawlerListHostFails(t *testing.T) {
	s, host := newListSite(t)
	elsewhere := keystest.NewOrigin(t)
	elsewhere.Handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "203.0.113.0/24") })
	refresh := func() crawler.Status {
		host.list.Refresh(t.Context())
		return host.list.Status()
	}
	const huge = `{"prefixes":[{"ipv4Prefix":"203.0.113.0/24"}],"more":"`
	for want, answer := range map[string]http.HandlerFunc{
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"status 500": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "203.0.113.0/24", http.StatusInternalServerError)
		},
		"more than 262144 bytes": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, huge+strings.Repeat("x", keys.MaxJWKSSize)+`"}`)
		},
		"a complete response within": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "203.0.113.0/24\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"the connection failed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "203.0.113.0/24\n")
		},
		"an HTML page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "203.0.113.0/24")
		},
		"is no range":      func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "203.0.113.0/24\n\x00\xff") },
		"no JSON object":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"prefixes":[{"ipv4Prefix":`) },
		"has no range":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) },
		"is too large":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `0.0.0.0/0`) },
		"compressed bytes": nil,
	} {
		if answer == nil {
			want = "is no range" // a host that compresses although it was asked not to
			answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(compressed("203.0.113.0/24"))
			}
		}
		host.Handle(answer)
		status := refresh()
		if status.Err == nil || !strings.Contains(status.Err.Error(), want) || strings.Contains(status.Err.Error(), "SECRET") {
			t.Errorf("%s: the error is %v", want, status.Err)
		}
		if !s.comes("66.249.64.9") || s.comes("203.0.113.9") {
			t.Errorf("%s: the old list does not count, or another does", want)
		}
	}
	elsewhere.WantNone(t)
	if c := s.found("crawler_list_old"); c != nil {
		t.Errorf("the list is of today: %+v", c)
	}
	clock.Advance(3 * 24 * time.Hour)
	s.waitForCondition("crawler_list_old", "72h0m0s old and cannot be fetched again")
	if c := s.found("crawler_list_old"); c == nil || strings.Contains(c.What+c.Subject, "SECRET") {
		t.Errorf("the condition is %+v", c)
	}
	if !s.comes("66.249.64.9") {
		t.Error("the list of three days ago does not count")
	}
	host.publish("v1", "66.249.64.0/27")
	if status := refresh(); status.Err != nil || !status.FetchedAt.Equal(clock.Now()) || host.Last(t).Header.Get("If-None-Match") != `"v1"` {
		t.Errorf("after a 304: %+v", status)
	}
	s.waitForEnd("crawler_list_old")
	host.Close()
	if status := refresh(); status.Err == nil || !s.comes("66.249.64.9") {
		t.Errorf("the host is gone: %+v", status)
	}
	clock.Advance(crawler.MaxAge)
	s.waitForCondition("crawler_list_old", "168h0m0s old and does not count any more")
	if s.comes("66.249.64.9") || s.comes("203.0.113.9") {
		t.Error("a list of a week ago counts")
	}
}

// A certificate of an authority that the configuration does not name is none: the list is never
// fetched, and its crawler is a stranger.
func TestCrawlerListOfAnUntrustedHost(t *testing.T) {
	host := &listHost{KeyHost: keystest.NewKeyHost(t, nil)}
	host.publish("v1", "66.249.64.0/27")
	s := newTestSite(t, standardRules)
	s.load(s.config(strictProxy, strings.ReplaceAll(crawlerRules, "FILE", host.URL+"/bot.json"), ""))
	s.waitForCondition("crawler_list_old", "was never fetched", "its TLS certificate is not valid for it")
	if s.comes("66.249.64.9") || host.Count() != 0 {
		t.Errorf("the crawler is let in, or the host was asked %d times", host.Count())
	}
}

// A new list replaces the old one with the next fetch, for addresses that are new and for those
// that are gone.
func TestCrawlerListIsReplaced(t *testing.T) {
	s, host := newListSite(t)
	host.publish("v2", "203.0.113.0/24")
	host.list.Refresh(t.Context())
	if s.comes("66.249.64.9") || !s.comes("203.0.113.9") {
		t.Error("the old list counts, or the new one does not")
	}
}
