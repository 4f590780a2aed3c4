package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// newDevicesEnv returns an environment in which the requests of a program are one use for
// half an hour.
func newDevicesEnv(t *testing.T) *testEnv {
	env := newTestEnv(t)
	env.site.DeviceWindow = 30 * time.Minute
	return env
}

// visitor is a client of a link in tests: a browser that keeps the cookie of the link, or
// a program without cookies.
type visitor struct {
	env     *testEnv
	token   string
	reader  Reader
	address netip.Addr
	program string // the device of a program; empty for a browser
	cookie  *RedeemedLink
	name    string // in the model
}

// open opens the link by its token, and in a browser the page to which that redirects. It
// returns the last decision.
func (v *visitor) open() Decision {
	v.env.t.Helper()
	link := LinkEvidence{
		Token: v.token, Spendable: true, Confirms: true, Navigation: v.program == "", Device: v.program, Redeemed: v.redeemed(),
	}
	decision := v.env.decide(testRequest{reader: v.reader, link: link, client: FixedAddress(v.address)})
	if v.program != "" {
		return decision
	}
	if decision.Allow() && decision.Link.Token || decision.Link.Login {
		v.keep(&decision.Link, decision.Link.Spend || decision.Link.Login)
	}
	if !decision.Allow() {
		return decision
	}
	return v.comeBack()
}

// comeBack asks for the page without the token.
func (v *visitor) comeBack() Decision {
	v.env.t.Helper()
	decision := v.env.decide(testRequest{reader: v.reader, link: LinkEvidence{Confirms: true, Redeemed: v.redeemed()}, client: FixedAddress(v.address)})
	if decision.Allow() && v.cookie != nil {
		v.keep(&decision.Link, false)
	}
	return decision
}

func (v *visitor) redeemed() []RedeemedLink {
	if v.cookie == nil {
		return nil
	}
	return []RedeemedLink{*v.cookie}
}

// keep keeps the cookie that the gate sets.
func (v *visitor) keep(link *LinkUse, pending bool) {
	v.cookie = &RedeemedLink{
		Issuer: link.Issuer, ID: link.ID, ExpiresAt: link.ExpiresAt, UseID: link.CookieID("fresh-" + v.env.records.nextID()), Pending: pending,
	}
}

// wants fails the test unless a decision has a reason, and the link was counted that often.
func (env *testEnv) wants(decision Decision, want Reason, uses, devices int) {
	env.t.Helper()
	if decision.Reason != want {
		env.t.Errorf("decided %s (%v), want %s", decision.Reason, decision.Err, want)
	}
	env.records.mu.Lock()
	defer env.records.mu.Unlock()
	key := linkKey{"acme", keys.VendorIssuer("acme"), "link_1"}
	if gotUses, gotDevices := len(env.records.uses[key]), len(env.records.devices[key]); gotUses != uses || gotDevices != devices {
		env.t.Errorf("%d uses and %d devices are counted, want %d and %d", gotUses, gotDevices, uses, devices)
	}
}

// A link for a reading room: its cookie, copied to another network, opens nothing there,
// and neither does the token. A client whose address is unknown is in no network.
func TestLinkOfANetwork(t *testing.T) {
	env := newDevicesEnv(t)
	for _, c := range []struct {
		network, inside, outside string
	}{
		{"203.0.113.0/24", "203.0.113.255", "203.0.114.0"},
		{"203.0.113.0/24", "::ffff:203.0.113.7", "2001:db8::1"},
		{"203.0.113.7/32", "203.0.113.7", "203.0.113.8"},
		{"2001:db8:7::/48", "2001:db8:7:ffff::1", "2001:db8:8::1"},
		{"fe80::/10", "fe80::1%eth0", "203.0.113.7"},
	} {
		claims := keys.LinkClaims{ID: "link_" + strings.NewReplacer("/", "_", ":", "_").Replace(c.network), IPPrefix: c.network}
		room := &visitor{env: env, token: env.newLink(claims), address: netip.MustParseAddr(c.inside)}
		if decision := room.open(); decision.Reason != ReasonSignedLink {
			t.Errorf("%s from %s: %s", c.network, c.inside, decision.Reason)
		}
		for _, outside := range []netip.Addr{netip.MustParseAddr(c.outside), {}} {
			elsewhere := &visitor{env: env, token: room.token, address: outside, cookie: room.cookie}
			if decision := elsewhere.comeBack(); decision.Reason != ReasonLoginRequired {
				t.Errorf("the cookie for %s at %s: %s", c.network, outside, decision.Reason)
			}
			if decision := elsewhere.open(); decision.Reason != ReasonLinkOtherNetwork || decision.Link.ID != claims.ID {
				t.Errorf("the token for %s at %s: %s", c.network, outside, decision.Reason)
			}
		}
	}
}

// A counted link that is opened from another network spends nothing there.
func TestOtherNetworkSpendsNothing(t *testing.T) {
	env := newDevicesEnv(t)
	token := env.newLink(keys.LinkClaims{IPPrefix: "203.0.113.0/24", MaxUses: 1, MaxDevices: 1})
	thief := &visitor{env: env, token: token, program: "thief", address: netip.MustParseAddr("198.51.100.1")}
	env.wants(thief.open(), ReasonLinkOtherNetwork, 0, 0)
	own := &visitor{env: env, token: token, program: "own", address: netip.MustParseAddr("203.0.113.1")}
	env.wants(own.open(), ReasonSignedLink, 1, 1)
}

// A gift for two subscribers of the newsletter: Ann opens it in two browsers and a program,
// which is one use, and gives that cookie to a friend, for whom it opens nothing.
func TestEachReaderIsOneUse(t *testing.T) {
	env := newDevicesEnv(t)
	token := env.newLink(keys.LinkClaims{PerReader: true, MaxUses: 2})
	anna, carl := Reader{UserID: "anna"}, Reader{UserID: "carl"}
	browser := &visitor{env: env, token: token, reader: anna}
	env.wants(browser.open(), ReasonSignedLink, 1, 0)
	env.wants(browser.comeBack(), ReasonSignedLink, 1, 0)
	env.wants((&visitor{env: env, token: token, reader: anna}).open(), ReasonSignedLink, 1, 0)
	env.wants((&visitor{env: env, token: token, reader: anna, program: "app"}).open(), ReasonSignedLink, 1, 0)
	env.advance(2 * time.Hour / 4) // another window of the program
	env.wants((&visitor{env: env, token: token, reader: anna, program: "app"}).open(), ReasonSignedLink, 1, 0)

	friend := *browser
	friend.reader = Reader{}
	env.wants(friend.comeBack(), ReasonLoginRequired, 1, 0)
	friend.reader = bob
	env.wants(friend.comeBack(), ReasonNotEntitled, 1, 0)
	env.wants(friend.open(), ReasonSignedLink, 2, 0) // by the token, Bob is the second reader
	env.wants((&visitor{env: env, token: token, reader: carl}).open(), ReasonLinkUsedUp, 2, 0)
	// The browser that Bob had from Ann is Bob's now; Ann opens the link again.
	env.wants((&visitor{env: env, token: token, reader: anna, cookie: friend.cookie}).comeBack(), ReasonNotEntitled, 2, 0)
	env.wants((&visitor{env: env, token: token, reader: anna, cookie: friend.cookie}).open(), ReasonSignedLink, 2, 0)
	for id := range env.records.uses[linkKey{"acme", keys.VendorIssuer("acme"), "link_1"}] {
		if strings.Contains(id, "anna") || strings.Contains(id, "bob") {
			t.Errorf("the id %s names the reader", id)
		}
	}
}

// An anonymous reader opens a link for readers: they log in first, and come back to the
// page without the token. Nothing is spent before that, and nothing by a credential that
// failed.
func TestReaderLogsInAfterOpeningTheLink(t *testing.T) {
	for _, limits := range []keys.LinkClaims{{}, {MaxUses: 1}, {MaxDevices: 1}, {MaxUses: 1, MaxDevices: 1}} {
		env := newDevicesEnv(t)
		limits.PerReader = true
		browser := &visitor{env: env, token: env.newLink(limits)}
		for range 2 {
			env.wants(browser.open(), ReasonLoginRequired, 0, 0)
		}
		env.wants(browser.comeBack(), ReasonLoginRequired, 0, 0)
		browser.reader = Reader{Rejected: true}
		env.wants(browser.open(), ReasonBadCredential, 0, 0)
		browser.reader = bob
		for range 2 {
			env.wants(browser.comeBack(), ReasonSignedLink, int(limits.MaxUses), int(limits.MaxDevices))
		}
		if browser.cookie.Pending || !strings.HasPrefix(browser.cookie.UseID, "reader:") {
			t.Errorf("the cookie is %+v", browser.cookie)
		}
	}
}

// A link for readers that a publisher signed is stored before its first reader logs in, so
// that the cookie that waits for them is one of a known link.
func TestPublishersLinkForReaders(t *testing.T) {
	env := newDevicesEnv(t)
	env.setDomains(Domains{Trusted: []*TrustedDomain{{Domain: newsDomain, SigningKeyPEM: editor.pem()}}})
	token := editor.link(`,"publisherContentId":"a1","perReader":true,"maxUses":1`)
	r := env.request(testRequest{host: newsDomain, link: LinkEvidence{Token: token, Spendable: true, Navigation: true}})
	decision := env.policy.Decide(context.Background(), r)
	if decision.Reason != ReasonLoginRequired || !decision.Link.Login || !decision.Pending() {
		t.Fatalf("decided %s: %+v, %v", decision.Reason, decision.Link, decision.Err)
	}
	if decision = env.policy.Prepare(context.Background(), r, decision); decision.Reason != ReasonLoginRequired {
		t.Fatalf("prepared: %s, %v", decision.Reason, decision.Err)
	}
	cookie := RedeemedLink{Issuer: newsDomain, ID: "link_9", ExpiresAt: start + 600, UseID: "waits", Pending: true}
	env.want(testRequest{host: newsDomain, reader: bob, link: LinkEvidence{Confirms: true, Redeemed: []RedeemedLink{cookie}}}, ReasonSignedLink)
}

// Two devices of a household: the browser and the player come again as often as they like;
// the same player with another agent, and any other browser, are a third device.
func TestDevicesOfALink(t *testing.T) {
	env := newDevicesEnv(t)
	token := env.newLink(keys.LinkClaims{MaxDevices: 2})
	browser, player := &visitor{env: env, token: token}, &visitor{env: env, token: token, program: "player"}
	env.wants(browser.open(), ReasonSignedLink, 0, 1)
	env.wants(browser.open(), ReasonSignedLink, 0, 1)
	env.wants(player.open(), ReasonSignedLink, 0, 2)
	env.wants((&visitor{env: env, token: token, program: "player, other agent"}).open(), ReasonLinkDeviceLimit, 0, 2)
	env.wants((&visitor{env: env, token: token}).open(), ReasonLinkDeviceLimit, 0, 2)
	env.advance(50 * time.Minute) // far beyond the window of a use
	env.wants(player.open(), ReasonSignedLink, 0, 2)
	env.wants(browser.comeBack(), ReasonSignedLink, 0, 2)
	if browser.cookie.Pending {
		t.Error("the browser's cookie is still pending")
	}
}

// Uses and devices are bounded together: the one device that is known spends a use in every
// window, until the uses are spent; another device spends neither.
func TestUsesAndDevices(t *testing.T) {
	env := newDevicesEnv(t)
	token := env.newLink(keys.LinkClaims{MaxUses: 2, MaxDevices: 1})
	player := &visitor{env: env, token: token, program: "player"}
	env.wants(player.open(), ReasonSignedLink, 1, 1)
	env.wants(player.open(), ReasonSignedLink, 1, 1)
	env.wants((&visitor{env: env, token: token, program: "other"}).open(), ReasonLinkDeviceLimit, 1, 1)
	env.advance(45 * time.Minute)
	env.wants(player.open(), ReasonSignedLink, 2, 1)
	env.advance(14 * time.Minute)
	env.wants(player.open(), ReasonSignedLink, 2, 1)
}

// A reader of the vendor on three devices, with a link for two: their third browser is
// refused, though the reader's use is known.
func TestDevicesOfAReader(t *testing.T) {
	env := newDevicesEnv(t)
	token := env.newLink(keys.LinkClaims{PerReader: true, MaxUses: 1, MaxDevices: 2})
	laptop, phone, tablet := &visitor{env: env, token: token, reader: bob}, &visitor{env: env, token: token, reader: bob, program: "app"}, &visitor{env: env, token: token, reader: bob}
	env.wants(laptop.open(), ReasonSignedLink, 1, 1)
	env.wants(phone.open(), ReasonSignedLink, 1, 2)
	env.wants(tablet.open(), ReasonLinkDeviceLimit, 1, 2)
	for range 2 {
		env.wants(laptop.comeBack(), ReasonSignedLink, 1, 2)
		env.wants(phone.open(), ReasonSignedLink, 1, 2)
	}
}

// A page that was not delivered gives back the use and the device, and only those that its
// own request counted.
func TestRefundOfUseAndDevice(t *testing.T) {
	env := newDevicesEnv(t)
	token := env.newLink(keys.LinkClaims{MaxUses: 2, MaxDevices: 1})
	open := func() (*Request, Decision) {
		r := env.request(testRequest{link: LinkEvidence{Token: token, Spendable: true, Device: "player"}})
		decision := env.policy.Prepare(context.Background(), r, env.policy.Decide(context.Background(), r))
		return r, env.policy.Redeem(context.Background(), r, decision, env.records.nextID())
	}
	r, first := open()
	env.wants(first, ReasonSignedLink, 1, 1)
	must(t, env.policy.Refund(context.Background(), r, &first, r.Now))
	env.wants(first, ReasonSignedLink, 0, 0)
	_, first = open()
	env.wants(first, ReasonSignedLink, 1, 1)
	env.advance(45 * time.Minute)
	r, second := open()
	env.wants(second, ReasonSignedLink, 2, 1)
	must(t, env.policy.Refund(context.Background(), r, &second, r.Now))
	env.wants(second, ReasonSignedLink, 1, 1) // the device is the first request's
}

// The press gets the link before the embargo ends: it opens at that second, not a minute
// before, and says until when it does not.
func TestLinkOpensAtItsStart(t *testing.T) {
	env := newDevicesEnv(t)
	press := &visitor{env: env, token: env.newLink(keys.LinkClaims{NotBefore: start + 90, MaxUses: 5})}
	env.wants(press.open(), ReasonLinkNotYetValid, 0, 0)
	env.advance(90*time.Second - time.Millisecond)
	decision := press.open()
	env.wants(decision, ReasonLinkNotYetValid, 0, 0)
	if decision.Until != (start+90)*1000 {
		t.Errorf("the decision holds until %d, want %d", decision.Until, (start+90)*1000)
	}
	env.advance(time.Millisecond)
	env.wants(press.open(), ReasonSignedLink, 1, 0)
}

// Random visitors of links with every combination of limits, against a model: a visitor gets
// the page if the link admits their network and their reader, their use is counted or one is
// left, and their device is counted or one is left.
func TestLimitsModel(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 19))
		claims := keys.LinkClaims{MaxUses: random.Int64N(4), MaxDevices: random.Int64N(4), PerReader: random.IntN(2) == 0}
		if random.IntN(2) == 0 {
			claims.IPPrefix = "203.0.113.0/24"
		}
		env := newDevicesEnv(t)
		env.site.DeviceWindow = 1000 * time.Hour // a program is one use
		token := env.newLink(claims)
		uses, devices := map[string]bool{}, map[string]bool{}
		var visitors []*visitor
		for range 8 {
			v := &visitor{env: env, token: token, name: fmt.Sprint(len(visitors)), reader: []Reader{{}, bob, {UserID: "carl"}}[random.IntN(3)], address: netip.MustParseAddr([]string{"203.0.113.9", "198.51.100.1"}[random.IntN(5)/4])}
			if random.IntN(2) == 0 {
				v.program = fmt.Sprint("program ", len(visitors))
			}
			visitors = append(visitors, v)
		}
		for range 60 {
			who := random.IntN(len(visitors))
			v := visitors[who]
			if v.program == "" && random.IntN(8) == 0 {
				v = &visitor{env: env, token: token, reader: v.reader, address: v.address, name: v.name + "+"} // after deleting its cookies
				visitors[who] = v
			}
			use, device := v.name, v.name
			if claims.PerReader {
				use = v.reader.UserID
			}
			want := ReasonSignedLink
			switch {
			case claims.IPPrefix != "" && v.address.String() != "203.0.113.9":
				want = ReasonLinkOtherNetwork
			case claims.PerReader && v.reader.Anonymous():
				want = ReasonLoginRequired
			case claims.MaxUses > 0 && !uses[use] && len(uses) == int(claims.MaxUses):
				want = ReasonLinkUsedUp
			case claims.MaxDevices > 0 && !devices[device] && len(devices) == int(claims.MaxDevices):
				want = ReasonLinkDeviceLimit
			default:
				uses[use], devices[device] = true, true
			}
			counted := func(bound int64, set map[string]bool) int {
				if bound == 0 {
					return 0
				}
				return len(set)
			}
			env.wants(v.open(), want, counted(claims.MaxUses, uses), counted(claims.MaxDevices, devices))
			if t.Failed() {
				t.Fatalf("seed %d, visitor %d of %+v", seed, who, claims)
			}
		}
	}
}
