// Package readerkey finds the keys that speak for readers in requests, and counts their use.
// It imports nothing of Caddy.
//
//	find.go  keys in the header Authorization
//	uses.go  the uses of keys: their number, and how many may be in a minute
package readerkey
