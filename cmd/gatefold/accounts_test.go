package main

import (
	"net/http"
	"strings"
	"testing"
)

// The operator of a newspaper sells to companies from the shell: a profile with its users,
// a plan, and a subscription, which decides the next request of every user with a role.
func TestCompanySubscribesByCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, command := range [][]string{
		{"user", "add", "xia", "--name", "Xia Lee", "--email", "xia@abc.example"},
		{"profile", "add", "abc", "--name", "ABC Corp."},
		{"role", "add", "abc", "xia", "--type", "manager"},
		{"plan", "add", "default", "business", "--title", "Business", "--sku", "premium", "--active", "--amount", "9900"},
	} {
		if got := s.must(command...); !strings.HasPrefix(got, "created "+command[0]+" "+command[2]) {
			t.Errorf("%s: %s", command, got)
		}
	}
	s.page("xia").expect(t, http.StatusForbidden, "not_entitled")
	s.must("subscription", "add", "abc", "business", "--starts", "2026-01-01", "--ends", "2037-01-01")
	s.page("xia").expect(t, http.StatusOK, "")
	s.page("ken").expect(t, http.StatusForbidden, "not_entitled")

	for command, want := range map[string]string{
		"profile list --search abc":         "ABC Corp.",
		"user list":                         "xia@abc.example",
		"role list abc":                     "manager",
		"role list --user xia":              "abc",
		"role show abc xia":                 "manager",
		"plan list":                         "9900",
		"plan show default business":        "premium",
		"subscription list abc":             "2037-01-01T00:00:00Z",
		"subscription list --plan business": "abc",
		"subscription show abc business":    "Business",
		"profile show abc":                  "organization",
		"subscription export":               `"plan":"business"`,
		"role export":                       `"role":"manager"`,
		"explain " + s.site + "/articles/hello --user xia": "abc",
	} {
		if got := s.must(strings.Fields(command)...); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in %s", command, want, got)
		}
	}

	// What is added again is the same; the end of the subscription decides at once.
	if got := s.must("role", "add", "abc", "xia", "--type", "manager"); got != "unchanged role abc xia" {
		t.Errorf("added again: %s", got)
	}
	s.must("subscription", "remove", "abc", "business")
	s.page("xia").expect(t, http.StatusForbidden, "not_entitled")
	s.must("role", "remove", "abc", "xia")
	if got := s.command("role", "remove", "abc", "xia"); got.code != 1 || !strings.Contains(got.stderr, "xia has no role on abc") {
		t.Errorf("removed twice: %+v", got)
	}
}

// A file of another system is imported; a row that is wrong is named, and the others count.
func TestRecordsAreImportedFromAFile(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	users := s.write("users.ndjson", `{"slug":"ann"}`+"\n"+`{"slug":"bob"}`+"\n")
	profiles := s.write("profiles.ndjson", `{"slug":"abc","full_name":"ABC Corp."}`+"\n")
	s.must("user", "import", users)
	s.must("profile", "import", profiles)
	roles := s.write("roles.ndjson", `{"profile":"abc","user":"ann","role":"manager"}`+"\n"+`{"profile":"none","user":"bob","role":"manager"}`+"\n"+
		`{"profile":"abc","user":"bob","role":"contributor"}`+"\n")
	dry := s.command("role", "import", roles, "--dry-run")
	if !strings.Contains(dry.stdout, "would be: 2 created") || !strings.Contains(s.must("role", "list", "abc", "--json"), "[]") {
		t.Errorf("dry run: %+v", dry)
	}
	got := s.command("role", "import", roles)
	if got.code != 1 || !strings.Contains(got.stdout, "2 created, 0 changed, 0 unchanged, 1 refused") || !strings.Contains(got.stderr, "line 2: profile") {
		t.Errorf("import: %+v", got)
	}
	exported := s.write("exported.ndjson", s.must("role", "export")+"\n")
	if got := s.must("role", "import", exported); !strings.Contains(got, "0 created, 0 changed, 2 unchanged") {
		t.Errorf("what was exported is imported: %s", got)
	}

	text := s.write("terms.txt", "Be kind.")
	s.must("agreement", "add", "terms-of-use", "--title", "Terms of Use", "--text", text)
	if got := s.must("agreement", "show", "terms-of-use"); !strings.Contains(got, "Be kind.") {
		t.Errorf("the agreement: %s", got)
	}
	agreements := s.write("agreements.ndjson", s.must("agreement", "export")+"\n")
	s.must("agreement", "remove", "terms-of-use")
	if got := s.must("agreement", "import", agreements); !strings.Contains(got, "1 created, 0 changed") {
		t.Errorf("agreements: %s", got)
	}
	if got := s.must("agreement", "list"); !strings.Contains(got, "terms-of-use") {
		t.Errorf("agreements: %s", got)
	}
}

// What can only be a mistake is refused, with the flag or the record.
func TestMistakesInAccountCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for command, want := range map[string]string{
		"plan add default business":                                 "--title is required",
		"plan add none business --title Business":                   "profile",
		"subscription add abc business":                             "--starts is required",
		"subscription add abc none --starts 2026-01-01 --ends 2027": "--ends",
		"role add none xia":                                         "profile",
		"role show abc xia":                                         "no such",
		"profile show none":                                         "no such",
		"profile add with/slash":                                    "slug",
		"profile remove default":                                    "built in",
		"role import none.ndjson":                                   "none.ndjson",
	} {
		got := s.command(strings.Fields(command)...)
		if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want %q", command, got.code, got.stdout, got.stderr, want)
		}
	}
}
