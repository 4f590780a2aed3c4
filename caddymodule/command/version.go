package command

import (
	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/caddymodule/buildinfo"
)

// Version sets up a command that prints the versions of Gatefold and Caddy. It asks no
// server.
func Version(cmd *cobra.Command) {
	cmd.Use, cmd.Short = "version", "Prints the versions of Gatefold, Caddy and Go"
	cmd.Flags().Bool("json", false, "print JSON")
	setRun(cmd, cobra.NoArgs, func(c *call) error {
		return c.print(buildinfo.Read(), line("%s", buildinfo.Read()))
	})
}
