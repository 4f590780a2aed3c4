package upstreamtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// deadline bounds how long a test waits for a process or an answer; it is not a
// measure of anything.
const deadline = 60 * time.Second

// binary is the path of the built program.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gatefold-upstream-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// The same build as that of the tests of cmd/gatefold, for the sake of the cache.
		binary = filepath.Join(dir, "gatefold")
		build := exec.Command("go", "build", "-o", binary, "..")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// unpacked is the folder that .ci/origins made: below one of the folders on the path.
func unpacked(t *testing.T) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "origins", "stamp")); err == nil {
			return filepath.Join(dir, "origins")
		}
	}
	t.Fatal("the origins are missing: run `make test`, or `.ci/origins <folder>` and put the folder on the path")
	return ""
}

// debian finds a file of a Debian package: unpacked, or installed on this machine.
// Of several that match, the last is the newest version.
func debian(t *testing.T, patterns ...string) string {
	t.Helper()
	for _, root := range []string{filepath.Join(unpacked(t), "debian"), "/"} {
		for _, pattern := range patterns {
			if found, err := filepath.Glob(filepath.Join(root, pattern)); err == nil && len(found) > 0 {
				return found[len(found)-1]
			}
		}
	}
	t.Fatalf("no Debian package has %s: remove the folder origins, and run `.ci/origins` again", strings.Join(patterns, " or "))
	return ""
}

// withDebian is an environment in which unpacked programs find their libraries.
func withDebian(t *testing.T, variables ...string) []string {
	t.Helper()
	root := filepath.Join(unpacked(t), "debian")
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu", "lib/*-linux-gnu"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		libraries = append(libraries, found...)
	}
	return append(append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":")), variables...)
}

// process is a running server.
type process struct {
	log    *keystest.Log
	exited chan error
}

// run starts a server in a process group of its own. A shell kills the group when its
// input ends: at the end of the test, and also when the test process dies without
// cleaning up.
func run(t *testing.T, dir string, environment []string, name string, args ...string) *process {
	t.Helper()
	p := &process{new(keystest.Log), make(chan error, 1)}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environment, p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- cmd.Wait() }()
	killer := exec.Command("sh", "-c", `read -r _; kill -s KILL -- "-$0"`, strconv.Itoa(cmd.Process.Pid))
	input, err := killer.StdinPipe()
	if err == nil {
		err = killer.Start()
	}
	if err != nil {
		_ = cmd.Process.Kill()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = killer.Wait()
		select {
		case <-p.exited:
		case <-time.After(deadline):
			t.Errorf("%s does not end", name)
		}
	})
	return p
}

// waitFor polls until a condition holds, or the process is gone.
func (p *process) waitFor(t *testing.T, what string, holds func() error) {
	t.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(20 * time.Millisecond) {
		err := holds()
		if err == nil {
			return
		}
		select {
		case ended := <-p.exited:
			p.exited <- ended
			t.Fatalf("waiting until %s: the process ended: %v\n%s", what, ended, p.log)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("waiting until %s: %v\n%s", what, err, p.log)
		}
	}
}

// waitForPort waits until a server accepts connections.
func (p *process) waitForPort(t *testing.T, network, address string) {
	t.Helper()
	p.waitFor(t, address+" accepts connections", func() error {
		conn, err := net.Dial(network, address)
		return errors.Join(err, closed(conn))
	})
}

func closed(conn net.Conn) error {
	if conn == nil {
		return nil
	}
	return conn.Close()
}

// folder is a temporary folder that servers can read which change their user.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gatefold-origin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// write writes a file below a folder.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// copied is a temporary folder with the files of a folder in testdata.
func copied(t *testing.T, name string) string {
	t.Helper()
	dir := folder(t)
	if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}
