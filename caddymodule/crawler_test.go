package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin"
)

const (
	googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	// crawlerRules let in Googlebot, whose addresses are in a file, and a library.
	crawlerRules = `
		identify jwt {
			issuer self
			cookie reader
		}
		crawler googlebot {
			ranges FILE
			agent Googlebot
		}
		rule /articles/{publisherContentId} {
			entitled premium
			address 198.51.100.0/24
			crawler googlebot
			metered free 2 per day
		}
		rule / any
`
)

func newCrawlerSite(t *testing.T) *testSite {
	t.Helper()
	s := newTestSite(t, standardRules)
	file := s.write("googlebot.txt", "66.249.64.0/27\n2001:4860:4801:10::/64\n")
	s.load(s.config(strictProxy, strings.ReplaceAll(crawlerRules, "FILE", file), ""))
	return s
}

// Googlebot gets the whole page, which neither its archive nor a shared cache is to keep, and
// nothing that is of a reader: no cookie, no session, no view of the meter.
func TestCrawlerGetsThePage(t *testing.T) {
	s := newCrawlerSite(t)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, s-maxage=3600")
		w.Header().Set("X-Robots-Tag", "max-snippet:50")
		_, _ = w.Write([]byte("origin saw it with " + strings.Join(r.Header.Values("Cookie"), ";") + strings.Join(r.Header.Values("Gatefold-Session"), ";")))
	})
	for _, address := range []string{"66.249.64.9", "::ffff:66.249.64.9", "2001:4860:4801:10::1"} {
		got := s.get("/articles/hello", "X-Forwarded-For", address, "User-Agent", googlebot, "Cookie", "theme=dark").page()
		if control := got.Header.Get("Cache-Control"); !strings.Contains(control, "private") || strings.Contains(control, "public") {
			t.Errorf("%s: %q", address, control)
		}
		if robots := got.Header.Values("X-Robots-Tag"); !slices.Equal(robots, []string{"max-snippet:50", "noarchive"}) {
			t.Errorf("%s: X-Robots-Tag %q", address, robots)
		}
		if !strings.HasSuffix(got.body, "with ") || len(got.Cookies()) != 0 {
			t.Errorf("%s: %s, %v", address, got.body, got.Cookies())
		}
	}
	// The copy is nothing for readers: they are decided by themselves.
	s.get("/articles/hello", "X-Forwarded-For", "203.0.113.9").denied(http.StatusUnauthorized, "login_required")
	if got := s.get("/articles/hello", "X-Forwarded-For", "198.51.100.9").page(); got.Header.Get("X-Robots-Tag") != "max-snippet:50" || !strings.Contains(got.Header.Get("Cache-Control"), "private") {
		t.Errorf("the library's page: %v", got.Header)
	}
	explained := s.explain(admin.ExplainRequest{URL: s.site + "/articles/hello", ClientIP: "66.249.64.9", UserAgent: googlebot}).Decision
	if explained.Reason != "crawler" || explained.Crawler != "googlebot" {
		t.Errorf("explain: %+v", explained)
	}
}

// A stranger says that they are Googlebot, or has an address of its cloud, or states one in each
// header that is known for it. None of them is the crawler.
func TestStrangerClaimsToBeACrawler(t *testing.T) {
	s := newCrawlerSite(t)
	for _, headers := range [][]string{
		{"User-Agent", googlebot},
		{"User-Agent", googlebot, "X-Forwarded-For", "203.0.113.9"},
		{"User-Agent", googlebot, "X-Forwarded-For", "66.249.64.9, 203.0.113.9"}, // the client stated the first
		{"User-Agent", googlebot, "X-Real-Ip", "66.249.64.9"},
		{"User-Agent", googlebot, "Forwarded", "for=66.249.64.9"},
		{"User-Agent", "curl/8", "X-Forwarded-For", "66.249.64.9"},
		{"User-Agent", "Mozilla/5.0", "X-Forwarded-For", "66.249.64.9"},
		{"User-Agent", googlebot, "X-Forwarded-For", "66.249.64.32"},
	} {
		s.get("/articles/hello", headers...).denied(http.StatusUnauthorized, "login_required")
	}
	s.origin.WantNone(t)
	direct := newTestSite(t, standardRules)
	file := direct.write("googlebot.txt", "66.249.64.0/27\n")
	direct.load(direct.config("", strings.ReplaceAll(crawlerRules, "FILE", file), "")) // no proxy is trusted
	direct.get("/articles/hello", "User-Agent", googlebot, "X-Forwarded-For", "66.249.64.9").denied(http.StatusUnauthorized, "login_required")
	direct.origin.WantNone(t)
}

// What operators write first: a handle for the agent before the gate. Every client that claims
// the agent gets the article, and the origin's `public` lets shared caches give it to all. The
// step of the gate does neither. docs/paywall.md warns of it.
func TestHandleForBotsServesArticlesToEveryone(t *testing.T) {
	s := newCrawlerSite(t)
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write([]byte("origin saw it"))
	})
	upstream := "reverse_proxy " + strings.TrimPrefix(s.origin.URL, "http://")
	wrong := strings.Replace(s.config(strictProxy, "rule /articles/{id} entitled premium\nrule / any", ""), "\tlog\n\t", "\tlog\n\t@bot header User-Agent *Googlebot*\n\thandle @bot {\n"+upstream+"\n}\n\thandle {\n", 1) + "}\n"
	s.load(wrong)
	got := s.get("/articles/hello", "User-Agent", googlebot, "X-Forwarded-For", "203.0.113.9").page()
	if got.Header.Get("Cache-Control") != "public, max-age=3600" || got.Header.Get("Vary") != "" {
		t.Fatalf("the wrong way is %v: change docs/paywall.md", got.Header)
	}
}

func TestMistakesOfCrawlersInAConfiguration(t *testing.T) {
	s := newTestSite(t, standardRules)
	for gate, want := range map[string]string{
		"rule / crawler googlebot": "has no crawler googlebot",
		"crawler googlebot {\nranges https://search.example/bot.json\n}\nrule / any":                 "Addresses alone",
		"crawler googlebot {\nagent Googlebot\n}\nrule / any":                                        "alone is what any client can say",
		"crawler googlebot {\nranges http://search.example/bot.json\nagent Googlebot\n}\nrule / any": "is not an https URL",
		"crawler googlebot {\nranges /does/not/exist\nagent Googlebot\n}\nrule / any":                "no such file",
	} {
		err := load(s.config("", gate, ""))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", gate, err, want)
		}
	}
}
