package packagetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const (
	root = "../../.."
	// before is the version before the first tag: a commit from before there were
	// packages, with the packaging of this tree.
	before        = "231b3664184dd52357d9f97afc53155f83bfa79d"
	beforeVersion = "v0.0.1"
	// version is newer than every tag.
	version = "v999.0.0"
)

// folder is what TestMain removes.
var folder string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if folder, err = os.MkdirTemp("", "gatefold-packages-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(folder)
		_ = os.Chmod(folder, 0o755) // other users run what is in it
		return m.Run()
	}())
}

// release is the folder with the packages of this tree.
var release = sync.OnceValues(func() (string, error) {
	return makeRelease(root, version)
})

// released fails the test if this tree's packages cannot be built.
func released(t *testing.T) string {
	t.Helper()
	dist, err := release()
	if err != nil {
		t.Fatal(err)
	}
	return dist
}

// previous returns the folder with the packages of the last tag before this commit.
func previous(t *testing.T) string {
	t.Helper()
	tree := filepath.Join(folder, "before")
	commit, tag, dir := before, beforeVersion, filepath.Join(tree, "packaging")
	if out, err := exec.Command("git", "-C", root, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
		tag, dir = commit, ""
	}
	archive, err := exec.Command("git", "-C", root, "archive", commit).Output()
	if err != nil {
		// A shallow clone has no older commit: an upgrade to the same source is left.
		t.Logf("git has no %s: the older version is built from HEAD; git fetch --unshallow --tags gets it", commit)
		if archive, err = exec.Command("git", "-C", root, "archive", "HEAD").Output(); err != nil {
			t.Fatal(err)
		}
		tag, dir = beforeVersion, ""
	}
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	unpack := exec.Command("tar", "-x", "-C", tree)
	unpack.Stdin = bytes.NewReader(archive)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if dir != "" {
		for _, name := range []string{"packaging", "Makefile", ".ci"} {
			run(t, "cp", "-r", filepath.Join(root, name), tree)
		}
	}
	dist, err := makeRelease(tree, tag)
	if err != nil {
		t.Fatal(err)
	}
	return dist
}

// makeRelease runs `make release` in a tree, for this machine's architecture, and returns
// the folder that it filled.
func makeRelease(tree, version string) (string, error) {
	dist := filepath.Join(folder, "dist-"+version)
	tools, err := exec.LookPath("nfpm")
	if err != nil {
		return "", &buildError{err, "run `make test`, which puts it on the path"}
	}
	build := exec.Command("make", "-C", tree, "release", "VERSION="+version, "DIST="+dist, "TARGETS=linux/"+runtime.GOARCH, "TOOLS="+filepath.Dir(tools))
	build.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", &buildError{err, string(out)}
	}
	return dist, nil
}

type buildError struct {
	err    error
	output string
}

func (e *buildError) Error() string { return e.err.Error() + ": " + e.output }

// one returns the one file of a folder that matches.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %v, %v", pattern, dir, found, err)
	}
	return found[0]
}

// run runs a program that has to succeed, and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput() // also while a test cleans up
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// asRoot puts sudo before a program where the tests are not root already.
func asRoot(args ...string) []string {
	if os.Geteuid() == 0 {
		return args
	}
	return append([]string{"sudo", "-n"}, args...)
}

// runAsRoot is run as root.
func runAsRoot(t *testing.T, args ...string) string {
	t.Helper()
	args = asRoot(args...)
	return run(t, args[0], args[1:]...)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
