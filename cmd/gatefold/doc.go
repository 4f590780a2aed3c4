// Command gatefold is Caddy with its standard modules and Gatefold's. Its commands
// are Caddy's, and those of the Gatefold client under their short names.
//
//	main.go       the modules of the binary
//	root.go       the commands: Caddy's, Gatefold's, and manual pages of both
//	collector.go  the headroom that the garbage collector gets
package main
