package command

import (
	"context"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Options are what the commands take from the package that knows Gatefold's Caddy
// modules.
type Options struct {
	// Vendor is the default of --vendor.
	Vendor string
	// Database returns the path of the embedded database where none is configured.
	Database func() string
	// OpenStore opens a store for a copy. A source must exist; a target may be new.
	OpenStore func(ctx context.Context, location StoreLocation, source bool) (engine.Dumper, error)
	// JudgeConfig returns a Judge for the rules that a configuration file has for a
	// site. It opens nothing that the configuration names.
	JudgeConfig func(file, adapter, vendor, site string) (Judge, error)
	// JudgeRules returns a Judge for rules of an exported file.
	JudgeRules func(rules []Rule, vendor, site string) (Judge, error)
}

// Commands returns Gatefold's commands.
func Commands(options Options) []caddycmd.Command {
	commands := []caddycmd.Command{
		{
			Name: "client", Usage: "<command>", Short: "Creates, lists and revokes clients of the management API", CobraFunc: clientCommands,
			Long: "Creates, lists and revokes clients of the management API: programs that get access tokens for an id and a secret.",
		},
		{
			Name: "link", Usage: "<command>", Short: "Creates, shows and revokes signed links", CobraFunc: linkCommands,
			Long: "Creates, shows and revokes signed links: URLs that open one resource to whoever holds them.",
		},
		{
			Name: "explain", Usage: "<url>", Short: "Tells how a request would be decided, and why", CobraFunc: explainCommand,
			Long: "Tells how the gate would decide a request, step by step. It spends nothing.",
		},
		{
			Name: "grant", Usage: "<command>", Short: "Adds, lists, removes, imports and exports grants", CobraFunc: grantCommands,
			Long: "Adds, lists, removes, imports and exports grants: who may have what, from when to when.",
		},
		{
			Name: "domain", Usage: "<command>", Short: "Trusts publisher domains, shows and probes their keys, denies keys", CobraFunc: domainCommands,
			Long: "Manages the publisher domains whose signed links open pages: by pinned keys or by their key sets.",
		},
		{
			Name: "key", Usage: "<command>", Short: "Lists, rotates and retires signing keys", CobraFunc: keyCommands,
			Long: "Lists, rotates and retires the keys with which the vendor's links and reader tokens are signed.",
		},
		{
			Name: "rule", Usage: "<command>", Short: "Lists, changes, exports, imports and tests a site's rules", CobraFunc: options.ruleCommands,
			Long: "Lists, changes, exports, imports and tests the rules of a site: who may read what.",
		},
		{
			Name: "status", Short: "Tells the state of the running server", CobraFunc: statusCommand,
			Long: "Tells the state of the running server; exit code 1 when it is failing.",
		},
		{
			Name: "store", Usage: "<command>", Short: "Copies and checks the database", CobraFunc: options.storeCommands,
			Long: "Copies the database of the running server, and checks copies.",
		},
		{
			Name: "token", Usage: "<command>", Short: "Makes tokens for tests and support", CobraFunc: tokenCommands,
			Long: "Makes tokens: of readers, signed by the vendor's own key, and of clients of the management API.",
		},
	}
	for i := range commands {
		build := commands[i].CobraFunc
		commands[i].CobraFunc = func(cmd *cobra.Command) {
			clientFlags(cmd, options.Vendor)
			build(cmd)
		}
	}
	return commands
}
