package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An operator sets up a co-working site by commands: a provider and its plan, a profile
// with a manager, a subscription, terms. They export it all, and import it at another
// server, where a wrong line is named.
func TestRecordCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("profile", "add", "cowork", "--name", "Cowork", "--provider")
	s.must("profile", "add", "xia", "--name", "Xia Lee", "--email", "xia@example.com")
	s.must("plan", "add", "open-space", "--profile", "cowork", "--title", "Open Space", "--sku", "desk", "--sku", "coffee", "--amount", "17999")
	s.put(t, "ann")
	s.must("role", "add", "xia", "ann", "--type", "manager")
	s.must("subscription", "add", "xia", "open-space", "--starts", "2026-01-01", "--ends", "2999-01-01")
	s.must("agreement", "add", "terms-of-use", "--title", "Terms of Use", "--text", "Be kind.")
	s.must("agreement", "add", "terms-of-use", "--title", "Terms of Use", "--text", "Be very kind.")
	for _, shown := range [][]string{
		{"desk", "plan", "show", "open-space"},
		{"manager", "role", "show", "xia", "ann"},
		{"xia@example.com", "profile", "list"},
		{"2999-01-01", "subscription", "show", "xia", "open-space"},
		{"Be very kind.", "agreement", "show", "terms-of-use", "--json"},
	} {
		if got := s.must(shown[1:]...); !strings.Contains(got, shown[0]) {
			t.Errorf("%q prints %s", shown[1:], got)
		}
	}
	if got := s.command("plan", "show", "none"); got.code != 1 || !strings.Contains(got.stderr, "there is no plan none") {
		t.Errorf("a plan that does not exist: %+v", got)
	}
	if got := s.command("subscription", "add", "xia", "none", "--starts", "2026-01-01", "--ends", "2999-01-01"); got.code != 1 || got.stderr == "" {
		t.Errorf("a subscription to nothing: %+v", got)
	}
	other := startServer(t)
	other.put(t, "ann")
	for _, kind := range []string{"profile", "plan", "role", "subscription", "agreement"} {
		file := filepath.Join(s.dir, kind+".ndjson")
		exported := s.must(kind, "export") + "\n"
		if err := os.WriteFile(file, []byte(exported), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := other.must(kind, "import", file); !strings.Contains(got, "created") {
			t.Errorf("importing %s: %s", kind, got)
		}
		if got := other.must(kind, "export") + "\n"; got != exported {
			t.Errorf("%s are %s, and were %s", kind, got, exported)
		}
	}
	wrong := filepath.Join(s.dir, "wrong.ndjson")
	if err := os.WriteFile(wrong, []byte("{\"slug\":\"ok\"}\n{\"slug\":\"not a slug\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := other.command("profile", "import", wrong); got.code != 1 || !strings.Contains(got.stderr, "line 2: ") || !strings.Contains(got.stderr, "1 rows were not imported") {
		t.Errorf("a wrong row: %+v", got)
	}
	if got := s.must("subscription", "remove", "xia", "open-space"); !strings.Contains(got, "ended") {
		t.Errorf("removing says %s", got)
	}
	if got := s.must("subscription", "show", "xia", "open-space"); strings.Contains(got, "2999") {
		t.Errorf("the subscription goes on: %s", got)
	}
	s.must("agreement", "remove", "terms-of-use")
}
