// Package memory holds bounded in-memory stores for computed values. It imports
// nothing of Gatefold, and is safe for concurrent use throughout.
//
// Every entry carries a stamp, the sum of the versions it was computed from, and
// an end in Unix milliseconds. An entry counts only while its stamp equals the
// caller's and its end has not come; whether an entry is kept never changes an
// answer. Memory is bounded in bytes or in entries, whatever clients send.
//
//	cache.go        Cache: values of any type, by bytes
//	records.go      RecordCache: byte records without pointers, for many readers
//	block.go        where a RecordCache keeps its bytes and how it finds them
//	recent.go       Recent: a fixed number of last results, by text
//	fingerprint.go  Fingerprinter: keyed digests by which texts are compared
//	counter.go      counters that processors do not contend for
package memory
