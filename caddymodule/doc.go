// Package caddymodule integrates Gatefold with Caddy. Only it and the packages below it import
// Caddy, and importing it registers these modules and the command `gatefold`:
//
//	gatefold                               the app (global option): store, secret, caches
//	http.handlers.gatefold                 the gate (site directive)
//	http.handlers.gatefold_api             the management API for other machines (directive)
//	http.handlers.gatefold_accounts        what readers may call of it (directive, in local routes)
//	http.handlers.gatefold_keys            a vendor's public keys (directive)
//	http.reverse_proxy.upstreams.gatefold  the site's entry point as an upstream
//	http.handlers.gatefold_neutralize      the first error route of servers with deny { errors }
//	admin.api.gatefold                     the management API at Caddy's admin endpoint
//
// A request passes through one function, Handler.ServeHTTP. The packages below this one need
// neither Handler nor gateRequest.
//
// A request until it is decided:
//
//	handler.go          the directive's module, and the steps of a request
//	site.go             what a gate needs of the open store
//	request.go          a request in the gate, and what it keeps of its headers
//	outcome.go          what outlives a request: for the access log, placeholders and the response
//	query.go            link tokens of a query string
//	linkevidence.go     signed links that a request carries, and their removal from its URL
//	linkedrequest.go    what of a request that a link opens the origin does not get
//	identify.go         the reader: tokens and earlier authentication
//	identifyaddress.go  readers whom the address of the client identifies
//	readerkeys.go       API keys of readers, and the keys of their feeds
//	readerlogin.go      the login of readers at the gate: its paths, its sessions, where denials lead
//	redeem.go           redemption of links
//	cookie.go           the cookie of a redeemed link, and the link cookies of a request
//	meterrequest.go     meters: their cookies, where a browser shows that it keeps them, and the site's time zone
//	meterconsent.go     the cookie without which no cookie of a meter is set
//	trace.go            tracing attributes of a decision
//
// Its answer:
//
//	response.go      headers of allowed responses, and the last word on caching
//	upstream.go      headers to the origin, the reader assertion among them
//	preflight.go     CORS preflights, and the option that answers them
//	deny.go          responses to denied requests
//	denypaywall.go   paywalls, and the built-in page of denials
//	supportcode.go   the support code of a denial, and what is kept for it
//	teaserrule.go    the rule option teaser
//	linkcard.go      the card of a page for previews of links to it
//	originrule.go    rules by which the response of the origin decides
//	originwriter.go  the response until it is decided
//	stream.go        open streams, and how they are cut
//	streamwriter.go  response writer of a stream
//	streamfollow.go  streams after a reload, and at the end of the process
//
// Pages in memory, behind the decision:
//
//	cachehandler.go  the handler gatefold_cache, and fetches without a reader
//	cachedpage.go    pages that gatefold_cache may answer from memory
//	cacheplace.go    which of the caches of a site a handler is
//	pagestate.go     what is stored of pages, for the API, explain, conditions and metrics
//
// Settings, and their form in a Caddyfile:
//
//	block/                package block: blocks of options, and their types of arguments
//	ruleconfig/           package ruleconfig: configured rules
//	setting/              package setting: placeholders in arguments
//	sitehosts/            package sitehosts: the hosts that a configuration names for a site
//	caddyfileapp.go       the global option, with its block webhooks
//	caddyfilegate.go      the site directive
//	caddyfileidentify.go  identify, in the site directive
//	caddyfilecache.go     gatefold_cache
//	caddyfileapi.go       the API's directives
//	denyconfig.go         deny: where denials lead, and their pages
//	loginconfig.go        identify oidc: settings of the login
//	crawlerconfig.go      the crawlers of a site, and their requests
//	storelossrule.go      the option on_store_loss, of a rule and of a site
//
// The app, the management API and the command `gatefold`:
//
//	app.go          the app's module: life cycle and background jobs
//	registry.go     the gates and APIs of a configuration
//	lazy.go         values that are made at first use
//	api.go          the modules of the API's directives
//	explain.go      how a request would be decided, with hypothetical grants
//	explainlink.go  the link of such a request: what of it holds
//	commands.go     registration with Caddy, and what the commands need of this package
//	ruleoffline.go  decisions of hypothetical readers: rule tests without a server, pages of denials at load
//
// Packages of a request:
//
//	headers/        package headers: reserved and caching headers
//	forwarded/      package forwarded: readers whom forward_auth authenticated
//	readerkey/      package readerkey: keys in requests, and their uses
//	login/          package login: the relying party of an OpenID provider
//	linkpath/       package linkpath: links whose token is in the path
//	clientaddress/  package clientaddress: the client's address where it gives access
//	crawler/        package crawler: crawlers by their published addresses and their agents
//	meter/          package meter: what anonymous readers opened, in their cookies
//	reasons/        package reasons: status, texts and hint of every reason
//	denial/         package denial: answers to denials
//	preflight/      package preflight: answers to CORS preflights
//	teaser/         package teaser: pages without their gated part
//	pagecache/      package pagecache: pages in memory
//	linkreport/     package linkreport: clients of links, and links that leaked
//	metrics/        package metrics: metrics of decisions
//
// Packages of the app:
//
//	accounts/       package accounts: readers who call the API
//	adminendpoint/  package adminendpoint: the API at Caddy's admin endpoint, backups, compaction
//	apimount/       package apimount: how a request of the API reached it, and servers without TLS
//	buildinfo/      package buildinfo: versions and commit
//	command/        package command: the subcommands
//	entrypoint/     package entrypoint: the upstream source and transport of entry points
//	keysets/        package keysets: settings of fetched key sets, and those that a handler watches
//	membership/     package membership: why roles, subscriptions and signatures count or not
//	nodestate/      package nodestate: the conditions of a node
//	openstore/      package openstore: the store of an app, which survives reloads
//	publickeys/     package publickeys: the directive that serves public keys
//	siteaudit/      package siteaudit: what the configuration's routes serve without a gate
//	webhookconfig/  package webhookconfig: where events may be sent
package caddymodule
