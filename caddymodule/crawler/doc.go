// Package crawler recognizes the crawlers of search engines by their published addresses and
// their agent. What it needs at a request is in memory: there is no DNS.
//
//	crawler.go  crawlers by name, and what a request must match
//	ranges.go   lists of ranges: their formats, and finding an address
//	list.go     a published list, which is fetched every day
//	lists.go    the lists of the process
package crawler
