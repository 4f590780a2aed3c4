package visitor_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/visitor"
)

// Agents as programs send them.
func TestAgentClass(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                                                    visitor.Browser,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1":                   visitor.Browser,
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0":                             visitor.Browser,
		"Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/126.0 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/470;]": visitor.App,
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36":                             visitor.Bot,
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                                                                                  visitor.Bot,
		"Mozilla/5.0 (compatible; Miniflux/2.1.4; +https://miniflux.app)":                                                                                           visitor.FeedReader,
		"SimplePie/1.8.0 (Feed Parser; https://simplepie.org)":                                                                                                      visitor.FeedReader,
		"Overcast/3.0 (+http://overcast.fm/; iOS podcast app)":                                                                                                      visitor.PodcastApp,
		"AppleCoreMedia/1.0.0.21F90 (iPhone; U; CPU OS 17_5 like Mac OS X; en_us)":                                                                                  visitor.App,
		"Podcasts/1650.20 CFNetwork/1474 Darwin/23.0.0":                                                                                                             visitor.PodcastApp,
		"curl/8.8.0":                visitor.CommandLine,
		"python-requests/2.32.3":    visitor.CommandLine,
		"Go-http-client/1.1":        visitor.CommandLine,
		"":                          visitor.Other,
		"device/1":                  visitor.Other,
		strings.Repeat("x", 1<<16):  visitor.Other,
		"Twitterbot":                visitor.Bot,
		"Mozilla/5.0 (compatible;)": visitor.Other,
	} {
		got := visitor.AgentClass(agent)
		if got != want || !slices.Contains(visitor.Classes(), got) {
			t.Errorf("%.60q is %s, want %s", agent, got, want)
		}
	}
}

func TestCountry(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   string
	}{
		{nil, ""},
		{[]string{"SE"}, "SE"},
		{[]string{"se"}, "SE"},
		{[]string{"XX"}, ""},
		{[]string{"T1"}, ""},
		{[]string{"SE", "DE"}, ""},
		{[]string{"SWE"}, ""},
		{[]string{""}, ""},
		{[]string{"S\x00"}, ""},
		{[]string{"Å"}, ""},
	} {
		if got := visitor.Country(c.values); got != c.want {
			t.Errorf("%q is %q, want %q", c.values, got, c.want)
		}
	}
}

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"203.0.113.7": "203.0.113.0/24", "::ffff:203.0.113.7": "203.0.113.0/24", "2001:db8:1:2::3": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48",
	} {
		if got, ok := visitor.Network(netip.MustParseAddr(address)); !ok || got.String() != want {
			t.Errorf("%s is of %v, want %s", address, got, want)
		}
	}
	if got, ok := visitor.Network(netip.Addr{}); ok {
		t.Errorf("no address is of %v", got)
	}
}
