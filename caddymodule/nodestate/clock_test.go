package nodestate

import (
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// An issuer whose clock is wrong, or who says so, is named, and this node's clock is not
// blamed. When issuers agree, it is; so it is by the clock of the Redis, whatever issuers say.
func TestWhoseClockIsWrong(t *testing.T) {
	skew := func(issuer string, ahead time.Duration) policy.ClockSkew {
		return policy.ClockSkew{Issuer: issuer, Ahead: ahead}
	}
	for name, test := range map[string]struct {
		skews []policy.ClockSkew
		redis time.Duration
		want  string // how it begins; empty for nothing
	}{
		"nothing":                          {nil, 20 * time.Second, ""},
		"one issuer":                       {[]policy.ClockSkew{skew("a", time.Hour)}, 0, "The clock of the issuer a is 1h0m0s ahead"},
		"two that agree":                   {[]policy.ClockSkew{skew("a", 400*time.Second), skew("b", 410*time.Second)}, 0, "This node's clock is 6m40s behind, as the tokens of 2 issuers agree"},
		"two that do not":                  {[]policy.ClockSkew{skew("a", 40*time.Second), skew("b", time.Hour)}, 0, "The clock of the issuer a is 40s ahead"},
		"one of three exaggerates":         {[]policy.ClockSkew{skew("a", 400*time.Second), skew("b", 410*time.Second), skew("c", 9*time.Hour)}, 0, "This node's clock is 6m50s behind, as the tokens of 2 issuers agree"},
		"Redis, and an issuer who differs": {[]policy.ClockSkew{skew("a", time.Hour)}, -6 * time.Minute, "The clock of the Redis server is 6m0s behind this node's"},
	} {
		n := New(Options{Now: time.Now, Skews: func() []policy.ClockSkew { return test.skews }})
		n.Server.Inspected(redisengine.Inspection{ClockAhead: test.redis})
		if got := n.ClockDoubt(); got == "" != (test.want == "") || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
