package nodestate

import "github.com/gatefold/gatefold/admin/condition"

// clocks finds issuers whose clock is ahead of this node's.
func (n *Node) clocks() []condition.Finding {
	var findings []condition.Finding
	for _, skew := range n.options.Skews() {
		if skew.Ahead > maxClockDifference {
			findings = append(findings, clockFinding(skew.Issuer, "the issuer "+skew.Issuer, skew.Ahead))
		}
	}
	return findings
}
