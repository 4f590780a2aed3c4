package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
)

const linksPath = "/management/signed-links"

func linkCommands(cmd *cobra.Command) {
	create := subcommand(cmd, "create [<url>]", "Creates a signed link and prints its URL", cobra.MaximumNArgs(1), createLink)
	flags := create.Flags()
	linkLimitFlags(create)
	flags.String("expires", "7d", "lifetime of the link: digits and one of s, m, h, d")
	flags.String("sku", "", "sku that the link opens")
	flags.String("content-id", "", "publisherContentId that the link opens")
	flags.String("space", "", "content space of the content id (default: that of the url's page, or the vendor's)")
	flags.String("user", "", "user to whom the link is attributed; it identifies no visitor")
	flags.Bool("path", false, "print the URL with the token in its path, for players and other programs that resolve relative URLs")
	flags.StringToString("meta", nil, "key=value pairs that are stored with the link")
	flags.String("landing", "", "page that the printed URL shows first, for a link that is not bound to one")
	flags.String("each", "", "CSV or NDJSON file with a row for each of many links")
	flags.String("format", "", "csv or ndjson (default: by the extension of the file of --each)")
	flags.StringP("output", "o", "", "file for the links of --each (default: standard output)")
	flags.String("key", "", "name of the set of links of --each (default: derived from the file and the flags)")
	create.MarkFlagsMutuallyExclusive("each", "landing")
	create.Long = eachHelp()

	list := subcommand(cmd, "list", "Lists signed links, or those that match the flags", cobra.NoArgs, listLinks)
	list.Flags().Int("limit", 0, "maximum number of links (default: all)")
	orderFlags(list)
	subcommand(cmd, "show <id>", "Shows a signed link and its history: who used it up", cobra.ExactArgs(1), showLink)
	revoke := subcommand(cmd, "revoke [<id>]", "Revokes a signed link, or all that match the flags, and the access that it gave, at once", cobra.MaximumNArgs(1), revokeLinks)
	restore := subcommand(cmd, "restore [<id>]", "Gives back a revoked link, or all that match the flags, with the uses left", cobra.MaximumNArgs(1), restoreLinks)
	restore.Flags().String("revoked-at", "", "exact time of the revocation, as revoke printed it")
	for _, cmd := range []*cobra.Command{list, revoke, restore} {
		linkFilters.add(cmd, "name=value pairs that were stored with the link")
	}
	for _, cmd := range []*cobra.Command{list, revoke} {
		cmd.Flags().String("status", "", "active, scheduled, used_up, expired or revoked")
	}
}

// linkFilters are the flags that select links.
var linkFilters = filters{
	"userId":             {"user", "user to whom the link is attributed"},
	"sku":                {"sku", "sku that the link opens"},
	"publisherContentId": {"content-id", "publisherContentId that the link opens"},
	"url":                {"url", "url of the link; with an asterisk at its end, the beginning of it"},
}

func createLink(c *call) error {
	limits, err := c.linkLimits()
	if err != nil {
		return err
	}
	body := admin.LinkBody{
		LinkLimits: limits,
		SKU:        c.text("sku"), PublisherContentID: c.text("content-id"), ContentSpace: c.text("space"), UserID: c.text("user"), ExpiresIn: c.lifetime(), Meta: map[string]any{},
	}
	if len(c.args) == 1 {
		body.URL = c.args[0]
	}
	inPath, _ := c.cmd.Flags().GetBool("path")
	if inPath && body.URL == "" {
		return errors.New("--path: needs the url on which the link lands")
	}
	meta, _ := c.cmd.Flags().GetStringToString("meta")
	for key, value := range meta {
		body.Meta[key] = value
	}
	if c.text("each") != "" {
		return c.createEach(body)
	}
	for _, flag := range []string{"format", "output", "key"} {
		if c.changed(flag) {
			return fmt.Errorf("--%s: is for the links of --each", flag)
		}
	}
	page, err := c.landing(body.URL)
	if err != nil {
		return err
	}
	var created admin.CreatedLink
	if err := c.request(http.MethodPost, "/management/create-signed-link", nil, body, &created); err != nil {
		return err
	}
	if created.SignedURL == "" {
		created.SignedURL = keys.AppendToken(page, admin.LinkParam, created.Token)
	}
	shown := created.SignedURL
	if inPath {
		shown = created.PathURL
	}
	if err := c.print(created, shown+"\n"); err != nil {
		return err
	}
	c.warnOfHost(page)
	return nil
}

// landing returns the page whose URL gets the token: that of the link, or the one of --landing.
func (c *call) landing(bound string) (string, error) {
	page := c.text("landing")
	switch {
	case bound != "" && page != "":
		return "", errors.New("--landing: is for links that are not bound to a url: leave out one of the two")
	case bound != "":
		return bound, nil
	case page == "":
		return "", errors.New("a link needs a page to land on: give its url, or, for a link that opens many pages, one of them with --landing <url>")
	}
	parsed, err := url.Parse(page)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" {
		return "", fmt.Errorf("--landing: %q is not a url such as https://news.example.com/", page)
	}
	if parsed.Query().Has(admin.LinkParam) {
		return "", fmt.Errorf("--landing: has the parameter %s, which is reserved for the link's token", admin.LinkParam)
	}
	return page, nil
}

// warnOfHost warns of a link to a host that the running server does not gate. The link
// may be for another server on the same store.
func (c *call) warnOfHost(address string) {
	page, err := url.Parse(address)
	if err != nil {
		return
	}
	report, err := sites(c)
	if err != nil || report == nil || len(report.Gated()) == 0 || report.Serves(page.Hostname()) {
		return
	}
	c.warn(fmt.Sprintf("warning: this server has no gate for the host %s, where the link opens nothing; it has %s. If the host is misspelt, revoke the link and create another.",
		page.Hostname(), strings.Join(report.Gated(), ", ")))
}

func listLinks(c *call) error {
	query, _ := linkFilters.query(c)
	if status := c.text("status"); status != "" {
		query.Set("status", status)
	}
	if err := c.orderQuery(query); err != nil {
		return err
	}
	limit, _ := c.cmd.Flags().GetInt("limit")
	links, more, err := find[admin.SignedLink](c, linksPath, query, limit)
	if err != nil {
		return err
	}
	if more {
		c.warn(fmt.Sprintf("there may be more than %d links", limit))
	}
	return c.print(links, table("ID\tSTATUS\tUSES\tCREATED\tEXPIRES\tOPENS", links, func(l admin.SignedLink) []string {
		return []string{l.TokenID, l.Status, linkUses(&l), l.CreatedAt.Format(time.RFC3339), l.ExpiresAt.Format(time.RFC3339), linkTarget(&l)}
	}))
}

// linkTarget returns what a link opens.
func linkTarget(l *admin.SignedLink) string {
	var targets []string
	for _, target := range [][2]string{{"url", l.URL}, {"sku", l.SKU}, {"content", l.PublisherContentID}, {"space", l.ContentSpace}} {
		if target[1] != "" {
			targets = append(targets, target[0]+" "+target[1])
		}
	}
	return strings.Join(targets, ", ")
}

func revokeLinks(c *call) error {
	body, set := linkFilters.body(c)
	if status := c.text("status"); status != "" {
		body["status"], set = status, true
	}
	switch {
	case len(c.args) == 1 && set:
		return errors.New("give the id of a link, or flags that select links, not both")
	case len(c.args) == 1:
		return c.end(c.record(linksPath), nil, "tokenId", "revoked", "revoked %s")
	case !set:
		return errors.New("give the id of a link, or flags that select links, such as --meta campaign=autumn")
	}
	links, at, err := c.eachLink(linksPath+"/revoke", body)
	if err != nil {
		return err
	}
	moment := at.Format(time.RFC3339Nano)
	text := line("revoked %d links", links)
	if links > 0 {
		text += line("to give them back: gatefold link restore --revoked-at %s", moment)
	}
	return c.print(map[string]any{"revoked": links, "revokedAt": moment}, text)
}

func restoreLinks(c *call) error {
	body, set := linkFilters.body(c)
	at, err := c.time("revoked-at")
	if err != nil {
		return err
	}
	if at != nil {
		body["revokedAt"], set = at, true
	}
	switch {
	case len(c.args) == 1 && set:
		return errors.New("give the id of a link, or flags that select links, not both")
	case len(c.args) == 1:
		return run(c, http.MethodPost, c.record(linksPath)+"/restore", struct{}{}, func(l admin.SignedLink) string {
			return line("restored %s: %s", l.TokenID, l.Status)
		})
	case !set:
		return errors.New("give the id of a link, or flags that select links, such as --revoked-at")
	}
	links, _, err := c.eachLink(linksPath+"/restore", body)
	if err != nil {
		return err
	}
	return c.print(map[string]any{"restored": links}, line("restored %d links", links))
}

// eachLink revokes or restores the links that a body selects, step by step.
func (c *call) eachLink(path string, body map[string]any) (links int, at time.Time, err error) {
	for {
		var answer admin.LinkSelectionDone
		if err := c.request(http.MethodPost, path, nil, body, &answer); err != nil {
			return links, at, err
		}
		links += answer.Links
		if at = answer.RevokedAt; answer.Next == "" {
			return links, at, nil
		}
		body["from"] = answer.Next
		if !at.IsZero() {
			body["revokedAt"] = at
		}
	}
}
