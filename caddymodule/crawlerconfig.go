package caddymodule

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/crawler"
	"github.com/gatefold/gatefold/caddymodule/metrics"
	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
)

func init() {
	gateOptions.Register(func(h *Handler) []block.Option {
		return []block.Option{{Name: "crawler", Parse: h.parseCrawler, Repeatable: true}}
	})
}

// crawlerLists are the lists of the process: they outlive the configurations that use them.
var crawlerLists = crawler.NewLists(func() time.Time { return now() })

// crawlerListStates returns the states of the lists, for the conditions of the node.
func crawlerListStates() (states []nodestate.CrawlerList) {
	for _, s := range crawlerLists.Statuses() {
		states = append(states, nodestate.CrawlerList{Address: s.Address, FetchedAt: s.FetchedAt, Err: s.Err, CountsFor: crawler.MaxAge})
	}
	return states
}

// maxCrawlerConfigs bounds the crawlers of a site.
const maxCrawlerConfigs = 32

// parseCrawler parses `crawler <name> { ranges <list>…; agent <text>… }`.
func (h *Handler) parseCrawler(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("write `crawler <name> { ranges <https URL or file>; agent <part of the User-Agent> }`")
	}
	name, config := d.Val(), new(crawler.Config)
	if h.Crawlers[name] != nil {
		return d.Errf("crawler %s is given twice", name)
	}
	err := block.Parse(d, "crawler "+name,
		block.List("ranges", &config.Ranges, nil), block.List("agent", &config.Agents, nil))
	if err != nil {
		return err
	}
	if h.Crawlers == nil {
		h.Crawlers = map[string]*crawler.Config{}
	}
	h.Crawlers[name] = config
	return nil
}

// provisionCrawlers checks the crawlers of the site, and that its configured rules name no
// others.
func (h *Handler) provisionCrawlers() error {
	if len(h.Crawlers) > maxCrawlerConfigs {
		return setting.In("crawler", fmt.Errorf("crawler: there are more than %d", maxCrawlerConfigs))
	}
	for name, config := range h.Crawlers {
		if !slugPattern.MatchString(name) {
			return setting.In("crawler", fmt.Errorf("crawler: the name %q must be lower-case letters, digits and hyphens, at most 63", name))
		}
		if err := config.Check(); err != nil {
			return setting.In("crawler", fmt.Errorf("crawler %s: %w", name, err))
		}
		if err := config.CheckFiles(); err != nil {
			return setting.In("crawler", fmt.Errorf("crawler %s: %w", name, err))
		}
		metrics.Crawlers.WithLabelValues(h.Vendor, h.Site, name)
	}
	for i := range h.Rules {
		for _, name := range policy.CrawlersOf([]policy.Rule{h.Rules[i].Ranked(1)}) {
			if h.Crawlers[name] == nil {
				return ruleconfig.In(i, fmt.Errorf("rule %s: the site has no crawler %s: add `crawler %s { ranges <https URL or file>; agent <part of the User-Agent> }`", h.Rules[i].Path, name, name))
			}
		}
	}
	return nil
}

// openCrawlers opens the crawlers of the site. Their lists are fetched in the background.
func (h *Handler) openCrawlers() (policy.Crawlers, error) {
	if len(h.Crawlers) == 0 {
		return nil, nil
	}
	opened, err := crawler.Open(h.Crawlers, crawlerLists, h.app.shared.KeySets)
	if err != nil {
		return nil, err
	}
	h.openedCrawlers.Store(opened)
	return opened, nil
}

// asCrawler prepares a request that is allowed as that of a crawler: the page is the one of
// every reader, and no archive is to keep it.
func (g *gateRequest) asCrawler(decision *policy.Decision) {
	for _, name := range []string{"Cookie", "Authorization"} {
		delete(g.r.Header, name)
	}
	g.outcome.last.noArchive = true
	metrics.Crawlers.WithLabelValues(g.gate.Vendor, g.gate.Site, decision.Crawler).Inc()
}

// addNoArchive asks archives and the caches of search engines not to show a copy, besides what
// the origin says to robots.
func addNoArchive(header http.Header) { header.Add("X-Robots-Tag", "noarchive") }
