package nodestate

import (
	"fmt"

	"github.com/gatefold/gatefold/admin/condition"
)

// indexes finds the indexes that this node builds.
func (n *Node) indexes() (findings []condition.Finding) {
	if n.options.IndexBuilds == nil {
		return nil
	}
	for _, build := range n.options.IndexBuilds() {
		findings = append(findings, condition.Finding{
			Kind: indexBuilding, Subject: build.Vendor, Since: build.Since,
			What: fmt.Sprintf("The indexes of %s are being built in the background: %d records are read.", build.Vendor, build.Records),
		})
	}
	return findings
}
