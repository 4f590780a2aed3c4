// Package keys verifies who signed a token, and signs Gatefold's own tokens. It
// handles link tokens, reader tokens, access tokens of the management API, share
// tokens of publishers, and the sessions that origins receive.
//
// Package keys does not decide what a token opens; package policy does. Every
// token passes the same checks, in order of cost: the form of its text, its header
// and claims, the key, and the signature last. The type of the key determines the
// algorithm. All JOSE operations are those of go-jose, which sees a token only
// after these checks.
//
// Form and signature of a token:
//
//	shape.go     the form of the text, without decoding or allocating
//	scan.go      decoding: header and payload of a compact JWS
//	claims.go    typed access to the members of a JSON object
//	keyset.go    public keys and sets of them
//	verify.go    the common steps of verification, up to the signature
//	limiter.go   a bound on concurrent signature verifications
//	errors.go    the errors of all of these
//
// Kinds of tokens:
//
//	link.go         link tokens in our own format
//	linknetwork.go  the network from which a link opens
//	expiredlink.go  the id of an expired link, for its history
//	reader.go       reader tokens, ours and those of other issuers
//	readerrenew.go  renewing our reader tokens
//	access.go       access tokens of the management API
//	idtoken.go      ID tokens and logout tokens of OpenID providers
//	publisher.go    trusted publisher domains and their keys
//	share.go        share tokens and links that publishers sign
//	domain.go       domain names, pinned keys and allowed resources of publishers
//	entitlement.go  statements about an entitlement, for other services
//	session.go      sessions for origins
//	sessionkey.go   the secret that a site shares with its origin
//	duration.go     lifetimes such as "7d"
//	url.go          a token in the query of a URL
//
// Our own keys:
//
//	signer.go    signing keys, and the ring of a vendor's keys
//	seal.go      encryption of private keys at rest
//	sealedstream.go  encryption of backups
//
// Key sets of other hosts, to which package keys/dialguard lets the gate connect:
//
//	location.go  the URL of a key set, or an OpenID issuer
//	document.go      other small documents, fetched in the same way
//	fetch.go     fetching with limits
//	provider.go  an OpenID provider: its configuration, and calls with limits
//	jwks.go      parsing a JWK Set
//	sets.go      all key sets of a process: settings, background refresh, statistics
//	remote.go    one key set: its cache and its fetches
package keys
