package command

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"
)

func tokenCommands(cmd *cobra.Command) {
	reader := subcommand(cmd, "reader", "Prints a reader's token", cobra.NoArgs, readerToken)
	flags := reader.Flags()
	flags.String("user", "", "the reader's user id (required)")
	flags.String("email", "", "the reader's e-mail address, taken for verified")
	flags.String("publisher-user", "", "the publisher's own id of the reader")
	flags.String("site", "", "site at which the token counts (default: the vendor's name)")
	flags.String("expires", "1h", "how long the token is valid: digits and one of s, m, h, d")
	api := subcommand(cmd, "api", "Prints an access token of a client of the management API", cobra.NoArgs, accessToken)
	api.Flags().String("client", "", "the client whose token it is (required)")
	api.Flags().String("scope", "", "what the token may do, words separated by spaces (default: all that the client may)")
}

func readerToken(c *call) error {
	if c.text("user") == "" {
		return errors.New("--user is required: who the reader is")
	}
	body := map[string]any{"userId": c.text("user"), "expiresIn": c.text("expires")}
	if seconds, err := strconv.ParseInt(c.text("expires"), 10, 64); err == nil {
		body["expiresIn"] = seconds
	}
	if email := c.text("email"); email != "" {
		body["email"], body["emailVerified"] = email, true
	}
	if id := c.text("publisher-user"); id != "" {
		body["publisherUserId"] = id
	}
	if site := c.text("site"); site != "" {
		body["site"] = site
	}
	var made struct {
		Token     string `json:"token"`
		ExpiresAt string `json:"expiresAt"`
	}
	if err := c.request(http.MethodPost, "/management/reader-tokens", nil, body, &made); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(made)
	}
	fmt.Fprintln(c.out, made.Token)
	return nil
}
