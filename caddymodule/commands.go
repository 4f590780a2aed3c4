package caddymodule

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/caddymodule/openstore"
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
		Vendor: defaultVendor, Database: openstore.DefaultDatabase,
		OpenStore: openLocation, Secret: openstore.SecretOf, JudgeConfig: judgeOfConfig, JudgeRules: judgeOfRules,
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
		side := openstore.TLS{Authority: location.Authority, ServerName: location.ServerName}
		if err := side.Apply(options.TLS); err != nil {
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

// checkStoreOf reports why a server could not open the embedded database of an adapted
// configuration: another process has it, or it cannot be created. It creates nothing.
func checkStoreOf(config []byte) error {
	var parts struct {
		Apps struct {
			Gatefold *App `json:"gatefold"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &parts); err != nil {
		return err
	}
	app := parts.Apps.Gatefold
	if app == nil && !bytes.Contains(config, []byte(`"handler":"`+directive)) {
		return nil // nothing of the configuration opens a store
	}
	app = cmp.Or(app, new(App))
	app.Store = cmp.Or(app.Store, &openstore.Config{Engine: openstore.Bolt})
	if app.Store.Engine != openstore.Bolt {
		return nil // an unreachable Redis does not stop a server
	}
	if err := setting.Replace(app); err != nil {
		return app.Places.At(err)
	}
	return app.Places.At(setting.In("store", app.Store.CheckFile()))
}
