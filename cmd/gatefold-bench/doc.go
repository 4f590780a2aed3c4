// Command gatefold-bench measures what the gate costs. It starts real servers on
// the loopback interface, drives them with wrk in turns, and prints one table.
// docs/performance.md has the method and the latest table.
//
//	main.go         options, and the run
//	parts.go        the parts of a run, and -only
//	proxied.go      proxied requests: contenders, pairs and slices
//	cached.go       pages from memory, and their peers
//	bigsite.go      the big site: memory, start, publishing of rules
//	flood.go        forged tokens
//	redemptions.go  redemptions, embedded
//	redis.go        redemptions in Redis
//	revocation.go   revocation across two nodes
//	world.go        readers, tokens, rules, grants and domains
//	servers.go      configurations of Caddy, nginx and the origin
//	roles.go        the roles that the program itself plays
//	process.go      processes: start, stop, processor time, memory
//	profiles.go     CPU profiles
//	wrk.go          one slice with wrk
//	stats.go        medians and their confidence intervals
//	table.go        the table
package main
