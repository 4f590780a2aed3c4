// Package pagecache is a shared cache of pages in memory, behind the decision of the gate
// (RFC 9111). All readers who may have a page get the same stored copy. Therefore it is
// fetched without a reader, by nothing but what is in its key.
//
// Pages are kept outside of the garbage collector's sight. Ristretto decides which of them.
// Purges are numbers that a stored page is compared with, see policy.Versions.
//
// Files:
//
//	cache.go         Cache, its options, and what becomes of a request
//	serve.go         answering a request: from memory, from a fetch, or by passing it on
//	fill.go          the fetch that fills the cache, and what of it is stored
//	flight.go        one fetch that many requests share
//	writers.go       response writers, unsafe requests, reading parts of a page
//	control.go       Cache-Control and targeted fields (RFC 9213)
//	storable.go      whether a response may be stored, for how long, and its age
//	variant.go       what of a request's headers selects a response
//	key.go           the key of a page
//	tags.go          tags by which pages are purged
//	stored.go        what is stored of a page, and what would become of a request
//	staleness.go     the use of expired pages while the origin fails
//	index.go         finding pages, and keys that were found not storable
//	entry.go         a page in memory, and who uses it
//	arena.go         the memory of pages
//	memory_unix.go   mapping it
//	memory_other.go  the same where there is no mmap
package pagecache
