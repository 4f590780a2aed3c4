package caddymodule

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// In any Caddy with this module the commands are `caddy gatefold …`. The binary
// gatefold also registers them without the prefix.
func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  directive,
		Usage: "<command>",
		Short: "Manages signed links, grants, rules and tokens of a running Gatefold",
		Long: `
Calls a running server at Caddy's local admin endpoint. A change takes effect with
the next request.
`,
		CobraFunc: func(cmd *cobra.Command) {
			for _, command := range Commands() {
				sub := &cobra.Command{Use: command.Name + " " + command.Usage, Short: command.Short}
				command.CobraFunc(sub)
				cmd.AddCommand(sub)
			}
			validate := &cobra.Command{Use: "validate"}
			command.Validate(validate, command.ConfigChecks{Audit: auditConfig, Store: checkStoreOf})
			version := &cobra.Command{}
			command.Version(version)
			cmd.AddCommand(validate, version)
			command.RefuseUnknown(cmd)
		},
	})
}

// Commands returns the commands of Gatefold, for a binary that registers them at
// the top level.
func Commands() []caddycmd.Command {
	return command.Commands(command.Options{
		Vendor: defaultVendor, Database: defaultDatabase,
		OpenStore: openLocation, Secret: secretOf, JudgeConfig: judgeOfConfig, JudgeRules: judgeOfRules,
	})
}

// openLocation opens a store for a copy. A source must exist.
func openLocation(ctx context.Context, location command.StoreLocation, source bool) (engine.Dumper, error) {
	name := location.Name
	if setting.IsSecret(name) {
		var err error
		if name, err = setting.Secret("url", name); err != nil {
			return nil, err
		}
	} else if !strings.Contains(name, "://") {
		if _, err := os.Stat(name); err != nil && source {
			return nil, err
		}
		return boltengine.Open(name)
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
		side := StoreTLS{Authority: location.Authority, ServerName: location.ServerName}
		if err := side.apply(options.TLS); err != nil {
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
