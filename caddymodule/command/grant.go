package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store"
)

func grantCommands(cmd *cobra.Command) {
	cmd.PersistentFlags().String("list", store.DefaultList, "access list of the grant")
	add := subcommand(cmd, "add", "Grants a sku to a reader", cobra.NoArgs, addGrant)
	flags := add.Flags()
	flags.String("user", "", "user id of the reader")
	flags.String("email", "", "e-mail address of the reader; applies to readers whose address is verified")
	flags.String("publisher-user", "", "the publisher's own id of the reader")
	flags.String("sku", "", "sku that is granted (required)")
	flags.String("starts", "", "start of the grant: RFC 3339, or a date (default: now)")
	flags.String("ends", "", "first moment after the grant (default: none)")
	flags.String("notes", "", "notes that are stored with the grant")

	subcommand(cmd, "list", "Lists the grants of an access list", cobra.NoArgs, listGrants)
	subcommand(cmd, "remove <id>", "Removes a grant", cobra.ExactArgs(1), removeGrant)
	importCommand(cmd)
	export := subcommand(cmd, "export", "Prints all grants of an access list, in a format that can be imported", cobra.NoArgs, exportGrants)
	export.Flags().String("format", admin.FormatNDJSON, "csv or ndjson")
}

func (c *call) grantsPath() string {
	return "/management/access-lists/" + url.PathEscape(c.text("list")) + "/grants"
}

func addGrant(c *call) error {
	starts, startsErr := c.time("starts")
	ends, endsErr := c.time("ends")
	if err := errors.Join(startsErr, endsErr); err != nil {
		return err
	}
	body := admin.GrantBody{GrantFields: admin.GrantFields{
		UserID: c.text("user"), Email: c.text("email"), PublisherUserID: c.text("publisher-user"),
		SKU: c.text("sku"), StartsAt: starts, EndsAt: ends, Notes: c.text("notes"),
	}}
	if body.SKU == "" {
		return errors.New("--sku is required")
	}
	return run(c, http.MethodPost, c.grantsPath(), body, func(g admin.Grant) string {
		return line("granted %s to %s (%s)", g.SKU, grantReader(&g), g.ID)
	})
}

func grantReader(g *admin.Grant) string { return cmp.Or(g.UserID, g.Email, g.PublisherUserID) }

func listGrants(c *call) error {
	moment := func(at *time.Time) string {
		if at == nil {
			return "-"
		}
		return at.Format(time.RFC3339)
	}
	return list(c, c.grantsPath(), func(g admin.Grant) string { return g.ID }, "ID\tREADER\tSKU\tSTATUS\tSTARTS\tENDS",
		func(g admin.Grant) []string {
			return []string{g.ID, grantReader(&g), g.SKU, g.Status, moment(g.StartsAt), moment(g.EndsAt)}
		})
}

func removeGrant(c *call) error {
	return c.end(c.record(c.grantsPath()), nil, "id", "removed", "removed %s")
}

// exportGrants prints the stream that the API exports. The server breaks the
// connection if it cannot send all grants.
func exportGrants(c *call) error {
	accept, ok := map[string]string{admin.FormatCSV: "text/csv", admin.FormatNDJSON: "application/x-ndjson"}[c.text("format")]
	if !ok {
		return fmt.Errorf("--format: must be %s or %s", admin.FormatCSV, admin.FormatNDJSON)
	}
	response, err := c.download(c.grantsPath()+"/export", accept)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err = io.Copy(c.out, response.Body); err != nil {
		return fmt.Errorf("the export is incomplete: %w", err)
	}
	return nil
}
