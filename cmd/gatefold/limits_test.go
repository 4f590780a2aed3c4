package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// limit is a row of the table of limits in docs/architecture.md.
type limit struct{ what, value, name, file string }

var limitRow = regexp.MustCompile("(?m)^\\| (.+?) \\| (.+?) \\| `([A-Za-z]+)` \\| `([a-z_/0-9-]+\\.go)` \\|$")

// The table of limits in docs/architecture.md names each constant, its file and its
// value, and lacks no constant whose name begins with max or Max.
func TestTreeLimits(t *testing.T) {
	t.Parallel()
	var rows []limit
	for _, match := range limitRow.FindAllStringSubmatch(readTree(t, "docs/architecture.md"), -1) {
		rows = append(rows, limit{match[1], match[2], match[3], match[4]})
	}
	if len(rows) < 100 {
		t.Fatalf("docs/architecture.md has only %d limits", len(rows))
	}
	declared := map[string]map[string]constant.Value{} // by file, by name
	for dir, files := range packages(t) {
		maps.Copy(declared, constantsOf(t, dir, files))
	}
	for _, row := range rows {
		value, found := declared[row.file][row.name]
		want, err := quantity(row.value)
		switch {
		case err != nil:
			t.Errorf("%s: %v", row.name, err)
		case !found:
			t.Errorf("docs/architecture.md: %s is not a constant in %s", row.name, row.file)
		case constant.Compare(constant.ToInt(value), token.NEQ, constant.MakeInt64(want)):
			t.Errorf("docs/architecture.md: %s is %s in %s, the document has %s", row.name, value, row.file, row.value)
		}
	}
	for file, constants := range declared {
		for name := range constants {
			listed := slices.ContainsFunc(rows, func(row limit) bool { return row.file == file && row.name == name })
			if strings.HasPrefix(strings.ToLower(name), "max") && !listed && !strings.HasPrefix(file, "cmd/gatefold-bench/") {
				t.Errorf("docs/architecture.md lacks the limit %s of %s: add a row", name, file)
			}
		}
	}
}

// constantsOf evaluates the integer constants that the files of a package declare.
// What depends on another package, except time, is left out.
func constantsOf(t *testing.T, dir string, files []string) map[string]map[string]constant.Value {
	t.Helper()
	expressions := map[string]ast.Expr{}
	declaredIn := map[string]string{}
	for _, name := range files {
		path := filepath.Join(dir, name)
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			declaration, ok := node.(*ast.GenDecl)
			if !ok || declaration.Tok != token.CONST {
				return true
			}
			for _, spec := range declaration.Specs {
				names := spec.(*ast.ValueSpec)
				for i, value := range names.Values {
					expressions[names.Names[i].Name], declaredIn[names.Names[i].Name] = value, path
				}
			}
			return true
		})
	}
	constants := map[string]map[string]constant.Value{}
	for name, expression := range expressions {
		if value := evaluate(expression, expressions); value != nil && value.Kind() == constant.Int {
			file := declaredIn[name]
			if constants[file] == nil {
				constants[file] = map[string]constant.Value{}
			}
			constants[file][name] = value
		}
	}
	return constants
}

var durations = map[string]time.Duration{
	"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
}

// evaluate returns the value of a constant expression, or nil.
func evaluate(expression ast.Expr, constants map[string]ast.Expr) constant.Value {
	switch x := expression.(type) {
	case *ast.BasicLit:
		if x.Kind == token.INT {
			return constant.MakeFromLiteral(x.Value, x.Kind, 0)
		}
	case *ast.ParenExpr:
		return evaluate(x.X, constants)
	case *ast.Ident:
		if named := constants[x.Name]; named != nil {
			return evaluate(named, constants)
		}
	case *ast.SelectorExpr:
		if unit, found := durations[x.Sel.Name]; found {
			return constant.MakeInt64(int64(unit))
		}
	case *ast.BinaryExpr:
		left, right := evaluate(x.X, constants), evaluate(x.Y, constants)
		if left == nil || right == nil {
			return nil
		}
		switch x.Op {
		case token.SHL, token.SHR:
			bits, _ := constant.Uint64Val(right)
			return constant.Shift(left, x.Op, uint(bits))
		case token.QUO:
			return constant.BinaryOp(left, token.QUO_ASSIGN, right) // of integers
		case token.ADD, token.SUB, token.MUL:
			return constant.BinaryOp(left, x.Op, right)
		default:
		}
	}
	return nil
}

var units = map[string]int64{
	"": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20,
	"ms": int64(time.Millisecond), "s": int64(time.Second), "min": int64(time.Minute), "h": int64(time.Hour), "days": int64(24 * time.Hour),
}

// quantity reads a number with a unit, as the documents write it: `10,000`, `64 KiB`.
func quantity(text string) (int64, error) {
	number, unit, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(strings.ReplaceAll(number, ",", ""), 10, 64)
	factor, known := units[unit]
	if err != nil || !known {
		return 0, fmt.Errorf("%q is not a number with a unit", text)
	}
	return n * factor, nil
}
