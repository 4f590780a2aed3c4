package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// Readers report that fresh links have expired. While a clock is known to be off, the log and
// explain say so beside the reason, for whatever was refused for its time; the reader is told
// nothing of it. Otherwise they do not, nor do they of other refusals.
func TestRefusalSaysThatAClockIsWrong(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, _ := s.link(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 1})
	stale, fresh := s.reader(keys.ReaderClaims{UserID: "ada", ExpiresAt: clock.Now().Unix() + 1}), s.reader(keys.ReaderClaims{UserID: "ada"})
	clock.Advance(2 * time.Second)
	for _, ahead := range []time.Duration{0, -6 * time.Minute} {
		s.shared().Node.Server.Inspected(redisengine.Inspection{ClockAhead: ahead})
		for _, test := range []struct {
			reason, path, token string
			status              int
			byTime              bool
		}{
			{"link_expired", link, "", http.StatusForbidden, true},
			{"bad_credential", "/account", stale, http.StatusUnauthorized, true},
			{"not_entitled", "/articles/hello", fresh, http.StatusForbidden, false},
		} {
			before := len(logged.entries(t, "http.handlers.gatefold"))
			var header []string
			if test.token != "" {
				header = []string{"Authorization", "Bearer " + test.token}
			}
			answer := s.get(test.path, header...)
			answer.denied(test.status, test.reason)
			entries := logged.entries(t, "http.handlers.gatefold")[before:]
			gate, _ := entries[len(entries)-1]["gatefold"].(map[string]any)
			doubt, _ := gate["clock"].(string)
			explained := s.explain(admin.ExplainRequest{URL: test.path, ReaderToken: test.token})
			want := test.byTime && ahead != 0
			if strings.Contains(doubt, "6m0s behind this node's") != want || strings.Contains(explained.Hint, "clock_off") != want || explained.Decision.Reason != test.reason {
				t.Errorf("%s with a clock %v ahead: the log says %q, explain %q", test.reason, ahead, doubt, explained.Hint)
			}
			if strings.Contains(answer.body, "6m0s") {
				t.Errorf("the reader is told: %s", answer.body)
			}
		}
	}
}
