package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A command that fails prints one line on stderr and nothing on stdout, and exits
// with code 1: a script that reads a link from stdout must not read an error.
func TestCommandErrors(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"link without target", []string{"link", "create"}, "url"},
		{"link with a bad url", []string{"link", "create", "not a url"}, "url"},
		{"link for an ambiguous path", []string{"link", "create", s.site + "/a/%2e%2e/b"}, "url"},
		{"link without uses", []string{"link", "create", s.site + "/x", "--max-uses", "0"}, "--max-uses"},
		{"link with a bad lifetime", []string{"link", "create", s.site + "/x", "--expires", "soon"}, "expiresIn"},
		{"link with a lifetime above the limit", []string{"link", "create", s.site + "/x", "--expires", "367d"}, "366 days"},
		{"unknown link", []string{"link", "show", "link_unknown"}, "no such record"},
		{"revoking an unknown link", []string{"link", "revoke", "link_unknown"}, "no such record"},
		{"grant without sku", []string{"grant", "add", "--user", "u"}, "--sku"},
		{"grant without reader", []string{"grant", "add", "--sku", "premium"}, "userId"},
		{"grant that ends before it starts", []string{"grant", "add", "--user", "u", "--sku", "s", "--starts", "2027-02-01", "--ends", "2027-01-01"}, "endsAt"},
		{"grant at a bad time", []string{"grant", "add", "--user", "u", "--sku", "s", "--ends", "tomorrow"}, "--ends"},
		{"grant in an unknown list", []string{"grant", "add", "--user", "u", "--sku", "s", "--list", "src_none"}, "no such record"},
		{"unknown grant", []string{"grant", "remove", "grant_none"}, "no such record"},
		{"token without reader", []string{"token", "reader"}, "--user"},
		{"bad vendor", []string{"link", "list", "--vendor", "No!"}, "vendor"},
		{"unknown flag", []string{"link", "create", "--maxuses", "1"}, "unknown flag"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := s.command(test.args...)
			if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, test.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want 1, nothing, and %q", got.code, got.stdout, got.stderr, test.want)
			}
		})
	}
	if links := s.must("link", "list", "--json"); links != "[]" {
		t.Errorf("a link was stored: %s", links)
	}
	if grants := s.must("grant", "list", "--json"); grants != "[]" {
		t.Errorf("a grant was stored: %s", grants)
	}
}

func TestCommandsWithoutServer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	got := s.command("link", "list")
	if got.code != 1 || !strings.Contains(got.stderr, "no server answers") {
		t.Errorf("exit code %d, stderr %q", got.code, got.stderr)
	}
}

func TestJSONOutput(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var link struct {
		SignedURL string `json:"signedUrl"`
		TokenID   string `json:"tokenId"`
	}
	decode(t, s.must("link", "create", s.site+"/articles/hello", "--sku", "premium", "--user", "u-1", "--meta", "campaign=autumn", "--json"), &link)
	if !strings.HasPrefix(link.SignedURL, s.site+"/articles/hello?token=") || link.TokenID == "" {
		t.Errorf("link create --json gives %+v", link)
	}
	var shown struct {
		TokenID, Status, SKU, UserID string
		Meta                         map[string]string
	}
	decode(t, s.must("link", "show", link.TokenID, "--json"), &shown)
	if shown.Status != "active" || shown.SKU != "premium" || shown.UserID != "u-1" || shown.Meta["campaign"] != "autumn" {
		t.Errorf("link show --json gives %+v", shown)
	}
	if strings.Contains(s.must("link", "list", "--json"), "eyJ") {
		t.Error("link list shows a token")
	}
	var grant struct{ ID, Source, SKU string }
	decode(t, s.must("grant", "add", "--email", "r@example.com", "--sku", "premium", "--json"), &grant)
	if grant.Source != "src_default" || grant.SKU != "premium" {
		t.Errorf("grant add --json gives %+v", grant)
	}
	var grants []struct{ ID string }
	decode(t, s.must("grant", "list", "--json"), &grants)
	if len(grants) != 1 || grants[0].ID != grant.ID {
		t.Errorf("grant list --json gives %+v", grants)
	}
}

func decode(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%q is not JSON: %v", text, err)
	}
}

// A Caddy built as xcaddy does, by a module whose main imports Caddy's standard
// modules and caddymodule, has the commands only below `gatefold`.
func TestCaddyBuiltWithTheModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	goSum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	module := strings.Replace(string(goMod), "module github.com/gatefold/gatefold\n", "module caddy\n", 1) +
		"\nrequire github.com/gatefold/gatefold v0.0.0\n\nreplace github.com/gatefold/gatefold => " + root + "\n"
	for name, text := range map[string]string{
		"go.mod": module,
		"go.sum": string(goSum),
		"main.go": `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/gatefold/gatefold/caddymodule"
)

func main() { caddycmd.Main() }
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", "caddy", ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "caddy"), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("caddy %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	modules := run("list-modules")
	for _, id := range []string{"gatefold", "http.handlers.gatefold", "admin.api.gatefold"} {
		if !strings.Contains("\n"+modules, "\n"+id+"\n") {
			t.Errorf("list-modules lacks %s", id)
		}
	}
	if help := run("gatefold", "link", "create", "--help"); !strings.Contains(help, "--max-uses") {
		t.Errorf("caddy gatefold link create does not exist:\n%s", help)
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(trapConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	if own := run("validate", "--config", config); !strings.Contains(own, "Valid configuration") || strings.Contains(own, "WARNING  ") {
		t.Errorf("caddy validate prints %s", own)
	}
	if report := run("gatefold", "validate", "--config", config); !strings.Contains(report, "Valid configuration") || !strings.Contains(report, "WARNING  127.0.0.1:8123/") {
		t.Errorf("caddy gatefold validate prints %s", report)
	}
	help := run("help")
	for _, short := range []string{"  link ", "  grant ", "  token "} {
		if strings.Contains(help, short) {
			t.Errorf("a plain Caddy has the command%sat the top level", short)
		}
	}
}
