package admin

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	strict "github.com/go-jose/go-jose/v4/json"
)

// Row is one row of a file of grants or links.
type Row struct {
	// Line is the line on which the row begins, from one.
	Line int
	// Value is the grant or link as the API accepts it, unless Err says why the row
	// cannot be read.
	Value json.RawMessage
	Err   error
}

// The formats of files of grants and links.
const (
	FormatCSV    = "csv"
	FormatNDJSON = "ndjson"
)

// ReadGrants yields the rows of a file of grants, in bounded memory. An error ends
// the sequence: the rest of the file cannot be read.
func ReadGrants(file io.Reader, format string) iter.Seq2[Row, error] {
	if format == FormatCSV {
		return readCSV(file, checkHeader, csvGrant)
	}
	return readNDJSON(file, ndjsonGrant)
}

// maxFileRow bounds a row of a file, in bytes.
const maxFileRow = 1 << 20

// ownFields are set by the server. Exports contain them; imports ignore them.
var ownFields = []string{"id", "source", "createdAt", "updatedAt"}

var (
	errTooLong = errors.New("is longer than 1 MiB")
	errNotUTF8 = errors.New("is not UTF-8: save the file as UTF-8")
)

const byteOrderMark = "\ufeff"

// readNDJSON reads one JSON object per line, by a function that checks it. A line that is
// too long is skipped like any other invalid line.
func readNDJSON(file io.Reader, value func(text []byte) (json.RawMessage, error)) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		lines := bufio.NewReaderSize(file, maxFileRow)
		for n := 1; ; n++ {
			text, err := lines.ReadSlice('\n')
			row := Row{Line: n}
			for errors.Is(err, bufio.ErrBufferFull) {
				row.Err = errTooLong
				_, err = lines.ReadSlice('\n')
			}
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Row{}, fmt.Errorf("reading the file: %w", err))
				return
			}
			text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte(byteOrderMark)))
			if row.Err == nil && len(text) > 0 {
				row.Value, row.Err = value(text)
			}
			if (row.Value != nil || row.Err != nil) && !yield(row, nil) || err != nil {
				return
			}
		}
	}
}

// ndjsonGrant returns a line without ownFields.
func ndjsonGrant(text []byte) (json.RawMessage, error) {
	if !utf8.Valid(text) {
		return nil, errNotUTF8
	}
	if text[0] != '{' {
		return nil, errNotObject
	}
	if !slices.ContainsFunc(ownFields, func(name string) bool { return bytes.Contains(text, []byte(`"`+name+`"`)) }) {
		if !json.Valid(text) {
			return nil, errNotObject
		}
		return bytes.Clone(text), nil
	}
	var fields map[string]json.RawMessage
	if err := strict.Unmarshal(text, &fields); err != nil {
		return nil, errNotObject
	}
	for _, name := range ownFields {
		delete(fields, name)
	}
	return json.Marshal(fields)
}

var errNotObject = errors.New("is not a JSON object, or has a name twice")

// The columns of a CSV file are the API's fields. Fields of an address follow a
// dot, and extraFields is a JSON object.
var (
	textColumns = []string{
		"userId", "email", "publisherUserId", "sku", "poId", "status", "startsAt", "endsAt", "firstName", "lastName", "phone",
		"publisherPurchaseId", "notes",
	}
	readerColumns  = []string{"userId", "email", "publisherUserId"}
	addressColumns = []string{"deliveryAddress", "billingAddress"}
	addressFields  = []string{"street", "city", "zip", "country", "co"}
)

const (
	extraColumn   = "extraFields"
	excludeColumn = "excludeFromStats"
)

// GrantColumns returns all columns in the order of an export.
func GrantColumns() []string {
	columns := append(slices.Clone(textColumns), excludeColumn)
	for _, address := range addressColumns {
		for _, field := range addressFields {
			columns = append(columns, address+"."+field)
		}
	}
	return append(columns, extraColumn)
}

// readCSV reads RFC 4180 with a header that names the columns, by functions that check the
// header and that return a record as JSON. A malformed record is skipped if the start of the
// next one is known.
func readCSV(file io.Reader, check func(header []string) error, value func(header, record []string) (json.RawMessage, error)) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		bounded := &rowReader{from: file, left: maxFileRow}
		buffered := bufio.NewReader(bounded)
		if mark, err := buffered.Peek(len(byteOrderMark)); err == nil && string(mark) == byteOrderMark {
			_, _ = buffered.Discard(len(byteOrderMark))
		}
		reader := csv.NewReader(buffered)
		header, err := reader.Read()
		if err != nil {
			yield(Row{}, fmt.Errorf("the header line cannot be read: %w", err))
			return
		}
		header = slices.Clone(header)
		if err := check(header); err != nil {
			yield(Row{}, err)
			return
		}
		reader.ReuseRecord = true
		row := Row{Line: 1}
		for {
			bounded.left = maxFileRow
			record, err := reader.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			row = Row{Line: row.Line}
			malformed, isMalformed := errors.AsType[*csv.ParseError](err)
			switch {
			case errors.Is(err, csv.ErrFieldCount):
				row.Line, _ = reader.FieldPos(0)
				row.Err = fmt.Errorf("has %d fields, the header has %d", len(record), len(header))
			case isMalformed && atEnd(buffered):
				// An unclosed quote has swallowed the rest of the file.
				yield(Row{}, fmt.Errorf("reading the file: the record that begins in line %d does not end: %w", malformed.StartLine, malformed.Err))
				return
			case isMalformed:
				row.Line = malformed.StartLine
				row.Err = fmt.Errorf("column %d: %w", malformed.Column, malformed.Err)
				if malformed.Line > malformed.StartLine {
					row.Err = fmt.Errorf("is malformed up to line %d: a quote is missing, or one too many: %w", malformed.Line, malformed.Err)
				}
			case err != nil:
				yield(Row{}, fmt.Errorf("reading the file: the record behind line %d %w", row.Line, err))
				return
			default:
				row.Line, _ = reader.FieldPos(0)
				row.Value, row.Err = value(header, record)
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// atEnd reports whether nothing is left to read.
func atEnd(file *bufio.Reader) bool {
	_, err := file.Peek(1)
	return err != nil
}

// rowReader bounds the bytes read for one row, because an unclosed quote would
// read the whole file.
type rowReader struct {
	from io.Reader
	left int
}

func (r *rowReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, fmt.Errorf("%w: does a quote in it not end?", errTooLong)
	}
	n, err := r.from.Read(p)
	r.left -= n
	return n, err
}

func checkHeader(header []string) error {
	known := append(GrantColumns(), ownFields...)
	for i, column := range header {
		if !slices.Contains(known, column) {
			hint := ""
			if len(header) == 1 && strings.ContainsAny(column, ";\t") {
				hint = "; fields are separated by commas"
			}
			return fmt.Errorf("the column %q is not known; known are %s%s", column, strings.Join(GrantColumns(), ", "), hint)
		}
		if slices.Contains(header[:i], column) {
			return fmt.Errorf("the column %q comes twice", column)
		}
	}
	if !slices.Contains(header, "sku") {
		return errors.New("the column sku is missing")
	}
	if !slices.ContainsFunc(header, func(column string) bool { return slices.Contains(readerColumns, column) }) {
		return fmt.Errorf("no column says who the reader is: one of %s is needed", strings.Join(readerColumns, ", "))
	}
	return nil
}

// csvGrant returns a record as JSON. Empty fields are omitted, except for times, which are
// null.
func csvGrant(header, record []string) (json.RawMessage, error) {
	grant := make(map[string]any, len(record))
	for i, value := range record {
		name := header[i]
		if slices.Contains(ownFields, name) {
			continue
		}
		if value == "" {
			if name == "startsAt" || name == "endsAt" {
				grant[name] = nil
			}
			continue
		}
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("%s: %w", name, errNotUTF8)
		}
		value = unescapeCell(value)
		switch parent, field, nested := strings.Cut(name, "."); {
		case nested:
			address, _ := grant[parent].(map[string]string)
			if address == nil {
				address = make(map[string]string)
				grant[parent] = address
			}
			address[field] = value
		case name == extraColumn:
			var extra map[string]string
			if err := json.Unmarshal([]byte(value), &extra); err != nil {
				return nil, errors.New("extraFields: is not a JSON object of texts")
			}
			grant[name] = extra
		case name == excludeColumn:
			exclude, err := strconv.ParseBool(value)
			if err != nil {
				return nil, errors.New("excludeFromStats: must be true or false")
			}
			grant[name] = exclude
		default:
			grant[name] = value
		}
	}
	return json.Marshal(grant)
}

// GrantRecord returns the JSON of a grant as a CSV record in the order of
// GrantColumns. It returns an error if grant is not a JSON object.
func GrantRecord(grant json.RawMessage) ([]string, error) {
	var fields map[string]any
	if err := json.Unmarshal(grant, &fields); err != nil {
		return nil, err
	}
	columns := GrantColumns()
	record := make([]string, len(columns))
	for i, column := range columns {
		value := fields[column]
		if parent, field, nested := strings.Cut(column, "."); nested {
			address, _ := fields[parent].(map[string]any)
			value = address[field]
		}
		switch value := value.(type) {
		case nil:
		case string:
			record[i] = escapeCell(value)
		default:
			encoded, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			record[i] = escapeCell(string(encoded))
		}
	}
	return record, nil
}
