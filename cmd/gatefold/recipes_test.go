package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var recipeRow = regexp.MustCompile("^\\| `([^`]+)` \\| (.*?) \\|")

// Every file and every name in the recipes of CONTRIBUTING.md exists.
func TestTreeRecipes(t *testing.T) {
	t.Parallel()
	_, recipes, found := strings.Cut(readTree(t, "CONTRIBUTING.md"), "## Recipes\n")
	recipes, _, ended := strings.Cut(recipes, "\n## ")
	if !found || !ended {
		t.Fatal("CONTRIBUTING.md has no recipes")
	}
	rows := map[string]int{}
	recipe := ""
	for line := range strings.Lines(recipes) {
		if heading, found := strings.CutPrefix(line, "### "); found {
			recipe = strings.TrimSpace(heading)
		}
		row := recipeRow.FindStringSubmatch(line)
		if row == nil {
			continue
		}
		rows[recipe]++
		text, err := os.ReadFile(filepath.Join(root, row[1]))
		if err != nil {
			t.Errorf("%s: %v", recipe, err)
			continue
		}
		for i, name := range strings.Split(row[2], "`") {
			if i%2 == 1 && !regexp.MustCompile(`\b`+regexp.QuoteMeta(name)+`\b`).Match(text) {
				t.Errorf("%s: %s does not contain %s", recipe, row[1], name)
			}
		}
	}
	for _, recipe := range []string{"An operator", "A rule option", "An endpoint", "A subdirective", "A record", "A reason"} {
		if rows[recipe] < 4 {
			t.Errorf("the recipe %q has %d files", recipe, rows[recipe])
		}
	}
}
