package nodestate

import (
	"fmt"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/policy/store"
)

// minFailures is the number of rounds that fail until a webhook counts as failing: a
// receiver that restarts is none.
const minFailures = 3

// webhooks finds webhooks to which no event can be delivered.
func (n *Node) webhooks() (findings []condition.Finding) {
	if n.options.Webhooks == nil {
		return nil
	}
	for _, failing := range n.options.Webhooks() {
		what := fmt.Sprintf("Events of %s for %s wait: %s.", failing.Vendor, failing.Host, failing.Error)
		switch {
		case failing.Disabled == store.DisabledGone:
			what = fmt.Sprintf("The webhook of %s at %s is disabled: it answered 410 Gone.", failing.Vendor, failing.Host)
		case failing.Disabled != "":
			what = fmt.Sprintf("The webhook of %s at %s is disabled: nothing could be delivered for 5 days.", failing.Vendor, failing.Host)
		case failing.Failures < minFailures:
			continue
		}
		findings = append(findings, condition.Finding{Kind: webhookFailing, Subject: failing.Vendor + "/" + failing.ID, Since: failing.Since, What: what})
	}
	return findings
}
