package admin

import (
	"strings"
	"testing"
)

// A reader's name is a formula. No cell of an export is evaluated, however a
// spreadsheet separates fields, and an import returns the text.
func FuzzCSVCells(f *testing.F) {
	for _, text := range []string{
		"", "Ann", "O'Neil", "'tis", "=1+1", "+46701234567", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "a;=1;'=2", "a\n+1", "＝1",
		"=HYPERLINK(\"http://evil.example\")", `{"a":"x;=1"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cell := escapeCell(text)
		if back := unescapeCell(cell); back != text {
			t.Fatalf("%q is written as %q and read as %q", text, cell, back)
		}
		for part := range strings.FieldsFuncSeq(cell, func(c rune) bool { return strings.ContainsRune(cellBreaks, c) }) {
			if strings.IndexAny(part, formulaStarts) == 0 {
				t.Fatalf("%q is written as %q, in which %q is evaluated", text, cell, part)
			}
		}
	})
}
