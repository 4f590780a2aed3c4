package command

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const linksPath = "/management/signed-links"

func linkCommands(cmd *cobra.Command) {
	create := subcommand(cmd, "create [<url>]", "Creates a signed link and prints its URL", cobra.MaximumNArgs(1), createLink)
	flags := create.Flags()
	flags.Int64("max-uses", 0, "number of times that the link can be redeemed (default: no limit)")
	flags.String("expires", "7d", "lifetime of the link: digits and one of s, m, h, d")
	flags.String("sku", "", "sku that the link opens")
	flags.String("content-id", "", "publisherContentId that the link opens")
	flags.String("space", "", "content space of the content id (default: that of the url's page, or the vendor's)")
	flags.String("user", "", "user to whom the link is attributed; it identifies no visitor")
	flags.StringToString("meta", nil, "key=value pairs that are stored with the link")

	subcommand(cmd, "list", "Lists signed links", cobra.NoArgs, listLinks)
	subcommand(cmd, "show <id>", "Shows a signed link and its uses", cobra.ExactArgs(1), showLink)
	subcommand(cmd, "revoke <id>", "Revokes a signed link, and the access that it gave, at once", cobra.ExactArgs(1), revokeLink)
}

func createLink(c *call) error {
	body := admin.LinkBody{
		SKU: c.text("sku"), PublisherContentID: c.text("content-id"), ContentSpace: c.text("space"), UserID: c.text("user"), ExpiresIn: c.lifetime(), Meta: map[string]any{},
	}
	if len(c.args) == 1 {
		body.URL = c.args[0]
	}
	if body.MaxUses, _ = c.cmd.Flags().GetInt64("max-uses"); c.changed("max-uses") && body.MaxUses < 1 {
		return errors.New("--max-uses: must be at least 1")
	}
	meta, _ := c.cmd.Flags().GetStringToString("meta")
	for key, value := range meta {
		body.Meta[key] = value
	}
	return run(c, http.MethodPost, "/management/create-signed-link", body, func(created admin.CreatedLink) string {
		if created.SignedURL != "" {
			return created.SignedURL + "\n"
		}
		return created.Token + "\n"
	})
}

func listLinks(c *call) error {
	return list(c, linksPath, func(l admin.SignedLink) string { return l.TokenID }, "ID\tSTATUS\tUSES\tEXPIRES\tOPENS",
		func(l admin.SignedLink) []string {
			return []string{l.TokenID, l.Status, linkUses(&l), l.ExpiresAt.Format(time.RFC3339), linkTarget(&l)}
		})
}

func linkUses(l *admin.SignedLink) string {
	if l.MaxUses == 0 {
		return "not counted"
	}
	return fmt.Sprintf("%d of %d", l.Uses, l.MaxUses)
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

func showLink(c *call) error {
	return run(c, http.MethodGet, c.record(linksPath), nil, func(l admin.SignedLink) string {
		rows := [][]string{
			{"id", l.TokenID},
			{"status", l.Status},
			{"opens", linkTarget(&l)},
			{"uses", linkUses(&l)},
			{"created", l.CreatedAt.Format(time.RFC3339)},
			{"expires", l.ExpiresAt.Format(time.RFC3339)},
		}
		if l.UserID != "" {
			rows = append(rows, []string{"user", l.UserID})
		}
		if l.RevokedAt != nil {
			rows = append(rows, []string{"revoked", l.RevokedAt.Format(time.RFC3339)})
		}
		if len(l.Meta) > 0 {
			rows = append(rows, []string{"meta", string(l.Meta)})
		}
		return fields(rows)
	})
}

func revokeLink(c *call) error {
	return c.end(c.record(linksPath), nil, "tokenId", "revoked", "revoked %s")
}
