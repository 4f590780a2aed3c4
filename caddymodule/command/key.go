package command

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy/store"
)

const KeysPath = "/management/keys"

// signingKey is a key as the API shows it.
type signingKey struct {
	KeyID     string     `json:"kid"`
	Status    string     `json:"status"`
	CreatedAt time.Time  `json:"createdAt"`
	RetiredAt *time.Time `json:"retiredAt,omitempty"`
}

func keyCommands(cmd *cobra.Command) {
	cmd.PersistentFlags().Bool("system", false, "the keys that sign access tokens of the management API, instead of a vendor's")
	subcommand(cmd, "list", "Lists the vendor's signing keys", cobra.NoArgs, listKeys)
	subcommand(cmd, "rotate", "Makes a new key that signs from now on; what older keys signed stays good", cobra.NoArgs, rotateKey)
	subcommand(cmd, "retire <kid>", "Retires a key: whatever it signed ends at once. Before a kid that begins with a hyphen write --", cobra.ExactArgs(1), retireKey)
}

// whoseKeys makes the call one about the system's keys where that is asked for.
func whoseKeys(c *call) {
	if system, _ := c.cmd.Flags().GetBool("system"); system {
		c.vendor = store.SystemPartition
	}
}

func listKeys(c *call) error {
	whoseKeys(c)
	var list []signingKey
	if err := c.request(http.MethodGet, KeysPath, nil, nil, &list); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(list)
	}
	rows := make([][]string, len(list))
	for i, key := range list {
		rows[i] = []string{key.KeyID, key.Status, key.CreatedAt.Format(time.RFC3339)}
	}
	return c.table("KID\tSTATUS\tCREATED", rows)
}

func rotateKey(c *call) error {
	whoseKeys(c)
	var made signingKey
	if err := c.request(http.MethodPost, KeysPath+"/rotate", nil, struct{}{}, &made); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(made)
	}
	fmt.Fprintf(c.out, "%s signs from now on\n", printable(made.KeyID))
	return nil
}

func retireKey(c *call) error {
	whoseKeys(c)
	if err := c.request(http.MethodDelete, KeysPath+"/"+url.PathEscape(c.args[0]), nil, nil, nil); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"kid": c.args[0], "status": "retired"})
	}
	fmt.Fprintf(c.out, "retired %s\n", printable(c.args[0]))
	return nil
}
