package command

import (
	"os"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/caddymodule/siteaudit"
)

// Validate sets up a command as Caddy's `validate`, which then prints the ways to
// content in the configuration that pass no gate. Audit reads an adapted
// configuration. Warnings do not change the exit code.
func Validate(cmd *cobra.Command, audit func(config []byte) (*siteaudit.Report, error)) {
	own := caddycmd.Commands()["validate"]
	cmd.Use, cmd.Short, cmd.Long = own.Name+" "+own.Usage, own.Short+", and lists what passes no gate", own.Long
	own.CobraFunc(cmd)
	cmd.Flags().Bool("json", false, "print the list as JSON")
	validate := cmd.RunE
	setRun(cmd, cobra.NoArgs, func(c *call) error {
		if err := c.quietly(func() error { return validate(cmd, nil) }); err != nil {
			return err
		}
		config, _, _, err := caddycmd.LoadConfig(c.text("config"), c.text("adapter"))
		if err != nil {
			return err
		}
		report, err := audit(config)
		if err != nil {
			return err
		}
		return c.print(report, "\n"+printableLines(report.Text()))
	})
}

// quietly runs a function of Caddy that prints on stdout, which holds nothing but the
// command's JSON with --json.
func (c *call) quietly(run func() error) error {
	if c.json {
		stdout := os.Stdout
		os.Stdout = os.Stderr
		defer func() { os.Stdout = stdout }()
	}
	return run()
}
