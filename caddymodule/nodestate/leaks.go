package nodestate

import (
	"fmt"

	"github.com/gatefold/gatefold/admin/condition"
)

// leaks finds links that were opened from more networks than their limits. They are shown
// for an hour by the node that found them.
func (n *Node) leaks() (findings []condition.Finding) {
	if n.options.Leaks == nil {
		return nil
	}
	for _, leak := range n.options.Leaks() {
		done := "It still opens its pages."
		if leak.Quarantined {
			done = "It is quarantined: it opens nothing."
		}
		findings = append(findings, condition.Finding{
			Kind: linkLeaked, Subject: leak.Vendor + "/" + leak.ID, Since: leak.At,
			What: fmt.Sprintf("The link %s of %s was opened from %d networks within an hour, of %d allowed. %s", leak.ID, leak.Vendor, leak.Networks, leak.Limit, done),
		})
	}
	return findings
}
