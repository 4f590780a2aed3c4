// Package admin is the management API over records and keys: signed links, access
// lists and grants, products, rules, trusted domains, DjaoApp's proxy, plans,
// subscriptions and agreements, and entitlements. It is an http.Handler and does not depend on Caddy. The caller
// supplies Authorize; for remote clients, use an Authority.
//
// The package is above policy/store, which validates and stores the records. A
// change is acknowledged after it is committed and everything cached from the old
// records is invalidated, so it applies to the next request at the gate.
//
// The exported structs with json tags are the wire types of the API. Clients can
// decode responses into the structs from which the server encodes them. Their doc
// and example tags are the descriptions in the OpenAPI document.
//
// Serving:
//
//	api.go            Options, New, dispatch and registration of operations
//	problem.go        errors as RFC 9457 problems
//	jsonplace.go      the members that errors of JSON are about
//	fielderror.go     errors of fields, in plain words at their pointers
//	scope.go          scopes of callers and operations
//	cors.go           browser clients of other origins
//	bodydeadline.go   time in which a body must arrive
//	idempotency.go    Idempotency-Key
//	etag.go           ETag and If-Match
//	mergepatch.go     JSON merge patch
//	recordpatch.go    merge patches of records with bounds and read-only members
//	page.go           listings by id, conversion to wire types
//	sentback.go       PUT and PATCH take back what was read
//	closed.go         PUT and PATCH open nothing by what they leave out
//	wholelist.go      listings without pages, sent while they are read
//	find.go           searching, sorting and paging of listings
//	stream.go         operations with streamed bodies
//
// Access:
//
//	authority.go      access tokens of calls
//	readers.go        readers who call for themselves
//	token.go          the token endpoint
//	limit.go          limits of failed authentication
//	discovery.go      discovery and key sets, without authentication
//	clients.go        clients, for the operator
//	readertokens.go   reader tokens, for the operator
//
// Records:
//
//	vendors.go        vendors
//	products.go       products
//	paywalls.go      paywalls: what refused readers are offered
//	paywallpublic.go paywalls for browsers, and their preview
//	purchaseoptions.go  how products are sold, and their deliveries
//	bills.go          bills and transactions
//	billrows.go       these and deliveries as rows
//	links.go          signed links
//	linklimits.go     their optional limits
//	bulklinks.go      many signed links in one call
//	linkrows.go       rows of links in CSV and NDJSON streams
//	linkrevoke.go     revoking and restoring signed links
//	linkuses.go       the history of a signed link
//	lists.go          access lists
//	grants.go         grants
//	grantfind.go      finding and removing many grants
//	created.go        order and period by the time of creation
//	entitlementorder.go  the order of entitlements
//	grantrows.go      rows of CSV and NDJSON files, and those of grants
//	csvcell.go        cells that a spreadsheet does not evaluate
//	streamimport.go   imports of rows that are sent as one stream
//	grantstream.go    streamed import and export of grants
//	import.go         imports of grants in batches
//	importsteps.go    finishing and undoing imports
//	entitlements.go   entitlements of a reader
//	amount.go         amounts and the callers' own texts on the wire
//	promos.go         promos
//	sales.go          external sales by promo codes, and their confirmation
//	parties.go        payers and owners on the wire
//	contracts.go      contracts on the wire, their listing
//	contractchanges.go  creating and changing them
//	contractends.go   cancelling, renewing and transferring them
//	licenses.go       seats
//	salesproblems.go  responses to errors of sales, contracts and seats
//	people.go         users and role types on the wire
//	profiles.go       profiles
//	readerrecord.go  a reader's record on the wire
//	readerops.go     operations on readers' records, erasure and export
//	users.go          users
//	accounts.go       searches of both
//	roletypes.go      role types
//	roles.go          roles on a profile
//	accessibles.go    roles of a user
//	omitted.go        operations that are left out
//	entitlementorigins.go  those by subscriptions
//	plans.go          plans of providers
//	subscriptions.go  subscriptions on the wire, with their profiles and plans
//	subscriptionlists.go   listings of subscriptions
//	subscriptionops.go     granting, asking for, changing and ending one
//	plansubscriptions.go   their bodies and responses
//	subscribers.go    subscribers of a provider, by the visits of their users
//	agreements.go     agreements and their signatures
//	recordrows.go     profiles, users, plans, roles and subscriptions as rows
//	recordstream.go   streamed import and export of these
//	rules.go          rules: wire types and operations
//	rulechange.go     changes of rules
//	rulepage.go       rules on the wire, numbered pages
//	domains.go        trusted publisher domains and their links
//	deniedkeys.go     denied publisher keys
//	keys.go           signing keys of the vendor
//	pages.go          purges of stored pages
//	storedpages.go    what this node has stored of pages
//	proxy.go          forwarding settings and sessions of a site
//	proxykey.go       session keys of a site
//	engagement.go     engagement of readers
//	contractusage.go  the usage of a contract by month
//	sessions.go       sessions of readers who logged in at the gate
//	apikeys.go        API keys of readers
//	auth.go           logout of readers, and their tokens
//	feeds.go          feeds of readers
//	feedstream.go     feeds of many readers in one call
//	webhooks.go       where events are sent, dead letters
//	hooks.go          where billing systems send events, and what these do
//	hookreceive.go    their signed events, without a token
//	audit.go          the audit log
//
// Operation:
//
//	health.go         state of the node
//	keysets.go        state of remote key sets
//	storeloss.go      accepting what a shared store lost
//	explain.go        explanation of a decision
//	decisions.go      refusals by their support codes
//
// Documentation:
//
//	openapi.go        the OpenAPI document
//	openapiexamples.go  its examples
//	openapiaccess.go  its part that huma does not serve
//	docs.go           the documentation pages
//	docsfields.go     fields and types on these pages
package admin
