// Package engine is the contract between the records in policy/store and what
// stores them: a small ordered key-value store with snapshots, atomic batches and a
// change feed. Package enginetest has its conformance suite.
//
// The package imports no other package of this module. The engines import this
// package and no other; records are written above them, once.
//
//	engine.go     Engine, Snapshot, Batch, errors
//	limits.go     sizes of keys and values, the encoding of counters
//	watch.go      Watcher: following the feed of a shared engine; Prefetcher
//	loss.go       LossDetector: noticing that a shared engine lost writes
//	urgent.go     Urgent: reads that must end soon
//	dumper.go     Dumper: reading all entries, for copies
//	lifecycle.go  Lifecycle: closing an engine when its calls have ended
package engine
