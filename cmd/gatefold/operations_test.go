package main

import (
	"os"
	"strings"
	"testing"
)

// TestOperationsCommands runs every command of docs/operations.md in one shell,
// against the example site.
func TestOperationsCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, block := range strings.Split(string(text), "<!-- run -->\n```sh\n")[1:] {
		block, _, closed := strings.Cut(block, "```")
		if !closed {
			t.Fatalf("a block does not end: %s", block)
		}
		lines = append(lines, strings.Split(strings.TrimSpace(block), "\n")...)
	}
	if len(lines) < 10 {
		t.Fatalf("only %d commands were found", len(lines))
	}
	s := exampleServer(t)
	for i, output := range runTranscript(t, s, lines) {
		if output == "" && !strings.Contains(lines[i], "=$(") && !strings.Contains(lines[i], " > ") {
			t.Errorf("%s prints nothing", lines[i])
		}
	}
}
