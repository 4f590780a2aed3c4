package main

import (
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
		return runCommand(t, s.dir, s.environment(), "store", "verify", file)
	}
	if got := verify(target); got.code != 0 || !strings.Contains(got.stdout, "intact database") {
		t.Errorf("the copy: %+v", got)
	}
	if got := verify(s.database()); got.code != 1 || !strings.Contains(got.stderr, "store backup") {
		t.Errorf("the open database: %+v", got)
	}

	// The database is lost, and the copy replaces it.
	s.kill()
	content, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.database(), content, 0o600); err != nil {
		t.Fatal(err)
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
	for i := 4096; i < 8192; i++ {
		content[i] = 0xaa
	}
	if got := verify(s.write("damaged.db", string(content))); got.code != 1 || got.stderr == "" {
		t.Errorf("a damaged copy: %+v", got)
	}
	if got := verify(filepath.Join(s.dir, "none.db")); got.code != 1 {
		t.Errorf("no file: %+v", got)
	}
}
