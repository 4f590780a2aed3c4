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

	strict "github.com/go-jose/go-jose/v4/json"
)

// GrantRow is one grant of a file.
type GrantRow struct {
	// Line is where it begins in the file, from one.
	Line int
	// Grant is the grant as the API takes it; Err says why it cannot be read.
	Grant json.RawMessage
	Err   error
}

// The formats of files of grants.
const (
	FormatCSV    = "csv"
	FormatNDJSON = "ndjson"
)

// ReadGrants reads a file of grants, row by row, in bounded memory. An error ends
// it: what follows could not be understood.
func ReadGrants(file io.Reader, format string) iter.Seq2[GrantRow, error] {
	if format == FormatCSV {
		return readCSV(file)
	}
	return readNDJSON(file)
}

// maxGrantLine bounds a line of a file.
const maxGrantLine = 1 << 20

// ownFields are those that the server gives a grant: an export has them, and an
// import makes them anew.
var ownFields = []string{"id", "source", "createdAt", "updatedAt"}

// readNDJSON reads one JSON object a line.
func readNDJSON(file io.Reader) iter.Seq2[GrantRow, error] {
	return func(yield func(GrantRow, error) bool) {
		lines := bufio.NewScanner(file)
		lines.Buffer(make([]byte, 64<<10), maxGrantLine)
		for n := 1; lines.Scan(); n++ {
			text := bytes.TrimSpace(bytes.TrimPrefix(lines.Bytes(), []byte("\ufeff")))
			if len(text) == 0 {
				continue
			}
			row := GrantRow{Line: n}
			row.Grant, row.Err = ndjsonGrant(text)
			if !yield(row, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(GrantRow{}, fmt.Errorf("reading the file: %w", err))
		}
	}
}

// ndjsonGrant returns a line as the API takes it. Most lines are that already.
func ndjsonGrant(text []byte) (json.RawMessage, error) {
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

// The columns of a CSV file are the API's fields; those of an address stand
// behind a dot, and extraFields is a JSON object.
var (
	textColumns = []string{
		"userId", "email", "publisherUserId", "sku", "poId", "status", "startsAt", "endsAt", "firstName", "lastName", "phone",
		"publisherPurchaseId", "notes",
	}
	addressColumns = []string{"deliveryAddress", "billingAddress"}
	addressFields  = []string{"street", "city", "zip", "country", "co"}
)

const (
	extraColumn   = "extraFields"
	excludeColumn = "excludeFromStats"
)

// GrantColumns lists every column, in the order in which they are exported.
func GrantColumns() []string {
	columns := append(slices.Clone(textColumns), excludeColumn)
	for _, address := range addressColumns {
		for _, field := range addressFields {
			columns = append(columns, address+"."+field)
		}
	}
	return append(columns, extraColumn)
}

// readCSV reads RFC 4180 with a header line that names the columns.
func readCSV(file io.Reader) iter.Seq2[GrantRow, error] {
	return func(yield func(GrantRow, error) bool) {
		bounded := &rowReader{from: file, left: maxGrantLine}
		buffered := bufio.NewReader(bounded)
		if mark, err := buffered.Peek(3); err == nil && string(mark) == "\ufeff" {
			_, _ = buffered.Discard(3)
		}
		reader := csv.NewReader(buffered)
		header, err := reader.Read()
		if err != nil {
			yield(GrantRow{}, fmt.Errorf("the header line cannot be read: %w", err))
			return
		}
		header = slices.Clone(header)
		if err := checkHeader(header); err != nil {
			yield(GrantRow{}, err)
			return
		}
		reader.ReuseRecord = true
		for {
			bounded.left = maxGrantLine
			record, err := reader.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			row := GrantRow{}
			if len(record) > 0 {
				row.Line, _ = reader.FieldPos(0)
			}
			switch {
			case errors.Is(err, csv.ErrFieldCount):
				row.Err = fmt.Errorf("has %d fields, the header has %d", len(record), len(header))
			case err != nil:
				yield(GrantRow{}, fmt.Errorf("reading the file: %w", err))
				return
			default:
				row.Grant, row.Err = csvGrant(header, record)
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// rowReader bounds how much is read for one row: a quote that is never closed
// would make a row of all that follows.
type rowReader struct {
	from io.Reader
	left int
}

func (r *rowReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, fmt.Errorf("a row is longer than %d bytes", maxGrantLine)
	}
	n, err := r.from.Read(p)
	r.left -= n
	return n, err
}

func checkHeader(header []string) error {
	known := append(GrantColumns(), ownFields...)
	for i, column := range header {
		if !slices.Contains(known, column) {
			return fmt.Errorf("the column %q is not known; known are %s", column, strings.Join(GrantColumns(), ", "))
		}
		if slices.Contains(header[:i], column) {
			return fmt.Errorf("the column %q comes twice", column)
		}
	}
	if !slices.Contains(header, "sku") {
		return errors.New("the column sku is missing")
	}
	return nil
}

// csvGrant returns a record as the API takes it. An empty field is none.
func csvGrant(header, record []string) (json.RawMessage, error) {
	grant := make(map[string]any, len(record))
	for i, value := range record {
		name := header[i]
		if value == "" || slices.Contains(ownFields, name) {
			continue
		}
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

// GrantRecord returns a grant, as the API shows it, in the order of GrantColumns.
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
			record[i] = value
		default:
			encoded, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			record[i] = string(encoded)
		}
	}
	return record, nil
}
