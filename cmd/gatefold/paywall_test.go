package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The commands and the file of docs/paywall.md work as it says.
func TestPaywallCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	text, err := os.ReadFile("../../docs/paywall.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(text)
	file := filepath.Join(t.TempDir(), "main.json")
	if err := os.WriteFile(file, example[1], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.must("paywall", "add", "main", file); got != "main is version 1" {
		t.Errorf("add says %q", got)
	}
	// What show prints can be added again, and changes nothing.
	shown := s.must("paywall", "show", "main")
	if !strings.Contains(shown, `"headline": "Read on with The Acme"`) || !strings.Contains(shown, `"price": 129`) {
		t.Errorf("show prints %s", shown)
	}
	if err := os.WriteFile(file, []byte(shown), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.must("paywall", "add", "main", file); got != "main is version 1" {
		t.Errorf("the second add says %q", got)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(shown, "Read on with", "Go on with", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must("paywall", "add", "main", file)
	if got := s.must("paywall", "show", "main", "--versions"); !strings.Contains(got, "Go on with") || !strings.Contains(got, "Read on with") {
		t.Errorf("the versions are %s", got)
	}
	if got := s.must("paywall", "list"); !regexp.MustCompile(`main +Article paywall +BOXES +ACTIVE +2 `).MatchString(got) {
		t.Errorf("list prints %s", got)
	}
	if got := s.must("paywall", "remove", "main"); got != "removed main" {
		t.Errorf("remove says %q", got)
	}
}
