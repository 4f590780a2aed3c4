// Package nodestate finds what is wrong with a node: with its store, its key sets and
// its clock. It imports nothing of Caddy.
//
//	kinds.go   the kinds of conditions, with their remedies
//	node.go    the conditions of a node, looked at every few seconds
//	writes.go  writes that fail, and a damaged database
//	disk.go    the disk of an embedded database
//	backups.go backups that the server makes
//	server.go  settings of a Redis server that lose records, and its clock
//	follow.go  a store that does not answer, and a change feed that is behind
//	keysets.go keys of issuers and publishers that cannot be fetched
//	crawlers.go lists of the addresses of crawlers that cannot be fetched
//	loss.go    a shared store that lost writes
//	indexes.go indexes that are being built
//	leaks.go   links that were opened from too many networks
//	webhooks.go webhooks to which no event can be delivered
//	pages.go   expired pages that readers get while the origin fails
//	clock.go   issuers whose clock differs
package nodestate
