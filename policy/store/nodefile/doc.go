// Package nodefile has the sealed files in which a node keeps a copy of records of a shared
// store: tables of sorted entries, and journals. It imports no other package of this module.
//
//	seal.go      keys of files, and how blocks are sealed
//	table.go     Table: sorted entries, written once
//	journal.go   Journal: records that are appended
package nodefile
