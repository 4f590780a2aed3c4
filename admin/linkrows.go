package admin

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

const (
	// maxLinkRows bounds the links of a stream, whose numbers are part of their ids and
	// must be below 2^20; it leaves room for a newsletter of twice 50,000 readers.
	maxLinkRows = 100_000
	// maxLinkRowsBody bounds a stream of links, in bytes. Its rows are kept compressed until
	// all of them are checked.
	maxLinkRowsBody = 32 << 20
)

// ReadLinks yields the rows of a file of links, in bounded memory. An error ends the
// sequence: the rest of the file cannot be read.
func ReadLinks(file io.Reader, format string) iter.Seq2[Row, error] {
	if format == FormatCSV {
		return readCSV(file, checkLinkHeader, csvLink)
	}
	return readNDJSON(file, ndjsonLink)
}

func ndjsonLink(text []byte) (json.RawMessage, error) {
	switch {
	case !utf8.Valid(text):
		return nil, errNotUTF8
	case text[0] != '{' || !json.Valid(text):
		return nil, errNotObject
	}
	return bytes.Clone(text), nil
}

// metaColumn begins the names of columns that are fields of meta.
const metaColumn = "meta."

// linkFields are the fields of LinkBody that a cell of a CSV file can hold, with the form
// of their values in JSON.
var linkFields = func() map[string]reflect.Kind {
	found := make(map[string]reflect.Kind)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[LinkBody]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		kind := field.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch {
		case name == "":
		case kind == reflect.TypeFor[Lifetime]():
			found[name] = reflect.Interface // digits are a number, other texts are not
		case kind == reflect.TypeFor[time.Time]():
			found[name] = reflect.String
		case kind.Kind() == reflect.String || kind.Kind() == reflect.Bool || kind.Kind() == reflect.Int64 || kind.Kind() == reflect.Int:
			found[name] = kind.Kind()
		}
	}
	return found
}()

// LinkColumns returns the columns that a CSV file of links may have, without those of meta.
func LinkColumns() []string {
	columns := make([]string, 0, len(linkFields))
	for _, field := range reflect.VisibleFields(reflect.TypeFor[LinkBody]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if _, known := linkFields[name]; known {
			columns = append(columns, name)
		}
	}
	return columns
}

func checkLinkHeader(header []string) error {
	for i, column := range header {
		_, known := linkFields[column]
		if name, found := strings.CutPrefix(column, metaColumn); !known && (!found || name == "") {
			return fmt.Errorf("the column %q is not known; known are %s and %s<name>", column, strings.Join(LinkColumns(), ", "), metaColumn)
		}
		if slices.Contains(header[:i], column) {
			return fmt.Errorf("the column %q comes twice", column)
		}
	}
	return nil
}

// csvLink returns a record as JSON. Empty fields are omitted.
func csvLink(header, record []string) (json.RawMessage, error) {
	link, meta := make(map[string]any, len(record)), map[string]string{}
	for i, value := range record {
		name := header[i]
		if value == "" {
			continue
		}
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("%s: %w", name, errNotUTF8)
		}
		value = unescapeCell(value)
		var err error
		switch kind := linkFields[name]; {
		case kind == reflect.Bool:
			if link[name], err = strconv.ParseBool(value); err != nil {
				return nil, fmt.Errorf("%s: must be true or false", name)
			}
		case kind == reflect.Int64 || kind == reflect.Int || kind == reflect.Interface && strings.Trim(value, "0123456789") == "":
			if link[name], err = strconv.ParseInt(value, 10, 64); err != nil {
				return nil, fmt.Errorf("%s: must be a whole number", name)
			}
		case strings.HasPrefix(name, metaColumn):
			meta[name[len(metaColumn):]] = value
		default:
			link[name] = value
		}
	}
	if len(meta) > 0 {
		link["meta"] = meta
	}
	return json.Marshal(link)
}

// readRows reads the links of a stream of rows and checks all of them. It returns what
// identifies the body in an idempotency record as well.
func (m *linkMint) readRows(b *bulk, format string, schema *huma.Schema) (iter.Seq2[LinkBody, error], []byte, error) {
	digest := sha256.New()
	body := &io.LimitedReader{R: io.TeeReader(b, digest), N: maxLinkRowsBody + 1}
	tooLarge := newProblem(http.StatusRequestEntityTooLarge, "the body is larger than 32 MiB: divide it into several calls, each with a key of its own")
	packed := newPackedLinks()
	var wrong []FieldError
	for row, err := range ReadLinks(body, format) {
		if body.N <= 0 { // the row may be cut off
			return nil, nil, tooLarge
		}
		if err != nil {
			return nil, nil, newProblem(http.StatusBadRequest, err.Error())
		}
		if packed.rows++; packed.rows > maxLinkRows {
			return nil, nil, invalidAt("body", fmt.Sprintf("has more than %d rows: divide it into several calls, each with a key of its own", maxLinkRows))
		}
		var link LinkBody
		err = row.Err
		if err == nil {
			err = m.api.read(row.Value, schema, &link)
		}
		if err == nil {
			err = m.check(&link)
		}
		if err == nil {
			err = packed.add(&link)
		}
		if wrong, err = addRowErrors(wrong, row.Line, err); err != nil {
			return nil, nil, err
		}
	}
	if err := packed.close(); err != nil {
		return nil, nil, err
	}
	switch {
	case body.N <= 0:
		return nil, nil, tooLarge
	case len(wrong) > 0:
		p := newProblem(http.StatusUnprocessableEntity, "validation failed, and no link was created")
		p.Errors = wrong
		return nil, nil, p
	case packed.rows == 0:
		return nil, nil, invalidAt("body", "has no rows")
	}
	return packed.all(), digest.Sum([]byte(format)), nil
}

// addRowErrors adds the errors of the row in a line, up to maxBodyErrors. It returns an error
// that is none of the row.
func addRowErrors(wrong []FieldError, line int, err error) ([]FieldError, error) {
	at := fmt.Sprintf("body.line[%d]", line)
	p, isProblem := errors.AsType[*Problem](located(err, at))
	switch {
	case err == nil:
		return wrong, nil
	case isProblem && p.Status >= http.StatusInternalServerError:
		return wrong, err
	case !isProblem || len(p.Errors) == 0:
		p = &Problem{Errors: []FieldError{{Message: err.Error(), Location: at}}}
	}
	return append(wrong, p.Errors[:min(len(p.Errors), maxBodyErrors-len(wrong))]...), nil
}

// packedLinks are the rows of a stream, compressed: the rows of a newsletter differ little.
type packedLinks struct {
	rows   int
	data   bytes.Buffer
	packer *flate.Writer
}

func newPackedLinks() *packedLinks {
	p := new(packedLinks)
	p.packer, _ = flate.NewWriter(&p.data, flate.BestSpeed) // the level is valid
	return p
}

func (p *packedLinks) add(link *LinkBody) error {
	return json.NewEncoder(p.packer).Encode(link)
}

func (p *packedLinks) close() error { return p.packer.Close() }

// all yields the links in their order, once.
func (p *packedLinks) all() iter.Seq2[LinkBody, error] {
	return func(yield func(LinkBody, error) bool) {
		decoder := json.NewDecoder(bufio.NewReader(flate.NewReader(&p.data)))
		for range p.rows {
			var link LinkBody
			err := decoder.Decode(&link)
			if !yield(link, err) || err != nil {
				return
			}
		}
	}
}
