package store

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// Every kind of record says what it keeps of a person: a prefix of layout.go without an entry
// in the table of erasers is an error.
func TestEveryKindSaysWhatItKeepsOfAPerson(t *testing.T) {
	known := map[string]eraser{}
	for _, d := range erasers {
		known[string(d.prefix)] = d
		if (d.nothing == "") != (d.forget != nil) || d.nothing == "" && d.kind == "" {
			t.Errorf("the eraser of %q has neither a reason nor a way to forget, or both", d.prefix)
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "layout.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	prefixes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.CHAR {
			prefix, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			prefixes++
			if _, ok := known[prefix]; !ok {
				t.Errorf("the records with the prefix %q have no eraser: say in erasetable.go what they keep of a person", prefix)
			}
		}
		return true
	})
	if prefixes < 50 {
		t.Errorf("layout.go has %d prefixes, want all of them", prefixes)
	}
}
