package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fails checks that the server does not start and that its log has the parts.
func (s *server) fails(parts ...string) {
	s.t.Helper()
	s.launch()
	if err := s.wait(); err == nil {
		s.t.Fatalf("the server started and exited with code 0\n%s", s.log)
	}
	for _, part := range parts {
		if !strings.Contains(s.log.String(), part) {
			s.t.Errorf("the server does not say %q:\n%s", part, s.log)
		}
	}
}

// Two servers on one database would each trust their own caches.
func TestLockedDatabaseFailsTheStart(t *testing.T) {
	t.Parallel()
	first := startServer(t)
	second := newServer(t)
	config, err := os.ReadFile(second.config)
	if err != nil {
		t.Fatal(err)
	}
	second.writeConfig(strings.Replace(string(config), second.database(), first.database(), 1))

	second.fails(first.database(), "another process")

	// `validate` finds it too, and disturbs no running server.
	valid := runCommand(t, second.dir, second.environment(), "validate", "--config", second.config)
	if valid.code != 1 || !strings.Contains(valid.stderr, "another process") {
		t.Errorf("validate beside a running server: %+v", valid)
	}
	first.get(first.site+"/").expect(t, 200, "")
}

func TestCorruptDatabaseFailsTheStart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	junk := bytes.Repeat([]byte("this is not a database\n"), 1000)
	if err := os.WriteFile(s.database(), junk, 0o600); err != nil {
		t.Fatal(err)
	}

	s.fails(s.database(), "is not a database or is damaged")

	if kept, err := os.ReadFile(s.database()); err != nil || !bytes.Equal(kept, junk) {
		t.Error("the start changed the file")
	}
}

// The file system lost what was in the database in a power cut, or a restore stopped at its
// first byte: the start fails, and does not serve a new database in which every link is
// unknown and every removed grant forgotten. Only an absent file is made.
func TestEmptyDatabaseFailsTheStart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.stop()
	if err := os.Truncate(s.database(), 0); err != nil {
		t.Fatal(err)
	}

	s.fails(s.database(), "is not a database or is damaged", "the file is empty", "restore a backup")

	if info, err := os.Stat(s.database()); err != nil || info.Size() != 0 {
		t.Errorf("the start changed the file: %v, %v", info, err)
	}
	if got := runCommand(t, s.dir, s.environment(), "store", "verify", s.database()); got.code != 1 || !strings.Contains(got.stderr, "the file is empty") {
		t.Errorf("verify: %+v", got)
	}
}

// A database is restored from a backup without its secret.
func TestWrongSecretFailsTheStart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("token", "reader", "--user", "u") // makes the vendor's key
	s.stop()
	if err := os.WriteFile(s.database()+".secret", bytes.Repeat([]byte("x"), 44), 0o600); err != nil {
		t.Fatal(err)
	}

	s.fails("signing key", "secret")
}

// A database is moved to another machine, and the file of its secret is forgotten: the
// start fails and names it, and makes no new one, under which the keys would be lost
// for good. With the file everything is as before.
func TestMissingSecretFailsTheStart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello")
	s.stop()
	secret := s.database() + ".secret"
	if err := os.Rename(secret, secret+".kept"); err != nil {
		t.Fatal(err)
	}

	s.fails("secret file "+secret+" is missing", "restore that file")

	if _, err := os.Stat(secret); err == nil {
		t.Fatal("a new secret was made")
	}
	if err := os.Rename(secret+".kept", secret); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.get(link).expect(t, 200, "")
}

// The secret file is readable by other users.
func TestOpenSecretFileFailsTheStart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.stop()
	if err := os.Chmod(s.database()+".secret", 0o644); err != nil {
		t.Fatal(err)
	}

	s.fails("chmod 600")
}

func TestSecretMustBeSet(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(config), "store bolt", "secret {env.GATEFOLD_TEST_UNSET}\n\t\tstore bolt", 1))

	s.fails("GATEFOLD_TEST_UNSET", "not set")

	if _, err := os.Stat(filepath.Join(s.dir, "gatefold.db")); err == nil {
		t.Error("a database was created")
	}
}

// Only the owner can read the files of the server.
func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, file := range []string{s.database(), s.database() + ".secret"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode().Perm())
		}
	}
}
