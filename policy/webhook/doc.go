// Package webhook delivers the events of vendors to their endpoints, signed as Standard
// Webhooks 1.0 has it. It imports nothing of Caddy.
//
// The store makes an event in the batch that makes the change (see policy/store/events.go),
// with one entry in the queue of each endpoint that wants it. A Dispatcher on every node
// looks for entries: at once after a change by its own process, and every five seconds for
// those of others and for what is to be attempted again. A node that finds one takes a
// lease of the endpoint from the store, and is the only one that delivers to it while it
// renews the lease; after a crash another node goes on when the lease has run out. What was
// under way then is delivered twice, with the same id: delivery is at least once.
//
// A queue was preferred to a cursor per endpoint in a common log, for which events would
// need numbers in the order of commits: every writer of a vendor would wait for every
// other. An entry costs one put in a batch that is written anyway, and a delete.
//
// An event that fails is attempted again after about 5 s, 5 min, 30 min, 2 h, 5 h, 10 h,
// 14 h, 20 h and 24 h, and then is a dead letter. An endpoint of which all attempts fail is
// paused besides, up to half an hour, with one attempt after each pause: a receiver that is
// down costs little, whatever waits for it, and loses nothing. After five days it is
// disabled, and by an answer of 410 at once.
//
//	sign.go       signatures
//	verify.go     those of events that others send
//	send.go       one attempt: the request, its limits, the answer
//	schedule.go   when an attempt is repeated
//	dispatcher.go Dispatcher: which endpoints are delivered to, and its state
//	deliver.go    delivering to one endpoint
package webhook
