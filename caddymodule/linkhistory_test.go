package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/visitor"
)

// behindCDN trusts the proxies of this machine, with a header that names the country.
const behindCDN = "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}"

const countryOption = "\n\t\tlink_country_header CF-IPCountry\n"

// newHistorySite returns a site whose history of links is written at once, and its admin
// endpoint.
func newHistorySite(t *testing.T, global, options string) (s *testSite, adminURL string) {
	t.Helper()
	every(t, time.Millisecond)
	keepClock(t)
	s = newTestSite(t, standardRules)
	address := "127.0.0.1:" + keystest.FreePort(t)
	s.load(strings.Replace(s.config(global, standardRules+options, ""), "admin off", "admin "+address, 1))
	return s, "http://" + address
}

// history returns the history of a link, as the management API answers it.
func (s *testSite) history(adminURL, id string) (history []admin.LinkUse) {
	s.Helper()
	got := s.get(adminURL + "/gatefold/management/links/" + id + "/uses?limit=1000")
	if err := json.Unmarshal([]byte(got.body), &history); got.StatusCode != http.StatusOK || err != nil {
		s.Fatalf("%d %s, %v", got.StatusCode, got.body, err)
	}
	return history
}

// lines are the entries of a history without their times and ids, sorted.
func lines(history []admin.LinkUse) (all []string) {
	for _, e := range history {
		all = append(all, strings.TrimSpace(fmt.Sprint(e.Kind, " ", e.Reason, " ", e.Country, " ", e.AgentClass, " ", e.Count)))
	}
	slices.Sort(all)
	return all
}

// navigate opens a link as a browser does, and returns whether it got the page.
func (s *testSite) navigate(link string, headers ...string) bool {
	s.Helper()
	clean := s.get(link, append(headers, navigation...)...)
	if clean.StatusCode != http.StatusSeeOther {
		return false
	}
	page := strings.TrimPrefix(clean.Header.Get("Location"), s.site)
	return s.get(page, append(append(headers, navigation...), "Cookie", clean.linkCookie())...).StatusCode == http.StatusOK
}

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

// A reader complains at 3 a.m. that the gift is used up. The history says by whom: by so
// many browsers in Sweden, a podcast app and a script in Germany, and that the reader, in
// Norway, was refused. It has the addresses, agents and ids of none of them.
func TestReaderComplainsThatTheGiftIsUsedUp(t *testing.T) {
	s, adminURL := newHistorySite(t, behindCDN, countryOption)
	link, id := s.link(keys.LinkClaims{MaxUses: 10})
	for i := range 8 {
		if !s.navigate(link, "User-Agent", firefox, "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i), "CF-IPCountry", "se") {
			t.Fatalf("reader %d got no page", i)
		}
	}
	s.get(link, "User-Agent", "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)", "CF-IPCountry", "SE").page()
	s.get(link, "User-Agent", "curl/8.8.0", "CF-IPCountry", "DE").page()
	clock.Advance(time.Hour / 2)
	s.get(link, "User-Agent", "WhatsApp/2.23.20.0", "CF-IPCountry", "NO").denied(http.StatusUnauthorized, "login_required") // a preview is no reader
	s.get(link, append([]string{"User-Agent", firefox, "X-Forwarded-For", "203.0.113.9", "CF-IPCountry", "NO"}, navigation...)...)
	want := []string{
		"confirmed  DE command_line 1", "confirmed  SE browser 1", "confirmed  SE browser 1", "confirmed  SE browser 1", "confirmed  SE browser 1",
		"confirmed  SE browser 1", "confirmed  SE browser 1", "confirmed  SE browser 1", "confirmed  SE browser 1", "confirmed  SE podcast_app 1",
		"refused link_used_up NO browser 1",
	}
	s.waitFor("the refusal", func() bool { return len(s.history(adminURL, id)) > 10 })
	history := s.history(adminURL, id)
	if got := lines(history); !slices.Equal(got, want) {
		t.Errorf("the history is\n%s", strings.Join(got, "\n"))
	}
	if first := history[0]; first.Kind != "refused" || !first.At.Equal(clock.Now()) || !first.Since.Equal(first.At) {
		t.Errorf("the first entry is %+v", first)
	}
	old := s.get(adminURL + "/gatefold/management/signed-links/" + id + "/uses?limit=1000").body
	if got := s.get(adminURL + "/gatefold/management/links/" + id + "/uses?limit=1000").body; got != old {
		t.Errorf("the older path answers %s", old)
	}
	for _, of := range []string{"198.51.100", "203.0.113", "Firefox", "overcast"} {
		for _, entry := range s.stored(id) {
			if strings.Contains(entry, of) {
				t.Errorf("%q is in the record %q", of, entry)
			}
		}
	}
}

// stored returns the keys and values of the records with a link's id.
func (s *testSite) stored(id string) (found []string) {
	s.Helper()
	backend, err := s.shared().Engine.Open()
	if err != nil {
		s.Fatal(err)
	}
	dumper, ok := backend.(engine.Dumper)
	if !ok {
		s.Fatalf("the engine is a %T", backend)
	}
	var after []byte
	for {
		page, err := dumper.Dump(s.Context(), defaultVendor, after, 500)
		if err != nil {
			s.Fatal(err)
		}
		if len(page) == 0 {
			return found
		}
		for _, entry := range page {
			if bytes.Contains(entry.Key, []byte(id)) {
				found = append(found, string(entry.Key)+"="+string(entry.Value))
			}
		}
		after = page[len(page)-1].Key
	}
}

// A client that is no trusted proxy names its country itself: it is not recorded. Neither is
// what is no country, nor any without the option.
func TestCountryOfTheCDNOnly(t *testing.T) {
	for name, c := range map[string]struct {
		global, options, sent, want string
	}{
		"the CDN":         {behindCDN, countryOption, "SE", "SE"},
		"a client":        {"", countryOption, "SE", ""},
		"no country":      {behindCDN, countryOption, `"><script>`, ""},
		"without options": {behindCDN, "", "SE", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, adminURL := newHistorySite(t, c.global, c.options)
			link, id := s.link(keys.LinkClaims{MaxUses: 1})
			s.get(link, "CF-IPCountry", c.sent).page()
			if history := s.history(adminURL, id); len(history) != 1 || history[0].Country != c.want || history[0].AgentClass != visitor.Other {
				t.Errorf("the history is %+v", history)
			}
		})
	}
}

// A stranger has a link that is used up and asks for its page without end, from programs of
// all kinds: the node writes the history at most once a minute, the record is bounded,
// and no request waits for it.
func TestStrangerFloodsALinkWithRefusals(t *testing.T) {
	s, adminURL := newHistorySite(t, "", "")
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	s.get(link).page()
	refused := func(n int) {
		for i := range n {
			agent := []string{"curl/8", firefox, "python-requests/2", "Feedly/1", "bot/1", "Podcasts/1", "okhttp", "x"}[i%8]
			s.get(link, "User-Agent", fmt.Sprint(agent, " ", i)).denied(http.StatusForbidden, "link_used_up")
		}
	}
	count := func() (entries int, total int64) {
		for _, e := range s.history(adminURL, id) {
			if e.Kind == "refused" {
				entries, total = entries+1, total+e.Count
			}
		}
		return entries, total
	}
	refused(1)
	s.waitFor("the first refusal, at once", func() bool { _, n := count(); return n == 1 })
	refused(200)
	if before := s.shared().Watch.Stats().Refusals; before.Stored != 1 || before.Dropped+before.Lost != 0 {
		t.Errorf("in the first minute: %+v", before)
	}
	total := int64(201)
	for range 20 {
		clock.Advance(time.Minute)
		s.waitFor("the refusals of the minute before", func() bool { _, n := count(); return n == total })
		refused(16)
		total += 16
	}
	clock.Advance(time.Minute)
	s.waitFor("the last", func() bool { _, n := count(); return n == total })
	if entries, _ := count(); entries > 64 {
		t.Errorf("%d entries", entries)
	}
	size := 0
	for _, entry := range s.stored(id) {
		size += len(entry)
	}
	if size > 20<<10 {
		t.Errorf("the link takes %d bytes", size)
	}
}

// Forged tokens, of links that exist and of none, and tokens of other kinds write nothing.
// The refusal of a link that has expired is in its history, and of a revoked one as well.
func TestForgedTokensWriteNoHistory(t *testing.T) {
	s, adminURL := newHistorySite(t, "", "")
	link, id := s.link(keys.LinkClaims{ExpiresAt: clock.Now().Unix() + 60})
	revoked, revokedID := s.link(keys.LinkClaims{})
	if _, err := s.running().Store.As(store.Actor{}).RevokeLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), revokedID); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour / 2)
	before := len(s.stored(id))
	forged := link[:len(link)-8] + "AAAAAAAA"
	if forged == link {
		t.Fatal("the token is not forged")
	}
	s.get(forged).denied(http.StatusForbidden, "link_expired") // the time is checked first
	s.get("/articles/hello?token="+cutLink).denied(http.StatusForbidden, "link_invalid")
	s.get(revoked).denied(http.StatusForbidden, "link_revoked")
	s.waitFor("the refusal of the revoked link", func() bool { return len(s.history(adminURL, revokedID)) == 1 })
	if n := len(s.stored(id)); n != before || len(s.history(adminURL, id)) != 0 {
		t.Errorf("forged tokens wrote %d records", n-before)
	}
	s.get(link, "User-Agent", "curl/8").denied(http.StatusForbidden, "link_expired")
	s.waitFor("the refusal of the expired link", func() bool { return len(s.history(adminURL, id)) == 1 })
	if got := lines(s.history(adminURL, id)); got[0] != "refused link_expired  command_line 1" {
		t.Errorf("the history is %v", got)
	}
}

// The history of a link is gone with its records, 30 days after its end.
func TestHistoryEndsWithTheLink(t *testing.T) {
	s, adminURL := newHistorySite(t, "", "")
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	s.get(link).page()
	s.get(link).denied(http.StatusForbidden, "link_used_up")
	s.waitFor("the refusal", func() bool { return len(s.history(adminURL, id)) == 2 })
	clock.Advance(time.Hour + 30*24*time.Hour - time.Minute)
	if _, err := s.running().Store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.history(adminURL, id)) != 2 {
		t.Error("the history ended before the link's records")
	}
	clock.Advance(2 * time.Minute)
	if _, err := s.running().Store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := s.stored(id); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
	if got := s.get(adminURL + "/gatefold/management/links/" + id + "/uses"); got.StatusCode != http.StatusNotFound {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}
