// Package hook reads the signed events of billing systems: which change of a contract a
// declared table makes of an event. It knows no store; package policy/store makes the
// change, and package policy/webhook verifies the signature.
//
//	scheme.go   the signature schemes, and their secrets
//	table.go    the table: which events do what
//	check.go    what in a table can only be a mistake
//	pointer.go  JSON Pointers
//	read.go     reading an event by the table
package hook
