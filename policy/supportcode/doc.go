// Package supportcode gives refused requests codes that readers can read to a support desk,
// and keeps what was refused, beside the decisions, until the code is asked for. What it
// buffers is bounded. In a flood it keeps a sample: the code of a refusal that is not kept
// says so. It never waits for the store in a request, and a store that fails neither opens
// nor denies anything by it.
//
//	code.go      the form of a code
//	recorder.go  Recorder: gives codes, and writes what was refused
//	recent.go    the codes of the last minute, and how often a reader was refused in an hour
package supportcode
