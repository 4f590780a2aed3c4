// Package adminendpoint serves the management API at Caddy's local admin endpoint, for the
// operator of the machine.
//
//	endpoint.go  the module: which app answers, and for whom
//	copies.go    backups and compaction
package adminendpoint
