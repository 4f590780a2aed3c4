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
)

const clientsPath = "/management/clients"

func clientCommands(cmd *cobra.Command) {
	create := subcommand(cmd, "create", "Creates a client of the management API and prints its secret, once", cobra.NoArgs, createClient)
	flags := create.Flags()
	flags.String("name", "", "name of the client in lists and in the audit log (required)")
	flags.StringArray("scope", nil, "scope of its tokens: <resource>:read, <resource>:write or <resource>:*; may be repeated (required)")
	flags.Bool("operator", false, "create a client that belongs to no vendor and manages vendors")
	subcommand(cmd, "list", "Lists the clients of all vendors", cobra.NoArgs, listClients)
	subcommand(cmd, "revoke <client>", "Revokes a client, its secret and its tokens at once", cobra.ExactArgs(1), revokeClient)
	subcommand(cmd, "rotate-secret <client>", "Replaces the secret of a client and prints the new one, once; the old one and its tokens end at once", cobra.ExactArgs(1), rotateSecret)
}

func createClient(c *call) error {
	scopes, _ := c.cmd.Flags().GetStringArray("scope")
	body := admin.ClientBody{
		Name:     c.text("name"),
		Scopes:   strings.Fields(strings.Join(scopes, " ")), // a flag may hold several, as a token does
		Operator: c.on("operator"),
	}
	switch {
	case body.Name == "":
		return errors.New("--name is required")
	case len(body.Scopes) == 0:
		return errors.New("--scope is required, for example 'links:*'")
	case body.Operator && c.changed("vendor"):
		return errors.New("a client with --operator belongs to no vendor: leave --vendor out")
	}
	return c.printSecret(clientsPath, body)
}

// printSecret prints a client and its new secret, as shell assignments unless
// --json is set.
func (c *call) printSecret(path string, body any) error {
	var created admin.CreatedClient
	if err := c.request(http.MethodPost, path, nil, body, &created); err != nil {
		return err
	}
	if !c.json {
		c.warn("The secret is shown only once: store it in a safe place.")
	}
	return c.print(created, fmt.Sprintf("CLIENT_ID=%s\nCLIENT_SECRET=%s\n", created.ID, created.Secret))
}

func listClients(c *call) error {
	return list(c, clientsPath, func(client admin.Client) string { return client.ID },
		"ID\tNAME\tVENDOR\tSTATUS\tSCOPES\tSECRET SINCE", func(client admin.Client) []string {
			vendor := client.Vendor
			if vendor == "" {
				vendor = "-"
			}
			return []string{client.ID, client.Name, vendor, client.Status, strings.Join(client.Scopes, " "), client.SecretCreatedAt.Format(time.RFC3339)}
		})
}

func revokeClient(c *call) error {
	return c.end(c.record(clientsPath), nil, "clientId", "revoked", "revoked %s")
}

func rotateSecret(c *call) error {
	return c.printSecret(c.record(clientsPath)+"/rotate-secret", struct{}{})
}

// accessToken prints an access token of a client.
func accessToken(c *call) error {
	if c.text("client") == "" {
		return errors.New("--client is required; `gatefold client list` shows the clients")
	}
	path := clientsPath + "/" + url.PathEscape(c.text("client")) + "/tokens"
	return run(c, http.MethodPost, path, admin.AccessTokenBody{Scope: c.text("scope")}, tokenText)
}
