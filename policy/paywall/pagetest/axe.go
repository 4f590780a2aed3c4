package pagetest

import (
	"os"
	"path/filepath"
	"testing"
)

// AxeCore returns the script of axe-core, from a folder of the path.
func AxeCore(t *testing.T) string {
	t.Helper()
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		if script, err := os.ReadFile(filepath.Join(folder, "axe.min.js")); err == nil { //nolint:gosec // the path is the developer's own
			return string(script)
		}
	}
	t.Fatal("axe-core is missing: run `make test`, or `.ci/axe <folder>` and put the folder on the path")
	return ""
}

// Violations returns a script that runs axe-core with the rules of WCAG 2.2 A and AA on a part of
// the page, and returns what it finds: `[]` for nothing.
func Violations(part string) string {
	return `axe.run(` + part + `, {runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}})
		.then(r => JSON.stringify(r.violations.map(v => [v.id, v.nodes.map(n => n.target + ": " + n.failureSummary)])))`
}
