package packagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	statusCode  = regexp.MustCompile(`\b[1-5][0-9]{2}\b`)
	problemCode = regexp.MustCompile(`"([a-z_]+)"`)
)

// transcript runs the README's transcript against the service, and compares what each
// line prints with the README's own comment: its statuses and its problem codes.
func (s *service) transcript(t *testing.T) {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, filepath.Join(root, "README.md")), "<!-- transcript -->\n```sh\n")
	block, _, _ := strings.Cut(rest, "```")
	comment := regexp.MustCompile(`\s+# (.*)$`)
	const end = "\x1e"
	script, comments := "set -e\n", []string{}
	for line := range strings.Lines(block) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		said := append(comment.FindStringSubmatch(line), "", "")[1]
		script += s.onPorts(comment.ReplaceAllString(line, "")) + "\nprintf '" + end + "'\n"
		comments = append(comments, said)
	}
	dir := t.TempDir()
	command := "#!/bin/sh\nexec " + strings.Join(s.command(nil, "/usr/bin/gatefold"), " ") + ` "$@" --address localhost:` + s.ports["2019"] + "\n"
	if err := os.WriteFile(filepath.Join(dir, "gatefold"), []byte(command), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script)
	shell.Dir = dir
	output, err := shell.CombinedOutput()
	outputs := strings.Split(string(output), end)
	if err != nil || len(outputs) != len(comments)+1 {
		t.Fatalf("the transcript ended: %v\n%s\n%s", err, output, s.log)
	}
	checked := 0
	for i, said := range comments {
		for _, status := range statusCode.FindAllString(said, -1) {
			checked++
			if !strings.Contains(outputs[i], "HTTP/1.1 "+status) {
				t.Errorf("the README says %q, and the line prints\n%s", said, outputs[i])
			}
		}
		for _, code := range problemCode.FindAllStringSubmatch(said, -1) {
			if !strings.Contains(outputs[i], `"code":"`+code[1]+`"`) {
				t.Errorf("the README says %q, and the line prints\n%s", said, outputs[i])
			}
		}
	}
	if checked < 8 {
		t.Errorf("the README's transcript says only %d statuses", checked)
	}
}
