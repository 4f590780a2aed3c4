package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/caddymodule/buildinfo"
)

// An operator asks what runs: the command, its flag and the metric name the same
// version of Gatefold, and that of Caddy.
func TestVersionIsGatefolds(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	run := func(args ...string) string {
		got := runCommand(t, s.dir, s.environment(), args...)
		if got.code != 0 || got.stderr != "" {
			t.Fatalf("%q: exit code %d: %s", args, got.code, got.stderr)
		}
		return strings.TrimSpace(got.stdout)
	}
	var info buildinfo.Info
	if err := json.Unmarshal([]byte(run("version", "--json")), &info); err != nil {
		t.Fatal(err)
	}
	if info.Version == "" || !strings.HasPrefix(info.Caddy, "v2.") || info.Go != runtime.Version() {
		t.Errorf("version --json is %+v", info)
	}
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if got := run(args...); got != info.String() || !strings.HasPrefix(got, "Gatefold "+info.Version) || !strings.Contains(got, ", Caddy "+info.Caddy) {
			t.Errorf("%q prints %q, and --json is %+v", args, got, info)
		}
	}
	metric := fmt.Sprintf("gatefold_build_info{caddy_version=%q,go_version=%q,revision=%q,version=%q} 1\n", info.Caddy, info.Go, info.Revision, info.Version)
	if body := s.get("http://" + s.admin + "/metrics").body; !strings.Contains(body, metric) {
		t.Errorf("the metrics lack %s%s", metric, regexp.MustCompile(`(?m)^gatefold_build_info.*$`).FindString(body))
	}
}

// An operator who knows Caddy types `gatefold upgrade`. The binary stays what it was,
// and no help, manual page or completion proposes the command.
func TestCommandsThatWouldReplaceTheBinary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	own := filepath.Join(dir, "gatefold")
	program, err := os.ReadFile(binary)
	if err == nil {
		err = os.WriteFile(own, program, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	help := runCommand(t, dir, nil, "help").stdout
	offered := runCommand(t, dir, nil, "__complete", "").stdout
	if !strings.Contains(help, "\n  run ") || !strings.Contains(offered, "\nrun\t") {
		t.Fatalf("the help is\n%s\nthe completion\n%s", help, offered)
	}
	for _, name := range []string{"upgrade", "add-package", "remove-package"} {
		got := runProgram(t, own, dir, os.Environ(), name, "github.com/caddy-dns/cloudflare")
		if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "gatefold "+name+" does not exist") || !strings.Contains(got.stderr, "xcaddy") {
			t.Errorf("%s: exit code %d\n%s%s", name, got.code, got.stdout, got.stderr)
		}
		if strings.Contains(help, name) || strings.Contains("\n"+offered, "\n"+name) {
			t.Errorf("%s is in the help or the completion:\n%s\n%s", name, help, offered)
		}
	}
	if left, err := os.ReadFile(own); err != nil || !bytes.Equal(left, program) {
		t.Errorf("the binary is another one: %v", err)
	}
}

// Each command has one manual page, and each page names a command that exists.
func TestManualPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man")
	if got := runCommand(t, ".", os.Environ(), "manpage", "--directory", dir); got.code != 0 {
		t.Fatal(got.stderr)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	subject := regexp.MustCompile(`(?m)^\.SH NAME\n(.*)$`)
	subjects := map[string]string{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := subject.FindStringSubmatch(string(text))
		name := filepath.Base(page)
		if found == nil || !strings.HasSuffix(name, ".8") || !bytes.Contains(text, []byte(`"Gatefold`)) {
			t.Errorf("%s is\n%.300s", name, text)
			continue
		}
		if other := subjects[found[1]]; other != "" {
			t.Errorf("%s and %s both are about %s", name, other, found[1])
		}
		subjects[found[1]] = name
	}
	for _, wanted := range []string{"gatefold", "gatefold-run", "gatefold-link", "gatefold-link-create", "gatefold-grant-import", "gatefold-validate", "gatefold-version"} {
		if _, err := os.Stat(filepath.Join(dir, wanted+".8")); err != nil {
			t.Error(err)
		}
	}
	for _, unwanted := range append([]string{"gatefold"}, replacing...) {
		if found, _ := filepath.Glob(filepath.Join(dir, "gatefold-"+unwanted+"*")); len(found) > 0 {
			t.Errorf("there are %v", found)
		}
	}
}

// The exit codes of Caddy's commands are Caddy's, whose service managers know them.
func TestTreeExitCodes(t *testing.T) {
	t.Parallel()
	root := newRoot()
	for _, test := range []struct {
		code int
		err  error
		want int
	}{{1, errors.New("x"), 1}, {3, errors.New("x"), 3}, {2, nil, 2}} {
		run := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return test.code, test.err })
		if err := run(root, nil); err == nil || exitCode(fmt.Errorf("wrapped: %w", err)) != test.want {
			t.Errorf("code %d with error %v is exit code %d", test.code, test.err, exitCode(err))
		}
	}
}
