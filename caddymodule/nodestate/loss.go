package nodestate

import (
	"fmt"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/policy/store"
)

// losses finds partitions of a shared store that lost writes.
func (n *Node) losses() (findings []condition.Finding) {
	follower := n.options.Follower()
	if follower == nil {
		return nil
	}
	for _, loss := range follower.Losses() {
		findings = append(findings, condition.Finding{Kind: storeWentBack, Subject: loss.Partition, Since: loss.At, What: describeLoss(&loss)})
	}
	return findings
}

// describeLoss says what was lost, when it had been written, and what the node does.
func describeLoss(loss *store.PartitionLoss) string {
	what := fmt.Sprintf("The store came back with write %d of %s, and this node or another one had seen write %d", loss.From, loss.Partition, loss.To)
	switch {
	case !loss.After.IsZero() && !loss.Before.IsZero():
		what += fmt.Sprintf(": what was written from %s to %s UTC may be lost", loss.After.UTC().Format(time.DateTime), loss.Before.UTC().Format(time.TimeOnly))
	case !loss.Before.IsZero():
		what += fmt.Sprintf(": what was written until %s UTC may be lost, from a time before this node started", loss.Before.UTC().Format(time.DateTime))
	default:
		what += fmt.Sprintf(": what was written before %s UTC may be lost", loss.At.UTC().Format(time.DateTime))
	}
	what += ". Counted links are refused."
	if loss.Rewritten > 0 {
		what += fmt.Sprintf(" This node made %d lost removals and revocations again.", loss.Rewritten)
	}
	return what
}
