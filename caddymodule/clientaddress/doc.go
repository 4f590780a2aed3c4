// Package clientaddress reads the address of a client where it gives access: to the pages of
// site licences by address, and as a reader of a network. It is stricter than Caddy's client_ip,
// on which it is based: an address that the client could have stated, or that is a proxy's, is
// unknown.
//
//	clientaddress.go  Of: the address of the client of a request
//	readers.go        Readers: who is identified by an address
package clientaddress
