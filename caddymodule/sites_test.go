package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/siteaudit"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
)

const gateAll = "gatefold {\nrule / any\n}\n"

// siteScenarios are sites at :PORT, each with the ways to content that pass no gate.
var siteScenarios = []struct {
	name, lines string
	open        []string
	findings    int
}{
	{"one gate", gateAll + "reverse_proxy ORIGIN", nil, 0},
	{"no gate", "reverse_proxy ORIGIN", []string{"/* reverse_proxy ORIGIN"}, 0},
	{
		"the gate is forgotten in a handle block", "handle /articles/* {\n" + gateAll + "reverse_proxy ORIGIN\n}\nhandle {\nreverse_proxy ORIGIN\n}",
		[]string{"/* reverse_proxy ORIGIN except path /articles/*"},
		1,
	},
	{
		"the gate is in one handle block and content behind the blocks", "handle /articles/* {\n" + gateAll + "}\nreverse_proxy ORIGIN",
		[]string{"/* reverse_proxy ORIGIN except path /articles/*"},
		1,
	},
	{"each handle block has the gate", "handle /a/* {\n" + gateAll + "reverse_proxy ORIGIN\n}\nhandle {\n" + gateAll + "reverse_proxy ORIGIN\n}", nil, 0},
	{"the gate is before the blocks", gateAll + "handle /a/* {\nreverse_proxy ORIGIN\n}\nhandle_path /b/* {\nfile_server\n}", nil, 0},
	{"content before the gate in a route", "route {\nreverse_proxy /api/* ORIGIN\n" + gateAll + "reverse_proxy ORIGIN\n}", []string{"/api/* reverse_proxy ORIGIN"}, 1},
	{
		"a handle_path without the gate", "handle_path /blog/* {\nfile_server\n}\nhandle {\n" + gateAll + "reverse_proxy ORIGIN\n}",
		[]string{"/blog/* file_server"},
		1,
	},
	{
		"a method without the gate", "@read method GET HEAD\nroute @read {\n" + gateAll + "}\nreverse_proxy ORIGIN",
		[]string{`/* reverse_proxy ORIGIN except method GET HEAD`},
		1,
	},
	{"the same matcher before gate and content", "@p path /p/*\nroute @p {\n" + gateAll + "}\nreverse_proxy @p ORIGIN", nil, 0},
	{"a narrower path behind the gate", "route /p/* {\n" + gateAll + "}\nreverse_proxy /p/x/* ORIGIN", nil, 0},
	{
		"the path changes between gate and content", "route {\nroute /p/* {\n" + gateAll + "}\nrewrite /q/* /p/x\nreverse_proxy /p/* ORIGIN\n}",
		[]string{"/p/* reverse_proxy ORIGIN except path /p/*"},
		1,
	},
	{
		"everything but a path", "@rest not path /open/*\nroute @rest {\n" + gateAll + "}\nreverse_proxy ORIGIN",
		[]string{"/* reverse_proxy ORIGIN except not path /open/*"},
		1,
	},
	{"an expression", "@e expression path('/x/*')\nhandle @e {\nreverse_proxy ORIGIN\n}\nhandle {\n" + gateAll + "reverse_proxy ORIGIN\n}", []string{"/* reverse_proxy ORIGIN if expression"}, 1},
	{"php behind the gate", gateAll + "php_fastcgi ORIGIN\nfile_server", nil, 0},
	{"php without the gate", "php_fastcgi ORIGIN", []string{"*.php reverse_proxy ORIGIN"}, 0},
	{"forward_auth before the gate", "forward_auth ORIGIN {\nuri /auth\ncopy_headers Remote-User\n}\n" + gateAll + "reverse_proxy ORIGIN", nil, 0},
	{"redirects and fixed responses", "redir /old /new\nrespond /health 200\n" + gateAll + "reverse_proxy ORIGIN", nil, 0},
	{"error routes", gateAll + "reverse_proxy ORIGIN\nhandle_errors {\nrewrite /{err.status_code}.html\nfile_server\n}", nil, 0},
	{"local routes", "gatefold {\nrule /x any {\nlocal\n}\nrule / any\nlocal {\nfile_server\n}\n}\nreverse_proxy ORIGIN", nil, 0},
	{"responses of an upstream", gateAll + "reverse_proxy ORIGIN {\n@accel header X-Accel-Redirect *\nhandle_response @accel {\nrewrite {rp.header.X-Accel-Redirect}\nfile_server\n}\n}", nil, 0},
	{"files that are passed through", gateAll + "file_server {\npass_thru\n}\nreverse_proxy ORIGIN", nil, 0},
	{"two gates", "gatefold {\nsite one\nrule / any\n}\nroute {\ngatefold {\nsite two\nrule / any\n}\nreverse_proxy ORIGIN\n}", nil, 0},
	{"two gates with links", "gatefold {\nsite one\nrule / entitled premium\n}\nroute {\ngatefold {\nsite two\nrule / entitled premium\n}\nreverse_proxy ORIGIN\n}", nil, 1},
	{"a named route without the gate", "route /x/* {\ninvoke shared\n}\nroute {\n" + gateAll + "reverse_proxy ORIGIN\n}", []string{"/x/* reverse_proxy ORIGIN"}, 1},
	{"a named route behind the gate", gateAll + "invoke shared", nil, 0},
	{"http_auth with basic_auth", "basic_auth {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\ngatefold {\nidentify http_auth\nrule / authenticated\n}\nreverse_proxy ORIGIN", nil, 0},
	{"links under any host", "gatefold {\nrule / entitled premium\n}\nreverse_proxy ORIGIN\n}\nhttp://:PORT {\ngatefold {\nsite b\nrule / entitled premium\n}\nreverse_proxy ORIGIN", nil, 1},
	{"links under any host with its hosts", "gatefold {\nrule / entitled premium\n}\nreverse_proxy ORIGIN\n}\nhttp://:PORT {\ngatefold {\nsite b\nhosts news.example.com *.example.org\nrule / entitled premium\n}\nreverse_proxy ORIGIN", nil, 0},
	{"http_auth with nothing", "gatefold {\nidentify http_auth\nrule / authenticated\n}\nreverse_proxy ORIGIN", nil, 1},
	{"http_auth by headers behind forward_auth", "forward_auth ORIGIN {\nuri /auth\ncopy_headers Remote-User\n}\ngatefold {\nidentify http_auth {\nheader user_id Remote-User\n}\nrule / authenticated\n}\nreverse_proxy ORIGIN", nil, 0},
	{"http_auth by headers with nothing", "gatefold {\nidentify http_auth {\nheader user_id Remote-User\n}\nrule / authenticated\n}\nreverse_proxy ORIGIN", nil, 1},
	{"http_auth behind forward_auth alone", "forward_auth ORIGIN {\nuri /auth\ncopy_headers Remote-User\n}\ngatefold {\nidentify http_auth\nrule / authenticated\n}\nreverse_proxy ORIGIN", nil, 1},
	{
		"http_auth with the authenticator in another block", "handle /a/* {\nbasic_auth {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\nreverse_proxy ORIGIN\n}\nhandle {\ngatefold {\nidentify http_auth\nrule / authenticated\n}\nreverse_proxy ORIGIN\n}",
		[]string{"/a/* reverse_proxy ORIGIN"},
		2,
	},
	{"a login page behind its own gate", "gatefold {\nrule /public any\nrule / authenticated\ndeny {\nlogin /login\n}\n}\nreverse_proxy ORIGIN", nil, 1},
	{"a login page that no rule matches", "gatefold {\nrule /account authenticated\ndeny {\nlogin /login\n}\n}\nreverse_proxy ORIGIN", nil, 1},
	{"an open login page", "gatefold {\nrule /login any\nrule / authenticated\ndeny {\nlogin /login?from=gate\n}\n}\nreverse_proxy ORIGIN", nil, 0},
	{"a login page before the gate", "handle /login {\nrespond login\n}\nhandle {\ngatefold {\nrule / authenticated\ndeny {\nlogin /login\n}\n}\nreverse_proxy ORIGIN\n}", nil, 0},
	{"a whole login URL of the site itself", "gatefold {\nrule / authenticated\ndeny {\nlogin http://127.0.0.1:PORT/login\n}\n}\nreverse_proxy ORIGIN", nil, 1},
	{"a login page elsewhere", "gatefold {\nrule / authenticated\ndeny {\nlogin https://id.example.com/login\n}\n}\nreverse_proxy ORIGIN", nil, 0},
	{"a login page that is not served", "gatefold {\nrule /login any\nrule / authenticated\ndeny {\nlogin /login\n}\n}\nreverse_proxy /articles/* ORIGIN", nil, 1},
}

func siteConfig(dir, port, lines string) string {
	return strings.NewReplacer("ORIGIN", "127.0.0.1:9", "PORT", port).Replace(fmt.Sprintf(`{
	admin off
	auto_https off
	storage file_system %s
	log {
		output test
	}
	gatefold {
		store bolt %s/gatefold.db
	}
}
&(shared) {
	reverse_proxy ORIGIN
}
http://127.0.0.1:PORT {
%s
}
`, dir, dir, lines))
}

// openWays describes the ways of a report that pass no gate.
func openWays(report *siteaudit.Report) (open []string) {
	for _, site := range report.Sites {
		for _, way := range site.Open() {
			text := way.Path() + " " + strings.ReplaceAll(way.Handler, "127.0.0.1:9", "ORIGIN")
			if len(way.Except) > 0 {
				text += " except " + strings.Join(way.Except, ", ")
			}
			if strings.HasPrefix(strings.Join(way.Conditions, ""), "expression") {
				text += " if expression"
			}
			open = append(open, text)
		}
	}
	return open
}

// The audit of a configuration finds what passes no gate, from the adapted file as from
// the running server, and the load warns of it once.
func TestSites(t *testing.T) {
	t.Cleanup(func() { _ = caddy.Stop() })
	for _, test := range siteScenarios {
		t.Run(test.name, func(t *testing.T) {
			config := siteConfig(t.TempDir(), keystest.FreePort(t), test.lines)
			adapted, err := adapt(config)
			if err != nil {
				t.Fatal(err)
			}
			report, err := auditConfig(adapted)
			if err != nil {
				t.Fatal(err)
			}
			checkReport(t, "adapted", report, test.open, test.findings)
			logged.Reset()
			if err := load(config); err != nil {
				t.Fatal(err)
			}
			active, err := caddy.ActiveContext().App("gatefold")
			if err != nil {
				t.Fatal(err)
			}
			live, err := active.(*App).audit()
			if err != nil {
				t.Fatal(err)
			}
			checkReport(t, "running", live, test.open, test.findings)
			warned := 0
			for _, entry := range logged.entries(t, "gatefold") {
				if entry["remedy"] != nil {
					warned++
				}
			}
			if warned != test.findings {
				t.Errorf("the load warns %d times, want %d", warned, test.findings)
			}
			if err := caddy.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func checkReport(t *testing.T, of string, report *siteaudit.Report, open []string, findings int) {
	t.Helper()
	if got := openWays(report); strings.Join(got, "\n") != strings.Join(open, "\n") {
		text, _ := json.MarshalIndent(report, "", " ")
		t.Errorf("%s: what passes no gate is %q, want %q\n%s", of, got, open, text)
	}
	if len(report.Findings) != findings {
		t.Errorf("%s: the findings are %v, want %d", of, report.Findings, findings)
	}
}

// The example, and the site of the README, have no finding.
func TestGoodSitesHaveNoFindings(t *testing.T) {
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{string(example)}
	for _, block := range regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindAllStringSubmatch(string(readme), -1) {
		if strings.Contains(block[1], "reverse_proxy") {
			files = append(files, block[1])
		}
	}
	if len(files) < 2 {
		t.Fatal("the README has no site")
	}
	for _, file := range files {
		adapted, err := adapt(file)
		if err != nil {
			t.Fatal(err)
		}
		report, err := auditConfig(adapted)
		if err != nil {
			t.Fatal(err)
		}
		gated := false
		for _, site := range report.Sites {
			gated = gated || site.Gated
			if site.Gated && len(site.Open()) > 0 {
				t.Errorf("open: %v", openWays(report))
			}
		}
		if len(report.Findings) > 0 || !gated {
			t.Errorf("gated: %v; the findings are %v in\n%s", gated, report.Findings, file)
		}
	}
}

// A login page is judged by the rules in the store as well, once the server runs.
func TestLoginBehindStoredRules(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { _ = caddy.Stop() })
	if err := load(siteConfig(dir, keystest.FreePort(t), "gatefold {\ndeny {\nlogin /login\n}\n}\nreverse_proxy ORIGIN")); err != nil {
		t.Fatal(err)
	}
	active, err := caddy.ActiveContext().App("gatefold")
	if err != nil {
		t.Fatal(err)
	}
	report, err := active.(*App).audit()
	if err != nil || len(report.Findings) != 1 || !strings.Contains(report.Findings[0].Problem, "no_rule") {
		t.Errorf("a site without any rule denies its login page: %v, %v", report.Findings, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "gatefold.db")); err != nil {
		t.Error(err)
	}
}

// A gate for one host of a site leaves the others open; a site that has none by itself
// is listed without an alarm, and a plain http site beside a gated one is the same site.
func TestSitesOfSeveralHosts(t *testing.T) {
	adapted, err := adapt(`*.example.com {
	@a host a.example.com
	handle @a {
		gatefold {
			rule / any
		}
	}
	reverse_proxy a:1
}
open.example.org {
	reverse_proxy b:1
}
news.example.org {
	gatefold {
		rule / any
	}
	reverse_proxy c:1
}
http://news.example.org {
	reverse_proxy c:1
}
`)
	if err != nil {
		t.Fatal(err)
	}
	report, err := auditConfig(adapted)
	if err != nil {
		t.Fatal(err)
	}
	var sites []string
	for _, finding := range report.Findings {
		sites = append(sites, finding.Site)
	}
	if got := strings.Join(sites, " "); got != "*.example.com news.example.org" {
		t.Errorf("the findings are of %q: %v", got, report.Findings)
	}
	if text := report.Text(); !strings.Contains(text, "open.example.org") || !strings.Contains(text, "none, as on the whole site") ||
		!strings.Contains(text, "WARNING  news.example.org/: ") || !strings.Contains(text, "not host a.example.com") ||
		!strings.Contains(text, "Ways to content on 4 sites: 1 pass a gate, 3 pass none.") {
		t.Errorf("the text is\n%s", text)
	}
}

// The audit of a thousand sites costs each what it costs among a hundred, and its text is
// short.
func TestThousandSites(t *testing.T) {
	few, _ := auditSites(t, 100)
	all, report := auditSites(t, 1000)
	if len(report.Sites) != 1000 || len(report.Findings) != 0 || !strings.Contains(report.Text(), "on 1000 sites: 2000 pass a gate, 0 pass none.") {
		t.Errorf("%d sites, the findings are %v, the text %s", len(report.Sites), report.Findings, report.Text())
	}
	if ratio := float64(all) / float64(few); ratio > 40 {
		t.Errorf("ten times as many sites take %.1f times as long (%v, %v)", ratio, all, few)
	}
}

// auditSites audits sites, each with a gate before two origins, and returns the time of
// the fastest of three audits.
func auditSites(t *testing.T, n int) (fastest time.Duration, report *siteaudit.Report) {
	t.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "s%d.example.com {\n\tgatefold {\n\t\trule /open any\n\t\trule / authenticated\n\t}\n\thandle /a/* {\n\t\treverse_proxy a:1\n\t}\n\treverse_proxy b:1\n}\n", i)
	}
	adapted, err := adapt(text.String())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		began := time.Now()
		if report, err = auditConfig(adapted); err != nil {
			t.Fatal(err)
		}
		if taken := time.Since(began); fastest == 0 || taken < fastest {
			fastest = taken
		}
	}
	return fastest, report
}

// Two gates on one request must both allow. The inner one believes nothing that a client
// sends, nor the outer one's word, and a signed link is spent once at most.
func TestTwoGatesOnOneRequest(t *testing.T) {
	inner := `route {
		gatefold {
			site second
			identify jwt {
				issuer self
			}
			rule /articles/members authenticated
			rule /articles/{publisherContentId} entitled gold
			rule /closed entitled nothing
			rule / any
		}
		reverse_proxy ORIGIN
	}`
	s := newTestSite(t, standardRules)
	config := strings.Replace(s.config("", standardRules, ""), "reverse_proxy "+strings.TrimPrefix(s.origin.URL, "http://"),
		strings.Replace(inner, "ORIGIN", strings.TrimPrefix(s.origin.URL, "http://"), 1), 1)
	s.load(config)
	name, first := s.subscriber()
	if got := s.get("/public", "Gatefold-Session", "forged", "X_Gatefold_User", "forged"); got.StatusCode != http.StatusOK {
		t.Errorf("a page that both open: %d", got.StatusCode)
	}
	request := s.origin.Last(t)
	if len(request.Header["Gatefold-Session"]) > 1 || strings.Contains(fmt.Sprint(request.Header), "forged") {
		t.Errorf("the origin gets %v", request.Header)
	}
	// The outer gate allows; the inner one knows no reader of its own site.
	if got := s.get("/articles/members", name, first); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("allowed by the outer gate alone: %d %s", got.StatusCode, got.body)
	}
	// The inner gate would allow; the outer one denies.
	if got := s.get("/account"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("allowed by the inner gate alone: %d", got.StatusCode)
	}
	link, id := s.link(keys.LinkClaims{MaxUses: 5})
	if got := s.get(link); got.StatusCode != http.StatusUnauthorized || s.uses(id) > 1 {
		t.Errorf("a link for both gates: %d, %d uses of one request", got.StatusCode, s.uses(id))
	}
}
