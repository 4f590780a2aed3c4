// Package policy decides which requests of readers are allowed. It knows neither HTTP
// handlers nor Caddy nor a database, so that every decision can be tested, explained and
// repeated outside of a running proxy.
//
// Policy is the entry point. Its method Decide takes a Request through the files below
// in their order, and returns a Decision with one reason from a closed list. The package
// declares the interfaces that it needs (Records, KeySource, LinkSource, SessionSource);
// package policy/store and the gate implement them.
//
// The decision:
//
//	policy.go      Policy with its options and caches, and the Records that it reads
//	decide.go      Decide: refusals, rule, links and steps in order
//	decision.go    Decision and the reasons
//	request.go     Site and Request
//	errors.go      errors of records that are missing or unavailable
//
// What is refused whatever the rules are:
//
//	refusal.go     the checks before every rule
//	path.go        what a path contains, or its refusal
//	readings.go    the readings of a path of which servers differ
//	plainpath.go   the same for paths without special characters, faster
//
// The rules of a site:
//
//	rule.go        rules and steps, and their JSON
//	rulepath.go    path templates
//	compile.go     compiling rules
//	methods.go     the methods that rules match
//	match.go       compiled rules, and the first that matches
//	trie.go        finding it among thousands
//	extension.go   matching without the extension of a page
//	fold.go        matching without regard to case
//	hidden.go      rules that an earlier one hides
//	warning.go     what is probably not meant in a set of rules
//	sites.go       the compiled rules of all sites
//
// The steps of a rule:
//
//	operator.go            what an operator is, and what its test asks
//	operators.go           the registry of operators and rule options
//	arguments.go           stored arguments of operators
//	cacheoption.go         the rule option cache
//	storeloss.go           the rule option on_store_loss
//	operatorany.go         any, authenticated
//	authentication.go      authenticated with acr or max_age: how and when a reader logged in
//	operatorself.go        self
//	operatororigin.go      origin
//	requirement.go         what the response of an origin requires
//	operatorentitled.go    entitled
//	operatoraccess.go      roles that admit a reader, and the three strengths
//	operatorrole.go        direct, provider, provider_only and provider_readable
//	operatorselfprovider.go  self_provider
//	operatorsubscribed.go  subscribed and was_subscribed
//	operatorsigned.go      signed
//	operatorverified.go    verified
//	operatorall.go         all: several steps that must all allow
//	operatormetered.go     metered: a number of pages in a period
//	operatoraddress.go     address: the networks of institutions
//	operatorcrawler.go     crawler: crawlers that the site knows
//
// The reader:
//
//	reader.go        Reader
//	verifyreader.go  verifying reader tokens
//	loginsession.go  the reader of a login session
//	loginticket.go   tickets, the secrets in the cookies of sessions
//	readerkey.go     API keys of readers, and the keys of their feeds
//	entitlement.go   what grants give a reader, and when
//	membership.go    roles, subscriptions and signatures, as records
//	packedreader.go  the records of a reader as one text
//	readerrecord.go  the cached record of a token and its reader's records
//
// Site licences, if no step allows:
//
//	sitelicence.go    site licences, and those that cover a reader
//	decidelicence.go  deciding by them
//
// Signed links, if no step allows either:
//
//	decidelink.go  deciding by a redeemed link or a token
//	verifylink.go  verifying link tokens
//	link.go        what a link opens
//	linklimits.go  what it demands: networks, readers, devices
//	contentspace.go  content ids and their spaces: the rule options of links
//	paywalloption.go the paywalls of a rule
//	queryname.go   names of query parameters as frameworks read them
//	host.go        the normal form of hosts
//	domains.go     the publisher domains that vendors trust
//	publisher.go   what one of them may speak for
//	redeem.go      counting the use of a link
//	visitor.go     what is recorded of a client with the use of a link
//
// Meters, if nothing else allows:
//
//	meter.go        the views of a reader, and deciding by them
//	meterperiod.go  days, weeks and months in a time zone
//
// The upstream session of an allowed request:
//
//	forwarding.go      settings of a site's origin
//	session.go         the session in its forms, and its cache
//	sessioncontent.go  what a session contains
//	sessionroles.go  the reader's roles in it
//
// Caches (the stores of bytes and values are in policy/memory):
//
//	lookup.go        cached records of readers, collections and links
//	packedprofile.go cached profiles, plans and agreements
//	version.go       versions and stamps, by which cached values are current
//	pages.go         what a purge of stored pages makes stale
//	invalidation.go  what a write makes stale, and its event in the change feed
//	load.go          numbers in record texts
//	clockskew.go     clocks of issuers, by tokens issued in the future
//	selfcheck.go     comparing decisions from memory with the store
//	stats.go         counters
//
// Variants of a policy:
//
//	explain.go      a decision with the steps that led to it
//	overrides.go    decisions about a hypothetical reader
//	unreachable.go  decisions while the store cannot be reached
package policy
