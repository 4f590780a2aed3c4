// Package leakcheck compares what an entitled and a refused reader get of a page, and finds
// the text of the one in what the other can fetch: in the page itself, its data, its feeds
// and its other forms. It imports nothing of this module.
//
//	check.go      Check: fetching, and the report
//	fetch.go      requests as either reader, bounded
//	page.go       the parts of a page: text, scripts, attributes, comments
//	places.go     where else a page's text is found
//	sequences.go  sequences of words that two texts have in common
package leakcheck
