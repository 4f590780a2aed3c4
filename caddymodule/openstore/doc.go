// Package openstore opens the store of a configuration, keeps it over reloads, checks it, and
// copies it. It knows nothing of requests; package caddymodule acquires one store for each app.
//
//	config.go         settings of the store
//	caddyfile.go      store and backup, in the global option
//	open.go           stores that survive reloads: acquired, opened with their secret, released
//	shared.go         a store with its caches, and what writes to it beside the decisions
//	engine.go         the engine, which is opened at first use and measured
//	bolt.go           opening an embedded database, and the check of its file
//	redis.go          opening and observing a shared Redis
//	snapshots.go      the snapshots of a node, from which it starts while the Redis is away
//	invalidations.go  pages that requests changed, for the other nodes
//	secretfile.go     the secret in a file beside the database
//	copy.go           consistent copies of the database, and its compaction
//	sealed.go         sealing of backups
//	backups.go        backups of an embedded database that the server makes
//	sweep.go          the sweep of records whose retention is over
//	shed.go           removing what a nearly full store can spare
//	clockdoubt.go     whether a wrong clock may be why a request is refused
//	metrics.go        metrics of store operations, and those collected from the open stores
package openstore
