package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A copy that is made during writes is complete and private, and a server that
// starts with it has everything that was acknowledged before the copy.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "2")
	token := s.must("token", "reader", "--user", "u")
	s.must("grant", "add", "--user", "u", "--sku", "premium")
	s.get(link).expect(t, http.StatusOK, "")

	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				s.command("grant", "add", "--user", fmt.Sprint("other-", i), "--sku", "premium")
			}
		}
	})
	target := filepath.Join(s.dir, "copy.db")
	output := s.must("store", "backup", target)
	close(stop)
	writers.Wait()
	if !strings.Contains(output, "secret") {
		t.Errorf("it does not mention that the secret is not included: %s", output)
	}
	info, err := os.Stat(target)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if got := s.must("store", "backup", target, "--force"); got == "" {
		t.Error("--force says nothing")
	}
	if got := s.command("store", "backup", target); got.code != 1 || !strings.Contains(got.stderr, "exists already") {
		t.Errorf("onto an existing file: %+v", got)
	}
	if got := s.command("store", "backup", filepath.Join(s.dir, "none", "copy.db")); got.code != 1 || got.stdout != "" {
		t.Errorf("into a missing directory: %+v", got)
	}
	verify := func(file string) result {
		return runCommand(t, s.dir, s.environment(), "store", "verify", file, "--database", s.database())
	}
	if got := verify(target); got.code != 0 || !strings.Contains(got.stdout, "intact and sealed backup") {
		t.Errorf("the copy: %+v", got)
	}
	if got := verify(s.database()); got.code != 1 || !strings.Contains(got.stderr, "store backup") {
		t.Errorf("the open database: %+v", got)
	}
	content, err := os.ReadFile(target)
	if err != nil || bytes.Contains(content, []byte("other-0")) || bytes.Contains(content, []byte(`"userId"`)) {
		t.Errorf("a thief of the backup reads who has which grant: %v", err)
	}

	// What follows is not in the backup: a link is revoked, used, and a grant is removed.
	s.get(link).expect(t, http.StatusOK, "")
	var links []struct{ TokenID string }
	decode(t, s.must("link", "list", "--json"), &links)
	s.must("link", "revoke", links[0].TokenID)
	s.must("grant", "add", "--user", "late", "--sku", "premium")
	restore := func(args ...string) result {
		return runCommand(t, s.dir, s.environment(), append([]string{"store", "restore", target, "--database", s.database()}, args...)...)
	}
	if got := restore("--yes"); got.code != 1 || !strings.Contains(got.stderr, "stop it first") {
		t.Errorf("while the server runs: %+v", got)
	}
	s.stop()
	// The transcript of docs/operations.md.
	_, transcript, _ := strings.Cut(readTree(t, "docs/operations.md"), "store restore copy.backup --dry-run\n")
	transcript, _, _ = strings.Cut(transcript, "$ ")
	if got := restore("--dry-run"); got.code != 0 || got.stdout != transcript {
		t.Errorf("the dry run says, other than docs/operations.md:\n%s", got.stdout)
	}
	if got := restore("--dry-run", "--json"); !strings.Contains(got.stdout, `"revokedLinksThatOpenAgain": 1`) || !strings.Contains(got.stdout, `"restored": false`) {
		t.Errorf("as JSON: %+v", got)
	}
	if got := restore(); got.code != 1 || !strings.Contains(got.stderr, "--yes") {
		t.Errorf("without --yes: %+v", got)
	}
	secret := s.database() + ".secret"
	if err := os.Rename(secret, secret+".kept"); err != nil {
		t.Fatal(err)
	}
	if got := restore("--yes"); got.code != 1 || !strings.Contains(got.stderr, "secret file "+secret+" is missing") {
		t.Errorf("without the secret: %+v", got)
	}
	other := s.write("other.secret", strings.Repeat("x", 44))
	if got := restore("--yes", "--secret", "{file."+other+"}"); got.code != 1 || !strings.Contains(got.stderr, "sealed with another secret") {
		t.Errorf("with another secret: %+v", got)
	}
	if err := os.Rename(secret+".kept", secret); err != nil {
		t.Fatal(err)
	}
	// Nothing of that changed the database: the link is still revoked.
	s.start()
	s.get(link).expect(t, http.StatusForbidden, "link_revoked")
	s.stop()

	// A file that its author made without the secret is no backup.
	plain := s.write("plain.db", "")
	if content, err := os.ReadFile(s.database()); err != nil || os.WriteFile(plain, content, 0o600) != nil {
		t.Fatal(err)
	}
	forged := runCommand(t, s.dir, s.environment(), "store", "restore", plain, "--database", s.database(), "--yes")
	if forged.code != 1 || !strings.Contains(forged.stderr, "is not sealed") {
		t.Errorf("a file that is not sealed: %+v", forged)
	}
	if got := restore("--yes"); got.code != 0 || !strings.Contains(got.stdout, "the old database is "+s.database()+".before-restore-") {
		t.Errorf("the restore: %+v", got)
	}
	s.start()
	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")
	s.get(link).expect(t, http.StatusOK, "")
	s.get(link).expect(t, http.StatusForbidden, "link_used_up")
	s.stop()
	if got := verify(s.database()); got.code != 0 {
		t.Errorf("after the server has stopped: %+v", got)
	}

	content[len(content)/2] ^= 0xff
	damaged := s.write("damaged.backup", string(content))
	if got := verify(damaged); got.code != 1 || !strings.Contains(got.stderr, "altered") {
		t.Errorf("a damaged copy: %+v", got)
	}
	if got := runCommand(t, s.dir, s.environment(), "store", "restore", damaged, "--database", s.database(), "--yes"); got.code != 1 {
		t.Errorf("a damaged copy is restored: %+v", got)
	}
	if got := verify(filepath.Join(s.dir, "none.db")); got.code != 1 {
		t.Errorf("no file: %+v", got)
	}
	left, _ := filepath.Glob(s.database() + ".restore-*")
	if len(left) > 0 {
		t.Errorf("plain copies are left: %q", left)
	}
}
