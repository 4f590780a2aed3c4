package caddymodule

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
)

// importRow is one grant of a file: as the API takes it, or why it cannot be
// read.
type importRow struct {
	line  int
	grant json.RawMessage
	err   error
}

// The formats of grant files.
const (
	formatCSV    = "csv"
	formatNDJSON = "ndjson"
)

// readRows reads a file of grants, row by row. An error ends it: what follows
// could not be understood.
func readRows(file io.Reader, format string) iter.Seq2[importRow, error] {
	if format == formatCSV {
		return readCSV(file)
	}
	return readNDJSON(file)
}

// maxImportLine bounds a line of a file.
const maxImportLine = 1 << 20

// ownFields are those that the server gives a grant: an export has them, and an
// import makes them anew.
var ownFields = []string{"id", "source", "createdAt", "updatedAt"}

// readNDJSON reads one JSON object a line.
func readNDJSON(file io.Reader) iter.Seq2[importRow, error] {
	return func(yield func(importRow, error) bool) {
		lines := bufio.NewScanner(file)
		lines.Buffer(make([]byte, 64<<10), maxImportLine)
		for n := 1; lines.Scan(); n++ {
			text := bytes.TrimSpace(bytes.TrimPrefix(lines.Bytes(), []byte("\ufeff")))
			if len(text) == 0 {
				continue
			}
			row := importRow{line: n}
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
				row.err = errors.New("is not a JSON object")
			} else {
				for _, name := range ownFields {
					delete(fields, name)
				}
				row.grant, row.err = json.Marshal(fields)
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(importRow{}, fmt.Errorf("reading the file: %w", err))
		}
	}
}

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

// csvColumns lists every column, in the order in which they are exported.
func csvColumns() []string {
	columns := append(slices.Clone(textColumns), excludeColumn)
	for _, address := range addressColumns {
		for _, field := range addressFields {
			columns = append(columns, address+"."+field)
		}
	}
	return append(columns, extraColumn)
}

// readCSV reads RFC 4180 with a header line that names the columns.
func readCSV(file io.Reader) iter.Seq2[importRow, error] {
	return func(yield func(importRow, error) bool) {
		buffered := bufio.NewReader(file)
		if mark, err := buffered.Peek(3); err == nil && string(mark) == "\ufeff" {
			_, _ = buffered.Discard(3)
		}
		reader := csv.NewReader(buffered)
		header, err := reader.Read()
		if err != nil {
			yield(importRow{}, fmt.Errorf("the header line cannot be read: %w", err))
			return
		}
		header = slices.Clone(header)
		if err := checkHeader(header); err != nil {
			yield(importRow{}, err)
			return
		}
		reader.ReuseRecord = true
		for {
			record, err := reader.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			line, _ := reader.FieldPos(0)
			row := importRow{line: line}
			switch {
			case errors.Is(err, csv.ErrFieldCount):
				row.err = fmt.Errorf("has %d fields, the header has %d", len(record), len(header))
			case err != nil:
				yield(importRow{}, fmt.Errorf("reading the file: %w", err))
				return
			default:
				row.grant, row.err = csvGrant(header, record)
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

func checkHeader(header []string) error {
	known := append(csvColumns(), ownFields...)
	for i, column := range header {
		if !slices.Contains(known, column) {
			return fmt.Errorf("the column %q is not known; known are %s", column, strings.Join(csvColumns(), ", "))
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
