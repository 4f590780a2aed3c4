package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/linkreport"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// leakEvents are the events of leaks that Caddy's events app handed to its handler `test`.
var leakEvents struct {
	sync.Mutex
	list []map[string]any
}

type leakHandler struct{}

func init() { caddy.RegisterModule(leakHandler{}) }

func (leakHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_leak", New: func() caddy.Module { return new(leakHandler) }}
}
func (*leakHandler) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*leakHandler) Handle(_ context.Context, event caddy.Event) error {
	leakEvents.Lock()
	defer leakEvents.Unlock()
	leakEvents.list = append(leakEvents.list, event.Data)
	return nil
}

const onLeak = "\n\tevents {\n\t\ton " + linkreport.EventLeaked + " test_leak\n\t}\n"

// newLeakSite returns a site behind a CDN that watches the networks of its links.
func newLeakSite(t *testing.T, option string) (s *testSite, adminURL string) {
	t.Helper()
	leakEvents.Lock()
	leakEvents.list = nil
	leakEvents.Unlock()
	return newHistorySite(t, behindCDN+onLeak, "\n\t\t"+option+"\n")
}

// from is the header of a request from an address of a network, by the network's number.
func from(network int) []string {
	return []string{"X-Forwarded-For", fmt.Sprintf("198.18.%d.7", network)}
}

// settle waits until everything that was buffered of links is written.
func (s *testSite) settle(buffered uint64) {
	s.Helper()
	s.waitFor("the networks", func() bool { return s.shared().Watch.Stats().Networks.Stored >= buffered })
}

func (s *testSite) revokedFor(adminURL, id string) (status, cause any) {
	s.Helper()
	shown := s.manage(adminURL, http.MethodGet, "/signed-links/"+id, "", "", http.StatusOK)
	return shown["status"], shown["revokedFor"]
}

// A newsletter's link is posted in a forum, and opens from 21 networks in an hour. It is
// quarantined: neither its token nor the cookies that it became open anything. The log,
// the metric, a condition, an event and the audit log say so, once. The publisher gives it
// back: the readers of that hour can open it, and the next leak is found.
func TestLinkPostedInAForumIsQuarantined(t *testing.T) {
	s, adminURL := newLeakSite(t, "link_networks 20 quarantine")
	link, id := s.link(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 90000})
	cookie := s.get(link, append(from(0), navigation...)...).linkCookie()
	for network := range 20 {
		clock.Advance(2 * time.Minute)
		if !s.navigate(link, from(network)...) {
			t.Fatalf("network %d got no page", network)
		}
	}
	// Readers of the same networks, previews and checks of the link are none of its readers.
	s.get(link, append(from(3), "User-Agent", "curl/8")...).page()
	s.get(link, append(from(40), "User-Agent", "WhatsApp/2.23")...).page()
	if got := s.do(http.MethodHead, link, from(41)...); got.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %d", got.StatusCode)
	}
	s.settle(20)
	if status, _ := s.revokedFor(adminURL, id); status != "active" || s.found("link_leaked") != nil {
		t.Fatalf("after 20 networks the link is %v", status)
	}
	s.navigate(link, from(20)...)
	s.waitForCondition("link_leaked", "from 21 networks within an hour, of 20 allowed. It is quarantined")
	if status, cause := s.revokedFor(adminURL, id); status != "revoked" || cause != "leak" {
		t.Errorf("the link is %v for %v", status, cause)
	}
	s.get(link, from(21)...).denied(http.StatusForbidden, "link_revoked")
	s.get("/articles/hello", "Cookie", cookie).denied(http.StatusUnauthorized, "login_required")
	if n := s.scrape(adminURL)[`gatefold_links_leaked_total{action="quarantine"}`]; n != 1 {
		t.Errorf("the metric is %v", n)
	}
	s.waitFor("the event", func() bool {
		leakEvents.Lock()
		defer leakEvents.Unlock()
		return len(leakEvents.list) == 1 && leakEvents.list[0]["link"] == id && leakEvents.list[0]["networks"] == 21 && leakEvents.list[0]["action"] == "quarantine"
	})
	logs := 0
	for _, entry := range logged.entries(t, "http.handlers.gatefold") {
		if text, _ := entry["msg"].(string); strings.HasPrefix(text, "a link leaked") && entry["link"] == id {
			logs++
		}
	}
	entries, _, _, err := s.running().Store.Audit(t.Context(), defaultVendor, store.AuditQuery{Actor: "leak-detector", Record: id})
	if err != nil || logs != 1 || len(entries) != 1 || entries[0].Operation != "quarantine-link" {
		t.Errorf("%d lines of the log; the audit log has %+v, %v", logs, entries, err)
	}

	s.manage(adminURL, http.MethodPost, "/signed-links/"+id+"/restore", "application/json", "{}", http.StatusOK)
	s.get("/articles/hello", "Cookie", cookie).page()
	clock.Advance(11 * time.Minute) // each network is recorded again
	stored := s.shared().Watch.Stats().Networks.Stored
	for network := range 21 {
		s.navigate(link, from(network)...)
	}
	s.settle(stored + 21)
	if status, cause := s.revokedFor(adminURL, id); status != "active" || cause != nil {
		t.Fatalf("the readers of the hour quarantine it again: %v for %v", status, cause)
	}
	for network := range 21 {
		s.navigate(link, from(100+network)...)
	}
	s.waitFor("the second quarantine", func() bool { _, cause := s.revokedFor(adminURL, id); return cause == "leak" })
	clock.Advance(time.Hour)
	s.waitForEnd("link_leaked")
}

// The same with `report`: the link goes on opening, and is reported once.
func TestLeakIsReportedByDefault(t *testing.T) {
	s, adminURL := newLeakSite(t, "link_networks 20")
	link, id := s.link(keys.LinkClaims{})
	for network := range 60 {
		s.get(link, from(network)...).page()
	}
	s.waitForCondition("link_leaked", "It still opens its pages.")
	s.settle(60)
	if status, _ := s.revokedFor(adminURL, id); status != "active" {
		t.Errorf("the link is %v", status)
	}
	s.waitFor("the metric", func() bool { return s.scrape(adminURL)[`gatefold_links_leaked_total{action="report"}`] == 1 })
	leakEvents.Lock()
	defer leakEvents.Unlock()
	if len(leakEvents.list) != 1 || leakEvents.list[0]["action"] != "report" {
		t.Errorf("the events are %v", leakEvents.list)
	}
}

// A gift has a low number of its own, on a site that watches no links: it is reported. The
// link of a newsletter has a higher one than its site allows.
func TestLinkHasItsOwnNumberOfNetworks(t *testing.T) {
	for option, claims := range map[string]keys.LinkClaims{
		"": {MaxNetworks: 3}, "link_networks 2 quarantine": {MaxNetworks: 30},
	} {
		s, adminURL := newLeakSite(t, option)
		link, id := s.link(claims)
		for network := range 9 {
			s.get(link, from(network)...).page()
		}
		if option == "" {
			s.waitForCondition("link_leaked", "It still opens its pages.")
		}
		s.settle(9)
		if status, _ := s.revokedFor(adminURL, id); status != "active" || option != "" && s.found("link_leaked") != nil {
			t.Errorf("with %q the link is %v", option, status)
		}
	}
}

// The same 21 networks over three hours are no leak, however often they come. In the steady
// state nothing is written.
func TestReadersOfThreeHoursAreNoLeak(t *testing.T) {
	s, adminURL := newLeakSite(t, "link_networks 20 quarantine")
	link, id := s.link(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 90000})
	for network := range 21 {
		clock.Advance(3 * time.Hour / 21)
		s.get(link, from(network)...).page()
		s.settle(uint64(network) + 1)
	}
	commits := `gatefold_store_operations_total{operation="commit",result="ok"}`
	before := s.scrape(adminURL)[commits]
	for range 50 {
		s.get(link, from(20)...).page()
	}
	if after := s.scrape(adminURL)[commits]; after != before {
		t.Errorf("50 openings from one network made %v commits", after-before)
	}
	if status, _ := s.revokedFor(adminURL, id); status != "active" || s.found("link_leaked") != nil {
		t.Errorf("the link is %v", status)
	}
}

// Without the option no network is recorded.
func TestNetworksAreNotRecordedByDefault(t *testing.T) {
	s, _ := newLeakSite(t, "link_param token")
	link, id := s.link(keys.LinkClaims{})
	before := len(s.stored(id))
	for network := range 30 {
		s.get(link, from(network)...).page()
	}
	if stats := s.shared().Watch.Stats(); stats.Networks.Stored != 0 || len(s.stored(id)) != before {
		t.Errorf("%+v", stats)
	}
}

// A limit that means nothing, and an action that is none, are refused with what is allowed.
func TestLinkNetworksGrammar(t *testing.T) {
	for option, want := range map[string]string{
		"link_networks":                  "wrong argument count",
		"link_networks 0":                "must be a number above zero",
		"link_networks 257":              "must be a number from 1 to 256",
		"link_networks many":             "must be a number above zero",
		"link_networks 20 delete":        `"delete" is unknown; known are report, quarantine`,
		"link_networks 20 report x":      "wrong argument count",
		"link_country_header CF Country": "wrong argument count",
	} {
		_, err := adapt("http://localhost:1 {\n\tgatefold {\n\t\t" + option + "\n\t\trule / any\n\t}\n}\n")
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%s: %v", option, err)
		}
	}
	t.Setenv("GATEFOLD_TEST_NETWORKS", "300")
	err := load("{\n\tadmin off\n}\nhttp://127.0.0.1:1 {\n\tgatefold {\n\t\tlink_networks {env.GATEFOLD_TEST_NETWORKS}\n\t\trule / any\n\t}\n}\n")
	if err == nil || !strings.Contains(err.Error(), "must be a number from 1 to 256") {
		t.Errorf("a variable above the limit: %v", err)
	}
	err = load("{\n\tadmin off\n}\nhttp://127.0.0.1:1 {\n\tgatefold {\n\t\tlink_country_header \"a b\"\n\t\trule / any\n\t}\n}\n")
	if err == nil || !strings.Contains(err.Error(), "is not the name of a header") {
		t.Errorf("a header of two words: %v", err)
	}
}

// A stranger opens a newsletter's link once from each of 30 networks that they state, to have
// it quarantined for all readers. A stated address is no network.
func TestStatedAddressesQuarantineNothing(t *testing.T) {
	s, adminURL := newLeakSite(t, "link_networks 20 quarantine")
	link, id := s.link(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 90000})
	for network := range 30 {
		if !s.navigate(link, "X-Forwarded-For", fmt.Sprintf("198.18.%d.7, 203.0.113.66", network)) {
			t.Fatalf("request %d got no page", network)
		}
	}
	if !s.navigate(link, from(1)...) {
		t.Fatal("a reader got no page")
	}
	s.settle(1)
	if stored := s.shared().Watch.Stats().Networks.Stored; stored != 1 {
		t.Errorf("%d networks are recorded, want the reader's", stored)
	}
	if status, _ := s.revokedFor(adminURL, id); status != "active" {
		t.Errorf("the link is %v", status)
	}
}
