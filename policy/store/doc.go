// Package store keeps Gatefold's records: access lists and grants, signed links and
// their redemptions, products, rules, trusted domains, clients, signing keys, and the
// audit log. Records, indexes and queries are implemented here, once, over the small
// interface engine.Engine.
//
// The package implements policy.Records, which the policy reads and caches. Every
// write commits, then bumps the versions of what it invalidates, and then returns: the
// next decision after an acknowledged write uses it.
//
// The Store reads, and writes what the gate itself records. All other changes are made
// by a Writer, on behalf of an actor.
//
//	store.go         Store, errors, ids, sweeping
//	shed.go          removing what a nearly full store can spare
//	writer.go        Writer: audited, idempotent commits
//	recordcheck.go   whether a stored value can be one of its key
//	records.go       reading, listing and searching records of any kind
//	layout.go        the keys of all records
//
//	lists.go         access lists
//	listdelete.go    removing an access list with its grants
//	grants.go        grants, and their index
//	grantindex.go    the index of grants
//	grantorder.go    finding grants by creation
//	idrange.go       ranges of ids by creation
//	indexbuild.go    building the indexes of earlier versions
//	indexprogress.go which indexes are being built
//	linkfrontier.go  how far links are in their index, and the steps that add them
//	linkindex.go     the index of links
//	grantfind.go     finding grants
//	grantremove.go   removing many grants
//	import.go        importing grants in batches
//	importplan.go    pairing the rows of a batch with grants
//	importfinish.go  finishing an import, and making a list equal to it
//	importlog.go     what an import changed, and undoing it
//	products.go      products and collections
//	paywalls.go      paywalls, and their earlier versions
//	refusals.go      refused requests, by their support codes
//	links.go         signed links, revocation, redemption
//	meters.go        what identified readers opened by meters
//	linkdevices.go   the devices of a link, which are counted with its uses
//	refund.go        uses that are taken back
//	linkfind.go      finding, revoking and restoring many links
//	linkhistory.go   the history of a link: uses, refunds and refusals
//	linknetworks.go  the networks from which a link is opened, and quarantine
//	rules.go         the rules of a site
//	rulechange.go    changing the rules of a site
//	domains.go       trusted domains, denied keys, key sets of others
//	forwarding.go    forwarding settings of a site
//	pagepurge.go     purges of the stored pages of a site
//	engagement.go    visits of readers, and the tags of the rules that matched
//	recorder.go      Recorder: buffers visits and writes them in batches
//	clients.go       clients of the management API
//	vendors.go       descriptions of vendors
//
//	profiles.go      profiles and users
//	roles.go         role types, and the roles of users on profiles
//	rolekeys.go      other keys for invitations and requests
//	plans.go         plans of providers
//	subscriptions.go subscriptions of profiles to plans
//	agreements.go    agreements and signatures
//	kinds.go         how each kind of the access model is checked, stored and indexed
//	transaction.go   reading and writing several records in one atomic step
//	listing.go       listings: pages, counts and walks
//	listings.go      the listings of the access model
//	rolegrant.go     granting roles, and keeping the last manager
//	rolerequest.go   accepting invitations, asking for roles, removing roles
//	subscribe.go     granting, asking for, accepting, renewing and ending subscriptions
//	memberkeys.go    keys that accept invitations and requests
//	recordimport.go  imports and exports of records, by kind, and their progress
//	memberimport.go  importing records of the access model in batches
//	memberpurge.go   removing profiles and users with what belongs to them
//	memberships.go   what decisions read of the access model
//	readers.go       what else is kept of users, and searching them
//
//	person.go        finding a person in records, and taking them out
//	erase.go         what each kind of record keeps of a person
//	erasetable.go    the table of these kinds
//	erasecopies.go   the audit log, events and answers, which have copies of records
//	erasing.go       erasing a person, in steps
//	personexport.go  all that is kept of a person
//
//	promos.go        promos: base contracts
//	contracts.go     contracts
//	bills.go         bills, transactions and fulfilments, as sellers send them
//	billfind.go      finding them, the newest first
//	purchaseoptions.go  how a product is sold
//	contractstate.go the state machine of contracts
//	sales.go         orders: selling promos, and confirming contracts
//	contractchange.go cancelling, renewing and transferring contracts
//	contractgive.go  what contracts give, for decisions
//	contractsof.go   the contracts of a reader
//	contractfind.go  the index of contracts, and finding them
//	contractevents.go the events of promos, contracts and seats
//	contractsweep.go removing contracts that ended long ago, with their seats
//	seats.go         seats of readers in contracts
//	sitelicences.go  site licences of contracts, and their index
//	usage.go         what contracts are used for, by month
//
//	hooks.go         where billing systems send events, and what these do
//	hookevents.go    what became of an event, noted with its change
//	hookactions.go   what an event does to a contract, in any order
//
//	keyring.go       signing keys of vendors
//	keyrotation.go   rotating and retiring signing keys
//	loginsessions.go  sessions of readers who logged in at the gate
//	logintokens.go     until when tokens of a reader are renewed, after all their sessions ended
//	loginends.go     how they end and go on: by the reader, by their issuer, by use
//	readerkeys.go    keys that speak for readers: of their programs, and of their feeds
//	sessionkeys.go   keys that sites share with their origins
//
//	idempotency.go   idempotency records
//	audit.go         audit entries
//	auditkinds.go    which records and members the audit log shows
//	auditlog.go      queries of the audit log
//
//	events.go        events of changes, in the batch that makes them
//	eventkinds.go    which records have events, and how an event shows them
//	webhooks.go      the endpoints to which events are delivered
//	deliveries.go    the queues of events, dead letters and replays
//	webhookstate.go  which node delivers to an endpoint, and how that goes
//
//	follow.go        Follower: invalidates caches when other nodes write
//	clockguard.go    no redemptions and signatures with a wrong clock
//	breaker.go       when it stops to wait for a store that does not answer
//	followstate.go   its state, for operators
//	followloss.go    what a node remembers of a shared store, which may go back in time
//	closings.go      what takes access away, by kind of record
//	removals.go      removals that nodes remember, also from the change feed
//	rewrite.go       making removals again that the store lost
//	snapshots.go     snapshots of a node, from which it decides while a shared store is away
//	snapshotkinds.go  which records they have, and which reads they answer
//	snapshotrecords.go  reading records from a snapshot
//	snapshotjournal.go  what changed after the tables of a snapshot were written
//	snapshotkeep.go  noting changes and the time of the feed
//	snapshotbuild.go  writing the tables
//	copy.go          copying the entries of one engine to another
//	difference.go    what replacing one engine by a copy changes
package store
