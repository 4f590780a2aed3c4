package admin

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// FindParams select a page of a listing that can be searched and sorted.
type FindParams struct {
	PageNumber
	SearchParams
}

// SearchParams are the parameters by which a listing is searched and sorted.
type SearchParams struct {
	Terms  string   `query:"q" maxLength:"1024" doc:"Only records of which a field contains one of these texts, in any case. A comma separates texts, except between quotes." example:"xia"`
	Fields []string `query:"q_f,explode" maxItems:"32" doc:"The fields that q searches. Default: all."`
	Order  []string `query:"o,explode" maxItems:"8" doc:"The fields by which the results are sorted; a minus sign before one reverses it. Default: by name."`
}

// PeriodParams select the records of a period.
type PeriodParams struct {
	StartAt string `query:"start_at" maxLength:"64" doc:"Only records from this moment on (ISO 8601)." example:"2020-01-01T00:00:00Z"`
	EndsAt  string `query:"ends_at" maxLength:"64" doc:"Only records before this moment (ISO 8601)." example:"2100-01-01T00:00:00Z"`
}

const (
	// maxFound bounds the records that a listing reads to search or sort them.
	maxFound = 100_000
	// maxTerms bounds the texts of one search.
	maxTerms = 50
	// sortableTime is the form in which times are sorted as texts.
	sortableTime = "2006-01-02T15:04:05.000Z"
)

// field is a field of a record by which it can be searched or sorted.
type field[R any] struct {
	name string
	text func(*R) string
}

// finder searches and sorts the records of a listing.
type finder[R any] struct {
	search []field[R]
	order  []field[R]
	// at is the moment of a record for PeriodParams.
	at func(*R) time.Time
}

// sorted returns a moment as a text that sorts by time.
func sorted(at time.Time) string { return at.UTC().Format(sortableTime) }

func fieldNames[R any](fields []field[R]) []string {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].name
	}
	return names
}

// query is a search that was read from parameters.
type query[R any] struct {
	terms    []string // folded
	fields   []field[R]
	order    []order[R]
	from, to time.Time // zero: no bound
	at       func(*R) time.Time
}

type order[R any] struct {
	field[R]
	descending bool
}

// parse reads the parameters of a search. Names that the listing does not have are
// refused: to ignore them would answer another question.
func (f *finder[R]) parse(s SearchParams, p PeriodParams) (*query[R], error) {
	q := &query[R]{at: f.at}
	var err error
	if q.terms, err = splitTerms(s.Terms); err != nil {
		return nil, err
	}
	for _, name := range splitNames(s.Fields) {
		found, ok := findField(f.search, name)
		if !ok {
			return nil, unknownName("q_f", f.search)
		}
		q.fields = append(q.fields, found)
	}
	if len(q.fields) == 0 {
		q.fields = f.search
	}
	for _, name := range splitNames(s.Order) {
		plain, descending := strings.CutPrefix(name, "-")
		found, ok := findField(f.order, plain)
		if !ok {
			return nil, unknownName("o", f.order)
		}
		q.order = append(q.order, order[R]{found, descending})
	}
	if q.from, err = parseMoment("start_at", p.StartAt); err != nil {
		return nil, err
	}
	q.to, err = parseMoment("ends_at", p.EndsAt)
	return q, err
}

func findField[R any](fields []field[R], name string) (field[R], bool) {
	i := slices.IndexFunc(fields, func(f field[R]) bool { return f.name == name })
	if i < 0 {
		return field[R]{}, false
	}
	return fields[i], true
}

func unknownName[R any](parameter string, known []field[R]) error {
	if len(known) == 0 {
		return invalidAt("query."+parameter, "is not supported by this listing: leave it out")
	}
	return invalidAt("query."+parameter, "must be one of "+strings.Join(fieldNames(known), ", "))
}

// splitNames returns the names of a repeated parameter, each of which may be a list.
func splitNames(values []string) (names []string) {
	for _, value := range values {
		names = append(names, strings.Split(value, ",")...)
	}
	return names
}

// splitTerms returns the texts of a search, in lower case. Quotes keep commas.
func splitTerms(text string) (terms []string, err error) {
	var term strings.Builder
	quoted := false
	add := func() {
		if one := strings.ToLower(strings.TrimSpace(term.String())); one != "" {
			terms = append(terms, one)
		}
		term.Reset()
	}
	for _, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			add()
		default:
			term.WriteRune(c)
		}
	}
	add()
	switch {
	case quoted:
		return nil, invalidAt("query.q", "has a quote that is not closed")
	case len(terms) == 0 && text != "":
		return nil, invalidAt("query.q", "has no text to search for: leave it out to list all records")
	case len(terms) > maxTerms:
		return nil, invalidAt("query.q", fmt.Sprintf("has more than %d texts", maxTerms))
	}
	return terms, nil
}

// momentLayouts are the forms of ISO 8601 in which a moment may be given; without an
// offset it is UTC.
var momentLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", time.DateOnly}

// parseMoment reads the moment of a parameter, which may be in quotes; empty is zero.
func parseMoment(parameter, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	plain := strings.Trim(text, `"`)
	// In a query a plus sign that is not escaped is a space.
	plain = strings.ReplaceAll(plain, " ", "+")
	for _, layout := range momentLayouts {
		if at, err := time.Parse(layout, plain); err == nil {
			return at, nil
		}
	}
	return time.Time{}, invalidAt("query."+parameter, "must be a time such as 2027-01-31T12:00:00Z")
}

// all reports whether the query selects all records in their own order.
func (q *query[R]) all() bool {
	return len(q.terms) == 0 && len(q.order) == 0 && q.from.IsZero() && q.to.IsZero()
}

// matches reports whether a record is one of the results.
func (q *query[R]) matches(record *R) bool {
	if q.at != nil && (!q.from.IsZero() && q.at(record).Before(q.from) || !q.to.IsZero() && !q.at(record).Before(q.to)) {
		return false
	}
	if len(q.terms) == 0 {
		return true
	}
	return slices.ContainsFunc(q.fields, func(f field[R]) bool {
		text := strings.ToLower(f.text(record))
		return slices.ContainsFunc(q.terms, func(term string) bool { return strings.Contains(text, term) })
	})
}

// select returns the results of a query among records, sorted. It reads at most maxFound.
func (q *query[R]) results(records iter.Seq2[R, error]) ([]R, error) {
	found, read := []R{}, 0
	for record, err := range records {
		if err != nil {
			return nil, err
		}
		if read++; read > maxFound {
			return nil, invalidAt("query", fmt.Sprintf(
				"There are more than %d records to search or sort: leave out q, o, start_at and ends_at and read page after page, or list a part such as one profile's or one user's.", maxFound))
		}
		if q.matches(&record) {
			found = append(found, record)
		}
	}
	q.sort(found)
	return found, nil
}

// sort sorts records; equal ones keep their order.
func (q *query[R]) sort(list []R) {
	if len(q.order) == 0 {
		return
	}
	slices.SortStableFunc(list, func(a, b R) int {
		for i := range q.order {
			by := &q.order[i]
			c := cmp.Compare(strings.ToLower(by.text(&a)), strings.ToLower(by.text(&b)))
			if by.descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
}

// source reads the records of a listing.
type source[R any] struct {
	// page returns a part of the records in their own order, and the number of all.
	page func(skip, limit int) ([]R, int, error)
	// all yields all records in their own order; an error is yielded last.
	all iter.Seq2[R, error]
}

// listed returns a source of records in memory.
func listed[R any](list []R, err error) source[R] {
	return source[R]{
		page: func(skip, limit int) ([]R, int, error) {
			return list[min(skip, len(list)):min(skip+limit, len(list))], len(list), err
		},
		all: func(yield func(R, error) bool) {
			for _, record := range list {
				if !yield(record, nil) {
					return
				}
			}
			if err != nil {
				var none R
				yield(none, err)
			}
		},
	}
}

// find returns a page of the records that the parameters select, and the number of all
// that they select. Listings in their own order are read page by page.
func (f *finder[R]) find(p FindParams, period PeriodParams, from source[R]) ([]R, int, error) {
	q, err := f.parse(p.SearchParams, period)
	if err != nil {
		return nil, 0, err
	}
	if q.all() {
		page, count, err := from.page(p.first(), p.PageSize)
		if err == nil {
			err = p.check(count)
		}
		return page, count, err
	}
	found, err := q.results(from.all)
	if err != nil {
		return nil, 0, err
	}
	page, err := pageOf(p.PageNumber, found)
	return page, len(found), err
}

// findPage is find with the results on the wire.
func findPage[R, T any](c *call, f *finder[R], p FindParams, period PeriodParams, from source[R], wire func(R) T) (NumberedPage[T], error) {
	page, count, err := f.find(p, period, from)
	if err != nil {
		return NumberedPage[T]{}, err
	}
	return newPage(c, p.PageNumber, count, wireAll(page, wire)), nil
}

// describeFind adds the names that q_f and o of an operation may have to its description.
func describeFind[R any](a *api, operation huma.Operation, f *finder[R]) {
	for _, described := range itemOperations(a.huma.OpenAPI().Paths[operation.Path]) {
		if described.Method != operation.Method {
			continue
		}
		for _, parameter := range described.Parameters {
			known := map[string][]field[R]{"q_f": f.search, "o": f.order}[parameter.Name]
			if len(known) > 0 {
				parameter.Description += " Known are " + strings.Join(fieldNames(known), ", ") + "."
			}
		}
	}
}
