package caddymodule

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/siteaudit"
)

// loadSites loads a configuration of sites, and returns what it says of their routes.
func loadSites(t *testing.T, sites string) (*testSite, *siteaudit.Report) {
	t.Helper()
	s := newTestSite(t, "rule / any")
	sites = strings.ReplaceAll(sites, "PORT", s.port)
	s.load(fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tgatefold {\n\t\tstore bolt %s\n\t}\n}\n%s", s.database(), sites))
	report, err := s.app().audit()
	if err != nil {
		t.Fatal(err)
	}
	return s, report
}

func problems(report *siteaudit.Report) (all []string) {
	for _, finding := range report.Findings {
		all = append(all, finding.String())
	}
	return all
}

const twoUnnamed = `http://news.example.com:PORT {
	gatefold {
		rule /articles/{publisherContentId} entitled premium
		rule / any
	}
	respond news
}
http://shop.example.com:PORT {
	gatefold {
		rule /articles/{publisherContentId} any
		rule / authenticated
	}
	respond shop
}
`

// Two sites of one vendor that leave the name out have the same one. The load tells it:
// what the API shows of one is the other's.
func TestSitesOfOneNameAreTold(t *testing.T) {
	_, report := loadSites(t, twoUnnamed)
	found := problems(report)
	if len(found) != 1 || !strings.Contains(found[0], "shop.example.com") || !strings.Contains(found[0], "the name default/default of another gate with other settings, on news.example.com") ||
		!strings.Contains(found[0], "`site news`") {
		t.Errorf("the findings are %q", found)
	}
	for name, mended := range map[string]string{
		"a name":       strings.Replace(twoUnnamed, "gatefold {", "gatefold {\n\t\tsite news", 1),
		"a vendor":     strings.Replace(twoUnnamed, "gatefold {", "gatefold {\n\t\tvendor acme", 1),
		"one setting":  strings.NewReplacer("entitled premium", "any", "\t\trule / any", "\t\trule / authenticated").Replace(twoUnnamed),
		"one snippet":  "(gate) {\n\tgatefold {\n\t\trule / any\n\t}\n}\nhttp://a.example.com:PORT {\n\timport gate\n\trespond a\n}\nhttp://b.example.com:PORT {\n\timport gate\n\trespond b\n}\n",
		"two hostings": "http://a.example.com:PORT, http://b.example.com:PORT {\n\tgatefold {\n\t\trule / any\n\t}\n\trespond a\n}\n",
	} {
		if _, report := loadSites(t, mended); len(report.Findings) != 0 {
			t.Errorf("%s: the findings are %q", name, problems(report))
		}
	}
}

// `explain` asks the gate of the URL's host, and refuses a host that no gate serves.
func TestExplainMindsTheHost(t *testing.T) {
	s, _ := loadSites(t, twoUnnamed+"http://*.blogs.example.com:PORT {\n\tgatefold {\n\t\tsite blogs\n\t\trule / entitled blogs\n\t}\n\trespond blogs\n}\n")
	for url, want := range map[string]string{
		"http://news.example.com/articles/hello":      "login_required",
		"http://shop.example.com:8443/articles/hello": "public",
		"http://SHOP.example.com/account":             "login_required",
		"http://a.blogs.example.com/":                 "login_required",
	} {
		explained, err := s.app().explain(t.Context(), "default", admin.ExplainRequest{URL: url})
		if err != nil || explained.Decision.Reason != want {
			t.Errorf("%s: %+v, %v; want %s", url, explained, err, want)
		}
	}
	for url, site := range map[string]string{"http://nwes.example.com/articles/hello": "", "http://shop.example.com/": "blogs"} {
		_, err := s.app().explain(t.Context(), "default", admin.ExplainRequest{URL: url, Site: site})
		if err == nil || !strings.Contains(err.Error(), "serves the host") || !strings.Contains(err.Error(), "*.blogs.example.com") {
			t.Errorf("%s at site %q: the error is %v", url, site, err)
		}
	}
}

// A site of any host explains every URL.
func TestExplainAtASiteOfAnyHost(t *testing.T) {
	s, _ := loadSites(t, "http://:PORT {\n\tgatefold {\n\t\thosts news.example.com\n\t\trule / any\n\t}\n\trespond news\n}\n")
	if explained, err := s.app().explain(t.Context(), "default", admin.ExplainRequest{URL: "http://whatever.example.org/"}); err != nil || !explained.Decision.Allow {
		t.Errorf("%+v, %v", explained, err)
	}
}

// A site whose rules end without one for every path denies what they leave out. The load
// tells it, with the line of the last rule and the remedy.
func TestMissingLastRuleIsReported(t *testing.T) {
	warned := func() (count int) {
		for _, entry := range logged.entries(t, "http.handlers.gatefold") {
			text, _ := entry["msg"].(string)
			remedy, _ := entry["remedy"].(string)
			at, _ := entry["at"].(string)
			if entry["level"] == "warn" && entry["site"] == "unended" && strings.Contains(text, "no last rule") && strings.Contains(remedy, "`rule / any`") && strings.HasPrefix(at, "Caddyfile:") {
				count++
			}
		}
		return count
	}
	const gate = "vendor acme\n\t\tsite unended\n\t\trule /articles/{publisherContentId} entitled premium"
	newTestSite(t, gate).get("/about").denied(403, "no_rule")
	if got := warned(); got != 1 {
		t.Fatalf("the load warns %d times", got)
	}
	for _, ended := range []string{gate + "\n\t\trule / any", gate + "\n\t\trule / entitled premium", "vendor acme\n\t\tsite unended"} {
		if newTestSite(t, ended); warned() != 0 { // the log begins again with each site
			t.Errorf("the load warns of %s", ended)
		}
	}
}
