package command

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const purgePath = "/management/pages/purge"

func cacheCommands(cmd *cobra.Command) {
	purge := subcommand(cmd, "purge [<url>…]", "Purges stored pages on every node: by URL, prefix or tag, or all of a site", cobra.ArbitraryArgs, purgePages)
	flags := purge.Flags()
	flags.StringSlice("prefix", nil, "URLs or paths: the page, and all pages below it")
	flags.StringSlice("tag", nil, "tags that the origin gave to pages")
	flags.Bool("all", false, "all pages of the site")
	flags.Bool("soft", false, "make the pages stale: they are used while the origin fails")
	flags.String("site", "", "site (default: the one with the vendor's name)")

	stat := subcommand(cmd, "stat", "Counts the stored pages of a site on this node, and shows its caches", cobra.NoArgs, statPages)
	stat.Flags().String("site", "", "site (default: the one with the vendor's name)")
	show := subcommand(cmd, "show <url>", "Lists what this node has stored of a page, without fetching anything", cobra.ExactArgs(1), showPages)
	show.Flags().String("site", "", "site (default: the one with the vendor's name)")
}

// siteQuery returns the query parameter of --site.
func (c *call) siteQuery() url.Values {
	query := url.Values{}
	if site := c.text("site"); site != "" {
		query.Set("site", site)
	}
	return query
}

func statPages(c *call) error {
	var stats admin.PageStats
	if err := c.request(http.MethodGet, "/management/pages/stats", c.siteQuery(), nil, &stats); err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString(line("site %s: %d pages, %s", stats.Site, stats.Pages, mebibytes(stats.Bytes)))
	for _, node := range stats.Node {
		text.WriteString(line("cache of this node: %d pages, %s of %s; %d evicted, %d not admitted; %d fetches run, for which %d requests wait",
			node.Pages, mebibytes(node.Bytes), mebibytes(node.MaxBytes), node.Evicted, node.Refused, node.Fetches, node.Waiting))
		if node.StaleSince != nil {
			text.WriteString(line("expired pages are used since %s, because the origin fails", node.StaleSince.Format(time.RFC3339)))
		}
	}
	if len(stats.Node) == 0 {
		text.WriteString("no site of this node has a gatefold_cache\n")
	}
	return c.print(stats, text.String())
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func showPages(c *call) error {
	query := c.siteQuery()
	query.Set("url", c.args[0])
	var stored admin.StoredPages
	if err := c.request(http.MethodGet, "/management/pages/stored", query, nil, &stored); err != nil {
		return err
	}
	var text strings.Builder
	for i := range stored.Pages {
		text.WriteString(storedText(&stored.Pages[i]))
	}
	switch {
	case len(stored.Pages) == 0:
		text.WriteString(line("nothing of it is stored on this node; `gatefold explain` says why a request would not be answered from memory"))
	case stored.More > 0:
		text.WriteString(line("and %d more", stored.More))
	}
	return c.print(stored, text.String())
}

// storedText describes a stored page in one line.
func storedText(page *admin.StoredPage) string {
	state := page.State
	switch page.State {
	case "fresh":
		state = fmt.Sprintf("fresh for another %ds", page.Lifetime-page.AgeSeconds)
	case "expired":
		state = fmt.Sprintf("expired %ds ago, not used while the origin fails", max(page.AgeSeconds-page.Lifetime, 0))
		if page.WhileFails {
			state = fmt.Sprintf("expired %ds ago, used while the origin fails", max(page.AgeSeconds-page.Lifetime, 0))
		}
	}
	return line("%s: status %d, %d bytes, %s, for Accept %s, stored at %s: %s",
		page.URL, page.Status, page.Bytes, cmp.Or(page.Encoding, "not encoded"), page.Accept, page.StoredAt.Format(time.RFC3339), state)
}

func purgePages(c *call) error {
	request := admin.PurgeBody{URLs: c.args, All: c.on("all"), Soft: c.on("soft")}
	for name, to := range map[string]*[]string{"prefix": &request.Prefixes, "tag": &request.Tags} {
		list, err := c.cmd.Flags().GetStringSlice(name)
		if err != nil {
			return err
		}
		*to = list
	}
	var purged admin.Purged
	if err := c.request(http.MethodPost, purgePath, c.siteQuery(), request, &purged); err != nil {
		return err
	}
	return c.print(purged, purgedText(&purged))
}

func purgedText(purged *admin.Purged) string {
	what := "all pages"
	if !purged.All {
		var parts []string
		for _, list := range []struct {
			name  string
			texts []string
		}{{"url", purged.URLs}, {"prefix", purged.Prefixes}, {"tag", purged.Tags}} {
			for _, text := range list.texts {
				parts = append(parts, list.name+" "+printable(text))
			}
		}
		what = strings.Join(parts, ", ")
	}
	verb := "purged"
	if purged.Soft {
		verb = "made stale"
	}
	return fmt.Sprintf("%s at site %s: %s\n", verb, purged.Site, what)
}
