package command

import (
	"errors"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

func tokenCommands(cmd *cobra.Command) {
	reader := subcommand(cmd, "reader", "Prints a reader token", cobra.NoArgs, readerToken)
	flags := reader.Flags()
	flags.String("user", "", "user id of the reader (required)")
	flags.String("email", "", "e-mail address of the reader, marked as verified")
	flags.String("publisher-user", "", "the publisher's own id of the reader")
	flags.String("site", "", "site at which the token is valid (default: the vendor's name)")
	flags.String("expires", "1h", "lifetime of the token: digits and one of s, m, h, d")
	api := subcommand(cmd, "api", "Prints an access token of a client of the management API", cobra.NoArgs, accessToken)
	api.Flags().String("client", "", "id of the client (required)")
	api.Flags().String("scope", "", "scopes of the token, separated by spaces (default: all of the client's)")
}

func readerToken(c *call) error {
	body := admin.ReaderTokenBody{
		UserID: c.text("user"), Email: c.text("email"), EmailVerified: c.text("email") != "",
		PublisherUserID: c.text("publisher-user"), Site: c.text("site"), ExpiresIn: c.lifetime(),
	}
	if body.UserID == "" {
		return errors.New("--user is required")
	}
	return run(c, http.MethodPost, "/management/reader-tokens", body, tokenText)
}

func tokenText(issued admin.IssuedToken) string { return issued.Token + "\n" }
