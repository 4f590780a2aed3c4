// Package redistest starts Redis servers for tests: real processes, each in its own
// directory, on free ports. They need redis-server on PATH.
//
//	server.go    a single server
//	files.go     the files of a server: copies of them
//	cluster.go   a Cluster
//	tls.go       a server with TLS
//	proxy.go     a proxy that injects faults
package redistest
