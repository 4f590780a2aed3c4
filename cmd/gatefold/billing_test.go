package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys/keystest"
)

// page requests the gated page as a reader.
func (s *server) page(user string) answer {
	s.t.Helper()
	return s.get(s.site+"/articles/hello", "Authorization", "Bearer "+s.must("token", "reader", "--user", user))
}

// A newspaper's billing system sends a file every day. A corrected file changes what
// changed, doubles nothing, and decides the next request; removing the one grant of a
// reader takes the access.
func TestCorrectedFileDecidesTheNextRequest(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	first := s.write("monday.csv", "publisherPurchaseId,userId,sku,endsAt\np1,u1,premium,2037-01-31\np2,u2,premium,\np3,u3,premium,\n")
	if got := s.must("grant", "import", first); !strings.Contains(got, "created 3 grants, changed 0, left 0 unchanged, removed 0") {
		t.Errorf("the first file: %s", got)
	}
	s.page("u2").expect(t, http.StatusOK, "")
	if got := s.must("grant", "list", "--user", "u1", "--json"); !strings.Contains(got, `"endsAt": "2037-01-31T00:00:00Z"`) {
		t.Errorf("a date without a time: %s", got)
	}

	// The order p2 was of u4. The file has no status, so p3 stays as support left it.
	second := s.write("tuesday.csv", "publisherPurchaseId,userId,sku,endsAt\np1,u1,premium,2037-01-31\np2,u4,premium,\np3,u3,premium,\n")
	dry := s.command("grant", "import", second, "--dry-run", "--replace-list")
	if dry.code != 0 || !strings.Contains(dry.stdout, "would create 0 grants, change 1, leave 2 unchanged, remove 0; nothing was changed") ||
		!strings.Contains(dry.stderr, "line 3: would change userId of grant_") {
		t.Errorf("the dry run: %+v", dry)
	}
	s.page("u2").expect(t, http.StatusOK, "")
	if got := s.must("grant", "import", second); !strings.Contains(got, "created 0 grants, changed 1, left 2 unchanged") {
		t.Errorf("the corrected file: %s", got)
	}
	s.page("u2").expect(t, http.StatusForbidden, "not_entitled")
	s.page("u4").expect(t, http.StatusOK, "")

	// Back to the first file: it is imported again, not taken for done.
	if got := s.must("grant", "import", first); !strings.Contains(got, "changed 1, left 2 unchanged") {
		t.Errorf("the first file again: %s", got)
	}
	s.page("u4").expect(t, http.StatusForbidden, "not_entitled")
	id := strings.Fields(strings.Split(s.must("grant", "list", "--purchase", "p2"), "\n")[1])[0]
	s.must("grant", "remove", id)
	s.page("u2").expect(t, http.StatusForbidden, "not_entitled")
}

// A list is made equal to a file, unless a row of it was refused. The wrong file is undone.
func TestReplaceListAndUndo(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("grant", "import", s.write("all.csv", "userId,sku\nu1,premium\nu2,premium\nu3,premium\n"))
	bad := s.command("grant", "import", s.write("bad.csv", "userId,sku\nu1,premium\nu2,\n"), "--replace-list")
	if bad.code != 1 || !strings.Contains(bad.stderr, "no grant was removed") || !strings.Contains(bad.stdout, "removed 0") {
		t.Errorf("with a refused row: %+v", bad)
	}
	if got := s.command("grant", "import", s.write("empty.csv", "userId,sku\n"), "--replace-list"); got.code != 1 || !strings.Contains(got.stderr, "nothing was removed") {
		t.Errorf("an empty file: %+v", got)
	}
	s.page("u3").expect(t, http.StatusOK, "")
	file := s.write("half.csv", "userId,sku,notes\nu1,premium,\nu2,premium,a note\nu9,premium,\n")
	dry := s.command("grant", "import", file, "--replace-list", "--dry-run", "--json")
	var counts struct {
		ImportID                             string
		Created, Changed, Unchanged, Removed int
	}
	decode(t, dry.stdout, &counts)
	if counts.Created != 1 || counts.Changed != 1 || counts.Unchanged != 1 || counts.Removed != 1 {
		t.Errorf("the dry run: %+v", counts)
	}
	decode(t, s.must("grant", "import", file, "--replace-list", "--json"), &counts)
	if counts.Created != 1 || counts.Changed != 1 || counts.Unchanged != 1 || counts.Removed != 1 {
		t.Errorf("the import: %+v", counts)
	}
	s.page("u3").expect(t, http.StatusForbidden, "not_entitled")
	s.page("u9").expect(t, http.StatusOK, "")
	if got := s.must("grant", "list", "--import", counts.ImportID); strings.Count(got, "premium") != 2 {
		t.Errorf("the grants of the import:\n%s", got)
	}

	if got := s.must("grant", "import", "--undo", counts.ImportID); !strings.Contains(got, "1 created grants removed, 2 grants as before, 0 left") {
		t.Errorf("undo: %s", got)
	}
	s.page("u3").expect(t, http.StatusOK, "")
	s.page("u9").expect(t, http.StatusForbidden, "not_entitled")
	if got := s.command("grant", "import", "--undo", "none"); got.code != 1 || !strings.Contains(got.stderr, "no such record") {
		t.Errorf("an unknown import: %+v", got)
	}
	log := s.must("audit", "--kind", "grant-import", "--operation", "undo-grant-import", "--limit", "1")
	if !strings.Contains(log, counts.ImportID) || !strings.Contains(log, `"removed":1,"restored":2`) {
		t.Errorf("the audit log:\n%s", log)
	}
}

// Support finds what a reader has by their e-mail address, and takes and gives back many
// grants at once.
func TestFindAndRemoveGrants(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("grant", "import", s.write("a.ndjson", `{"userId":"u1","email":"Ada@example.com","sku":"premium","extraFields":{"campaign":"autumn"}}
{"userId":"u2","sku":"premium","extraFields":{"campaign":"autumn"}}
{"userId":"u3","sku":"premium"}
`))
	for flags, want := range map[string]string{
		"--email ada@EXAMPLE.com":                    "u1",
		"--meta campaign=autumn":                     "u1 u2",
		"--sku premium --limit 2":                    "u1 u2",
		"--sku premium --list src_default --user u3": "u3",
		"--sku archive":                              "",
	} {
		var grants []admin.Grant
		decode(t, s.must(append([]string{"grant", "list", "--json"}, strings.Fields(flags)...)...), &grants)
		var users []string
		for _, g := range grants {
			users = append(users, g.UserID)
		}
		if got := strings.Join(users, " "); got != want {
			t.Errorf("grant list %s: %q, want %q", flags, got, want)
		}
	}
	explained := s.must("explain", s.site+"/articles/hello", "--email", "ada@example.com")
	if !strings.Contains(explained, "allow, entitled") || !strings.Contains(explained, "ada@example.com, as if verified") {
		t.Errorf("explain --email:\n%s", explained)
	}
	if explained := s.must("explain", s.site+"/articles/hello", "--email", "bob@example.com"); !strings.Contains(explained, "deny, not_entitled") {
		t.Errorf("explain --email of a reader without grants:\n%s", explained)
	}

	s.page("u2").expect(t, http.StatusOK, "")
	if got := s.must("grant", "remove", "--meta", "campaign=autumn", "--dry-run"); !strings.Contains(got, "would remove 2 grants") {
		t.Errorf("the dry run: %s", got)
	}
	got := s.must("grant", "remove", "--meta", "campaign=autumn")
	if !strings.Contains(got, "removed 2 grants") {
		t.Fatalf("remove: %s", got)
	}
	s.page("u2").expect(t, http.StatusForbidden, "not_entitled")
	s.page("u3").expect(t, http.StatusOK, "")
	fields := strings.Fields(got)
	if undone := s.must("grant", "undo", fields[len(fields)-1]); !strings.Contains(undone, "2 grants as before") {
		t.Errorf("undo: %s", undone)
	}
	s.page("u2").expect(t, http.StatusOK, "")
	for _, args := range [][]string{{"grant", "remove"}, {"grant", "remove", "--status", "ACTIVE"}, {"grant", "remove", "grant_x", "--user", "u"}} {
		if got := s.command(args...); got.code != 1 {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// A campaign's links are withdrawn by mistake, and given back: the next request with a
// link, and with the cookie of an earlier redemption, is allowed again. The audit log has
// both.
func TestRevokedLinksAreRestored(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	first := s.must("link", "create", s.site+"/articles/hello", "--meta", "campaign=autumn", "--max-uses", "2")
	s.must("link", "create", s.site+"/articles/hello", "--meta", "campaign=autumn", "--user", "u1")
	other := s.must("link", "create", s.site+"/articles/hello", "--sku", "premium")
	redeemed := s.get(first)
	redeemed.expect(t, http.StatusOK, "")
	cookie := redeemed.cookie(t)
	for flags, want := range map[string]int{"--meta campaign=autumn": 2, "--sku premium": 1, "--url " + s.site + "/articles/*": 3, "--user u1": 1, "--status revoked": 0, "--limit 1": 1} {
		var links []admin.SignedLink
		decode(t, s.must(append([]string{"link", "list", "--json"}, strings.Fields(flags)...)...), &links)
		if len(links) != want {
			t.Errorf("link list %s: %d links, want %d", flags, len(links), want)
		}
	}
	got := s.must("link", "revoke", "--meta", "campaign=autumn")
	if !strings.Contains(got, "revoked 2 links") {
		t.Fatalf("revoke: %s", got)
	}
	s.get(first).expect(t, http.StatusForbidden, "link_revoked")
	s.get(s.site+"/articles/hello", "Cookie", cookie).expect(t, http.StatusUnauthorized, "login_required")
	s.get(other).expect(t, http.StatusOK, "")

	fields := strings.Fields(got)
	if restored := s.must("link", "restore", "--revoked-at", fields[len(fields)-1]); !strings.Contains(restored, "restored 2 links") {
		t.Errorf("restore: %s", restored)
	}
	s.get(s.site+"/articles/hello", "Cookie", cookie).expect(t, http.StatusOK, "")
	s.get(first).expect(t, http.StatusOK, "")
	s.get(first).expect(t, http.StatusForbidden, "link_used_up")

	var links []admin.SignedLink
	decode(t, s.must("link", "list", "--sku", "premium", "--json"), &links)
	s.must("link", "revoke", links[0].TokenID)
	s.get(other).expect(t, http.StatusForbidden, "link_revoked")
	if restored := s.must("link", "restore", links[0].TokenID); !strings.Contains(restored, "active") {
		t.Errorf("restore of one: %s", restored)
	}
	s.get(other).expect(t, http.StatusOK, "")
	log := s.must("audit", "--kind", "signed-link", "--record", links[0].TokenID)
	for _, part := range []string{"restore-signed-link", "revoke-signed-link", `removed {"revokedAt"`, `created {"revokedAt"`} {
		if !strings.Contains(log, part) {
			t.Errorf("the audit log lacks %q:\n%s", part, log)
		}
	}
	for _, args := range [][]string{{"link", "revoke"}, {"link", "restore"}, {"link", "restore", "link_none"}, {"link", "revoke", "x", "--user", "u"}} {
		if got := s.command(args...); got.code != 1 {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// What changed, by whom and when, is found from the command line.
func TestAuditCommand(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("grant", "add", "--user", "u1", "--sku", "premium", "--notes", "=1+1")
	s.must("link", "create", s.site+"/x", "--sku", "premium")
	for flags, want := range map[string][]string{
		"":                            {"create-grant", "create-signed-link"},
		"--operation create-grant":    {"create-grant"},
		"--kind grant":                {"create-grant"},
		"--record src_default":        {"create-grant"},
		"--actor other":               nil,
		"--until 2020-01-01":          nil,
		"--since 2020-01-01":          {"create-grant", "create-signed-link"},
		"--kind grant --limit 1":      {"create-grant"},
		"--system --kind signed-link": nil,
	} {
		got := s.must(append([]string{"audit"}, strings.Fields(flags)...)...)
		for _, operation := range []string{"create-grant", "create-signed-link"} {
			wanted := strings.Contains(strings.Join(want, " "), operation)
			if strings.Contains(got, operation) != wanted {
				t.Errorf("audit %s: %s wanted: %v\n%s", flags, operation, wanted, got)
			}
		}
	}
	if got := s.command("audit", "--limit", "1"); !strings.Contains(got.stderr, "there are older entries") {
		t.Errorf("a cut list does not say so: %+v", got)
	}
	if got := s.command("audit", "--since", "soon"); got.code != 1 || !strings.Contains(got.stderr, "--since") {
		t.Errorf("a bad time: %+v", got)
	}
}

// The help names every column of a file.
func TestImportHelp(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	help := s.must("grant", "import", "--help")
	for _, column := range admin.GrantColumns() {
		if !strings.Contains(help, column) {
			t.Errorf("the help lacks the column %s", column)
		}
	}
}

// openTerminal opens a pseudo-terminal.
func openTerminal(t *testing.T) (control, terminal *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return control, terminal
}

// A person at a terminal sees a bar with the rate and the rest; a log does not get one.
func TestImportProgress(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	file := s.write("grants.ndjson", ndjson(3000))
	if got := s.command("grant", "import", file, "--batch", "100"); strings.Contains(got.stderr, "per second") || strings.Contains(got.stderr, "\x1b") {
		t.Errorf("no terminal: %q", got.stderr)
	}
	control, terminal := openTerminal(t)
	defer control.Close()
	shown := new(keystest.Log)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, err := control.Read(buffer)
			_, _ = shown.Write(buffer[:n])
			if err != nil {
				return // the terminal is closed
			}
		}
	}()
	cmd := exec.CommandContext(t.Context(), binary, "grant", "import", file, "--batch", "100", "--address", s.admin)
	cmd.Env, cmd.Dir, cmd.Stderr = s.environment(), s.dir, terminal
	err := cmd.Run()
	if err := terminal.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the terminal does not end")
	}
	text := shown.String()
	if err != nil || !strings.Contains(text, "[#") || !strings.Contains(text, "rows, ") || !strings.Contains(text, "per second, ") || !strings.Contains(text, " left") {
		t.Errorf("%v, on a terminal: %q", err, text)
	}
}
