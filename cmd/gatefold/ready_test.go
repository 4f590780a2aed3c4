package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A service manager that was told READY may run commands at once, over the Unix socket of
// the admin endpoint too. A command that reads the configuration for the address prints
// nothing but its answer.
func TestCommandsWorkOnceTheServerIsReady(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(s.dir, "admin.sock")
	s.writeConfig(strings.Replace(string(config), "admin "+s.admin, "admin unix/"+socket+"|0600", 1))
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.dir, "notify.sock"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	s.variables = []string{"NOTIFY_SOCKET=" + notify.LocalAddr().String()}
	s.launch()
	if err := notify.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	for text := ""; !strings.Contains(text, "READY=1"); {
		message := make([]byte, 4096)
		n, err := notify.Read(message)
		if err != nil {
			t.Fatalf("the server is not ready: %v\n%s", err, s.log)
		}
		text = string(message[:n])
	}
	for _, at := range [][]string{{"--config", s.config}, {"--address", "unix/" + socket}, {"--address", "unix/" + socket + "|0600"}} {
		got := runCommand(t, s.dir, s.environment(), append([]string{"link", "create", s.site + "/articles/hello"}, at...)...)
		if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, s.site+"/articles/hello?token=") || strings.Count(got.stdout, "\n") != 1 {
			t.Errorf("%q: %+v", at, got)
		}
	}
	if got := runCommand(t, s.dir, s.environment(), "rule", "list", "--config", s.config, "--json"); got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "[") {
		t.Errorf("rule list: %+v", got)
	}
	if got := runCommand(t, s.dir, s.environment(), "link", "list", "--address", "unix/"+socket+".none"); got.code != 1 || !strings.Contains(got.stderr, "no server answers at the admin address "+socket+".none") {
		t.Errorf("another socket: %+v", got)
	}
}

// A link to a host that the server has no gate for is made, with a warning: the server of
// the host may be another one on the same store.
func TestLinkToAnUnknownHost(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	got := s.command("link", "create", "https://nwes.example.com/articles/hello")
	if got.code != 0 || !strings.HasPrefix(got.stdout, "https://nwes.example.com/articles/hello?token=") ||
		!strings.Contains(got.stderr, "no gate for the host nwes.example.com") || !strings.Contains(got.stderr, strings.TrimPrefix(s.site, "http://")) {
		t.Errorf("%+v", got)
	}
	if got := s.command("link", "create", s.site+"/articles/hello"); got.code != 0 || got.stderr != "" {
		t.Errorf("the site's own host: %+v", got)
	}
	if got := s.command("explain", "https://nwes.example.com/articles/hello"); got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "serves the host nwes.example.com") {
		t.Errorf("explain: %+v", got)
	}
	if got := s.command("link", "revok", "x"); got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "did you mean revoke?") {
		t.Errorf("a misspelt subcommand: %+v", got)
	}
}

// A vendor or a site is misspelt: what is stored for it decides nothing here, and the
// command says so.
func TestGateThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, args := range [][]string{
		{"grant", "add", "--user", "u", "--sku", "premium", "--vendor", "defaults"},
		{"rule", "list", "--site", "defaults"},
	} {
		if got := s.command(args...); got.code != 0 || !strings.Contains(got.stderr, "warning: no gate of this server is") || !strings.Contains(got.stderr, "it has default/default") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	for _, args := range [][]string{{"grant", "list", "--vendor", "default"}, {"rule", "list", "--site", "default"}, {"grant", "list"}} {
		if got := s.command(args...); got.code != 0 || got.stderr != "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
	for _, args := range [][]string{{"grant", "remove", "--user", "", "--sku", "premium"}, {"link", "revoke", "--user", "", "--sku", "premium"}, {"grant", "list", "--email", ""}} {
		if got := s.command(args...); got.code != 1 || !strings.Contains(got.stderr, "is empty") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}
