// Package command is Gatefold's command-line client. It talks to a running server
// over Caddy's local admin endpoint, as `caddy reload` does, and knows nothing of
// the server's own package: what only that can do, such as opening a store that is
// named by a configuration or judging rules without a server, arrives in Options.
//
// Files:
//
//	commands.go     the list of commands, and the options that they take
//	call.go         one run of a command: flags, output for people and for machines
//	client.go       HTTP to the admin endpoint, and its errors
//	apiclient.go    client: clients of the management API, and their access tokens
//	domain.go       domain: publisher domains
//	explain.go      explain: how a request would be decided
//	grant.go        grant: adds, lists and removes grants
//	grantexport.go  grant export
//	grantimport.go  grant import
//	key.go          key: signing keys
//	link.go         link: signed links
//	rule.go         rule: lists, adds, moves and removes rules
//	rulefile.go     rule export and rule import: the file that is kept in git
//	ruletable.go    the table of a rule test
//	ruletest.go     rule test: decides the rows of a table
//	status.go       status: the state of the node
//	store.go        store backup and store verify
//	storecopy.go    store copy
//	token.go        token: tokens for tests and support
package command
