package nodestate

import (
	"fmt"
	"net/url"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/keys"
)

// keySets finds the keys of issuers and publishers that cannot be fetched. A set whose
// first fetch is under way is none.
func (n *Node) keySets() []condition.Finding {
	var findings []condition.Finding
	var publisher *keys.SetStatus // the first without keys
	publishers := 0
	for _, status := range n.options.KeySets.Statuses() {
		switch {
		case status.Err == nil:
		case !status.Location.Trusted && !status.OK:
			if publishers++; publisher == nil {
				publisher = &status
			}
		case !status.Location.Trusted:
		case !status.OK:
			findings = append(findings, condition.Finding{Kind: issuerKeysMissing, Subject: address(status.Location), What: missing(&status)})
		case status.Stale:
			findings = append(findings, condition.Finding{
				Kind: issuerKeysStale, Subject: address(status.Location),
				What: fmt.Sprintf("The keys are %v old and cannot be fetched again: %v", status.Age.Round(time.Second), status.Err),
			})
		}
	}
	if publisher != nil {
		findings = append(findings, condition.Finding{
			Kind: publisherKeysMissing,
			What: fmt.Sprintf("%d key sets of publishers are not there, among them %s. %s", publishers, address(publisher.Location), missing(publisher)),
		})
	}
	return findings
}

// missing says why a set has no keys in use.
func missing(status *keys.SetStatus) string {
	if !status.Stale {
		return fmt.Sprintf("The keys were never fetched: %v", status.Err)
	}
	return fmt.Sprintf("The keys are %v old and do not count any more: %v", status.Age.Round(time.Second), status.Err)
}

// address returns the address of a set without its query, which may be secret.
func address(location keys.KeySetLocation) string {
	parsed, err := url.Parse(location.Address())
	if err != nil {
		return "unknown"
	}
	parsed.RawQuery = ""
	return parsed.String()
}
