package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lint runs both linters over a document in the folder, and returns what each finds.
func (n *node) lint(file string) (spectral, redocly []string) {
	n.t.Helper()
	environment := append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true", "NO_COLOR=1")
	run := func(name string, to any, args ...string) {
		cmd := exec.CommandContext(n.t.Context(), filepath.Join("node_modules", ".bin", name), args...)
		cmd.Dir, cmd.Env = n.dir, environment
		out, err := cmd.Output() // the exit code says whether there is an error
		if begin := strings.IndexAny(string(out), "[{"); begin < 0 || json.Unmarshal(out[begin:], to) != nil {
			n.t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	var found []struct {
		Code, Message string
		Path          []any
	}
	run("spectral", &found, "lint", file, "--format", "json", "--quiet", "--fail-severity", "hint")
	for _, one := range found {
		at, _ := json.Marshal(one.Path)
		spectral = append(spectral, one.Code+": "+one.Message+" "+string(at))
	}
	var report struct {
		Totals   struct{ Errors, Warnings int }
		Problems []struct {
			RuleID, Message string
			Ignored         bool
			Location        []struct{ Pointer string }
		}
	}
	run("redocly", &report, "lint", file, "--format", "json", "--max-problems", "1000")
	for _, problem := range report.Problems {
		if !problem.Ignored {
			redocly = append(redocly, problem.RuleID+": "+problem.Message+" "+problem.Location[0].Pointer)
		}
	}
	if report.Totals.Errors+report.Totals.Warnings != len(redocly) {
		n.t.Errorf("redocly counts %+v and reports %d", report.Totals, len(redocly))
	}
	return spectral, redocly
}

// Spectral with spectral:oas and Redocly with its recommended rules find neither an error
// nor a warning in /openapi.json, and both find an example that is none.
func TestDocumentPassesLinters(t *testing.T) {
	t.Parallel()
	s, api := startAPI(t)
	document := s.get(api + "/openapi.json")
	document.expect(t, http.StatusOK, "")
	n := newNode(t, "linters")
	n.write("openapi.json", []byte(document.body))
	spectral, redocly := n.lint("openapi.json")
	for _, found := range append(spectral, redocly...) {
		t.Error(found)
	}
	var parts map[string]any
	decode(t, document.body, &parts)
	schemas := parts["components"].(map[string]any)["schemas"].(map[string]any)
	access := schemas["AccessList"].(map[string]any)
	access["required"] = append(access["required"].([]any), "missing")
	access["properties"].(map[string]any)["missing"] = map[string]any{"type": "string", "description": "A field of which no example has a value."}
	broken, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	n.write("broken.json", broken)
	if spectral, redocly := n.lint("broken.json"); len(spectral) == 0 || len(redocly) == 0 {
		t.Errorf("an example without a required field passes: %d and %d findings", len(spectral), len(redocly))
	}
}
