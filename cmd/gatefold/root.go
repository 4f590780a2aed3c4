package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/caddymodule/buildinfo"
)

// group is the command that the module registers with every Caddy. Here its
// subcommands are commands of the binary.
const group = "gatefold"

// replacing are the commands of Caddy that download a Caddy without Gatefold and put it
// in the place of the running binary.
var replacing = []string{"upgrade", "add-package", "remove-package"}

const long = `Gatefold is an edge access-control proxy for publishers, built into Caddy.

'gatefold run' serves the sites of a Caddyfile. The other commands of Gatefold call
the running server at Caddy's local admin endpoint; a change takes effect with the
next request.`

// newRoot returns the command `gatefold` with Caddy's commands and Gatefold's, which
// replace those of Caddy with the same name. Caddy's own root allows neither
// replacing nor removing.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "gatefold", Long: long, SilenceUsage: true, Version: buildinfo.Read().String(),
		Example: `  $ gatefold run --config Caddyfile
  $ gatefold reload --config Caddyfile
  $ gatefold link create https://news.example.com/articles/hello --max-uses 2`,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	commands := caddycmd.Commands()
	own := caddyCommand(commands[group])
	taken := append([]string{group}, replacing...)
	for _, command := range own.Commands() {
		taken = append(taken, command.Name())
		own.RemoveCommand(command)
		root.AddCommand(command)
	}
	for name, command := range commands {
		if !slices.Contains(taken, name) {
			root.AddCommand(caddyCommand(command))
		}
	}
	for _, name := range replacing {
		root.AddCommand(refused(name))
	}
	root.AddCommand(manpages())
	return root
}

// caddyCommand makes a command as Caddy does.
func caddyCommand(from caddycmd.Command) *cobra.Command {
	command := &cobra.Command{Use: from.Name + " " + from.Usage, Short: from.Short, Long: from.Long}
	if from.CobraFunc != nil {
		from.CobraFunc(command)
		return command
	}
	command.RunE = caddycmd.WrapCommandFuncForCobra(from.Func)
	if from.Flags != nil {
		command.Flags().AddGoFlagSet(from.Flags)
	}
	return command
}

// refused is a command of Caddy that only says why it is not one of Gatefold.
func refused(name string) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("gatefold %s does not exist: Caddy's would replace this binary with a plain Caddy, which has no gate; install the newer package of Gatefold, or build a Caddy of your own with xcaddy", name)
		},
	}
}

// manpages writes a page for each command that the help lists.
func manpages() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use: "manpage --directory <path>", Short: "Writes the manual pages of all commands into a directory", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // manual pages are public
				return err
			}
			root := command.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "Gatefold " + buildinfo.Read().Version, Manual: "Gatefold"}, dir)
		},
	}
	command.Flags().StringVarP(&dir, "directory", "o", "", "directory to write to; it is made if it does not exist")
	_ = command.MarkFlagRequired("directory") // the flag exists
	return command
}

// exitCode returns the code of a failed command. Caddy has other codes than 1 for some
// failures, in an error whose type it does not export.
func exitCode(err error) int {
	for ; err != nil; err = errors.Unwrap(err) {
		value := reflect.Indirect(reflect.ValueOf(err))
		if value.Kind() != reflect.Struct {
			continue
		}
		if code := value.FieldByName("ExitCode"); code.IsValid() && code.CanInt() {
			return int(code.Int())
		}
	}
	return 1
}
