package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDomainsDocument follows docs/domains.md as a publisher and as an operator: it
// builds the program in the document and runs the commands as they are written.
func TestDomainsDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/domains.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(begin string) string {
		t.Helper()
		_, rest, found := strings.Cut(string(text), begin)
		block, _, closed := strings.Cut(rest, "```")
		if !found || !closed {
			t.Fatalf("the document has no block that begins with %q", begin)
		}
		return strings.TrimSpace(block)
	}
	tools := t.TempDir()
	program := filepath.Join(tools, "mint.go")
	if err := os.WriteFile(program, []byte(block("```go\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(tools, "mint"), program)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the program cannot be built: %v\n%s", err, out)
	}
	t.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH"))

	lines := strings.Split(block("<!-- run -->\n```sh\n"), "\n")
	want := []struct{ line, part string }{
		{"mint key", ""},
		{"gatefold domain put localhost", "localhost is trusted: 1 active keys"},
		{"gatefold domain show localhost", "hello"},
		{"LINK=$(mint share", ""},
		{"curl -i", "This is the whole article."},
		{"curl -i", "This is the whole article."},
		{"curl -i", "link_used_up"},
		{"LINK=$(mint link", ""},
		{"curl -i", "This is the whole article."},
		{"gatefold explain", "allow, signed_link"},
		{"gatefold domain remove localhost", "no longer trusted"},
		{"curl -i", "link_untrusted"},
	}
	if len(lines) != len(want) {
		t.Fatalf("the document has %d commands, this test knows %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
	}
	for i, output := range runTranscript(t, exampleServer(t), lines) {
		if !strings.HasPrefix(lines[i], want[i].line) {
			t.Fatalf("command %d is %q, this test knows %q", i+1, lines[i], want[i].line)
		}
		if !strings.Contains(output, want[i].part) {
			t.Errorf("%s\nthe output lacks %q:\n%s", lines[i], want[i].part, output)
		}
	}
}

// The list has the domains of all pages.
func TestDomainListFollowsPages(t *testing.T) {
	t.Parallel()
	const domains = 2500
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		first := 0
		if from := r.URL.Query().Get("from"); from != "" {
			_, _ = fmt.Sscanf(from, "d%d.example", &first)
			first++
		}
		var page []string
		for i := first; i < min(first+limit, domains); i++ {
			page = append(page, fmt.Sprintf(`{"domain":"d%d.example"}`, i))
		}
		fmt.Fprintf(w, `{"domains":[%s]}`, strings.Join(page, ","))
	}))
	t.Cleanup(pages.Close)
	got := runCommand(t, t.TempDir(), os.Environ(), "domain", "list", "--json", "--address", strings.TrimPrefix(pages.URL, "http://"))
	if got.code != 0 || strings.Count(got.stdout, ".example") != domains || !strings.Contains(got.stdout, "d2499.example") {
		t.Errorf("exit code %d, %d domains: %s", got.code, strings.Count(got.stdout, ".example"), got.stderr)
	}
}

func TestDomainCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if refused := s.command("domain", "put", "news.example"); refused.code != 1 || !strings.Contains(refused.stderr, "exactly one") {
		t.Errorf("without keys: %d %s", refused.code, refused.stderr)
	}
	if refused := s.command("domain", "put", "news.example:443", "--jwks", "https://news.example/jwks"); refused.code != 1 || !strings.Contains(refused.stderr, "port") {
		t.Errorf("with a port: %d %s", refused.code, refused.stderr)
	}
	if refused := s.command("domain", "put", "news.example", "--jwks", "https://evil.example/jwks"); refused.code != 1 || !strings.Contains(refused.stderr, "another host") {
		t.Errorf("on another host: %d %s", refused.code, refused.stderr)
	}
	// A host that never resolves (RFC 6761) is trusted, and the probe reports the
	// error.
	put := s.must("domain", "put", "Publisher.Invalid", "--jwks", "https://publisher.invalid/jwks", "--allow", "a", "--allow", "prefix:b*")
	if !strings.Contains(put, "publisher.invalid is trusted: its keys are unavailable") {
		t.Errorf("put says %s", put)
	}
	if list := s.must("domain", "list"); !strings.Contains(list, "https://publisher.invalid/jwks") || !strings.Contains(list, "a, prefix:b*") || !strings.Contains(list, "local operator") {
		t.Errorf("list says\n%s", list)
	}
	if probe := s.command("domain", "probe", "publisher.invalid"); probe.code != 1 || !strings.Contains(probe.stderr, "unavailable") {
		t.Errorf("probe: %d %s", probe.code, probe.stderr)
	}
	var shown struct {
		Domain string
		Probe  struct {
			OK    bool
			Error string
		}
	}
	decode(t, s.must("domain", "show", "publisher.invalid", "--json"), &shown)
	if shown.Domain != "publisher.invalid" || shown.Probe.OK || shown.Probe.Error == "" {
		t.Errorf("show --json gives %+v", shown)
	}
	if status := s.command("status"); status.code != 1 || !strings.Contains(status.stdout, "keys of https://publisher.invalid/jwks") || !strings.Contains(status.stdout, "publisher_keys_missing") {
		t.Errorf("status says %+v", status)
	}
	s.must("domain", "deny", "kid/1", "--note", "leaked")
	if denied := s.must("domain", "denied"); !strings.Contains(denied, "kid/1") || !strings.Contains(denied, "leaked") {
		t.Errorf("denied says\n%s", denied)
	}
	s.must("domain", "allow", "kid/1")
	if denied := s.must("domain", "denied"); strings.Contains(denied, "kid/1") {
		t.Errorf("denied says\n%s", denied)
	}
	s.must("domain", "remove", "publisher.invalid")
	s.must("domain", "remove", "publisher.invalid")
	if gone := s.command("domain", "show", "publisher.invalid"); gone.code != 1 || !strings.Contains(gone.stderr, "no such record") {
		t.Errorf("show after remove: %d %s", gone.code, gone.stderr)
	}
	s.get(s.site+"/articles/hello?share=a.b.c").expect(t, http.StatusUnauthorized, "login_required")
}
