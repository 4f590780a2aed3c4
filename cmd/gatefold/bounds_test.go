package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	backquoted = regexp.MustCompile("`([A-Za-z]+)`")
	testName   = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
)

// The table of what a stranger can fill, in SECURITY.md, names constants that limit it
// and tests that exist.
func TestTreeBoundsOfStrangers(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(readTree(t, "SECURITY.md"), "## What a stranger can fill")
	section, _, _ = strings.Cut(section, "\n## ")
	constants, tests := map[string]bool{}, map[string]bool{}
	for dir, files := range packages(t) {
		for _, names := range constantsOf(t, dir, files) {
			for name := range names {
				constants[name] = true
			}
		}
		written, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range written {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range testName.FindAllSubmatch(text, -1) {
				tests[string(name[1])] = true
			}
		}
	}
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || strings.Contains(line, "---") || strings.Contains(line, "| constants |") {
			continue
		}
		rows++
		for kind, known := range map[int]map[string]bool{4: constants, 5: tests} {
			for _, name := range backquoted.FindAllStringSubmatch(cells[kind], -1) {
				if !known[name[1]] {
					t.Errorf("SECURITY.md: there is no %s", name[1])
				}
			}
		}
	}
	if rows < 15 {
		t.Errorf("SECURITY.md has only %d rows of bounds", rows)
	}
}
