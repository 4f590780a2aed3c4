package command

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

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
	query := url.Values{}
	if site := c.text("site"); site != "" {
		query.Set("site", site)
	}
	var purged admin.Purged
	if err := c.request(http.MethodPost, purgePath, query, request, &purged); err != nil {
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
