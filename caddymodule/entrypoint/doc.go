// Package entrypoint sends allowed requests to the entry points of sites, and refuses entry
// points at addresses that the configuration does not list.
//
//	entrypoint.go  the module of upstreams: source and transport
//	guards.go      the addresses that a configuration admits
package entrypoint
