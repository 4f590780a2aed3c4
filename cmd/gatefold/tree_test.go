package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tests named TestTree… check the source tree and its documents. They run no
// binary: with -short, TestMain builds none.

// root is the module's directory.
const root = "../.."

// packages returns the non-test Go files of every package of the module, by the
// package's directory below the root.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		if !entry.IsDir() && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			dir, err := filepath.Rel(root, filepath.Dir(path))
			found[dir] = append(found[dir], name)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found["policy"]) < 10 {
		t.Fatalf("package policy has the files %v", found["policy"])
	}
	return found
}

// readTree returns a file by its path below the root.
func readTree(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every package of more than one file has a doc.go whose comment names each
// non-test file, and no file that does not exist.
func TestTreeFileMaps(t *testing.T) {
	t.Parallel()
	fileName := regexp.MustCompile(`(^|[\s,(])([A-Za-z0-9_]+\.go)\b`)
	for dir, files := range packages(t) {
		if len(files) == 1 {
			continue
		}
		if !slices.Contains(files, "doc.go") {
			t.Errorf("%s has no doc.go: add one with a line for each file", dir)
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, dir, "doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		named := []string{"doc.go"}
		for _, match := range fileName.FindAllStringSubmatch(parsed.Doc.Text(), -1) {
			named = append(named, match[2])
			if !slices.Contains(files, match[2]) {
				t.Errorf("%s/doc.go names %s, which does not exist", dir, match[2])
			}
		}
		for _, file := range files {
			if !slices.Contains(named, file) {
				t.Errorf("%s/doc.go does not name %s: add a line for it", dir, file)
			}
		}
	}
}

// The root of the tree has the documents that CONTRIBUTING.md and README.md name, and no
// notes of a work in progress.
func TestTreeRootDocuments(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range documents {
		if name := filepath.Base(document); !slices.Contains([]string{"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"}, name) {
			t.Errorf("%s is at the root of the tree: documents belong into docs", name)
		}
	}
}

// Every source file that a document names exists.
func TestTreeDocuments(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(documents) < 10 {
		t.Fatalf("%v: the documents are %v", err, documents)
	}
	source := regexp.MustCompile("`((?:admin|caddymodule|cmd|keys|policy)/[a-z_/0-9-]+\\.(?:go|lua))`")
	for _, document := range append(documents, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range source.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", filepath.Base(document), match[1])
			}
		}
	}
}

// The figures of the README are those of docs/performance.md.
func TestTreeReadmeFigures(t *testing.T) {
	t.Parallel()
	measured, readme := readTree(t, "docs/performance.md"), readTree(t, "README.md")
	for row, figure := range map[string]string{
		"reader's token: throughput":                                                "%.2f of plain Caddy's with a reader's token",
		"public page: throughput":                                                   "%.2f for a public page",
		"page from memory, 1 KiB: throughput, against plain reverse_proxy":          "%.1f times for a page from memory",
		"against forward_auth in Caddy as shipped: throughput":                      "%.1f times as much",
		"against forward_auth that verifies a JWT, in Caddy as shipped: throughput": "%.1f times if the service verifies a JWT",
		"against nginx with auth_request: throughput":                               "%.1f times that of nginx",
		"revoked at one node to denied at another, p99":                             "| %.1f ms |",
	} {
		found := regexp.MustCompile(`\n\| ` + regexp.QuoteMeta(row) + ` \|[^|]*\| ([0-9.]+)`).FindStringSubmatch(measured)
		if found == nil {
			t.Errorf("docs/performance.md has no row %q", row)
			continue
		}
		value, err := strconv.ParseFloat(found[1], 64)
		if want := fmt.Sprintf(figure, value); err != nil || !strings.Contains(readme, want) {
			t.Errorf("README.md does not say %q, which docs/performance.md has measured: %v", want, err)
		}
	}
}

// Every link between documents leads to a file, and to a heading of it.
func TestTreeLinks(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	others, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`(?:\]\(|src=")([^():"\s]+)[)"]`)
	for _, document := range append(documents, others...) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			file, fragment, _ := strings.Cut(match[1], "#")
			target := document
			if file != "" {
				target = filepath.Join(filepath.Dir(document), file)
			}
			content, err := os.ReadFile(target)
			if err != nil || fragment != "" && !slices.Contains(headings(string(content)), fragment) {
				t.Errorf("%s links to %s, which does not exist", filepath.Base(document), match[1])
			}
		}
	}
}

// headings returns the fragments of a document's headings.
func headings(text string) []string {
	var found []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		found = append(found, strings.ReplaceAll(name, " ", "-"))
	}
	return found
}
