package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy/store"
)

func grantCommands(cmd *cobra.Command) {
	cmd.PersistentFlags().String("list", store.DefaultList, "access list in which the grant stands")
	add := subcommand(cmd, "add", "Grants a sku to a reader", cobra.NoArgs, addGrant)
	flags := add.Flags()
	flags.String("user", "", "the reader's user id")
	flags.String("email", "", "the reader's e-mail address; counts for readers whose address is verified")
	flags.String("publisher-user", "", "the publisher's own id of the reader")
	flags.String("sku", "", "what is granted (required)")
	flags.String("starts", "", "first moment: RFC 3339, or a date (default: at once)")
	flags.String("ends", "", "first moment at which it no longer counts (default: never)")
	flags.String("notes", "", "notes that are kept with the grant")

	subcommand(cmd, "list", "Lists the grants of an access list", cobra.NoArgs, listGrants)
	subcommand(cmd, "remove <id>", "Removes a grant", cobra.ExactArgs(1), removeGrant)
	importCommand(cmd)
	exportCommand(cmd)
}

func (c *call) grantsPath() string {
	return "/management/access-lists/" + url.PathEscape(c.text("list")) + "/grants"
}

func addGrant(c *call) error {
	if c.text("sku") == "" {
		return errors.New("--sku is required: what is granted")
	}
	body := map[string]any{}
	for flag, field := range map[string]string{
		"user": "userId", "email": "email", "publisher-user": "publisherUserId", "sku": "sku", "notes": "notes",
	} {
		if value := c.text(flag); value != "" {
			body[field] = value
		}
	}
	for flag, field := range map[string]string{"starts": "startsAt", "ends": "endsAt"} {
		at, err := c.timeFlag(flag)
		if err != nil {
			return err
		}
		if at != nil {
			body[field] = at
		}
	}
	var added grant
	if err := c.request(http.MethodPost, c.grantsPath(), nil, body, &added); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(added)
	}
	fmt.Fprintf(c.out, "granted %s to %s (%s)\n", printable(added.SKU), printable(added.reader()), added.ID)
	return nil
}

// grant is a grant as the API shows it, as far as the commands do.
type grant struct {
	ID              string     `json:"id"`
	Source          string     `json:"source"`
	UserID          string     `json:"userId,omitempty"`
	Email           string     `json:"email,omitempty"`
	PublisherUserID string     `json:"publisherUserId,omitempty"`
	SKU             string     `json:"sku"`
	Status          string     `json:"status"`
	StartsAt        *time.Time `json:"startsAt,omitempty"`
	EndsAt          *time.Time `json:"endsAt,omitempty"`
	Notes           string     `json:"notes,omitempty"`
}

func (g grant) reader() string {
	switch {
	case g.UserID != "":
		return g.UserID
	case g.Email != "":
		return g.Email
	default:
		return g.PublisherUserID
	}
}

func listGrants(c *call) error {
	moment := func(at *time.Time) string {
		if at == nil {
			return "-"
		}
		return at.Format(time.RFC3339)
	}
	return list(c, c.grantsPath(), func(g grant) string { return g.ID }, "ID\tREADER\tSKU\tSTATUS\tSTARTS\tENDS",
		func(g grant) []string {
			return []string{g.ID, g.reader(), g.SKU, g.Status, moment(g.StartsAt), moment(g.EndsAt)}
		})
}

func removeGrant(c *call) error {
	if err := c.request(http.MethodDelete, c.grantsPath()+"/"+url.PathEscape(c.args[0]), nil, nil, nil); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"id": c.args[0], "status": "removed"})
	}
	fmt.Fprintf(c.out, "removed %s\n", printable(c.args[0]))
	return nil
}
