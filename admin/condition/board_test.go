package condition

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	testCritical = Register("test_critical", Critical, "Act.")
	testNotice   = Register("test_notice", Notice, "Read.")
)

// A condition begins when a source finds it, keeps since when it holds, and ends when no
// source finds it any more. Both are reported once.
func TestBoardReportsBeginningAndEnd(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	var changes []string
	board := NewBoard(func() time.Time { return at }, func(c Condition, began bool) { changes = append(changes, fmt.Sprint(c.Name, c.Subject, began)) })
	var findings []Finding
	board.Add(func() []Finding { return findings })
	findings = []Finding{{Kind: testNotice, What: "a"}, {Kind: testCritical, Subject: "x", What: "b"}, {Kind: testCritical, Subject: "x", What: "again"}}
	board.Look()
	at = at.Add(time.Minute)
	findings[1].What = "c"
	list := board.Look()
	if len(list) != 2 || list[0].Name != "test_critical" || list[0].What != "c" || list[0].Remedy != "Act." || !list[0].Since.Equal(at.Add(-time.Minute)) || list[1].Name != "test_notice" {
		t.Errorf("the conditions are %+v", list)
	}
	findings = nil
	if list := board.Look(); len(list) != 0 {
		t.Errorf("nothing is wrong, and the conditions are %+v", list)
	}
	got := strings.Join(changes, " ")
	if len(changes) != 4 || strings.Count(got, "true") != 2 || strings.Count(got, "false") != 2 {
		t.Errorf("the changes are %s", got)
	}
}

// A hostile host of keys answers with errors without end: conditions and their texts are
// bounded.
func TestBoardIsBounded(t *testing.T) {
	board := NewBoard(time.Now, nil)
	board.Add(func() (findings []Finding) {
		for i := range 3 * maxConditions {
			findings = append(findings, Finding{Kind: testNotice, Subject: fmt.Sprint(i, strings.Repeat("s", 2000)), What: strings.Repeat("é", 2000)})
		}
		return findings
	})
	list := board.Look()
	if len(list) != maxConditions || len(list[0].What) > maxText+3 || len(list[0].Subject) > maxText+3 {
		t.Errorf("%d conditions with texts of %d bytes", len(list), len(list[0].What))
	}
}
