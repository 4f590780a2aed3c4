package admin

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"
)

// member is a record of the listings in these tests.
type member struct {
	name, email string
	joined      time.Time
}

var memberFinder = finder[member]{
	search: []field[member]{
		{"name", func(m *member) string { return m.name }},
		{"email", func(m *member) string { return m.email }},
	},
	order: []field[member]{
		{"name", func(m *member) string { return m.name }},
		{"joined", func(m *member) string { return sorted(m.joined) }},
	},
	at: func(m *member) time.Time { return m.joined },
}

func day(d int) time.Time { return time.Date(2027, 1, d, 0, 0, 0, 0, time.UTC) }

var members = []member{
	{"alice", "alice@home.example", day(3)},
	{"Bob, Jr.", "bob@work.example", day(1)},
	{"carol", "Carol@Work.example", day(2)},
	{"dave", "dave@home.example", day(1)},
}

func found(t *testing.T, s SearchParams, p PeriodParams) string {
	t.Helper()
	list, count, err := memberFinder.find(FindParams{PageNumber{1, 25}, s}, p, listed(members, nil))
	if err != nil {
		t.Fatal(err)
	}
	if count != len(list) {
		t.Errorf("the count is %d of %d", count, len(list))
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = strings.ToLower(list[i].name[:1])
	}
	return strings.Join(names, "")
}

func TestFindSearchesAndSorts(t *testing.T) {
	for _, test := range []struct {
		why    string
		search SearchParams
		period PeriodParams
		want   string
	}{
		{why: "no parameter lists all in their own order", want: "abcd"},
		{why: "any case", search: SearchParams{Terms: "WORK"}, want: "bc"},
		{why: "one text of several", search: SearchParams{Terms: "alice,dave"}, want: "ad"},
		{why: "quotes keep commas", search: SearchParams{Terms: `"bob, jr"`}, want: "b"},
		{why: "only in the named field", search: SearchParams{Terms: "home", Fields: []string{"name"}}, want: ""},
		{why: "in one of the named fields", search: SearchParams{Terms: "home", Fields: []string{"name", "email"}}, want: "ad"},
		{why: "sorted in any case", search: SearchParams{Order: []string{"-name"}}, want: "dcba"},
		{why: "equal ones keep their order", search: SearchParams{Order: []string{"joined"}}, want: "bdca"},
		{why: "a second field sorts equal ones", search: SearchParams{Order: []string{"joined", "-name"}}, want: "dbca"},
		{why: "from a moment on", period: PeriodParams{StartAt: "2027-01-02T00:00:00Z"}, want: "ac"},
		{why: "before a moment", period: PeriodParams{EndsAt: `"2027-01-02"`}, want: "bd"},
		{why: "half open", period: PeriodParams{StartAt: "2027-01-01", EndsAt: "2027-01-03T00:00:00"}, want: "bcd"},
		{why: "a plus sign arrives as a space", period: PeriodParams{StartAt: "2027-01-03T01:00:00 01:00"}, want: "a"},
	} {
		if got := found(t, test.search, test.period); got != test.want {
			t.Errorf("%s: found %q, want %q", test.why, got, test.want)
		}
	}
}

func TestFindRefusesWhatItWouldIgnore(t *testing.T) {
	for location, test := range map[string]struct {
		search SearchParams
		period PeriodParams
		says   string
	}{
		"query.q_f":      {search: SearchParams{Terms: "x", Fields: []string{"phone"}}, says: "name, email"},
		"query.o":        {search: SearchParams{Order: []string{"-email"}}, says: "name, joined"},
		"query.q":        {search: SearchParams{Terms: `"open`}, says: "not closed"},
		"query.start_at": {period: PeriodParams{StartAt: "yesterday"}, says: "must be a time"},
		"query.ends_at":  {period: PeriodParams{EndsAt: "2027-13-01"}, says: "must be a time"},
	} {
		_, _, err := memberFinder.find(FindParams{PageNumber{1, 25}, test.search}, test.period, listed(members, nil))
		p, ok := errors.AsType[*Problem](err)
		if !ok || p.Status != 422 || p.Errors[0].Location != location || !strings.Contains(p.Errors[0].Message, test.says) {
			t.Errorf("%s: %v", location, err)
		}
	}
	for terms, says := range map[string]string{", ,": "no text", strings.Repeat("a,", maxTerms) + "a": "more than"} {
		if _, err := splitTerms(terms); !strings.Contains(problemIn(err).Errors[0].Message, says) {
			t.Errorf("%.20s: %v", terms, err)
		}
	}
}

// A listing in its own order is read page by page, however long it is; one that must be
// searched is read up to a bound and then refused with the remedy.
func TestFindReadsABoundedNumber(t *testing.T) {
	read := 0
	endless := source[member]{
		page: func(_, _ int) ([]member, int, error) { return members[:2], 10 * maxFound, nil },
		all: iter.Seq2[member, error](func(yield func(member, error) bool) {
			for read = 1; yield(members[read%4], nil); read++ {
			}
		}),
	}
	list, count, err := memberFinder.find(FindParams{PageNumber: PageNumber{7, 2}}, PeriodParams{}, endless)
	if err != nil || len(list) != 2 || count != 10*maxFound || read != 0 {
		t.Errorf("a page in order: %d of %d, %d read, %v", len(list), count, read, err)
	}
	_, _, err = memberFinder.find(FindParams{PageNumber{1, 2}, SearchParams{Terms: "unmatched"}}, PeriodParams{}, endless)
	if p, ok := errors.AsType[*Problem](err); !ok || p.Status != 422 || read != maxFound+1 {
		t.Errorf("a search: %d read, %v", read, err)
	}
}

func TestFindPagesResults(t *testing.T) {
	many := make([]member, 60)
	for i := range many {
		many[i].name = fmt.Sprintf("m%02d", i)
	}
	list, count, err := memberFinder.find(FindParams{PageNumber{3, 25}, SearchParams{Order: []string{"-name"}}}, PeriodParams{}, listed(many, nil))
	if err != nil || count != 60 || len(list) != 10 || list[9].name != "m00" {
		t.Errorf("%v of %d, %v", list, count, err)
	}
	if _, _, err = memberFinder.find(FindParams{PageNumber{4, 25}, SearchParams{}}, PeriodParams{}, listed(many, nil)); problemIn(err).Status != 404 {
		t.Errorf("the page after the last: %v", err)
	}
	failed := errors.New("disk")
	for _, o := range [][]string{nil, {"name"}} {
		if _, _, err := memberFinder.find(FindParams{PageNumber{1, 25}, SearchParams{Order: o}}, PeriodParams{}, listed(slices.Clone(many), failed)); !errors.Is(err, failed) {
			t.Errorf("a failed read: %v", err)
		}
	}
}

// problemIn returns the problem of an error, and an empty one if it has none.
func problemIn(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	return &Problem{Errors: []FieldError{{}}}
}
