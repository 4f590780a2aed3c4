package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var ruleLine = regexp.MustCompile(`(?m)^\t\trule .*\n`)

// startWithoutRules starts a server whose site has its rules in the store.
func startWithoutRules(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(ruleLine.ReplaceAllString(string(config), ""))
	s.launch()
	s.waitFor("the site answers", func() bool {
		got, err := fetch(s.site + "/")
		return err == nil && got.StatusCode == http.StatusForbidden
	})
	return s
}

// A change of the rules from the command line takes effect with the next request.
func TestRuleCommands(t *testing.T) {
	t.Parallel()
	s := startWithoutRules(t)
	s.get(s.site+"/").expect(t, http.StatusForbidden, "no_rule")

	s.must("rule", "add", "/", "any")
	s.get(s.site+"/articles/hello").expect(t, http.StatusOK, "")
	added := s.command("rule", "add", "/articles/{publisherContentId}", "entitled", "premium", "{publisherContentId}", "--methods", "get,HEAD", "--engaged", "read")
	if added.code != 0 || !strings.Contains(added.stderr, "never") {
		t.Errorf("a rule behind / is not reported as one that never decides: %+v", added)
	}
	s.must("rule", "move", "/articles/{publisherContentId}", "1")
	s.get(s.site+"/articles/hello").expect(t, http.StatusUnauthorized, "login_required")
	s.must("rule", "add", "/account", `authenticated`, "--rank", "2")

	list := s.must("rule", "list")
	for _, line := range []string{
		`1 +/articles/\{publisherContentId\} +GET,HEAD +entitled/\{"sku":\["premium","\{publisherContentId\}"\]\} +yes +read`,
		`2 +/account +all +authenticated +yes`,
		`3 +/ +all +any +yes`,
	} {
		if !regexp.MustCompile(line).MatchString(list) {
			t.Errorf("the list lacks %s:\n%s", line, list)
		}
	}
	var rules []struct {
		Rank int
		Path string
	}
	decode(t, s.must("rule", "list", "--json"), &rules)
	if len(rules) != 3 || rules[1].Path != "/account" || rules[1].Rank != 2 {
		t.Errorf("rule list --json gives %+v", rules)
	}

	s.must("rule", "remove", "/account")
	s.get(s.site+"/account").expect(t, http.StatusOK, "")
	for _, bad := range [][]string{
		{"add", "/x", "nonsense"},
		{"add", "/", "any"},
		{"add", "/x", "entitled/{"},
		{"move", "/none", "1"},
		{"move", "/", "first"},
		{"remove", "/none"},
		{"add", "/x", "any", "premium"},
		{"list", "--site", "No!"},
		{"add", "/a/../b", "any"},
	} {
		if got := s.command(append([]string{"rule"}, bad...)...); got.code != 1 || got.stdout != "" || got.stderr == "" {
			t.Errorf("rule %q: %+v", bad, got)
		}
	}
	if after := s.must("rule", "list"); strings.Count(after, "\n") != 2 {
		t.Errorf("a bad command changed something:\n%s", after)
	}
}

// Rules are exported, edited, compared and imported, all or none.
func TestRulesInGit(t *testing.T) {
	t.Parallel()
	s := startWithoutRules(t)
	const first = `[
	{"path":"/articles/{publisherContentId}","allow":"entitled/{\"sku\":[\"premium\"]}"},
	{"path":"/account","methods":["GET","HEAD"],"allow":"authenticated"},
	{"path":"/old","allow":"any","engaged":"tag"},
	{"path":"/","allow":"any"}
]
`
	file := s.write("rules.json", first)
	if dry := s.must("rule", "import", file, "--dry-run"); !strings.Contains(dry, "would import 4 rules: 4 added, 0 removed, 0 changed, 0 moved") {
		t.Errorf("dry run says\n%s", dry)
	}
	s.get(s.site+"/").expect(t, http.StatusForbidden, "no_rule")
	s.must("rule", "import", file)
	s.get(s.site+"/").expect(t, http.StatusOK, "")
	if exported := s.must("rule", "export") + "\n"; exported != first {
		t.Errorf("imported was\n%s\nexported is\n%s", first, exported)
	}
	if again := s.must("rule", "import", file); !strings.Contains(again, "nothing changes") {
		t.Errorf("importing the same again says\n%s", again)
	}

	edited := strings.Replace(first, "\t"+`{"path":"/old","allow":"any","engaged":"tag"},`+"\n", "", 1)
	edited = strings.Replace(edited, "[\n", "[\n\t"+`{"path":"/account","methods":["GET","HEAD"],"allow":"any"},`+"\n\t"+`{"path":"/new","allow":"any"},`+"\n", 1)
	edited = strings.Replace(edited, "\t"+`{"path":"/account","methods":["GET","HEAD"],"allow":"authenticated"},`+"\n", "", 1)
	diff := s.must("rule", "import", s.write("edited.json", edited))
	for _, line := range []string{
		"- 3 /old any engaged tag\n", "- 2 /account GET,HEAD authenticated\n", "+ 1 /account GET,HEAD any\n", "+ 2 /new any\n",
		"> /account from 2 to 1\n", "imported 4 rules: 1 added, 1 removed, 1 changed, 1 moved",
	} {
		if !strings.Contains(diff+"\n", line) {
			t.Errorf("the difference lacks %q:\n%s", line, diff)
		}
	}
	s.get(s.site+"/account").expect(t, http.StatusOK, "")

	// One bad rule of many: nothing is stored.
	for _, bad := range []string{
		strings.Replace(first, `"any","engaged"`, `"nonsense","engaged"`, 1),
		strings.Replace(first, `"/old"`, `"/account"`, 1),
		strings.Replace(first, `"engaged"`, `"tags"`, 1),
		strings.TrimSuffix(first, "]\n"), first + "x", `{}`, `[{"path":"/x"}]`, "",
	} {
		if got := s.command("rule", "import", s.write("bad.json", bad)); got.code != 1 || got.stdout != "" || got.stderr == "" {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	if exported := s.must("rule", "export") + "\n"; exported != edited {
		t.Errorf("a bad import changed the rules:\n%s", exported)
	}
	if got := s.command("rule", "import", filepath.Join(s.dir, "none.json")); got.code != 1 {
		t.Errorf("no file: %+v", got)
	}
	var changes struct {
		Added, Removed, Changed, Moved []struct{}
		DryRun                         bool
	}
	decode(t, s.must("rule", "import", file, "--dry-run", "--json"), &changes)
	if !changes.DryRun || len(changes.Added) != 1 || len(changes.Removed) != 1 || len(changes.Changed) != 1 || len(changes.Moved) != 1 {
		t.Errorf("--json gives %+v", changes)
	}
}

// Rules of the Caddyfile are listed and exported, but not changed.
func TestRulesOfTheCaddyfileAreReadOnly(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if list := s.must("rule", "list"); !strings.Contains(list, "/account") || strings.Count(list, "\n") != 3 {
		t.Errorf("rule list says\n%s", list)
	}
	file := s.write("rules.json", s.must("rule", "export"))
	for _, change := range [][]string{
		{"add", "/x", "any"}, {"remove", "/account"}, {"move", "/account", "1"}, {"import", file}, {"import", file, "--dry-run"},
	} {
		if got := s.command(append([]string{"rule"}, change...)...); got.code != 1 || !strings.Contains(got.stderr, "written in the server's configuration") {
			t.Errorf("rule %q: %+v", change, got)
		}
	}
}

const goodTable = `# method url               who              expected        rule
GET        /                 anonymous        public          /
GET        /articles/hello   anonymous        login_required  /articles/{publisherContentId}
GET        /articles/hello   reader           not_entitled
GET        /articles/hello   sku:gift,premium entitled
GET        /articles/hello/2 sku:hello        allow           # the article's own sku, and what is below it
GET        /articles/hello   sku:other        deny
HEAD       /articles/hello?p=2 anonymous+link signed_link
POST       http://any.example/account reader  authenticated   /account
GET        /account          anonymous+link   login_required  # links open what is entitled, and nothing else
GET        /articles//x      sku:premium      bad_path
TRACE      /                 anonymous        bad_method
`

// A table has the same result with the running server, its configuration file and
// its exported rules.
func TestRuleTest(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	counted := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "1")
	table := s.write("rules.test", goodTable)
	rules := s.write("rules.json", s.must("rule", "export"))
	offline := func(args ...string) result {
		// Without access to the files of the server.
		dir := t.TempDir()
		got := runCommand(t, dir, append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir), append([]string{"rule", "test"}, args...)...)
		if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
			t.Errorf("%q made files: %v %v", args, made, err)
		}
		return got
	}
	for name, got := range map[string]result{
		"server": s.command("rule", "test", table, "--reach-all"),
		"config": offline(table, "--config", s.config, "--reach-all"),
		"rules":  offline(table, "--rules", rules, "--reach-all"),
	} {
		if got.code != 0 || got.stdout != "11 of 11 rows pass; 3 of 3 rules reached\n" || got.stderr != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}

	bad := s.write("bad.test", "GET / anonymous deny\nGET /articles/x anonymous login_required /\nGET / reader public\n")
	want := []string{
		"FAIL line 1: GET / as anonymous: want deny, got allow, public, by the rule /\n",
		"FAIL line 2: GET /articles/x as anonymous: want the rule / to decide, got /articles/{publisherContentId}\n",
		"no row reaches the rule 2 /account authenticated\n", "1 of 3 rows pass; 2 of 3 rules reached\n",
	}
	for name, got := range map[string]result{
		"server": s.command("rule", "test", bad), "config": offline(bad, "--config", s.config), "rules": offline(bad, "--rules", rules),
	} {
		if got.code != 1 || got.stdout != strings.Join(want, "") || !strings.Contains(got.stderr, "2 of 3 rows failed") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	var report struct {
		Rows   int
		Failed []struct {
			Line   int
			Reason string
		}
		Unreached []struct{ Rank int }
	}
	got := s.command("rule", "test", bad, "--json")
	decode(t, got.stdout, &report)
	if got.code != 1 || report.Rows != 3 || len(report.Failed) != 2 || report.Failed[0].Reason != "public" || len(report.Unreached) != 1 {
		t.Errorf("--json gives %+v", report)
	}

	// Only a server knows the grants in its store.
	s.must("grant", "add", "--user", "u", "--sku", "premium")
	stored := s.write("stored.test", "GET /articles/x user:u entitled\nGET /articles/x user:v not_entitled\nGET / anonymous public\n")
	if got := s.command("rule", "test", stored); got.code != 0 {
		t.Errorf("with the grants in the store: %+v", got)
	}
	if got := s.command("rule", "test", stored, "--reach-all"); got.code != 1 || !strings.Contains(got.stderr, "1 of 3 rules") {
		t.Errorf("--reach-all: %+v", got)
	}
	if got := offline(stored, "--config", s.config); got.code != 1 || !strings.Contains(got.stderr, "line 1") {
		t.Errorf("offline: %+v", got)
	}

	for _, test := range [][2]string{
		{"GET / anonymous", "line 1"},
		{"(GET) / anonymous allow", "METHOD"},
		{"GET / unknown allow", "anonymous, reader"},
		{"GET / sku: allow", "sku"},
		{"\nGET / anonymous sure", "line 2"},
		{"GET x anonymous allow", "URL"},
		{"GET / anonymous allow / x", "line 1"},
		{"# nothing\n", "no rows"},
	} {
		if got := s.command("rule", "test", s.write("wrong.test", test[0])); got.code != 1 || !strings.Contains(strings.ToLower(got.stderr), strings.ToLower(test[1])) || got.stdout != "" {
			t.Errorf("%q: %+v", test[0], got)
		}
	}
	if got := offline(table, "--config", s.config, "--site", "other"); got.code != 1 || !strings.Contains(got.stderr, "no such site") {
		t.Errorf("another site: %+v", got)
	}

	// The tests spent no use of the link.
	s.get(counted).expect(t, http.StatusOK, "")
	s.get(counted).expect(t, http.StatusForbidden, "link_used_up")
}

// The database, the secret and the key files of a configuration need not exist for
// an offline test.
func TestRuleTestOpensNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "Caddyfile")
	text := `{
	gatefold {
		store bolt /nonexistent/gatefold.db
		secret {env.GATEFOLD_TEST_UNSET}
	}
}

https://news.example.com {
	route {
		gatefold {
			vendor acme
			site   news
			identify jwt {
				issuer https://id.example.com
				jwks /nonexistent/jwks.json
				audience news
			}
			rule /a entitled premium
			paths {
				allow empty_segments
			}
		}
	}
}
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(dir, "rules.test")
	if err := os.WriteFile(table, []byte("GET //a/b sku:premium entitled /a\nGET /b anonymous no_rule\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runCommand(t, dir, append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir), "rule", "test", table, "--config", config, "--vendor", "acme")
	if got.code != 1 || !strings.Contains(got.stdout, "FAIL line 1: GET //a/b as sku:premium: want entitled, got deny, no_rule") {
		t.Errorf("a path of two readings, one of which no rule covers: %+v", got)
	}
}
