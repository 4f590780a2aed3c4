package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const clientsPath = "/management/clients"

// apiClient is a client of the management API as the API shows it; the secret
// only where it was made.
type apiClient struct {
	ID              string     `json:"clientId"`
	Name            string     `json:"name"`
	Vendor          string     `json:"vendor,omitempty"`
	Scopes          []string   `json:"scopes"`
	Status          string     `json:"status"`
	CreatedAt       time.Time  `json:"createdAt"`
	SecretCreatedAt time.Time  `json:"secretCreatedAt"`
	RevokedAt       *time.Time `json:"revokedAt,omitempty"`
	Secret          string     `json:"clientSecret,omitempty"`
}

func clientCommands(cmd *cobra.Command) {
	create := subcommand(cmd, "create", "Creates a client of the management API, and prints its secret this once", cobra.NoArgs, createAPIClient)
	flags := create.Flags()
	flags.String("name", "", "who the client is, for lists and the audit log (required)")
	flags.StringArray("scope", nil, "what its tokens may do: <resource>:read, <resource>:write or <resource>:*; may be repeated (required)")
	flags.Bool("operator", false, "the client belongs to no vendor, and manages vendors")
	subcommand(cmd, "list", "Lists the clients of all vendors", cobra.NoArgs, listAPIClients)
	subcommand(cmd, "revoke <client>", "Ends a client, its secret and its tokens, at once and for good", cobra.ExactArgs(1), revokeAPIClient)
	subcommand(cmd, "rotate-secret <client>", "Gives a client a new secret, and prints it this once; the old one and its tokens end at once", cobra.ExactArgs(1), rotateAPIClient)
}

func createAPIClient(c *call) error {
	scopes, _ := c.cmd.Flags().GetStringArray("scope")
	operator, _ := c.cmd.Flags().GetBool("operator")
	switch {
	case c.text("name") == "":
		return errors.New("--name is required: who the client is")
	case len(scopes) == 0:
		return errors.New("--scope is required: what the client may do, such as 'links:*'")
	case operator && c.changed("vendor"):
		return errors.New("--operator makes a client of no vendor: leave --vendor out")
	}
	// One flag may name several, as tokens do.
	scopes = strings.Fields(strings.Join(scopes, " "))
	var made apiClient
	body := map[string]any{"name": c.text("name"), "scopes": scopes}
	if operator {
		body["operator"] = true
	}
	if err := c.request(http.MethodPost, clientsPath, nil, body, &made); err != nil {
		return err
	}
	return c.printSecret(made)
}

// printSecret prints a client with its secret, for people as lines that a shell
// can evaluate.
func (c *call) printSecret(made apiClient) error {
	if c.json {
		return c.printJSON(made)
	}
	fmt.Fprintf(c.out, "CLIENT_ID=%s\nCLIENT_SECRET=%s\n", made.ID, made.Secret)
	fmt.Fprintln(c.cmd.ErrOrStderr(), "The secret is shown this once: keep it where secrets are kept.")
	return nil
}

func listAPIClients(c *call) error {
	return list(c, clientsPath, func(client apiClient) string { return client.ID },
		"ID\tNAME\tVENDOR\tSTATUS\tSCOPES\tSECRET SINCE", func(client apiClient) []string {
			vendor := client.Vendor
			if vendor == "" {
				vendor = "-"
			}
			return []string{client.ID, client.Name, vendor, client.Status, strings.Join(client.Scopes, " "), client.SecretCreatedAt.Format(time.RFC3339)}
		})
}

func revokeAPIClient(c *call) error {
	if err := c.request(http.MethodDelete, clientsPath+"/"+url.PathEscape(c.args[0]), nil, nil, nil); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"clientId": c.args[0], "status": "revoked"})
	}
	fmt.Fprintf(c.out, "revoked %s\n", printable(c.args[0]))
	return nil
}

func rotateAPIClient(c *call) error {
	var made apiClient
	if err := c.request(http.MethodPost, clientsPath+"/"+url.PathEscape(c.args[0])+"/rotate-secret", nil, struct{}{}, &made); err != nil {
		return err
	}
	return c.printSecret(made)
}

// accessToken prints an access token of a client.
func accessToken(c *call) error {
	if c.text("client") == "" {
		return errors.New("--client is required: whose token it is; `gatefold client list` shows them")
	}
	var made struct {
		Token     string `json:"token"`
		ExpiresAt string `json:"expiresAt"`
	}
	body := map[string]string{}
	if scope := c.text("scope"); scope != "" {
		body["scope"] = scope
	}
	if err := c.request(http.MethodPost, clientsPath+"/"+url.PathEscape(c.text("client"))+"/tokens", nil, body, &made); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(made)
	}
	fmt.Fprintln(c.out, made.Token)
	return nil
}
