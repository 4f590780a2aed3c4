package nodestate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/policy"
)

// clocks finds issuers whose clock is ahead of this node's. One issuer may be wrong, also on
// purpose; issuers that do not know each other and agree show that this node's clock is.
// Tokens with the right time end nothing, so that an issuer cannot hide what others show.
func (n *Node) clocks() []condition.Finding {
	skews := slices.DeleteFunc(n.options.Skews(), func(s policy.ClockSkew) bool { return s.Ahead <= maxClockDifference })
	findings := make([]condition.Finding, 0, len(skews)+1)
	if ahead, issuers := agreed(skews); issuers > 1 {
		findings = append(findings, condition.Finding{Kind: clockOff, What: fmt.Sprintf(
			"This node's clock is %v behind, as the tokens of %d issuers agree.", ahead.Round(time.Second), issuers)})
	}
	for _, skew := range skews {
		findings = append(findings, clockFinding(skew.Issuer, "the issuer "+skew.Issuer, skew.Ahead))
	}
	return findings
}

// agreed returns the median of the differences, and how many issuers have about that one.
func agreed(skews []policy.ClockSkew) (ahead time.Duration, issuers int) {
	if len(skews) == 0 {
		return 0, 0
	}
	sorted := slices.SortedFunc(slices.Values(skews), func(a, b policy.ClockSkew) int { return int(a.Ahead - b.Ahead) })
	ahead = sorted[(len(sorted)-1)/2].Ahead
	for _, skew := range skews {
		if (skew.Ahead - ahead).Abs() <= maxClockDifference {
			issuers++
		}
	}
	return ahead, issuers
}

// ClockDoubt returns what is wrong with this node's clock or that of others, as a sentence, and
// "" for nothing: a refusal that depends on time may be due to it. It does not wait.
func (n *Node) ClockDoubt() string {
	for _, finding := range append(n.Server.findings(), n.clocks()...) {
		if finding.Kind == clockOff {
			return strings.TrimSpace(finding.What)
		}
	}
	return ""
}
