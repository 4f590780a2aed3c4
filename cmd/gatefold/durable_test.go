//go:build linux && amd64

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// traced starts the server under trace, and waits until it answers.
func (s *server) traced() *fileTrace {
	s.t.Helper()
	cmd := exec.Command(binary, "run", "--config", s.config)
	cmd.Env, cmd.Dir = s.environment(), s.dir
	output, err := os.Create(filepath.Join(s.dir, "output"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = output.Close() })
	cmd.Stdout, cmd.Stderr = output, output
	trace := traceFiles(s.t, cmd)
	s.exited = make(chan error)
	s.waitFor("the site answers", func() bool { return answersOK(s.site + "/") })
	return trace
}

// tracedCommand runs a command under trace, to its end.
func (s *server) tracedCommand(args ...string) []fileCall {
	s.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Dir = s.environment(), s.dir
	return traceFiles(s.t, cmd).end(s.t)
}

// end waits for the end of the program, and returns its calls.
func (f *fileTrace) end(t *testing.T) []fileCall {
	t.Helper()
	select {
	case err := <-f.ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(deadline):
		t.Fatal("it does not end")
	}
	return f.calls
}

func (f *fileTrace) stop(t *testing.T) []fileCall {
	t.Helper()
	if err := f.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return f.end(t)
}

// checkDurable checks that each of our files was synced before it got its name, and its folder
// afterwards, once for each name; and that the names have these endings.
func checkDurable(t *testing.T, calls []fileCall, endings ...string) {
	t.Helper()
	var names []string
	used := map[int]bool{} // syncs of folders
	for i, call := range calls {
		if call.sync || !strings.Contains(call.to, "gatefold") {
			continue // also Caddy's own
		}
		names = append(names, call.to)
		content, folder := strings.Contains(call.to, ".before-restore-"), false // a database that was there
		for _, earlier := range calls[:i] {
			content = content || earlier.sync && earlier.path == call.path
		}
		for j := i + 1; j < len(calls) && !folder; j++ {
			if calls[j].sync && calls[j].path == filepath.Dir(call.to) && !used[j] {
				used[j], folder = true, true
			}
		}
		if !content || !folder {
			t.Errorf("%s became %s: its content was synced: %v, its folder: %v", call.path, call.to, content, folder)
		}
	}
	for _, ending := range endings {
		found := false
		for _, name := range names {
			found = found || strings.HasSuffix(name, ending)
		}
		if !found {
			t.Errorf("no file ending in %s was named: %q", ending, names)
		}
	}
}

// A power failure loses no file that has its name, and no name that was given: the database, its
// secret, the reserve, backups, the file of a compaction, and what is restored.
func TestFilesOfADatabaseSurviveAPowerFailure(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	backups := filepath.Join(s.dir, "gatefold-backups")
	if err := os.Mkdir(backups, 0o700); err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(config), "store bolt", "backup "+backups+" every 6h\n\t\tstore bolt", 1))
	trace := s.traced()
	s.waitFor("the backup is there", func() bool {
		files, _ := filepath.Glob(filepath.Join(backups, "gatefold-*.backup"))
		return len(files) == 1
	})
	s.must("grant", "add", "--user", "u", "--sku", "premium")
	s.must("store", "compact")
	copied := filepath.Join(s.dir, "gatefold-copy.backup")
	checkDurable(t, s.tracedCommand("store", "backup", copied, "--address", s.admin), "gatefold-copy.backup")
	links := filepath.Join(s.dir, "gatefold-links.csv")
	readers := s.write("readers.csv", "userId\nann\n")
	checkDurable(t, s.tracedCommand("link", "create", s.site+"/articles/hello", "--each", readers, "--output", links, "--address", s.admin), "gatefold-links.csv")
	calls := trace.stop(t)
	checkDurable(t, calls, "gatefold.db", "gatefold.db.secret", "gatefold.db.reserve", ".backup")
	swapped := false
	for _, call := range calls {
		swapped = swapped || call.to == s.database() && strings.Contains(call.path, "compact")
	}
	if !swapped {
		t.Errorf("the file of the compaction did not take its place: %v", calls)
	}
	checkDurable(t, s.tracedCommand("store", "restore", copied, "--database", s.database(), "--yes"), "gatefold.db")
}

// The same of what a node of a Redis keeps: its snapshot, how far that was written, and what it
// saw of the Redis.
func TestFilesOfANodeSurviveAPowerFailure(t *testing.T) {
	t.Parallel()
	s := newNodeWith(t, redistest.Start(t).URL(), "", []byte("the same secret on all nodes\n"))
	trace := s.traced()
	s.must("grant", "add", "--user", "u", "--sku", "premium")
	token := s.must("token", "reader", "--user", "u")
	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token).expect(t, 200, "")
	s.waitFor("the snapshot is usable", func() bool {
		got, err := fetch("http://" + s.admin + "/metrics")
		return err == nil && strings.Contains(got.body, fmt.Sprintln("gatefold_snapshot_usable", 1))
	})
	checkDurable(t, trace.stop(t), ".table", ".journal", "-seen.json", ".json")
}
