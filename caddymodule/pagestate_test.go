package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys/keystest"
)

// An operator asks at night why a page is not from memory: explain, show and stat say what
// the node has, and no site sees the pages of another.
func TestCacheSaysWhatItHas(t *testing.T) {
	keepClock(t)
	s := newCacheSite(t, nil)
	name, value := s.subscriber()
	explain := func(request admin.ExplainRequest, result, why string) {
		t.Helper()
		got := s.explain(request).Cache
		if got == nil || got.Result != result || !strings.Contains(got.Why, why) {
			t.Errorf("explain of %s says %+v, want %s: %s", request.URL, got, result, why)
		}
	}
	article := admin.ExplainRequest{URL: "/articles/1?utm=x", UserID: "subscriber"}
	explain(article, "miss", "nothing of it is stored")
	s.fetch("/articles/1?utm=x", name, value)
	explain(article, "hit", "fresh for another 60s")
	explain(admin.ExplainRequest{URL: "/articles/1", UserID: "subscriber"}, "miss", "nothing of it")
	explain(admin.ExplainRequest{URL: "/articles/1", UserID: "subscriber", Method: http.MethodPost}, "pass", "only GET and HEAD")
	explain(admin.ExplainRequest{URL: "/uncached"}, "pass", "the rule that decided has no `cache`")
	if got := s.explain(admin.ExplainRequest{URL: "/articles/1"}); got.Cache != nil {
		t.Errorf("explain says of a denied request %+v", got.Cache)
	}
	s.answerWith(page("x", "Set-Cookie", "a=1"))
	s.get("/cookie")
	explain(admin.ExplainRequest{URL: "/cookie"}, "pass", "not stored: it sets a cookie")

	states := pageStates{s.app()}
	show := func(vendor, site, text string) admin.StoredPages {
		t.Helper()
		address, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := states.Stored(t.Context(), vendor, site, address)
		if err != nil {
			t.Fatal(err)
		}
		return stored
	}
	got := show(defaultVendor, defaultVendor, s.site+"/articles/1")
	if len(got.Pages) != 1 || got.Pages[0].URL != s.site+"/articles/1?utm=x" || got.Pages[0].State != "fresh" || got.Pages[0].Lifetime != 60 || got.Pages[0].Bytes == 0 {
		t.Errorf("show lists %+v", got)
	}
	for _, of := range [][2]string{{"other", defaultVendor}, {defaultVendor, "other"}} {
		if got := show(of[0], of[1], "/articles/1"); len(got.Pages) != 0 {
			t.Errorf("vendor %s, site %s is shown %+v", of[0], of[1], got)
		}
		if got := states.Stats(of[0], of[1], false); got.Pages != 0 || got.Bytes != 0 || got.Node != nil {
			t.Errorf("vendor %s, site %s has %+v", of[0], of[1], got)
		}
	}
	if got := states.Stats(defaultVendor, defaultVendor, true); got.Pages != 1 || got.Bytes == 0 || len(got.Node) != 1 || got.Node[0].Pages != 1 || got.Node[0].MaxBytes != 8<<20 {
		t.Errorf("stat says %+v", got)
	}
	clock.Advance(2 * time.Minute)
	explain(article, "miss", "what is stored of it has expired")
	if got := show(defaultVendor, defaultVendor, "/articles/1"); got.Pages[0].State != "expired" || !got.Pages[0].WhileFails {
		t.Errorf("after two minutes show lists %+v", got)
	}
}

// The origin is down: the node says that readers get expired pages, while they do, and the
// metrics have what the cache takes.
func TestConditionPagesStale(t *testing.T) {
	keepClock(t)
	s := newCacheSite(t, nil)
	adminAddress := "127.0.0.1:" + keystest.FreePort(t)
	s.load(strings.Replace(s.cached(s.upstream, cacheRules), "admin off", "admin "+adminAddress, 1))
	s.fetch("/a")
	if series := s.scrape("http://" + adminAddress); series["gatefold_page_cache_pages"] != 1 || series["gatefold_page_cache_bytes"] == 0 ||
		series["gatefold_page_cache_limit_bytes"] != 8<<20 || series[`gatefold_condition{name="pages_stale",severity="warning"}`] != 0 {
		t.Errorf("the metrics are %v", series)
	}
	s.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	clock.Advance(2 * time.Minute)
	if c := s.found("pages_stale"); c != nil {
		t.Fatalf("no reader got an expired page yet: %+v", c)
	}
	s.fetch("/a").is("fwd=stale")
	s.fetch("/a").is("fwd=stale")
	s.waitForCondition("pages_stale", "2 so far")
	if series := s.scrape("http://" + adminAddress); series[`gatefold_condition{name="pages_stale",severity="warning"}`] != 1 {
		t.Errorf("the metrics are %v", series)
	}
	if got := (pageStates{s.app()}).Stats(defaultVendor, defaultVendor, true); got.Node[0].StaleSince == nil {
		t.Errorf("stat says %+v", got)
	}
	s.answerWith(page("new"))
	s.fetch("/a").says(http.StatusOK, "new")
	clock.Advance(time.Minute)
	s.waitForEnd("pages_stale")
	for _, line := range []string{"a condition began", "a condition ended"} {
		if logLine(t, line) == nil {
			t.Errorf("the log has no %q", line)
		}
	}
}

// A site has two caches with the same settings: one before the origin of the editors, for
// their office, and one before that of the readers. A reader does not get the draft that the
// editors have in memory.
func TestTwoCachesOfASiteAreApart(t *testing.T) {
	drafts := keystest.NewOrigin(t)
	drafts.Handle(page("draft"))
	s := newCacheSite(t, page("published"))
	cache := "gatefold_cache {\n memory 8MiB\n max_size 64KiB\n cache_status\n}\n"
	s.load(s.siteOf("gatefold {\n" + cacheRules + "\n}\n@office header X-Office yes\nroute @office {\n" + cache + "reverse_proxy " + strings.TrimPrefix(drafts.URL, "http://") +
		"\n}\nroute {\n" + cache + "reverse_proxy " + strings.TrimPrefix(s.upstream, "http://") + "\n}"))
	s.fetch("/a", "X-Office", "yes").says(http.StatusOK, "draft")
	s.get("/a", "X-Office", "yes").is("hit").says(http.StatusOK, "draft")
	s.fetch("/a").is("fwd=uri-miss").says(http.StatusOK, "published")
	s.get("/a").is("hit").says(http.StatusOK, "published")
	if got, err := (pageStates{s.app()}).Stored(t.Context(), defaultVendor, defaultVendor, &url.URL{Path: "/a"}); err != nil || len(got.Pages) != 2 {
		t.Errorf("show lists %+v, %v", got, err)
	}
}
