package policy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// present presents a token of a reader, which is issued as late as said, spoilt or not.
func (e *testEnv) present(t *testing.T, user string, ahead time.Duration, spoil bool) {
	t.Helper()
	at := e.now().Add(ahead)
	token, err := keys.SignReader(testRing(), "acme", "news", keys.ReaderClaims{UserID: user, ExpiresAt: at.Unix() + 3600}, at)
	if err != nil {
		t.Fatal(err)
	}
	if spoil {
		head, signature, _ := strings.Cut(token[strings.Index(token, ".")+1:], ".")
		token = token[:strings.Index(token, ".")+1] + head + "." + strings.ToUpper(signature)
	}
	_, _ = e.policy.Reader(context.Background(), e.verifier(), token, e.now())
}

// The clock of an issuer is five minutes ahead: its readers are refused, and after the
// third one the node says why. Tokens that are 40 s ahead are accepted, and count too.
func TestClockOfAnIssuerIsNoticed(t *testing.T) {
	for _, ahead := range []time.Duration{40 * time.Second, 5 * time.Minute} {
		env := newTestEnv(t)
		for i := range 3 {
			if skews := env.policy.ClockSkews(env.now()); len(skews) != 0 {
				t.Fatalf("%d readers are enough: %v", i, skews)
			}
			env.present(t, fmt.Sprintf("reader-%d", i), ahead, false)
		}
		skews := env.policy.ClockSkews(env.now())
		if len(skews) != 1 || skews[0].Issuer != keys.VendorIssuer("acme") || skews[0].Ahead != ahead {
			t.Fatalf("%v ahead: the skews are %v", ahead, skews)
		}
		if skews := env.policy.ClockSkews(env.now().Add(skewFor + time.Second)); len(skews) != 0 {
			t.Errorf("it is said for ever: %v", skews)
		}
	}
}

// One reader presents an odd token again and again, and an attacker invents tokens of
// many readers from the future: neither makes an operator search for a wrong clock.
func TestOddTokensAreNoClock(t *testing.T) {
	env := newTestEnv(t)
	for i := range 20 {
		env.present(t, "odd", time.Duration(5+i)*time.Minute, false)
		env.present(t, fmt.Sprintf("invented-%d", i), 10*time.Minute, true)
		env.present(t, fmt.Sprintf("usual-%d", i), 20*time.Second, false)
	}
	if skews := env.policy.ClockSkews(env.now()); len(skews) != 0 {
		t.Errorf("the skews are %v", skews)
	}
	if n := len(env.policy.clocks.issuers[keys.VendorIssuer("acme")]); n != 1 {
		t.Errorf("%d tokens are kept", n)
	}
}
