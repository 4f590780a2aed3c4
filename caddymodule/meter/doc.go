// Package meter seals what an anonymous reader opened by a meter in a cookie, so that no store
// has it. A Sealer is safe for concurrent use.
//
//	cookie.go  the cookie of a meter, and its value
package meter
