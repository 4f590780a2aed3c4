// Command gatefold is Caddy with its standard modules and Gatefold's. Its commands
// are Caddy's, and those of the Gatefold client under their short names.
//
//	main.go       the modules and the commands
//	collector.go  the headroom that the garbage collector gets
package main
