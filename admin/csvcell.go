package admin

import "strings"

// A spreadsheet evaluates a cell that begins with one of formulaStarts, and may begin
// a cell at one of cellBreaks, whatever separates the fields of the file. Exports put
// an apostrophe before each such start, and before one that apostrophes precede;
// imports remove one, so that every text returns unchanged.
const (
	formulaStarts = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
	cellBreaks    = ";\t\r\n"
)

// escapeCell returns a text that no spreadsheet evaluates.
func escapeCell(text string) string {
	return editCell(text, func(quotes int) int { return quotes + 1 })
}

// unescapeCell returns the text from which escapeCell made a cell.
func unescapeCell(cell string) string {
	return editCell(cell, func(quotes int) int { return max(quotes-1, 0) })
}

// editCell changes the number of apostrophes before each start of a formula.
func editCell(text string, change func(quotes int) int) string {
	if !strings.ContainsAny(text, formulaStarts) {
		return text
	}
	var edited strings.Builder
	for text != "" {
		rest := strings.TrimLeft(text, "'")
		quotes := len(text) - len(rest)
		if strings.IndexAny(rest, formulaStarts) == 0 {
			quotes = change(quotes)
		}
		edited.WriteString(strings.Repeat("'", quotes))
		// The cell ends behind the next break.
		end := strings.IndexAny(rest, cellBreaks) + 1
		if end == 0 {
			end = len(rest)
		}
		edited.WriteString(rest[:end])
		text = rest[end:]
	}
	return edited.String()
}
