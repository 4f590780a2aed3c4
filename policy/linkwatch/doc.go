// Package linkwatch writes, beside the decisions, what happens with links: refusals, for
// a link's history, and the networks from which links are opened, by which leaked links
// are found. What it buffers is bounded; what does not fit is dropped and counted. It
// never waits for the store in a request, and a store that fails neither opens nor
// denies anything by it.
//
//	watch.go     Watch: when the buffers are written
//	refusals.go  the buffer of refusals
//	networks.go  the buffer of networks, and the links that exceeded their limits
package linkwatch
