package upstreamtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// readmeBlock is the site block of the README, as it is there.
func readmeBlock(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```caddyfile\n(news\\.example\\.com \\{\n.*?\n\\})\n```").FindSubmatch(text)
	if block == nil {
		t.Fatal("README.md has no site block for news.example.com")
	}
	for _, part := range []string{"\trule /articles/{publisherContentId} entitled", "\trule /account", "\trule / any\n", readmeProxy} {
		if !strings.Contains(string(block[1]), part) {
			t.Fatalf("the site block of README.md lacks %q: %s", part, block[1])
		}
	}
	return string(block[1])
}

// readmeProxy is the README's origin, which the tests replace.
const readmeProxy = "\treverse_proxy localhost:3000\n"

// judged are headers that say which rule decided and what it captured. Caddy sets
// them when the answer begins, after the gate.
const judged = `	header {
		>X-Judged-Rule "{http.gatefold.rule}"
		>X-Judged-Name "[{http.gatefold.param.publisherContentId}]"
		defer
	}
`

// variant is a form of the site block.
type variant struct {
	name string
	// prefix is put before the paths of the corpus, because the site block removes it.
	prefix string
	// change returns the README's block with the variant's change.
	change func(block string, o origin) string
	// unnamed: the headers do not say what was judged, because a path has several
	// readings, or because an error route answers.
	unnamed bool
	// errors: the origin answers denied requests, with its own statuses.
	errors bool
}

// insert puts directives before the gate.
func insert(lines string) func(string, origin) string {
	return func(block string, _ origin) string {
		return strings.Replace(block, "\tgatefold {\n", lines+"\tgatefold {\n", 1)
	}
}

// option puts an option into the gate's block.
func option(lines string) func(string, origin) string {
	return func(block string, _ origin) string {
		return strings.Replace(block, "\tgatefold {\n", "\tgatefold {\n"+lines, 1)
	}
}

// denyWith replaces the README's denials.
func denyWith(block, lines string) string {
	return regexp.MustCompile(`(?s)\t\tdeny \{\n.*?\n\t\t\}\n`).ReplaceAllLiteralString(block, lines)
}

// allTraits are the spellings that a site can permit.
const allTraits = "\t\tpaths {\n\t\t\tallow empty_segments encoded_slash parameters\n\t\t}\n"

// asItIs is the site block as it is in the README.
var asItIs = variant{name: "README", change: func(block string, _ origin) string { return block }}

// changed are site blocks that differ from the README's in one point.
var changed = []variant{
	{name: "all spellings permitted", unnamed: true, change: option(allTraits)},
	{name: "strip_prefix before the gate", prefix: "/blog", change: insert("\turi strip_prefix /blog\n")},
	{name: "handle_path around the gate", prefix: "/blog", change: func(block string, o origin) string {
		begin := strings.Index(block, "\tgatefold {\n")
		end := strings.LastIndex(block, o.handler) + len(o.handler) + 1
		return block[:begin] + "\thandle_path /blog/* {\n" + block[begin:end] + "\t}\n" + block[end:]
	}},
	{name: "rewrite before the gate", prefix: "/old", change: insert("\turi path_regexp ^/old/? /\n")},
	{name: "errors answered by the origin", errors: true, unnamed: true, change: func(block string, o origin) string {
		block = denyWith(block, "\t\tdeny {\n\t\t\terrors\n\t\t}\n")
		return strings.TrimSuffix(block, "}") + "\thandle_errors {\n\t\t" + errorHandler(o) + "\n\t}\n}"
	}},
}

// withLinks is a site with a page that a query selects.
var withLinks = variant{name: "links", change: func(block string, _ origin) string {
	return strings.Replace(block, "\t\trule / any\n", "\t\trule /article entitled premium\n\t\trule / any\n", 1)
}}

// errorHandler serves error pages from the origin, in the form that the origin's
// documentation has: a front controller gets the denied request again.
func errorHandler(o origin) string {
	if o.fpm {
		return "rewrite * /index.php?{query}\n\t\t" + strings.ReplaceAll(o.handler, "\n", "\n\t\t")
	}
	return strings.ReplaceAll(o.handler, "\n", "\n\t\t")
}

// site is one origin behind one variant of the site block.
type site struct {
	origin  origin
	variant variant
	// address is that of the gated site, open that of the same site without the gate.
	address, open string
	port          string
}

// gate is a running gatefold with all sites.
type gate struct {
	t        *testing.T
	dir      string
	admin    string
	config   string
	sites    []*site
	process  *process
	premium  string // token of a reader who may read everything
	entitled string // token of a reader with a grant for hello
	other    string // token of a reader with a grant for other
}

// block returns the site block of a site, with and without the gate.
func (s *site) block(readme, openPort string) string {
	text := strings.Replace(readme, readmeProxy, "\t"+s.origin.handler+"\n", 1)
	text = s.variant.change(text, s.origin)
	gated := strings.Replace(text, "news.example.com {\n", fmt.Sprintf("http://%s:%s {\n\tbind 127.0.0.1\n%s", host, s.port, judged), 1)
	if openPort == "" {
		return gated + "\n"
	}
	return gated + fmt.Sprintf("\n\nhttp://:%s {\n\tbind 127.0.0.1\n\t%s\n}\n\n", openPort, s.origin.handler)
}

// startGate starts the gate with each variant before each origin, and makes the
// readers.
func startGate(t *testing.T, origins []origin, variants ...variant) *gate {
	t.Helper()
	g := &gate{t: t, dir: t.TempDir(), admin: "127.0.0.1:" + keystest.FreePort(t)}
	readme := readmeBlock(t)
	config := fmt.Sprintf("{\n\tadmin %s\n\tauto_https off\n\tpersist_config off\n\tlog {\n\t\tlevel PANIC\n\t}\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n\tgatefold {\n\t\tstore bolt %s\n\t}\n}\n\n", g.admin, filepath.Join(g.dir, "gatefold.db"))
	open, ports := map[string]string{}, keystest.FreePorts(t, (len(variants)+1)*len(origins))
	for _, v := range variants {
		for _, o := range origins {
			s := &site{origin: o, variant: v, port: ports[len(g.sites)]}
			openPort := ""
			if open[o.name] == "" {
				openPort = ports[len(ports)-1-len(open)]
				open[o.name] = "127.0.0.1:" + openPort
			}
			s.address, s.open = "127.0.0.1:"+s.port, open[o.name]
			config += s.block(readme, openPort)
			g.sites = append(g.sites, s)
		}
	}
	g.config = write(t, g.dir, "Caddyfile", config)
	g.process = run(t, g.dir, g.environment(), binary, "run", "--config", g.config)
	g.process.waitFor(t, "the commands work", func() error {
		_, err := g.command("status")
		return err
	})
	g.premium, g.entitled, g.other = g.reader("user-premium", "premium"), g.reader("user-hello", "hello"), g.reader("user-other", "other")
	return g
}

func (g *gate) environment() []string {
	return append(os.Environ(), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
}

// command runs a command of gatefold, and returns what it prints.
func (g *gate) command(args ...string) (string, error) {
	cmd := exec.CommandContext(g.t.Context(), binary, append(args, "--address", g.admin)...)
	cmd.Env, cmd.Dir = g.environment(), g.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%q: %w: %s", args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (g *gate) must(args ...string) string {
	g.t.Helper()
	out, err := g.command(args...)
	if err != nil {
		g.t.Fatalf("%v\n%s", err, g.process.log)
	}
	return out
}

// reader makes a reader with one grant, and returns a header with the reader's token.
func (g *gate) reader(user, sku string) string {
	g.t.Helper()
	g.must("grant", "add", "--user", user, "--sku", sku)
	return "Cookie: reader=" + g.must("token", "reader", "--user", user)
}
