// Package teasertest makes HTML documents about which parsers disagree, and says what of
// each may be sent.
//
//	document.go  documents with secrets and markers
//	check.go     what is gated in the eyes of a browser, and what is wrong with what was sent
package teasertest
