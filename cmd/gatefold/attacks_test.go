package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// coverageSections are the sections of docs/attack-coverage.md.
var coverageSections = []string{
	"Headers", "Paths", "Hosts", "Queries", "Methods", "Caching by others", "Caches of decisions", "Tokens and keys", "Cookies and sessions",
	"Redirects and pages", "Expiry", "Failures", "The API and configuration",
}

// fewestAttacks is the number of rows below which the table is not complete.
const fewestAttacks = 150

// Each row of the table of attacks names a test that exists, and a subtest or a row of
// a test's table that is in that test, or says why the attack does not apply.
func TestTreeAttackCoverage(t *testing.T) {
	t.Parallel()
	// `package.TestX` "subtest"
	reference := regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz)\\w+)`(?: \"([^\"]+)\")?")
	sections, section := map[string]int{}, ""
	numbers, attacks := map[string]bool{}, map[string]string{}
	packages := map[string]testPackage{}
	for line := range strings.Lines(readTree(t, "docs/attack-coverage.md")) {
		if title, found := strings.CutPrefix(strings.TrimSpace(line), "## "); found {
			section = title
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) < 2 || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[0]) == "#" {
			continue
		}
		if len(cells) != 4 {
			t.Errorf("a row has %d cells, want 4: %s", len(cells), line)
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		number, advisory, attack, shown := cells[0], cells[1], cells[2], cells[3]
		sections[section]++
		if numbers[number] || attacks[attack] != "" || advisory == "" || !strings.HasSuffix(attack, ".") {
			t.Errorf("%s: the number and the sentence must be unique, and the attack a sentence; the sentence is also that of %q", number, attacks[attack])
		}
		numbers[number], attacks[attack] = true, number
		if reason, found := strings.CutPrefix(shown, "Not applicable: "); found {
			if len(reason) < 20 {
				t.Errorf("%s: no reason why it does not apply", number)
			}
			continue
		}
		references := reference.FindAllStringSubmatch(shown, -1)
		if rest := strings.Trim(reference.ReplaceAllString(shown, ""), ", "); len(references) == 0 || rest != "" {
			t.Errorf("%s: neither a test nor a reason: %q", number, rest)
		}
		for _, found := range references {
			dir, test, row := found[1], found[2], found[3]
			if packages[dir] == nil {
				packages[dir] = readTests(t, dir)
			}
			texts, exists := packages[dir][test]
			switch {
			case !exists:
				t.Errorf("%s: there is no %s in %s", number, test, dir)
			case row != "" && !texts[row]:
				t.Errorf("%s: %s.%s has no %q", number, dir, test, row)
			}
		}
	}
	for _, name := range coverageSections {
		if sections[name] == 0 {
			t.Errorf("there is no section %q", name)
		}
	}
	if len(sections) != len(coverageSections) || len(numbers) < fewestAttacks {
		t.Errorf("%d rows in the sections %v", len(numbers), sections)
	}
}

// testPackage has the tests of a package by name, each with its strings.
type testPackage map[string]map[string]bool

// readTests reads the tests of a package. A test's strings include those of the tables
// at package level that it uses.
func readTests(t *testing.T, dir string) testPackage {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no tests: %v", dir, err)
	}
	tests, tables := testPackage{}, map[string]ast.Node{}
	var functions []*ast.FuncDecl
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			switch declaration := declaration.(type) {
			case *ast.FuncDecl:
				functions = append(functions, declaration)
			case *ast.GenDecl:
				for _, spec := range declaration.Specs {
					if value, ok := spec.(*ast.ValueSpec); ok {
						for _, name := range value.Names {
							tables[name.Name] = value
						}
					}
				}
			}
		}
	}
	for _, function := range functions {
		if function.Recv == nil {
			tests[function.Name.Name] = stringsOf(function, tables)
		}
	}
	return tests
}

// stringsOf returns the string literals below a node, and those of the tables that it
// names.
func stringsOf(node ast.Node, tables map[string]ast.Node) map[string]bool {
	found := map[string]bool{}
	var visit func(ast.Node, map[string]ast.Node)
	visit = func(node ast.Node, tables map[string]ast.Node) {
		ast.Inspect(node, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.BasicLit:
				if text, err := strconv.Unquote(node.Value); err == nil {
					found[text] = true
				}
			case *ast.Ident:
				if table := tables[node.Name]; table != nil {
					visit(table, nil)
				}
			}
			return true
		})
	}
	visit(node, tables)
	return found
}

// Decryption of tokens is what attackers of JOSE libraries aim at: our packages call
// none of it (CVE-2026-34986, CVE-2023-50658, CVE-2024-28180).
func TestTreeDecryptsNoTokens(t *testing.T) {
	t.Parallel()
	forbidden := regexp.MustCompile(`\bjose\.(NewEncrypter|NewMultiEncrypter|ParseEncrypted\w*|JSONWebEncryption)\b|\bjwt\.(Encrypted|ParseEncrypted|ParseSignedAndEncrypted|NestedBuilder|SignedAndEncrypted)\b|\.DecryptMulti\(`)
	imports := 0
	for dir, files := range packages(t) {
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join(root, dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), `"github.com/go-jose/go-jose/`) {
				imports++
			}
			if found := forbidden.Find(text); found != nil {
				t.Errorf("%s/%s calls %s", dir, file, found)
			}
		}
	}
	if imports == 0 {
		t.Error("no package imports go-jose: the test looks for the wrong library")
	}
}
