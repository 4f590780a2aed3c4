package nodestate

import (
	"fmt"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/policy/store"
)

// maxFeedLag is how far a change feed may be behind while its store answers.
const maxFeedLag = 5 * time.Second

// follow finds a shared store that does not answer, and a feed that is behind.
func (n *Node) follow() []condition.Finding {
	follower := n.options.Follower()
	if follower == nil {
		return nil
	}
	state := follower.State()
	var findings []condition.Finding
	if state.Error != nil {
		findings = append(findings, condition.Finding{Kind: storeUnreachable, Since: state.Since, What: sentence(state.Error.Error())})
	}
	switch state.State {
	case store.StateStale:
		findings = append(findings, condition.Finding{
			Kind: servingStale, Since: state.Since,
			What: fmt.Sprintf("Decisions are made from memory, for %.0f s more.", state.Left.Seconds()),
		})
	case store.StateRestored:
		findings = append(findings, condition.Finding{
			Kind: servingSnapshot, Since: state.Since,
			What: fmt.Sprintf("Decisions are made from the snapshot of this node, for %.0f s more.", state.Left.Seconds()),
		})
	case store.StateClosed:
		findings = append(findings, condition.Finding{
			Kind: gateClosed, Since: state.Since,
			What: "Memory is older than stale_for, or empty: requests that need a record are denied with 503.",
		})
	}
	if state.Behind > maxFeedLag {
		findings = append(findings, condition.Finding{
			Kind: feedBehind, Subject: state.Partition,
			What: fmt.Sprintf("Changes of other nodes of the last %v are not applied here.", state.Behind.Round(time.Second)),
		})
	}
	return findings
}
