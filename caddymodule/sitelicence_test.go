package caddymodule

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// campus is a site licence for `premium` by domain and by address.
var campus = store.SiteLicence{
	Domains: []string{"uni.example", "*.uni.example"},
	Ranges:  []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("2001:db8:7::/48")},
}

// mail returns the credential of a reader with an address that is verified or not.
func (s *testSite) mail(email string, verified bool) []string {
	s.Helper()
	return []string{"Authorization", "Bearer " + s.reader(keys.ReaderClaims{UserID: "reader of " + email, Email: email, EmailVerified: verified})}
}

const strictProxy = "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t\ttrusted_proxies_strict\n\t}"

// A stranger wants to be taken for a reader in the library. Without a trusted proxy nothing
// that they send is their address, and behind one it is what the proxy appends.
func TestStrangerStatesALicensedAddress(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.licence(campus)
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip"} {
		for _, address := range []string{"203.0.113.9", "::ffff:203.0.113.9", "10.20.0.9", "for=203.0.113.9"} {
			s.get("/articles/hello", header, address).denied(http.StatusUnauthorized, "login_required")
		}
	}
	s.origin.WantNone(t)

	strict := newTestSiteWith(t, strictProxy, standardRules, "")
	strict.licence(campus)
	lax := map[string]bool{}
	for address, opens := range map[string][2]bool{ // strict, and without it
		"203.0.113.9":               {true, true},
		"::ffff:203.0.113.9":        {true, true},
		"::ffff:cb00:7109":          {true, true},
		"2001:db8:7:1::5%eth0":      {true, true},
		"10.20.0.9":                 {true, true},
		"198.51.100.1, 203.0.113.9": {true, false},  // the proxy appended the second
		"203.0.113.9, 198.51.100.1": {false, false}, // the client stated the first
		"203.0.113.9,":              {true, false},
		"203.0.113.9, 2001:db8::1":  {false, false},
		"198.51.100.1":              {false, false},
		"203.0.113.9.evil.example":  {false, false},
		"::203.0.113.9":             {false, false},
		"127.0.0.1":                 {false, false},
		"":                          {false, false},
	} {
		got := strict.get("/articles/hello", "X-Forwarded-For", address)
		if opened := got.StatusCode == http.StatusOK; opened != opens[0] {
			t.Errorf("strict, from %q: status %d, %s", address, got.StatusCode, got.body)
		}
		lax[address] = opens[1]
	}
	// Two headers are one list.
	strict.get("/articles/hello", "X-Forwarded-For", "203.0.113.9", "X-Forwarded-For", "198.51.100.1").denied(http.StatusUnauthorized, "login_required")

	// Without trusted_proxies_strict Caddy takes the first address of the list, which the
	// client can state: only a list of one counts.
	proxied := newTestSiteWith(t, behindCDN, standardRules, "")
	proxied.licence(campus)
	for address, opens := range lax {
		got := proxied.get("/articles/hello", "X-Forwarded-For", address)
		if opened := got.StatusCode == http.StatusOK; opened != opens {
			t.Errorf("from %q: status %d, %s", address, got.StatusCode, got.body)
		}
	}
}

// Students read by their verified address. An address that was not verified, and one that
// only looks like the university's, opens nothing.
func TestStrangerStatesALicensedDomain(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.licence(campus)
	for _, email := range []string{"ann@uni.example", "Ann@CS.Uni.Example"} {
		s.get("/articles/hello", s.mail(email, true)...).page()
		s.get("/articles/hello", s.mail(email, false)...).denied(http.StatusForbidden, "not_entitled")
	}
	for _, email := range []string{
		"ann@evil-uni.example", "ann@uni.example.evil", "ann@example", "ann@x.uni.example.evil.example",
	} {
		s.get("/articles/hello", s.mail(email, true)...).denied(http.StatusForbidden, "not_entitled")
	}
}

// A page that an address opened is kept by no shared cache, whatever the origin says: the
// next client may come from elsewhere. Its denial is kept by none either.
func TestLicensedPageIsPrivate(t *testing.T) {
	s := newTestSiteWith(t, strictProxy, standardRules, "")
	s.licence(campus)
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600, s-maxage=3600")
		w.Header().Set("CDN-Cache-Control", "max-age=3600")
		_, _ = w.Write([]byte("origin saw it"))
	})
	got := s.get("/articles/hello", "X-Forwarded-For", "203.0.113.9").page()
	control := strings.Join(got.Header.Values("Cache-Control"), ",")
	if !strings.Contains(control, "private") || strings.Contains(control, "public") || strings.Contains(control, "s-maxage") || got.Header.Get("Cdn-Cache-Control") != "" {
		t.Errorf("a licensed page: %v", got.Header)
	}
	s.get("/articles/hello", "X-Forwarded-For", "198.51.100.1").denied(http.StatusUnauthorized, "login_required")
}

// The log and explain name the contract, and what of the reader it covers.
func TestLicenceIsExplained(t *testing.T) {
	s := newTestSiteWith(t, strictProxy, standardRules, "")
	grant := "contract:" + s.licence(campus)
	for _, c := range []struct {
		request admin.ExplainRequest
		by      string
	}{
		{admin.ExplainRequest{Email: "ann@uni.example"}, "domain"},
		{admin.ExplainRequest{ClientIP: "::ffff:203.0.113.9"}, "address"},
		{admin.ExplainRequest{UserID: "bob", ClientIP: "203.0.113.9"}, "address"},
	} {
		c.request.URL = s.site + "/articles/hello"
		decision := s.explain(c.request).Decision
		if !decision.Allow || decision.Reason != "entitled" || decision.Grant != grant || decision.Licence != c.by {
			t.Errorf("%+v: %+v", c.request, decision)
		}
	}
	if decision := s.explain(admin.ExplainRequest{URL: s.site + "/articles/hello", ClientIP: "198.51.100.1"}).Decision; decision.Allow || decision.Licence != "" {
		t.Errorf("%+v", decision)
	}
	// A hypothetical reader with given skus depends on no licence.
	if decision := s.explain(admin.ExplainRequest{URL: s.site + "/articles/hello", Email: "ann@uni.example", SKUs: &[]string{}}).Decision; decision.Allow {
		t.Errorf("%+v", decision)
	}
	s.get("/articles/hello", "X-Forwarded-For", "203.0.113.9").page()
	s.waitFor("the access log", func() bool {
		for _, entry := range logged.entries(t, "http.log.access") {
			gate, _ := entry["gatefold"].(map[string]any)
			if gate["grant"] == grant && gate["licence"] == "address" && gate["reason"] == "entitled" {
				return true
			}
		}
		return false
	})
}

// Long responses to readers of a licence are cut when the contract ends, at once or at its
// time, and those of others go on.
func TestLicensedStreamsAreCut(t *testing.T) {
	s := newStreamSite(t)
	s.load(s.config(strictProxy, streamRules, ""))
	other := campus
	other.Ranges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	s.licence(other)
	_, others := s.open("/articles/events", "X-Forwarded-For", "198.51.100.1")
	for _, kind := range []string{"events", "download", "tunnel"} {
		uni := s.licence(store.SiteLicence{Ranges: campus.Ranges})
		_, ended := s.open("/articles/"+kind, "X-Forwarded-For", "203.0.113.9")
		s.endLicence(uni)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("%s goes on after the contract has ended", kind)
		}
	}
	end := clock.Now().Add(time.Minute)
	s.licenceUntil(store.SiteLicence{Ranges: campus.Ranges}, &end)
	_, ended := s.open("/articles/events", "X-Forwarded-For", "203.0.113.9")
	clock.Advance(time.Minute)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("a stream goes on after the end of the contract")
	}
	select {
	case <-others:
		t.Error("the stream of another licence was cut")
	default:
	}
}

// The month of a library, from requests to the report. What is buffered at a shutdown is
// written.
func TestUsageOfLicences(t *testing.T) {
	s := newTestSiteWith(t, strictProxy, standardRules, "")
	uni := s.licence(campus)
	from := func(address string) []string { return []string{"X-Forwarded-For", address} }
	for range 2 {
		s.get("/articles/hello", from("203.0.113.9")...).page()
		s.get("/articles/hello", from("::ffff:203.0.113.9")...).page()
		s.get("/articles/hello", append(s.mail("ann@uni.example", true), from("203.0.113.9")...)...).page()
	}
	s.get("/closed/x", from("203.0.113.9")...).denied(http.StatusUnauthorized, "login_required")
	s.get("/closed/x", s.mail("ann@uni.example", true)...).denied(http.StatusForbidden, "not_entitled")
	// None of these is of the licence: strangers, public pages, other methods, prefetches, pages
	// by a grant.
	s.get("/articles/hello", from("198.51.100.1")...).denied(http.StatusUnauthorized, "login_required")
	s.get("/public", from("203.0.113.9")...).page()
	s.do(http.MethodHead, "/articles/hello", from("203.0.113.9")...).status(http.StatusOK)
	s.get("/articles/hello", append(from("203.0.113.9"), "Sec-Purpose", "prefetch")...).page()
	_, bearer := s.subscriber()
	s.get("/articles/hello", append(from("203.0.113.9"), "Authorization", bearer)...).page()

	month := time.Date(clock.Now().Year(), clock.Now().Month(), 1, 0, 0, 0, 0, time.UTC)
	s.shared().Usage.Close()
	list, err := s.running().Store.ContractUsage(t.Context(), defaultVendor, uni, month, month)
	if err != nil {
		t.Fatal(err)
	}
	if got := list[0]; got.Pages != 6 || got.Readers != 2 || got.Refused != 2 {
		t.Errorf("%+v", got)
	}
}
