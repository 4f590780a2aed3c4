package policy

import (
	"net/netip"
	"strings"
	"testing"
)

// knownCrawlers recognizes Googlebot at 192.0.2.9.
type knownCrawlers struct{}

func (knownCrawlers) IsCrawler(name, agent string, address netip.Addr) bool {
	return name == "googlebot" && strings.Contains(agent, "Googlebot") && address == netip.MustParseAddr("192.0.2.9")
}

func stepOf(t testing.TB, operator, words string) Allow {
	t.Helper()
	step, err := StandardOperators().Words(operator, strings.Fields(words))
	must(t, err)
	return step
}

// from makes the site one for a network and a crawler, and returns a request of a client.
func (env *testEnv) from(address, agent string) testRequest {
	env.t.Helper()
	rules, err := CompileRules([]Rule{{
		Rank: 1, Path: "/", Allow: entitledTo("premium"), Then: []Allow{stepOf(env.t, "address", "203.0.113.0/24 2001:db8:7::/48 198.51.100.7"), stepOf(env.t, "crawler", "bingbot googlebot")},
	}}, StandardOperators())
	must(env.t, err)
	env.site = NewSite("acme", "news", rules, PathOptions{}, env.keys)
	env.site.Crawlers = knownCrawlers{}
	v := testRequest{agent: agent}
	if address != "" {
		v.client = FixedAddress(netip.MustParseAddr(address))
	}
	return v
}

// The networks of an institution, in the forms in which an address comes; a client whose
// address is unknown is in none.
func TestAddressStep(t *testing.T) {
	for address, want := range map[string]Reason{
		"203.0.113.9": ReasonAddress, "::ffff:203.0.113.9": ReasonAddress, "2001:db8:7::1": ReasonAddress, "2001:db8:7::1%eth0": ReasonAddress, "198.51.100.7": ReasonAddress,
		"198.51.100.8": ReasonLoginRequired, "203.0.114.1": ReasonLoginRequired, "2001:db8:8::1": ReasonLoginRequired, "": ReasonLoginRequired,
	} {
		env := newTestEnv(t)
		if got := env.decide(env.from(address, "")); got.Reason != want || got.Public() {
			t.Errorf("%q: %s, want %s", address, got.Reason, want)
		}
	}
	env := newTestEnv(t)
	v := env.from("203.0.113.9", "")
	v.reader = Reader{UserID: "ann"}
	env.want(v, ReasonAddress)
	v.client = nil
	env.want(v, ReasonNotEntitled)
}

// A stranger takes the agent of a crawler, or has an address of its cloud. Neither alone is the
// crawler, and a crawler with a reader's credential is that reader.
func TestCrawlerStep(t *testing.T) {
	const google = "Mozilla/5.0 (compatible; Googlebot/2.1)"
	for _, c := range []struct {
		address, agent string
		want           Reason
	}{
		{"192.0.2.9", google, ReasonCrawler},
		{"192.0.2.9", "curl/8", ReasonLoginRequired},
		{"192.0.2.8", google, ReasonLoginRequired},
		{"", google, ReasonLoginRequired},
	} {
		env := newTestEnv(t)
		if got := env.decide(env.from(c.address, c.agent)); got.Reason != c.want || got.Allow() && got.Crawler != "googlebot" {
			t.Errorf("%+v: %s %s", c, got.Reason, got.Crawler)
		}
	}
	env := newTestEnv(t)
	v := env.from("192.0.2.9", google)
	v.method = "HEAD"
	env.want(v, ReasonCrawler)
	v.method = "POST"
	env.want(v, ReasonLoginRequired)
	v.method, v.reader = "", Reader{UserID: "ann"}
	env.want(v, ReasonNotEntitled)
	v.reader = Reader{Rejected: true}
	env.want(v, ReasonBadCredential)
	v.reader = Reader{}
	env.site.Crawlers = nil // none is known
	env.want(v, ReasonLoginRequired)
}

func TestMistakesOfAddressesAndCrawlers(t *testing.T) {
	for words, want := range map[string]string{
		"address 0.0.0.0/0": "every address", "address ::/0": "every address", "address 203.0.113.7/24": "write 203.0.113.0/24", "address example.com": "is no range",
		"address ::ffff:0:0/90": "mixes IPv4", "address fe80::1%eth0": "is no range", "crawler Google": "lower-case",
	} {
		operator, arguments, _ := strings.Cut(words, " ")
		_, err := CompileRules([]Rule{{Rank: 1, Path: "/", Allow: stepOf(t, operator, arguments)}}, StandardOperators())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", words, err, want)
		}
	}
	for _, empty := range []string{"address", "crawler"} {
		if _, err := CompileRules([]Rule{{Rank: 1, Path: "/", Allow: Allow{Operator: empty}}}, StandardOperators()); err == nil {
			t.Errorf("%s without arguments", empty)
		}
	}
	if names := CrawlersOf([]Rule{{Allow: stepOf(t, "crawler", "a b"), Then: []Allow{stepOf(t, "crawler", "b c")}}}); strings.Join(names, " ") != "a b c" {
		t.Errorf("%q", names)
	}
}
