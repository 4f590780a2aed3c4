// Package keys answers one question: who signed it. It holds the vendor's own
// signing keys, and verifies signed links and readers' tokens.
//
// In the way of a request it stands at the front: the handler in caddymodule
// finds a token, and the package policy asks keys whether it is genuine before
// it asks what the token may open. Every token goes through the same steps, in
// this order, so that the cheap ones shield the dear one:
//
//	shape.go scan.go   is it a compact JWS of a shape that we accept (no curve arithmetic, no allocation when not)
//	claims.go  its claims, each of the right type and none twice
//	verify.go  the key, whose kind fixes the algorithm; then the signature, by go-jose
//	turnstile.go   few signatures at a time, so that forgers do not take all processors
//	jwks.go    somebody else's keys, those that may count
//	link.go reader.go access.go   what the claims must say: of links, readers, callers of the API
//	domain.go publisher.go share.go   links that trusted publishers sign themselves
//
// Other people's keys come over the network and never stand in a reader's way:
//
//	source.go           where a key set is
//	dial.go fetch.go    getting it from there, trusting nobody
//	sets.go remote.go   keeping it: in memory, fresh, and across restarts
//
// What Gatefold signs itself, and what it keeps sealed:
//
//	signer.go                   the vendor's keys, one of which signs
//	session.go entitlement.go   what an origin and a back office are told of a reader
//	seal.go                     private keys and session keys, under the secret
//
// All JOSE operations are go-jose's; this package only decides what reaches it.
package keys
