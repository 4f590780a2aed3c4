package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/siteaudit"
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
	write(strings.Replace(trapConfig, "handle {", "handle /public/* {\n\t\trespond ok\n\t}\n\thandle {\n\t\tgatefold {\n\t\t\trule / any\n\t\t}", 1))
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
