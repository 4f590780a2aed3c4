package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
)

// loadAt loads the site at another address, with lines in its gate.
func (s *testSite) loadAt(address, gate string) {
	s.Helper()
	s.load(strings.Replace(s.config("", standardRules+gate, ""), "http://127.0.0.1:"+s.port+" {", address+" {", 1))
}

// One origin serves the newspapers a.example and b.example, behind a site without a host.
// The reader of a link to an article of a.example asks b.example for its article, and
// changes `Host`. A link opens pages only of hosts that the configuration names.
func TestLinkDoesNotOpenAHostThatTheClientInvents(t *testing.T) {
	s := newTestSite(t, standardRules)
	host := "a.example:" + s.port
	link, id := s.link(keys.LinkClaims{URL: "http://" + host + "/articles/hello", MaxUses: 9})
	link = strings.TrimPrefix(link, "http://"+host)
	denied := func(host string) {
		t.Helper()
		s.get(link, "Host", host).denied(http.StatusForbidden, "link_other_resource")
		s.origin.WantNone(t)
	}
	opened := func(host string) {
		t.Helper()
		s.get(link, "Host", host).page()
		s.origin.Last(t)
	}
	s.loadAt("http://:"+s.port, "")
	denied(host)
	denied("A.EXAMPLE.:" + s.port)
	explained := s.explain(admin.ExplainRequest{URL: "http://" + host + link})
	checks := explained.Link.Checks
	if last := checks[len(checks)-1]; last.OK || !strings.Contains(last.Detail, "`hosts`") {
		t.Errorf("explain: %+v", last)
	}
	s.loadAt("http://:"+s.port, "hosts b.example *.example.org")
	denied(host)

	for address, gate := range map[string]string{
		"http://a.example:" + s.port:                                           "",
		"http://b.example:" + s.port + ", http://a.example:" + s.port:          "",
		"http://:" + s.port:                                                    "hosts b.example A.example",
		"http://b.example:" + s.port + ", http://*.example:" + s.port:          "",
		"http://b.example:" + s.port + ", http://*:" + s.port + ", :" + s.port: "hosts *.example",
	} {
		s.loadAt(address, gate)
		opened(host)
	}
	if uses := s.uses(id); uses != 5 {
		t.Errorf("%d uses", uses)
	}
	// A link by sku or content id does not depend on the host.
	s.loadAt("http://:"+s.port, "")
	bySKU, _ := s.link(keys.LinkClaims{SKU: "premium"})
	s.get(strings.TrimPrefix(bySKU, s.site), "Host", "c.example").page()
}

// The host of a route or of a named route counts as that of a site's address does.
func TestHostsOfRoutes(t *testing.T) {
	s := newTestSite(t, standardRules)
	host := "a.example:" + s.port
	link, _ := s.link(keys.LinkClaims{URL: "http://" + host + "/articles/hello"})
	link = strings.TrimPrefix(link, "http://"+host)
	gate := "gatefold {\n" + standardRules + "\n}\n"
	upstream := "reverse_proxy " + strings.TrimPrefix(s.origin.URL, "http://")
	head, _, _ := strings.Cut(s.config("", "", ""), "http://127.0.0.1")
	for name, test := range map[string]struct {
		named, site string
		opens       bool
	}{
		"a handle block for the host":   {"", "@a host a.example\nhandle @a {\n" + gate + upstream + "\n}\nrespond 404", true},
		"a handle block for another":    {"", "@b host b.example\nhandle @b {\n" + upstream + "\n}\nhandle {\n" + gate + upstream + "\n}", false},
		"a named route of the host":     {"&(shared) {\nroute {\n" + gate + upstream + "\n}\n}\n", "@a host a.example\nhandle @a {\ninvoke shared\n}", true},
		"a named route of every host":   {"&(shared) {\nroute {\n" + gate + upstream + "\n}\n}\n", "invoke shared", false},
		"a host but not the link's own": {"", "@b not host b.example\nhandle @b {\n" + gate + upstream + "\n}", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.TB = t
			s.load(head + test.named + "http://:" + s.port + " {\n" + test.site + "\n}\n")
			if got := s.get(link, "Host", host); test.opens {
				got.page()
			} else {
				got.denied(http.StatusForbidden, "link_other_resource")
			}
		})
	}
}

// A publisher signs links for its own host. On a site that another newspaper has too, the
// client cannot make that newspaper's page the publisher's.
func TestShareLinkDoesNotOpenAHostThatTheClientInvents(t *testing.T) {
	p := newPartner(t)
	s := newTestSite(t, standardRules)
	s.loadAt("http://"+partnerDomain+":"+s.port+", http://127.0.0.1:"+s.port, "")
	s.pin(p)
	path := "/articles/hello?share=" + p.share("share_1", "")
	s.get(path, "Host", partnerDomain).page()
	s.loadAt("http://:"+s.port, "")
	s.get(path, "Host", partnerDomain).denied(http.StatusForbidden, "link_other_site")
	s.loadAt("http://:"+s.port, "hosts "+partnerDomain)
	s.get(path, "Host", partnerDomain).page()
}
