package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/siteaudit"
	"github.com/gatefold/gatefold/keys/keystest"
)

// trapConfig has a handle block without the gate that the other block has.
const trapConfig = `http://127.0.0.1:8123 {
	handle /articles/* {
		gatefold {
			rule / authenticated
		}
		reverse_proxy localhost:9
	}
	handle {
		reverse_proxy localhost:9
	}
}
`

// `gatefold validate` is Caddy's, with what the configuration serves through no gate.
func TestValidateListsWhatPassesNoGate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "Caddyfile")
	environment := append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(trapConfig)
	for _, args := range [][]string{{"validate", "--config", config}, {"validate", "-c", config, "-a", "caddyfile"}, {"validate"}} {
		got := runCommand(t, dir, environment, args...)
		if got.code != 0 || !strings.Contains(got.stdout, "Valid configuration") ||
			!strings.Contains(got.stdout, "WARNING  127.0.0.1:8123/: a request except with path /articles/* reaches reverse_proxy localhost:9 without passing the site's gate: put the gatefold directive") ||
			!strings.Contains(got.stdout, "NONE, on a gated site") {
			t.Errorf("%q: exit code %d\n%s%s", args, got.code, got.stdout, got.stderr)
		}
	}
	var report siteaudit.Report
	decode(t, runCommand(t, dir, environment, "validate", "--config", config, "--json").stdout, &report)
	if len(report.Findings) != 1 || len(report.Sites) != 1 || len(report.Sites[0].Ways) != 2 {
		t.Errorf("in JSON it is %+v", report)
	}
	write(strings.Replace(trapConfig, "rule /", "rul /", 1))
	if got := runCommand(t, dir, environment, "validate", "--config", config); got.code == 0 || !strings.Contains(got.stderr, `unknown option \"rul\"`) && !strings.Contains(got.stderr, `unknown option "rul"`) {
		t.Errorf("an invalid configuration: exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	write(strings.Replace(trapConfig, "handle {", "handle /public/* {\n\t\trespond ok\n\t}\n\thandle {\n\t\tgatefold {\n\t\t\tsite public\n\t\t\trule / any\n\t\t}", 1))
	if got := runCommand(t, dir, environment, "validate", "--config", config); strings.Contains(got.stdout, "WARNING  ") || !strings.Contains(got.stdout, "2 pass a gate, 0 pass none.") {
		t.Errorf("the mended configuration:\n%s", got.stdout)
	}
}

// `status` shows the same of the running server.
func TestStatusListsWhatPassesNoGate(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.writeConfig("{\n\tadmin " + s.admin + "\n\tauto_https off\n\tgatefold {\n\t\tstore bolt " + s.database() + "\n\t}\n}\n" +
		strings.Replace(trapConfig, "http://127.0.0.1:8123", s.site, 1))
	s.launch()
	s.waitFor("the node is ok", func() bool { return s.command("status").code == 0 })
	name := strings.TrimPrefix(s.site, "http://")
	if status := s.must("status"); !strings.Contains(status, "WARNING  "+name+"/: ") || !strings.Contains(status, "snapshot version") {
		t.Errorf("status says\n%s", status)
	}
	var state struct {
		Status string
		Routes *siteaudit.Report
	}
	decode(t, s.must("status", "--json"), &state)
	if state.Status != "ok" || state.Routes == nil || len(state.Routes.Findings) != 1 {
		t.Errorf("status --json gives %+v", state)
	}
	if warned := strings.Count(s.log.String(), "a mistake in the routes of a site"); warned != 1 {
		t.Errorf("the log warns %d times", warned)
	}
}

// `validate` fails for whatever `run` would refuse, with the line, and prints nothing else.
func TestValidateFindsWhatRunRefuses(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	configText, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	config := string(configText)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	validate := func() result { return runCommand(t, s.dir, s.environment(), "validate", "--config", s.config) }
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	s.writeConfig(strings.Replace(config, s.site, "http://127.0.0.1:"+port, 1))
	if got := validate(); got.code == 0 || !strings.Contains(got.stderr, "cannot listen at :"+port) || got.stdout != "" {
		t.Errorf("a port in use: %+v", got)
	}
	s.writeConfig(strings.Replace(config, s.database(), "/proc/self/gatefold/gatefold.db", 1))
	if got := validate(); got.code == 0 || !strings.Contains(got.stderr, "cannot be created") || !strings.Contains(got.stderr, s.config+":") {
		t.Errorf("a database that cannot be created: %+v", got)
	}
	s.writeConfig(strings.Replace(config, "\trule /account", "\tidentify jwt {\n\t\t\tissuer https://id.example.com\n\t\t}\n\t\trule /account", 1))
	if got := validate(); got.code == 0 || !strings.HasPrefix(got.stderr, "Error: "+s.config+":") || !strings.Contains(got.stderr, "audience is required") || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("a mistake of provisioning: %+v", got)
	}
	s.writeConfig(config)
	runCommand(t, s.dir, s.environment(), "fmt", "--overwrite", s.config)
	if got := validate(); got.code != 0 || got.stderr != "" || strings.Contains(got.stdout, "WARNING") || !strings.HasPrefix(got.stdout, "Valid configuration\n") {
		t.Errorf("the configuration before it runs: %+v", got)
	}
	s.start()
	if got := validate(); got.code != 0 || got.stderr != "" {
		t.Errorf("beside its own server: %+v", got)
	}
	// The same database under another admin address is another server's.
	s.writeConfig(strings.NewReplacer(s.admin, "127.0.0.1:"+keystest.FreePorts(t, 1)[0]).Replace(config))
	if got := validate(); got.code == 0 || !strings.Contains(got.stderr, "in use by another process") || !strings.Contains(got.stderr, s.config+":") {
		t.Errorf("a database in use: %+v", got)
	}
	s.writeConfig(config)
	if err := os.Chmod(s.database()+".secret", 0o644); err != nil {
		t.Fatal(err)
	}
	if got := validate(); got.code == 0 || !strings.Contains(got.stderr, "chmod 600") {
		t.Errorf("a secret that others can read, beside the server: %+v", got)
	}
}

// Mistakes that `run` only logs are warnings of `validate`, with their lines.
func TestValidatePrintsWarnings(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(config), "\t\trule / any\n", "\t\trule /account/settings entitled premium\n", 1))
	runCommand(t, s.dir, s.environment(), "fmt", "--overwrite", s.config)
	got := runCommand(t, s.dir, s.environment(), "validate", "--config", s.config)
	for _, want := range []string{"WARNING  " + s.config + ":", "Rule 3 (/account/settings) never decides", "the site has no last rule", "end the rules with `rule / any`"} {
		if got.code != 0 || !strings.Contains(got.stdout, want) || got.stderr != "" {
			t.Errorf("%q is missing: %+v", want, got)
		}
	}
	var report struct{ Warnings []string }
	decode(t, runCommand(t, s.dir, s.environment(), "validate", "--config", s.config, "--json").stdout, &report)
	if len(report.Warnings) != 2 {
		t.Errorf("in JSON they are %q", report.Warnings)
	}
}
