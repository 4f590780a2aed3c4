// Package visitor says what is recorded of a client that opens a link: the class of its
// program and its country. Nothing in it identifies a reader. It imports nothing of
// Gatefold.
//
//	agent.go    classes of programs, by User-Agent
//	country.go  the country that a CDN names
//	network.go  the network of an address
package visitor
