package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// The clock of a node is more than five minutes off. It redeems no counted link and signs
// nothing, says that its clock is the cause, and goes on by itself once the clock is set.
func TestWrongClockStopsSigning(t *testing.T) {
	keepClock(t)
	was := storeOptions.ClockStops
	storeOptions.ClockStops = nodestate.ClockStops
	t.Cleanup(func() { storeOptions.ClockStops = was })
	clock.Set(time.Now())
	s := newRedisSite(t, "")
	rt := s.running()
	rule := policy.Rule{Rank: 1, Path: "/", Forward: true, Allow: policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["premium"]`)}}}
	if err := rt.Store.As(store.Actor{}).ReplaceRules(t.Context(), defaultVendor, defaultVendor, []policy.Rule{rule}, policy.StandardOperators()); err != nil {
		t.Fatal(err)
	}
	token := s.reader(keys.ReaderClaims{UserID: "ada"})
	link, _ := s.link(keys.LinkClaims{MaxUses: 3})
	sessions := store.NewSessions(rt.Keyring)
	if _, _, err := sessions.SessionKey(t.Context(), defaultVendor, defaultVendor); !errors.Is(err, store.ErrNoSessionKey) {
		t.Errorf("a session key: %v", err)
	}
	clock.Set(time.Now().Add(6 * time.Minute))
	s.waitForCondition("clock_stopped", "behind this node's", "no link, session or token is signed")
	s.waitForCondition("clock_off")
	s.waitForCondition("counted_links_refused", "clock")
	_, keyErr := rt.Keyring.Ring(t.Context(), defaultVendor)
	_, _, sessionErr := sessions.SessionKey(t.Context(), defaultVendor, defaultVendor)
	redeemErr := rt.Store.Redeem(t.Context(), defaultVendor, policy.Redemption{Issuer: keys.VendorIssuer(defaultVendor), LinkID: "link", ID: "use", MaxUses: 3})
	for what, err := range map[string]error{"a signing key": keyErr, "a session key": sessionErr, "a redemption": redeemErr} {
		var wrong *store.ClockError
		if !errors.As(err, &wrong) || !errors.Is(err, engine.ErrUnavailable) || !strings.Contains(err.Error(), "clock") {
			t.Errorf("%s: %v", what, err)
		}
	}
	clock.Set(time.Now()) // the reader's link is judged by the right clock; the node has not compared yet
	if got := s.get(link).StatusCode; got != http.StatusServiceUnavailable {
		t.Errorf("a counted link is answered %d", got)
	}
	s.waitForEnd("clock_stopped")
	if _, err := rt.Keyring.Ring(t.Context(), defaultVendor); err != nil {
		t.Errorf("after the clock is set: %v", err)
	}
	if got := s.get(link).StatusCode; got != http.StatusOK {
		t.Errorf("after the clock is set the link is answered %d", got)
	}
	s.get("/page", "Authorization", "Bearer "+token).denied(http.StatusForbidden, "not_entitled")
}
