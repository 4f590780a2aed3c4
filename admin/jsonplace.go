package admin

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4/json"
)

// misplacedError is the error of a value that does not fit its member: a whole number that has
// a fraction or is out of range, which the schema admits. Huma keeps only its text.
type misplacedError struct {
	error
	place string // of the member in the body, such as items[1].seats
}

// placeMark is between the text of a misplacedError and its place: no text of a decoder has it.
const placeMark = "\x00"

func (e *misplacedError) Error() string { return e.error.Error() + placeMark + e.place }

// unmarshalJSON reads JSON strictly, see jsonFormat. Its error names the member that it is about.
func unmarshalJSON(data []byte, value any) error {
	err := json.Unmarshal(data, value)
	if failed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if place := placeAt(data, failed.Offset); place != "" {
			return &misplacedError{err, place}
		}
	}
	return err
}

// placeAt returns the place of the value of a JSON text that ends at an offset, or "".
func placeAt(data []byte, offset int64) string {
	decoder := stdjson.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	type level struct {
		array, named bool // named: the name of a member was read, and not its value
		name         string
		index        int
	}
	var levels []level
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		delim, isDelim := token.(stdjson.Delim)
		if isDelim && (delim == '}' || delim == ']') {
			levels = levels[:len(levels)-1]
		} else if n := len(levels); n > 0 && !levels[n-1].array && !levels[n-1].named {
			levels[n-1].name, _ = token.(string)
			levels[n-1].named = true
			continue
		} else if decoder.InputOffset() >= offset {
			var place strings.Builder
			for _, at := range levels {
				if at.array {
					place.WriteString("[" + strconv.Itoa(at.index) + "]")
				} else {
					place.WriteString("." + at.name)
				}
			}
			return strings.TrimPrefix(place.String(), ".")
		}
		if isDelim && (delim == '{' || delim == '[') {
			levels = append(levels, level{array: delim == '['})
			continue
		}
		// A value has ended.
		if n := len(levels); n > 0 {
			levels[n-1].named = false
			levels[n-1].index++
		}
	}
}
