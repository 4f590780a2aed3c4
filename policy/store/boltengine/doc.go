// Package boltengine is the embedded engine.Engine: one bbolt file, for a Gatefold that
// runs on a single machine.
//
// A write is synced to disk (fsync) before it is acknowledged. Concurrent writes share
// one transaction, and so one fsync; see commit.go.
//
// The file has one bucket per partition, named 'p' and the partition's name, with three
// buckets in it:
//
//	data    key -> expiry (8 bytes, see expiryOf), value
//	expiry  expiry, key -> nothing, for the entries of data that expire
//	feed    position (8 bytes) -> payload of an event
//
// Numbers are big-endian, so that their bytes sort as they do. The bucket "meta" holds
// the version of this layout.
//
//	engine.go         Engine: opening and closing
//	file.go           opening and creating the file, and its errors
//	partition.go      the buckets of partitions
//	entry.go          entries of the data bucket and their expiry
//	view.go           snapshots
//	commit.go         the committer, which groups writes
//	apply.go          Commit: the checks, counters and writes of one batch
//	feed.go           the change feed
//	sweep.go          removing expired entries
//	dump.go           reading all entries
//	backup.go         copies of the file
//	reserve.go        room on the disk that is kept for removals and revocations
//	reserve_linux.go  allocating it
//	reserve_other.go  the same on other systems
//	restore.go        putting a copy in the place of the file
//	compact.go        replacing the file by one without free pages
//	changes.go        what is written during that
//	verify.go         verifying a file that is not in use
//	check.go          the pages of a file
//	checkslices.go    checking the file while it is in use
//	diskspace_unix.go   the size of the disk, and what is available
//	diskspace_other.go  the same on other systems
//	size.go           the length of the file, and what is free in it
//	owner_unix.go     the owner of a restored file
//	owner_other.go    the same on other systems
//	unlock_unix.go    releasing the lock of the file
//	unlock_other.go   the same on other systems
package boltengine
