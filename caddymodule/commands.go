package caddymodule

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// In a Caddy with this module the commands are `caddy gatefold …`. Gatefold's own
// binary has the short names as well, see Commands.
func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  directive,
		Usage: "<command>",
		Short: "Manages signed links, grants and tokens of a running Gatefold",
		Long: `
Talks to a running server over Caddy's local admin endpoint. What it changes
counts from the next request on.
`,
		CobraFunc: func(cmd *cobra.Command) {
			for _, command := range Commands() {
				sub := &cobra.Command{Use: command.Name + " " + command.Usage, Short: command.Short, Long: strings.TrimSpace(command.Long)}
				command.CobraFunc(sub)
				cmd.AddCommand(sub)
			}
		},
	})
}

// Commands returns Gatefold's commands, for a binary that registers them under
// their short names.
func Commands() []caddycmd.Command {
	return command.Commands(command.Options{
		Vendor: defaultVendor, Database: defaultDatabase,
		OpenStore: openLocation, JudgeConfig: judgeOfConfig, JudgeRules: judgeOfRules,
	})
}

// openLocation opens a store for a copy.
func openLocation(ctx context.Context, location command.StoreLocation, source bool) (engine.Dumper, error) {
	name := location.Name
	if !isSecretPlaceholder(name) && !strings.Contains(name, "://") {
		if _, err := os.Stat(name); err != nil && source {
			return nil, err
		}
		return boltengine.Open(name)
	}
	if isSecretPlaceholder(name) {
		var err error
		if name, err = readSecret("url", name); err != nil {
			return nil, err
		}
	}
	options, err := redisengine.ParseURLs(strings.Split(name, ","))
	if err != nil {
		return nil, err
	}
	options.Prefix = location.Prefix
	if location.Authority != "" || location.ServerName != "" {
		if options.TLS == nil {
			return nil, errors.New("--authority and --server-name are for rediss://")
		}
		if err := (&StoreTLS{Authority: location.Authority, ServerName: location.ServerName}).apply(options.TLS); err != nil {
			return nil, err
		}
	}
	backend, err := redisengine.New(options)
	if err != nil {
		return nil, err
	}
	if _, err := backend.Inspect(ctx); err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	return backend, nil
}
