package command

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Options are the parts of the commands that need the gate or its configuration.
type Options struct {
	// Vendor is the default of --vendor.
	Vendor string
	// Database returns the path of the embedded database when none is configured.
	Database func() string
	// OpenStore opens a store for a copy. A source must exist; a target may be new.
	OpenStore func(ctx context.Context, location StoreLocation, source bool) (engine.Dumper, error)
	// Secret returns the secret that a placeholder holds, or if it is empty that in the file
	// beside a database.
	Secret func(database, placeholder string) ([]byte, error)
	// JudgeConfig returns a Judge for a site's rules in a configuration file. It opens
	// nothing that the configuration names.
	JudgeConfig func(file, adapter, vendor, site string) (Judge, error)
	// JudgeRules returns a Judge for the rules of an exported file.
	JudgeRules func(rules []admin.RuleBody, vendor, site string) (Judge, error)
}

// Commands returns the commands of Gatefold, for registration with Caddy.
func Commands(options Options) []caddycmd.Command {
	const group = "<command>"
	commands := []caddycmd.Command{
		{Name: "api-key", Usage: group, Short: "Creates, lists and revokes API keys of readers' programs", CobraFunc: apiKeyCommands},
		{Name: "audit", Short: "Lists changes of records, newest first", CobraFunc: auditCommand},
		{Name: "bill", Usage: group, Short: "Finds, shows, imports and exports bills and transactions", CobraFunc: billCommands},
		{Name: "cache", Usage: group, Short: "Purges stored pages", CobraFunc: cacheCommands},
		{Name: "client", Usage: group, Short: "Creates, lists and revokes clients of the management API", CobraFunc: clientCommands},
		{Name: "domain", Usage: group, Short: "Trusts publisher domains, shows and probes their keys, denies keys", CobraFunc: domainCommands},
		{Name: "explain", Usage: "<url> | --code <code>", Short: "Explains, step by step, how the gate would decide a request, or why it refused one; spends nothing", CobraFunc: explainCommand},
		{Name: "feed", Usage: group, Short: "Makes, lists and revokes the feeds of readers", CobraFunc: feedCommands},
		{Name: "init", Short: "Writes a Caddyfile for your own site by asking five questions", CobraFunc: initCommand},
		{Name: "contract", Usage: group, Short: "Makes, finds, cancels, renews and transfers contracts, and their seats", CobraFunc: contractCommands},
		{Name: "grant", Usage: group, Short: "Adds, finds, removes, imports and exports grants", CobraFunc: grantCommands},
		{Name: "hook", Usage: group, Short: "Adds, tests and removes hooks for the events of billing systems, lists what became of these", CobraFunc: hookCommands},
		{Name: "key", Usage: group, Short: "Lists, rotates and retires the keys that sign links and reader tokens", CobraFunc: keyCommands},
		{Name: "keyset", Usage: group, Short: "Fetches the keys of issuers and publisher domains", CobraFunc: keysetCommands},
		{Name: "link", Usage: group, Short: "Creates, finds, shows, revokes and restores signed links", CobraFunc: linkCommands},
		{Name: "paywall", Usage: group, Short: "Lists, shows, adds and removes paywalls: what refused readers are offered", CobraFunc: paywallCommands},
		{Name: "promo", Usage: group, Short: "Makes, lists, shows and ends promos: what promo codes sell", CobraFunc: promoCommands},
		{Name: "reader", Usage: group, Short: "Finds, shows, exports and erases readers", CobraFunc: readerCommands},
		{Name: "rule", Usage: group, Short: "Lists, changes, exports, imports and tests the rules of a site", CobraFunc: options.ruleCommands},
		{Name: "session", Usage: group, Short: "Lists and ends the sessions of readers who logged in at the gate", CobraFunc: sessionCommands},
		{Name: "status", Short: "Prints the state of the running server; exit code 1 if it is not ok", CobraFunc: statusCommand},
		{Name: "store", Usage: group, Short: "Backs up, restores, verifies, compacts and copies databases", CobraFunc: options.storeCommands},
		{Name: "webhook", Usage: group, Short: "Adds, tests and removes receivers of events, lists and replays dead letters", CobraFunc: webhookCommands},
		{Name: "token", Usage: group, Short: "Creates reader tokens and access tokens for tests and support", CobraFunc: tokenCommands},
	}
	commands = slices.Grow(commands, len(nouns))
	for _, n := range nouns {
		commands = append(commands, caddycmd.Command{
			Name: n.name, Usage: group, Short: "Lists, shows, adds, removes, imports and exports " + n.plural, CobraFunc: n.accountCommands,
		})
	}
	for i := range commands {
		build := commands[i].CobraFunc
		commands[i].CobraFunc = func(cmd *cobra.Command) {
			if cmd.Name() != "init" { // it calls no server
				commonFlags(cmd, options.Vendor)
			}
			build(cmd)
			RefuseUnknown(cmd)
		}
	}
	return commands
}

// commonFlags adds the flags of every command.
func commonFlags(cmd *cobra.Command, vendor string) {
	flags := cmd.PersistentFlags()
	flags.String("address", "", "admin address of the running server (default: Caddy's own)")
	flags.StringP("config", "c", "", "configuration file that has the admin address")
	flags.String("adapter", "", "config adapter of that file")
	flags.String("vendor", vendor, "vendor that owns the records")
	flags.Bool("json", false, "print JSON")
}
