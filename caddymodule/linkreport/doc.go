// Package linkreport has what the gate reports of links besides its decisions: who used
// or was refused a link, as far as it is recorded, and links that leaked.
//
//	client.go    the client of a request: its class, country and network
//	leak.go      what is done when a link leaked: the log and an event
//	networks.go  the option link_networks
package linkreport
