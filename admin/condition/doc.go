// Package condition holds what is wrong with a node at the moment: each condition with
// its severity, since when it holds, what it is and what to do. It imports nothing of
// this module.
//
// A part of the program registers the kinds of conditions that it can find, and adds a
// source to the node's Board:
//
//	var queueFull = condition.Register("queue_full", condition.Warning, "Make room for more.")
//
//	board.Add(func() []condition.Finding {
//		if !queue.full() {
//			return nil
//		}
//		return []condition.Finding{{Kind: queueFull, What: "100 of 100 places are taken."}}
//	})
//
// `gatefold status`, the health of the management API, the metric gatefold_condition and
// the log then show it. A test asks for an alert and a row of docs/operations.md.
//
//	kind.go   kinds and their severity
//	board.go  the conditions of a node
package condition
