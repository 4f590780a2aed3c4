// Package policy decides what a reader may have. It takes values and returns
// values: it knows no HTTP server, no Caddy and no database, so that every
// decision can be tested, explained and repeated outside a running proxy.
//
// A request walks through it in the order of the steps that the handler in
// caddymodule takes:
//
//	path.go plainpath.go         the path as it may be judged, or a refusal
//	rule.go match.go operator.go the site's rules, compiled; the first that matches
//	trie.go                      how the first one is found among thousands
//	djaoapp.go                   DjaoApp's operators, and why some cannot be answered
//	reader.go entitlement.go     who asks, and what she was granted
//	link.go                      what a signed link opens
//	domains.go                   whose links count besides the vendor's own
//	decide.go decision.go        the decision, with one reason from a closed list
//	session.go                   what the origin is told of the reader
//	version.go lookup.go         what is kept in memory, and when it is stale
//	known.go mark.go             a reader by her token, and how the token is known
//	packed.go recent.go cache.go where it is kept: readers, the texts that came last, the rest
//	selfcheck.go stats.go        whether memory is right, and how it does
//	explain.go suppose.go        the same decision, told step by step or on a supposition
//	policy.go                    the one entrance: Policy
//
// The package declares the small interfaces of what it needs (Records, Keys);
// the package store below it satisfies them.
package policy
