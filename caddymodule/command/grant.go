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

	list := subcommand(cmd, "list", "Finds grants: of the access list of --list, or of all lists", cobra.NoArgs, listGrants)
	grantFilters.add(list, "name=value pairs that the extra fields of the grant have")
	list.Flags().Int("limit", 0, "maximum number of grants (default: all)")
	orderFlags(list)
	remove := subcommand(cmd, "remove [<id>]", "Removes a grant, or all that match the flags; the latter can be undone", cobra.MaximumNArgs(1), removeGrants)
	grantFilters.add(remove, "name=value pairs that the extra fields of the grant have")
	remove.Flags().Bool("dry-run", false, "print how many grants match, and remove none")
	subcommand(cmd, "undo <removal>", "Gives back the grants that remove removed by flags", cobra.ExactArgs(1), undoRemoval)
	importCommand(cmd)
	export := subcommand(cmd, "export", "Prints all grants of an access list, in a format that can be imported", cobra.NoArgs, exportGrants)
	export.Flags().String("format", admin.FormatNDJSON, "csv or ndjson")
}

// grantFilters are the flags that select grants.
var grantFilters = filters{
	"userId":              {"user", "user id of the reader"},
	"email":               {"email", "e-mail address of the reader"},
	"publisherUserId":     {"publisher-user", "the publisher's own id of the reader"},
	"publisherPurchaseId": {"purchase", "the publisher's id of the purchase"},
	"sku":                 {"sku", "sku that is granted"},
	"status":              {"status", "ACTIVE, INACTIVE or CANCELED"},
	"importId":            {"import", "import into the list of --list that wrote the grant last"},
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

// listOfGrants returns the access list that a search is limited to, or "".
func (c *call) listOfGrants() string {
	if c.changed("list") || c.changed("import") {
		return c.text("list")
	}
	return ""
}

func listGrants(c *call) error {
	moment := func(at *time.Time) string {
		if at == nil {
			return "-"
		}
		return at.Format(time.RFC3339)
	}
	query, _ := grantFilters.query(c)
	if list := c.listOfGrants(); list != "" {
		query.Set("list", list)
	}
	if err := c.orderQuery(query); err != nil {
		return err
	}
	limit, _ := c.cmd.Flags().GetInt("limit")
	grants, more, err := find[admin.Grant](c, "/management/grants", query, limit)
	if err != nil {
		return err
	}
	if more {
		c.warn(fmt.Sprintf("there may be more than %d grants", limit))
	}
	return c.print(grants, table("ID\tREADER\tSKU\tSTATUS\tSTARTS\tENDS\tCREATED\tLIST", grants, func(g admin.Grant) []string {
		return []string{g.ID, grantReader(&g), g.SKU, g.Status, moment(g.StartsAt), moment(g.EndsAt), moment(&g.CreatedAt), g.Source}
	}))
}

// removeGrants removes the grant of the argument, or all that the flags select, step by
// step.
func removeGrants(c *call) error {
	body, set := grantFilters.body(c)
	list := c.listOfGrants()
	switch {
	case len(c.args) == 1 && set:
		return errors.New("give the id of a grant, or flags that select grants, not both")
	case len(c.args) == 1 && c.on("dry-run"):
		return errors.New("--dry-run: goes with flags that select grants")
	case len(c.args) == 1:
		return c.end(c.record(c.grantsPath()), nil, "id", "removed", "removed %s")
	case !set && list == "":
		return errors.New("give the id of a grant, or flags that select grants, such as --email")
	}
	dry := c.on("dry-run")
	if dry {
		body["dryRun"] = true
	}
	if list != "" {
		body["list"] = list
	}
	total, id := int64(0), ""
	for {
		var answer admin.Removal
		if err := c.request(http.MethodPost, "/management/grants/remove", nil, body, &answer); err != nil {
			if total > 0 {
				err = fmt.Errorf("%w; %d grants are removed already: repeat the command for the others, and undo these with gatefold grant undo %s", err, total, id)
			}
			return err
		}
		total += answer.Removed
		if id = answer.RemovalID; answer.Next == "" {
			break
		}
		body["from"] = answer.Next
		if !dry {
			body["removalId"] = id
		}
	}
	text := line("removed %d grants", total)
	switch {
	case dry:
		text = line("would remove %d grants; nothing was changed", total)
	case total > 0:
		text += line("to give them back: gatefold grant undo %s", id)
	}
	return c.print(map[string]any{"removed": total, "removalId": id, "dryRun": dry}, text)
}

func undoRemoval(c *call) error {
	return c.undo("/management/grants/removals/" + url.PathEscape(c.args[0]) + "/undo")
}

// undo undoes an import or a removal, step by step, and prints the result.
func (c *call) undo(path string) error {
	for {
		var undone admin.Undone
		if err := c.request(http.MethodPost, path, nil, struct{}{}, &undone); err != nil {
			return err
		}
		if undone.Done {
			return c.print(undone, line("undone: %d created grants removed, %d grants as before, %d left as they were changed since",
				undone.Removed, undone.Restored, undone.Kept))
		}
	}
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
