package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// TestReadmeTranscript follows the README: it runs the example site, and every line
// of the transcript in one shell. Only the ports differ from what is written.
func TestReadmeTranscript(t *testing.T) {
	lines := transcript(t)
	want := []struct {
		line  string   // a prefix
		parts []string // substrings of the output
	}{
		{`curl -i http://localhost:8080/`, []string{"HTTP/1.1 200", "The Daily Example"}},
		{`curl -i http://localhost:8080/articles/hello`, []string{"HTTP/1.1 401", "application/problem+json", `"code":"login_required"`, "Www-Authenticate: Bearer"}},
		{`LINK=$(./gatefold link create`, nil},
		{`echo "$LINK"`, []string{"http://localhost:8080/articles/hello?token=ey"}},
		{`curl -iL -c jar -b jar`, []string{"HTTP/1.1 303", "Location: /articles/hello\r\n", "HTTP/1.1 200", "This is the whole article."}},
		{`curl -i "$LINK"`, []string{"HTTP/1.1 200", "This is the whole article."}},
		{`curl -i "$LINK"`, []string{"HTTP/1.1 200", "This is the whole article."}},
		{`curl -i -A podcasts "$LINK"`, []string{"HTTP/1.1 403", `"code":"link_used_up"`}},
		{`T=$(./gatefold token reader`, nil},
		{`curl -i -H "Authorization: Bearer $T"`, []string{"HTTP/1.1 403", `"code":"not_entitled"`}},
		{`./gatefold grant add`, []string{"granted premium to user-123"}},
		{`curl -i -H "Authorization: Bearer $T"`, []string{"HTTP/1.1 200", "This is the whole article."}},
		{`eval "$(./gatefold client create`, nil},
		{`A=$(curl -s -u "$CLIENT_ID:$CLIENT_SECRET"`, nil},
		{`curl -i -H "Authorization: Bearer $A"`, []string{"HTTP/1.1 200", `"userId":"user-123"`, `"sku":"premium"`}},
	}
	if len(lines) != len(want) {
		t.Fatalf("the README's transcript has %d lines, this test expects %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
	}

	s := exampleServer(t)
	outputs := runTranscript(t, s, lines)
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w.line) {
			t.Fatalf("line %d is %q, this test expects %q", i+1, lines[i], w.line)
		}
		for _, part := range w.parts {
			part = s.onPorts(part)
			if !strings.Contains(outputs[i], part) {
				t.Errorf("%s\nthe output lacks %q:\n%s", lines[i], part, outputs[i])
			}
		}
	}
	if link := strings.TrimSuffix(outputs[3], "\n"); strings.ContainsAny(link, " \n") {
		t.Errorf("link create prints more than the URL: %q", link)
	}
}

// transcript returns the lines of the README's transcript.
func transcript(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "<!-- transcript -->\n```sh\n")
	block, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the README has no transcript")
	}
	comment := regexp.MustCompile(`\s+# .*$`)
	var lines []string
	for line := range strings.Lines(block) {
		if line = comment.ReplaceAllString(strings.TrimSpace(line), ""); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// exampleServer runs Caddyfile.example on free ports, so that two checkouts can run
// the tests at once.
func exampleServer(t *testing.T) *server {
	t.Helper()
	ports := keystest.FreePorts(t, 4)
	s := &server{
		t: t, dir: t.TempDir(), log: new(keystest.Log),
		admin: "127.0.0.1:" + ports[0], site: "http://localhost:" + ports[1], management: "http://localhost:" + ports[2],
	}
	s.config = filepath.Join(s.dir, "Caddyfile")
	s.writeConfig(exampleOn(t, s, ports[3], ports[2]))
	s.start()
	return s
}

// onPorts replaces the addresses of Caddyfile.example by those of the server.
func (s *server) onPorts(text string) string {
	return strings.NewReplacer("http://localhost:8080", s.site, "http://localhost:8081", s.management).Replace(text)
}

// runTranscript runs lines in one shell and returns the output of each. The
// addresses of Caddyfile.example become those of the server. `gatefold` and
// `./gatefold` run the built binary against its admin endpoint.
func runTranscript(t *testing.T, s *server, lines []string) []string {
	t.Helper()
	dir := t.TempDir()
	// The database of the server is not at its default path.
	command := "#!/bin/sh\ncase \"$1 $2\" in 'store verify'|'store restore') set -- \"$@\" --database '" + s.database() + "';; esac\nexec '" + binary + "' \"$@\" --address '" + s.admin + "'\n"
	if err := os.WriteFile(filepath.Join(dir, "gatefold"), []byte(command), 0o700); err != nil {
		t.Fatal(err)
	}
	const end = "\x1e"
	script := "set -e\n"
	for _, line := range lines {
		script += s.onPorts(line) + "\nprintf '" + end + "'\n"
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script)
	shell.Dir = dir
	shell.Env = append(s.environment(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	output, err := shell.Output()
	if err != nil {
		var complaint []byte
		if ended, ok := errors.AsType[*exec.ExitError](err); ok {
			complaint = ended.Stderr
		}
		t.Fatalf("the transcript ended: %v\n%s\n%s", err, output, complaint)
	}
	outputs := strings.Split(string(output), end)
	return outputs[:len(outputs)-1]
}
