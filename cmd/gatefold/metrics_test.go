package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// promtool runs Prometheus's own tool, which `make test` puts on the path.
func promtool(t *testing.T, dir, input string, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: run `make test`, or `.ci/promtool <folder>` and put the folder on the path", err)
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
	return string(out)
}

var ourMetric = regexp.MustCompile(`gatefold_[a-z_]+`)

// What Prometheus scrapes is well formed, and what the documents, the alerts and
// the dashboard speak of is there.
func TestMetricsAndWhatIsMadeOfThem(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "1")
	s.get(link)
	s.get(link)
	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+s.must("token", "reader", "--user", "u"))
	response, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var ours strings.Builder
	families := map[string]bool{}
	for line := range strings.Lines(string(body)) {
		if !strings.Contains(line, "gatefold_") {
			continue
		}
		ours.WriteString(line)
		if kind, found := strings.CutPrefix(line, "# TYPE "); found {
			name, _, _ := strings.Cut(kind, " ")
			families[name] = true
		}
	}
	if len(families) < 10 {
		t.Fatalf("only these were scraped: %v", families)
	}
	if out := promtool(t, ".", ours.String(), "check", "metrics"); strings.TrimSpace(out) != "" {
		t.Errorf("promtool says\n%s", out)
	}
	promtool(t, "../../docs", "", "check", "rules", "alerts.yml")
	promtool(t, "../../docs", "", "test", "rules", "alerts_test.yml")

	for _, file := range []string{"alerts.yml", "alerts_test.yml", "grafana.json", "observability.md"} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range ourMetric.FindAllString(string(text), -1) {
			family := name
			for _, part := range []string{"_bucket", "_count", "_sum"} {
				family = strings.TrimSuffix(family, part)
			}
			if !families[family] && !families[name] {
				t.Errorf("%s speaks of %s, which no server has", file, name)
			}
		}
		if file == "grafana.json" && !json.Valid(text) {
			t.Errorf("%s is not JSON", file)
		}
		if file == "observability.md" {
			for family := range families {
				if !strings.Contains(string(text), "`"+family+"`") {
					t.Errorf("%s does not describe %s", file, family)
				}
			}
		}
	}
}
