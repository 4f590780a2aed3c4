package packagetest

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// emptyDebian makes a root with apt and what apt needs, in the background.
func emptyDebian(t *testing.T) func() string {
	t.Helper()
	dir := filepath.Join(folder, "debian")
	release := regexp.MustCompile(`(?m)^VERSION_CODENAME=(.*)$`).FindStringSubmatch(read(t, "/etc/os-release"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runAsRoot(t, "mmdebstrap", "--variant=apt", "--skip=cleanup/apt/lists", release[1], dir)
	}()
	t.Cleanup(func() { <-done; runAsRoot(t, "rm", "-rf", dir) })
	return func() string {
		<-done
		if t.Failed() {
			t.FailNow()
		}
		for _, name := range []string{"etc/resolv.conf", "etc/hosts"} {
			runAsRoot(t, "cp", "-L", "/"+name, filepath.Join(dir, name))
		}
		return dir
	}
}

// An operator installs the version before in an empty Debian, upgrades, finds all data and
// follows the README; goes back, and finds the data still; removes the package, and keeps the
// data; purges it, and nothing is left.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	debian := emptyDebian(t)
	older, newer := one(t, previous(t), "gatefold_*.deb"), one(t, released(t), "gatefold_*.deb")
	dir := debian()
	chroot := func(args ...string) string {
		return runAsRoot(t, append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "chroot", dir}, args...)...)
	}
	install := func(deb string) {
		runAsRoot(t, "cp", deb, filepath.Join(dir, "tmp/gatefold.deb"))
		chroot("apt-get", "install", "-q", "-y", "--no-install-recommends", "--allow-downgrades", "-o", "Dpkg::Options::=--force-confold", "/tmp/gatefold.deb")
	}

	install(older)
	s := unitService(t, dir)
	caddyfile := filepath.Join(dir, "etc/gatefold/Caddyfile")
	s.edit(t, caddyfile)
	edited := read(t, caddyfile)
	s.run(t)

	// Data of the older version: a reader with a grant, and a link with one of three uses.
	s.gatefold(t, "grant", "add", "--user", "user-789", "--sku", "premium")
	reader := s.gatefold(t, "token", "reader", "--user", "user-789")
	link := s.gatefold(t, "link", "create", s.onPorts("http://localhost:8080/articles/hello"), "--max-uses", "3")
	redeem := func(want int) {
		t.Helper()
		if got := s.get(t, link); got != want {
			t.Errorf("the link is answered %d, not %d\n%s", got, want, s.log)
		}
	}
	allowed := func() {
		t.Helper()
		if got := s.get(t, "http://localhost:8080/articles/hello", "Authorization", "Bearer "+reader); got != 200 {
			t.Errorf("the reader is answered %d\n%s", got, s.log)
		}
	}
	redeem(200)
	allowed()
	s.stop(t)

	install(newer)
	if got := chroot("gatefold", "version"); !strings.HasPrefix(got, "Gatefold "+version+" ") && !strings.HasPrefix(got, "Gatefold "+version+",") {
		t.Errorf("gatefold version prints %s", got)
	}
	if read(t, caddyfile) != edited {
		t.Error("the upgrade changed the configuration")
	}
	s = &service{root: s.root, user: s.user, env: s.env, start: unitService(t, dir).start, ports: s.ports}
	s.run(t)
	allowed()
	redeem(200)
	s.gatefold(t, "status")
	s.transcript(t)
	s.gatefold(t, "grant", "add", "--user", "user-456", "--sku", "premium")
	chroot("apt-get", "install", "-q", "-y", "--no-install-recommends", "bash-completion")
	complete(t, dir)
	s.stop(t)

	install(older)
	s.run(t)
	allowed()
	redeem(200)
	redeem(403)
	if grants := s.gatefold(t, "grant", "list"); !strings.Contains(grants, "user-456") {
		t.Errorf("the grant that the newer version wrote is missing:\n%s", grants)
	}
	s.stop(t)

	install(newer)
	database := filepath.Join(dir, "var/lib/gatefold/gatefold.db")
	chroot("apt-get", "remove", "-q", "-y", "gatefold")
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/gatefold")); err == nil {
		t.Error("the binary is left after the removal")
	}
	runAsRoot(t, "test", "-f", database)
	chroot("apt-get", "purge", "-q", "-y", "gatefold")
	left := strings.Fields(runAsRoot(t, "find", dir, "-xdev", "-iname", "*gatefold*", "-not", "-path", dir+"/tmp/*"))
	if len(left) > 0 || strings.Contains(read(t, filepath.Join(dir, "etc/passwd"))+read(t, filepath.Join(dir, "etc/group")), "gatefold") {
		t.Errorf("the purge leaves %v, or the user", left)
	}
}

// complete types the beginning of commands in the shell of the root, which needs /proc for
// /dev/fd.
func complete(t *testing.T, dir string) {
	t.Helper()
	script := `ln -sfn /proc/self/fd /dev/fd
source /usr/share/bash-completion/bash_completion
source /usr/share/bash-completion/completions/gatefold
COMP_WORDS=(gatefold link re) COMP_CWORD=2 COMP_LINE='gatefold link re' COMP_POINT=16
__start_gatefold 2>/tmp/complete.log
echo "${COMPREPLY[@]}"`
	got := runAsRoot(t, "unshare", "--fork", "--pid", "--mount-proc="+dir+"/proc", "chroot", dir, "bash", "-c", script)
	if !slices.Equal(strings.Fields(got), []string{"restore", "revoke"}) {
		t.Errorf("the shell completes `gatefold link re` to %q: %s", got, read(t, dir+"/tmp/complete.log"))
	}
}

// No test of this package may be skipped where Debian packages cannot be installed: this
// one names what is missing.
func TestPackagesAreForThisMachine(t *testing.T) {
	t.Parallel()
	if !slices.Contains([]string{"amd64", "arm64"}, runtime.GOARCH) || runtime.GOOS != "linux" {
		t.Fatalf("packages are built for linux on amd64 and arm64, and tested there; this is %s/%s", runtime.GOOS, runtime.GOARCH)
	}
}
