// Package headers has what the gate removes from and sets in HTTP headers, as functions
// of net/http's types. It imports nothing of this module and nothing of Caddy.
//
//	reserved.go  request headers that only the gate may set, in headers, trailers and Connection
//	cookies.go   cookies of a request's Cookie headers
//	caching.go   caching headers of private pages and of denials
package headers
