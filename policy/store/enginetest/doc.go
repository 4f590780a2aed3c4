// Package enginetest is the conformance suite of engine.Engine, which every engine passes.
//
//	enginetest.go   Run, limits and lifetime
//	view.go         snapshots and scans
//	commit.go       batches and counters
//	feed.go         the change feed and expiry
package enginetest
