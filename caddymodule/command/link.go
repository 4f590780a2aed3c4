package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// signedLink is a link as the API shows it.
type signedLink struct {
	TokenID            string          `json:"tokenId"`
	Status             string          `json:"status"`
	URL                string          `json:"url,omitempty"`
	SKU                string          `json:"sku,omitempty"`
	PurchaseOption     string          `json:"purchaseOption,omitempty"`
	PublisherContentID string          `json:"publisherContentId,omitempty"`
	UserID             string          `json:"userId,omitempty"`
	MaxUses            int64           `json:"maxUses,omitempty"`
	Uses               int64           `json:"uses"`
	Meta               json.RawMessage `json:"meta,omitempty"`
	CreatedAt          time.Time       `json:"createdAt"`
	ExpiresAt          time.Time       `json:"expiresAt"`
	RevokedAt          *time.Time      `json:"revokedAt,omitempty"`
}

const linksPath = "/management/signed-links"

func linkCommands(cmd *cobra.Command) {
	create := subcommand(cmd, "create [<url>]", "Creates a signed link and prints its URL", cobra.MaximumNArgs(1), createLink)
	flags := create.Flags()
	flags.Int64("max-uses", 0, "how often the link may be redeemed (default: without limit)")
	flags.String("expires", "7d", "how long the link is valid: digits and one of s, m, h, d")
	flags.String("sku", "", "sku that the link opens")
	flags.String("content-id", "", "publisherContentId that the link opens")
	flags.String("user", "", "user for whom the link is made; for the record only")
	flags.StringToString("meta", nil, "key=value pairs that are kept with the link")

	subcommand(cmd, "list", "Lists signed links", cobra.NoArgs, listLinks)
	subcommand(cmd, "show <id>", "Shows a signed link and its uses", cobra.ExactArgs(1), showLink)
	subcommand(cmd, "revoke <id>", "Ends a signed link at once, and what was opened with it", cobra.ExactArgs(1), revokeLink)
}

func createLink(c *call) error {
	body := map[string]any{"expiresIn": c.text("expires")}
	if seconds, err := strconv.ParseInt(c.text("expires"), 10, 64); err == nil {
		body["expiresIn"] = seconds
	}
	if len(c.args) == 1 {
		body["url"] = c.args[0]
	}
	for flag, field := range map[string]string{"sku": "sku", "content-id": "publisherContentId", "user": "userId"} {
		if value := c.text(flag); value != "" {
			body[field] = value
		}
	}
	if c.changed("max-uses") {
		body["maxUses"], _ = c.cmd.Flags().GetInt64("max-uses")
	}
	if meta, _ := c.cmd.Flags().GetStringToString("meta"); len(meta) > 0 {
		body["meta"] = meta
	}
	var created struct {
		SignedURL          string `json:"signedUrl,omitempty"`
		Token              string `json:"token"`
		TokenID            string `json:"tokenId"`
		ExpiresAt          string `json:"expiresAt"`
		SKU                string `json:"sku,omitempty"`
		PublisherContentID string `json:"publisherContentId,omitempty"`
	}
	if err := c.request(http.MethodPost, "/management/create-signed-link", nil, body, &created); err != nil {
		return err
	}
	switch {
	case c.json:
		return c.printJSON(created)
	case created.SignedURL != "":
		fmt.Fprintln(c.out, created.SignedURL)
	default:
		fmt.Fprintln(c.out, created.Token)
	}
	return nil
}

func listLinks(c *call) error {
	return list(c, linksPath, func(l signedLink) string { return l.TokenID }, "ID\tSTATUS\tUSES\tEXPIRES\tOPENS",
		func(l signedLink) []string {
			return []string{l.TokenID, l.Status, l.usage(), l.ExpiresAt.Format(time.RFC3339), l.opens()}
		})
}

func (l signedLink) usage() string {
	if l.MaxUses == 0 {
		return "not counted"
	}
	return fmt.Sprintf("%d of %d", l.Uses, l.MaxUses)
}

func (l signedLink) opens() string {
	var opens []string
	if l.URL != "" {
		opens = append(opens, "url "+l.URL)
	}
	if l.SKU != "" {
		opens = append(opens, "sku "+l.SKU)
	}
	if l.PublisherContentID != "" {
		opens = append(opens, "content "+l.PublisherContentID)
	}
	return strings.Join(opens, ", ")
}

func showLink(c *call) error {
	var link signedLink
	if err := c.request(http.MethodGet, linksPath+"/"+url.PathEscape(c.args[0]), nil, nil, &link); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(link)
	}
	rows := [][]string{
		{"id", link.TokenID},
		{"status", link.Status},
		{"opens", link.opens()},
		{"uses", link.usage()},
		{"created", link.CreatedAt.Format(time.RFC3339)},
		{"expires", link.ExpiresAt.Format(time.RFC3339)},
	}
	if link.UserID != "" {
		rows = append(rows, []string{"user", link.UserID})
	}
	if link.RevokedAt != nil {
		rows = append(rows, []string{"revoked", link.RevokedAt.Format(time.RFC3339)})
	}
	if len(link.Meta) > 0 {
		rows = append(rows, []string{"meta", string(link.Meta)})
	}
	return c.table("FIELD\tVALUE", rows)
}

func revokeLink(c *call) error {
	if err := c.request(http.MethodDelete, linksPath+"/"+url.PathEscape(c.args[0]), nil, nil, nil); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"tokenId": c.args[0], "status": "revoked"})
	}
	fmt.Fprintf(c.out, "revoked %s\n", printable(c.args[0]))
	return nil
}
