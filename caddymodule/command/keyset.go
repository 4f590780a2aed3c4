package command

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

func keysetCommands(cmd *cobra.Command) {
	subcommand(cmd, "refresh <url>", "Fetches the keys of an issuer or a publisher domain now, on this node; exit code 1 if that fails", cobra.ExactArgs(1), refreshKeySet)
}

func refreshKeySet(c *call) error {
	var set admin.KeySetRefreshed
	if err := c.request(http.MethodPost, "/management/key-sets/refresh", nil, admin.KeySetRefreshBody{URL: c.args[0]}, &set); err != nil {
		return err
	}
	err := c.print(set, keySetText(&set))
	if set.Error != "" {
		err = errors.Join(err, fmt.Errorf("%s: %s", printable(set.URL), printable(set.Error)))
	}
	return err
}

func keySetText(set *admin.KeySetRefreshed) string {
	ids := make([]string, len(set.KeyIDs))
	for i, id := range set.KeyIDs {
		if ids[i] = id; id == "" {
			ids[i] = "one without kid"
		}
	}
	rows := [][]string{{"url", set.URL}, {"keys in use", strings.Join(ids, ", ")}}
	if set.AgeSeconds != nil {
		rows = append(rows, []string{"age", (time.Duration(*set.AgeSeconds) * time.Second).String()})
	}
	for _, dropped := range set.Dropped {
		rows = append(rows, []string{"ignored", dropped})
	}
	return fields(rows)
}
