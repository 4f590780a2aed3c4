// Package redisengine is an engine.Engine in a Redis that several nodes share: a single
// server, one behind Sentinel, or a Cluster.
//
// A partition has seven keys with a common hash tag, and so is on one shard. Every batch
// is one atomic script. docs/redis.md describes the keys, their sizes, and the settings
// of the server.
//
//	engine.go      Engine: opening and closing
//	options.go     Options and URLs
//	client.go      clients and scripts
//	keys.go        names of keys
//	partition.go   the list of partitions
//	commit.go      batches, by commit.lua
//	uses.go        redemptions, counted in groups by uses.lua
//	marks.go       noticing that the server lost writes, by common.lua and cursor.lua; accept.lua
//	deadline.go    the time that a redemption has, by the clock of the server
//	sweep.go       removing expired entries, by sweep.lua
//	view.go        snapshots, by read.lua
//	scan.go        scans of a snapshot, page by page
//	feed.go        the change feed, by feed.lua
//	dump.go        reading all entries, by dump.lua
//	inspect.go     checking the version and the settings of the server
//	errors.go      errors of the server and their remedies
//
// common.lua is the start of all scripts that write.
package redisengine
