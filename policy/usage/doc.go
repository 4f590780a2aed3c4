// Package usage counts, beside the decisions, what contracts with seats or a site licence
// are used for: pages, readers and refusals of a month. Counting never waits for the store
// in a request, and a store that fails neither opens nor denies anything by it. What is
// buffered is bounded; what does not fit is dropped, and counted as dropped.
//
// Counts are written in batches, and when the Recorder is closed. Those that are buffered
// when a process is killed are lost: at most those of one interval.
//
//	recorder.go  Recorder: the buffer of uses, and when it is written
//	reader.go    which reader a use is of
package usage
