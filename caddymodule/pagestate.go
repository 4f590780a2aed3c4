package caddymodule

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/pagecache"
	"github.com/gatefold/gatefold/policy"
)

// Metrics of the page caches of the node, added up.
var (
	pageBytes   = openstore.NewMetric(prometheus.GaugeValue, "page_cache_bytes", "Memory that stored pages take.")
	pageLimit   = openstore.NewMetric(prometheus.GaugeValue, "page_cache_limit_bytes", "Bound of the memory of stored pages.")
	pagesStored = openstore.NewMetric(prometheus.GaugeValue, "page_cache_pages", "Stored pages, with all variants.")
	pagesGone   = openstore.NewMetric(prometheus.CounterValue, "page_cache_removed_total", "Pages that are not in memory, by cause: evicted by others, or not admitted.", "cause")
	pageFetches = openstore.NewMetric(prometheus.GaugeValue, "page_cache_fetches", "Fetches of pages that run.")
)

// addPages adds the page caches of a store.
func addPages(v openstore.Values, shared *openstore.Shared) {
	for _, m := range []*openstore.Metric{pageBytes, pageLimit, pagesStored, pageFetches} {
		v.Add(m, 0)
	}
	v.Add(pagesGone, 0, "evicted")
	v.Add(pagesGone, 0, "refused")
	eachPageCache(shared, func(cache *pagecache.Cache) {
		stats := cache.Stats()
		v.Add(pageBytes, float64(stats.Bytes))
		v.Add(pageLimit, float64(stats.MaxBytes))
		v.Add(pagesStored, float64(stats.Pages))
		v.Add(pagesGone, float64(stats.Evicted), "evicted")
		v.Add(pagesGone, float64(stats.Refused), "refused")
		v.Add(pageFetches, float64(stats.Fetches))
	})
}

// eachPageCache calls do with each page cache of the store, of every configuration in use.
func eachPageCache(shared *openstore.Shared, do func(*pagecache.Cache)) {
	pageCaches.Range(func(_, value any) bool {
		if pooled, ok := value.(*pooledCache); ok && pooled.shared == shared {
			do(pooled.cache)
		}
		return true
	})
}

// stalePages returns the use of expired pages because the origin fails, nil while there is
// none.
func stalePages(shared *openstore.Shared) *nodestate.StalePages {
	var all *nodestate.StalePages
	eachPageCache(shared, func(cache *pagecache.Cache) {
		stale := cache.Stats().Stale
		if stale.Last.IsZero() || now().Sub(stale.Last) >= pagecache.StaleEnds {
			return
		}
		if all == nil {
			all = &nodestate.StalePages{Since: stale.Since}
		}
		if stale.Since.Before(all.Since) {
			all.Since = stale.Since
		}
		if all.Pages += stale.Pages; stale.Last.After(all.Last) {
			all.Last = stale.Last
		}
	})
	return all
}

// pageStates reads the page caches of a configuration. It implements admin.PageCaches.
type pageStates struct{ app *App }

// distinct returns the caches of the configuration.
func (p pageStates) distinct() (caches []*pagecache.Cache) {
	seen := make(map[*pagecache.Cache]bool)
	for _, handler := range p.app.caches.list() {
		if !seen[handler.cache] {
			seen[handler.cache], caches = true, append(caches, handler.cache)
		}
	}
	return caches
}

// Stats implements admin.PageCaches.
func (p pageStates) Stats(vendor, site string, operator bool) admin.PageStats {
	result := admin.PageStats{Site: site}
	for _, cache := range p.distinct() {
		pages, bytes := cache.SiteStats(vendor, site)
		result.Pages += pages
		result.Bytes += bytes
		if !operator {
			continue // the numbers of all sites are no vendor's
		}
		stats := cache.Stats()
		node := admin.PageCacheNode{
			Pages: stats.Pages, Bytes: stats.Bytes, MaxBytes: stats.MaxBytes, Evicted: stats.Evicted, Refused: stats.Refused,
			Fetches: stats.Fetches, Waiting: stats.Waiting,
		}
		if stale := stats.Stale; !stale.Last.IsZero() && now().Sub(stale.Last) < pagecache.StaleEnds {
			since := stale.Since.UTC()
			node.StaleSince = &since
		}
		result.Node = append(result.Node, node)
	}
	return result
}

// Stored implements admin.PageCaches.
func (p pageStates) Stored(ctx context.Context, vendor, site string, page *url.URL) (admin.StoredPages, error) {
	result := admin.StoredPages{Site: site, Pages: []admin.StoredPage{}}
	target := pagecache.Target{Vendor: vendor, Site: site, Host: page.Host, Path: cmp.Or(page.EscapedPath(), "/"), Query: page.RawQuery}
	for _, cache := range p.distinct() {
		found, more, err := cache.Find(ctx, &target, false, admin.MaxStoredPages-len(result.Pages))
		if err != nil {
			return result, err
		}
		for i := range found {
			result.Pages = append(result.Pages, storedPage(&found[i]))
		}
		result.More += more
	}
	return result, nil
}

func storedPage(stored *pagecache.Stored) admin.StoredPage {
	address := "http://"
	if stored.Target.Secure {
		address = "https://"
	}
	address += stored.Target.Host + stored.Target.Path
	if stored.Target.Query != "" {
		address += "?" + stored.Target.Query
	}
	return admin.StoredPage{
		URL: address, Received: stored.Target.Received, Accept: stored.Accept, Encoding: stored.Encoding, Status: stored.Status, Bytes: stored.Bytes,
		StoredAt: stored.At.UTC(), AgeSeconds: wholeSeconds(stored.Age), Lifetime: wholeSeconds(stored.Fresh), State: string(stored.State), WhileFails: stored.WhileFails,
	}
}

func wholeSeconds(d time.Duration) int64 { return int64(d / time.Second) }

// addCache adds whether an allowed request would be answered from memory.
func (e *explainer) addCache(ctx context.Context, app *App, decision *policy.Decision) error {
	handlers := app.caches.list()
	if !decision.Allow() || decision.Link.Spend || len(handlers) == 0 {
		return nil // a link is redeemed first, which is a redirect
	}
	if _, cached := decision.Option(policy.OptionCache).(*policy.CacheRule); !cached || !decision.Rule.Forward || decision.Reason == policy.ReasonPreflight {
		e.result.Cache = &admin.ExplainedCache{Result: string(pagecache.Pass), Why: "the rule that decided has no `cache`"}
		return nil
	}
	query, _, _ := e.gate.takeTokens(e.query)
	target := pagecache.Target{
		Vendor: e.gate.Vendor, Site: e.gate.Site, Secure: strings.HasPrefix(e.request.URL, "https:"), Host: e.host,
		Path: cmp.Or(e.request.RewrittenPath, e.result.Path.Received), Query: query, Received: e.result.Path.Received,
	}
	followed := e.site.policy.Fresh(e.gate.Vendor, e.site.policy.Now()) == nil
	asked := make(map[cachePlace]bool)
	for _, handler := range handlers {
		at := cachePlace{cache: handler.cache}
		if place := handler.place.Load(); place != nil {
			at.place = *place
		}
		if asked[at] {
			continue
		}
		asked[at], target.Place = true, at.place
		result, stored, err := handler.cache.Expect(ctx, e.result.Method, &target, followed)
		if err != nil {
			return err
		}
		if explained := explainCache(result, stored); e.result.Cache == nil || result.What == pagecache.Hit {
			e.result.Cache = explained
		}
	}
	return nil
}

// cachePlace is what the pages of a handler are in.
type cachePlace struct {
	cache *pagecache.Cache
	place string
}

func explainCache(result pagecache.Result, stored *pagecache.Stored) *admin.ExplainedCache {
	explained := &admin.ExplainedCache{Result: string(result.What)}
	switch {
	case result.What == pagecache.Hit:
		explained.Why = fmt.Sprintf("it is stored since %s, and fresh for another %ds", stored.At.UTC().Format(time.RFC3339), wholeSeconds(stored.Fresh-stored.Age))
	case result.What == pagecache.Miss && stored != nil:
		explained.Why = "what is stored of it has expired: the origin is asked to confirm it, or for another one"
	case result.What == pagecache.Miss:
		explained.Why = "nothing of it is stored on this node"
	default:
		explained.Why = passTexts[result.Why]
	}
	return explained
}

// passTexts say why a request goes to the origin itself.
var passTexts = map[pagecache.Why]string{
	pagecache.WhyMethod:    "only GET and HEAD are answered from memory",
	pagecache.WhyStore:     "this node does not hear of purges, because the store is unreachable or was not read yet",
	pagecache.WhyRequest:   "the URL or a header that distinguishes pages is too long",
	pagecache.WhyMarked:    marked + "it was not storable",
	pagecache.WhyStatus:    marked + "its status is not stored, or the origin does not say how long it is fresh",
	pagecache.WhyNoStore:   marked + "the origin forbids it, by no-store or Clear-Site-Data",
	pagecache.WhyPrivate:   marked + "the origin says that it is private",
	pagecache.WhySetCookie: marked + "it sets a cookie",
	pagecache.WhyVary:      marked + "its Vary names what does not distinguish stored pages: see `headers` of gatefold_cache",
	pagecache.WhyFreshness: marked + "neither the origin nor the rule says how long it is fresh: send max-age, or write `cache <ttl>` in the rule",
	pagecache.WhyTooLarge:  marked + "its body is larger than max_size, or memory was short",
	pagecache.WhyTrailer:   marked + "it has trailers",
	pagecache.WhyPartial:   marked + "it is a part of a page",
	pagecache.WhyTags:      marked + "it has too many tags, or one that cannot be read",
}

// marked begins the texts of a page that passes for a minute.
const marked = "it was fetched within the last minute and not stored: "

// Interface guard
var _ admin.PageCaches = pageStates{}
