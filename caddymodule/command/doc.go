// Package command is Gatefold's command-line client. It calls a running server at
// Caddy's local admin endpoint and uses the wire types of package admin. What needs
// the gate or its configuration arrives in Options: this package never imports
// caddymodule, which registers the commands.
//
// A command is a function of one call, which has the flags, the connection and the
// output. Every command prints text, or JSON with --json.
//
// Files:
//
//	commands.go     the list of commands and what they need from their caller
//	call.go         a run of a command: flags, requests, output as text or JSON
//	client.go       the HTTP client of the admin endpoint, and its errors
//	find.go         listings that are followed to their end, flags that select records
//	accounts.go     profile, user, role, plan, subscription, agreement: their commands
//	accountkinds.go what is different of them, as a table
//	accountstream.go their import and export
//	apiclient.go    client: clients of the management API and their access tokens
//	audit.go        audit: changes of records
//	bill.go         bill: bills and transactions
//	cache.go        cache: stored pages
//	contract.go     promo and contract: what is sold, seats
//	domain.go       domain: publisher domains and denied keys
//	explain.go      explain: how the gate would decide a request
//	explaincode.go  explain --code: why the gate refused one
//	grant.go        grant: adds, finds, removes and exports grants
//	grantimport.go  grant import
//	hook.go         hook: events of billing systems
//	init.go         init: asks for a site, for which package starter writes a Caddyfile
//	paywall.go      paywall: what refused readers are offered
//	progress.go     the progress bar of an import
//	key.go          key: signing keys
//	keyset.go       keyset: key sets of issuers and publisher domains
//	link.go         link: signed links
//	linkeach.go     link create --each: a link for each row of a file
//	linklimits.go   their optional limits
//	linkshow.go     link show: a link and its history
//	reader.go       reader: finds, exports and erases readers
//	readerfind.go   reader find: in records, grants, contracts and links
//	rule.go         rule: lists, adds, moves and removes rules
//	rulediff.go     the difference between two states of a site's rules
//	rulefile.go     rule export and rule import: rules in a file
//	ruletable.go    the table of rule test
//	ruletest.go     rule test: decides the rows of a table
//	status.go       status: the state of the node
//	store.go        store backup and store verify
//	storecompact.go store compact
//	storecopy.go    store copy
//	storerestore.go  store restore, and how sealed backups are opened
//	storeloss.go    store accept-loss
//	token.go        token: reader tokens and access tokens
//	readerkey.go    api-key and feed: keys that speak for readers
//	session.go      session: readers who are logged in
//	webhook.go      webhook: receivers of events, dead letters
//	startup.go      what a start needs from the machine: ports, the store
//	validate.go     validate: Caddy's own, warnings, and what passes no gate
//	version.go      version: what is running
package command
