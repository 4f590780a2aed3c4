package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeTranscript runs the README as a newcomer does: the example site as
// it stands, and then every line of the transcript, as written, in one shell.
func TestReadmeTranscript(t *testing.T) {
	lines := transcript(t)
	want := []struct {
		line  string   // begins so
		parts []string // must all be in the output
	}{
		{`curl -i http://localhost:8080/`, []string{"HTTP/1.1 200", "The Daily Example"}},
		{`curl -i http://localhost:8080/articles/hello`, []string{"HTTP/1.1 401", "application/problem+json", `"code":"login_required"`, "Www-Authenticate: Bearer"}},
		{`LINK=$(go run ./cmd/gatefold link create`, nil},
		{`echo "$LINK"`, []string{"http://localhost:8080/articles/hello?token=ey"}},
		{`curl -iL -c jar -b jar`, []string{"HTTP/1.1 303", "Location: /articles/hello\r\n", "HTTP/1.1 200", "This is the whole article."}},
		{`curl -i "$LINK"`, []string{"HTTP/1.1 200", "This is the whole article."}},
		{`curl -i "$LINK"`, []string{"HTTP/1.1 403", `"code":"link_used_up"`}},
		{`T=$(go run ./cmd/gatefold token reader`, nil},
		{`curl -i -H "Authorization: Bearer $T"`, []string{"HTTP/1.1 403", `"code":"not_entitled"`}},
		{`go run ./cmd/gatefold grant add`, []string{"granted premium to user-123"}},
		{`curl -i -H "Authorization: Bearer $T"`, []string{"HTTP/1.1 200", "This is the whole article."}},
		{`eval "$(go run ./cmd/gatefold client create`, nil},
		{`A=$(curl -s -u "$CLIENT_ID:$CLIENT_SECRET"`, nil},
		{`curl -i -H "Authorization: Bearer $A"`, []string{"HTTP/1.1 200", `"userId":"user-123"`, `"sku":"premium"`}},
	}
	if len(lines) != len(want) {
		t.Fatalf("the README's transcript has %d lines, this test knows %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
	}

	s := exampleServer(t)
	outputs := runTranscript(t, s, lines)
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w.line) {
			t.Fatalf("line %d is %q, this test knows %q", i+1, lines[i], w.line)
		}
		for _, part := range w.parts {
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

// exampleServer runs Caddyfile.example, on the ports that it names.
func exampleServer(t *testing.T) *server {
	t.Helper()
	config, err := filepath.Abs("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: t.TempDir(), site: "http://localhost:8080", admin: "localhost:2019", config: config, log: new(logFile)}
	if _, err := http.Get(s.site + "/"); err == nil {
		t.Fatal("something else listens on port 8080, which the README's example needs")
	}
	s.start()
	return s
}

// runTranscript runs lines in one shell, and returns the output of each. Instead
// of compiling the program again, `go run ./cmd/gatefold` runs the built one, and
// so does `gatefold`.
func runTranscript(t *testing.T, s *server, lines []string) []string {
	t.Helper()
	tools := t.TempDir()
	standIn := "#!/bin/sh\n[ \"$1 $2\" = 'run ./cmd/gatefold' ] || exit 99\nshift 2\nexec '" + binary + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(tools, "go"), []byte(standIn), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(tools, "gatefold")); err != nil {
		t.Fatal(err)
	}
	const end = "\x1e"
	script := "set -e\n"
	for _, line := range lines {
		script += line + "\nprintf '" + end + "'\n"
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script)
	shell.Dir = t.TempDir()
	shell.Env = append(s.environment(), "PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"))
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
