package command

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store"
)

// KeysPath is the path of the signing keys in the management API.
const KeysPath = "/management/keys"

func keyCommands(cmd *cobra.Command) {
	cmd.PersistentFlags().Bool("system", false, "use the keys that sign access tokens of the management API, instead of a vendor's")
	subcommand(cmd, "list", "Lists the signing keys", cobra.NoArgs, listKeys)
	subcommand(cmd, "rotate", "Creates a key that signs from now on; what older keys signed stays valid", cobra.NoArgs, rotateKey)
	subcommand(cmd, "retire <kid>", "Retires a key: what it signed ends at once. Write -- before a kid that starts with a hyphen", cobra.ExactArgs(1), retireKey)
}

// selectKeys selects the keys of the system if --system is set.
func selectKeys(c *call) {
	if c.on("system") {
		c.vendor = store.SystemPartition
	}
}

func listKeys(c *call) error {
	selectKeys(c)
	return run(c, http.MethodGet, KeysPath, nil, func(keys []admin.SigningKey) string {
		return table("KID\tSTATUS\tCREATED", keys, func(key admin.SigningKey) []string {
			return []string{key.KeyID, key.Status, key.CreatedAt.Format(time.RFC3339)}
		})
	})
}

func rotateKey(c *call) error {
	selectKeys(c)
	return run(c, http.MethodPost, KeysPath+"/rotate", struct{}{}, func(key admin.SigningKey) string {
		return line("%s signs from now on", key.KeyID)
	})
}

func retireKey(c *call) error {
	selectKeys(c)
	return c.end(c.record(KeysPath), nil, "kid", "retired", "retired %s")
}
