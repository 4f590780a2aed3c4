package keys

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is a JSON object with its members in order, the values as they stand.
type object []member

type member struct {
	name  string
	value []byte
}

// maxMembers bounds how many members an object may have.
const maxMembers = 64

// readObject reads a JSON object (RFC 8259) whose members all have a name, and
// different ones.
func readObject(data []byte) (object, bool) { return readObjectOf(data, maxMembers) }

// readObjectOf is readObject for at most the given number of members.
func readObjectOf(data []byte, most int) (object, bool) {
	if !json.Valid(data) || !utf8.Valid(data) {
		return nil, false
	}
	// From here on the text is known to be JSON: the walk only has to find
	// where values end.
	rest := bytes.TrimLeft(data, jsonSpace)
	if rest[0] != '{' {
		return nil, false
	}
	members := make(object, 0, 12)
	rest = bytes.TrimLeft(rest[1:], jsonSpace)
	for rest[0] != '}' {
		if len(members) == most {
			return nil, false
		}
		end := valueEnd(rest)
		name, ok := unquote(rest[:end])
		if !ok || name == "" || members.find(name) != nil {
			return nil, false
		}
		rest = bytes.TrimLeft(rest[end:], jsonSpace)
		rest = bytes.TrimLeft(rest[1:], jsonSpace) // the colon
		end = valueEnd(rest)
		members = append(members, member{name, rest[:end]})
		rest = bytes.TrimLeft(rest[end:], jsonSpace)
		if rest[0] == ',' {
			rest = bytes.TrimLeft(rest[1:], jsonSpace)
		}
	}
	return members, true
}

const jsonSpace = " \t\r\n"

// valueEnd returns where the JSON value at the start of valid JSON text ends.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
			if depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// stringEnd returns where the JSON string at the start of the text ends.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// unquote returns the text of a JSON string. Half a surrogate pair, which a
// decoder would replace, is refused: two names must not become one.
func unquote(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), true
	}
	var text string
	const replacement = string(utf8.RuneError)
	if err := json.Unmarshal(value, &text); err != nil ||
		strings.Count(text, replacement) > bytes.Count(value, []byte(replacement)) {
		return "", false
	}
	return text, true
}

// find returns the value of a member, or nil. No member has an empty name.
func (o object) find(name string) []byte {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return nil
}

// ambiguous says whether a member's name is a known one in another spelling: a
// reader that ignores case, as many JSON libraries do, would take it for that
// one.
func (o object) ambiguous(known []string) bool {
	for i := range o {
		for _, name := range known {
			if o[i].name != name && strings.EqualFold(o[i].name, name) {
				return true
			}
		}
	}
	return false
}

// registeredNames are the claims of RFC 7519, section 4.1.
var registeredNames = [...]string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// text returns a member that must be a string of 1 to max bytes.
func (o object) text(name string, maxBytes int) (string, error) {
	value, err := o.optionalText(name, maxBytes)
	if err == nil && value == "" {
		return "", &claimError{name, "is missing or empty"}
	}
	return value, err
}

// optionalText returns a member that is a string of at most max bytes; empty
// when it is absent.
func (o object) optionalText(name string, maxBytes int) (string, error) {
	value := o.find(name)
	if value == nil {
		return "", nil
	}
	text, ok := unquote(value)
	if !ok {
		return "", &claimError{name, "is not a string"}
	}
	if len(text) > maxBytes {
		return "", &claimError{name, "is too long"}
	}
	for i := range len(text) {
		if text[i] < 0x20 || text[i] == 0x7f {
			return "", &claimError{name, "holds a control character"}
		}
	}
	return text, nil
}

// boolean returns a member that is true or false; false when it is absent.
func (o object) boolean(name string) (bool, error) {
	switch value := o.find(name); string(value) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, &claimError{name, "is not a boolean"}
	}
}

// date returns a member that is a NumericDate (RFC 7519, section 2): Unix
// seconds. A fraction is rounded down, or up where up is set, so that it never
// lengthens a token's time.
func (o object) date(name string, up bool) (seconds int64, ok bool, err error) {
	value := o.find(name)
	if value == nil {
		return 0, false, nil
	}
	if value[0] != '-' && (value[0] < '0' || value[0] > '9') {
		return 0, false, &claimError{name, "is not a number"}
	}
	if seconds, err := strconv.ParseInt(string(value), 10, 64); err == nil && seconds >= 0 && seconds < 1<<53 {
		return seconds, true, nil
	}
	number, err := strconv.ParseFloat(string(value), 64)
	if err != nil || number < 0 || number >= 1<<53 {
		return 0, false, &claimError{name, "is not a time"}
	}
	if up {
		return int64(math.Ceil(number)), true, nil
	}
	return int64(number), true, nil
}

// positive returns a member that is an integer from 1 to max; zero when it is
// absent.
func (o object) positive(name string, maxValue int64) (int64, error) {
	value := o.find(name)
	if value == nil {
		return 0, nil
	}
	number, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || number < 1 || number > maxValue {
		return 0, &claimError{name, "is not an integer in range"}
	}
	return number, nil
}

// times are the claims by which a token's time is judged.
type times struct {
	issuedAt, notBefore, expiresAt int64 // Unix seconds
}

// Leeway is how far ahead of our clock another's may be, in seconds.
const Leeway = 60

// times reads a token's time claims, of which `exp` must be there (RFC 7519,
// section 4.1.4 to 4.1.6).
func (o object) times() (times, error) {
	var t times
	expiresAt, ok, err := o.date("exp", false)
	if err != nil {
		return t, err
	}
	if !ok {
		return t, &claimError{"exp", "is missing"}
	}
	t.expiresAt = expiresAt
	if t.issuedAt, _, err = o.date("iat", true); err != nil {
		return t, err
	}
	t.notBefore, _, err = o.date("nbf", true)
	return t, err
}

// check judges the times: a token is expired at its `exp`, and may be issued at
// most Leeway seconds in our future.
func (t times) check(now int64) error {
	if now >= t.expiresAt {
		return ErrExpired
	}
	if t.issuedAt > now+Leeway || t.notBefore > now+Leeway {
		return ErrNotYetValid
	}
	return nil
}

// readArray returns the elements of a JSON array, at most max of them.
func readArray(text []byte, maxElements int) ([][]byte, bool) {
	if len(text) == 0 || text[0] != '[' {
		return nil, false
	}
	var elements [][]byte
	rest := bytes.TrimLeft(text[1:], jsonSpace)
	for rest[0] != ']' {
		if len(elements) == maxElements {
			return nil, false
		}
		end := valueEnd(rest)
		elements = append(elements, rest[:end])
		rest = bytes.TrimLeft(rest[end:], jsonSpace)
		if rest[0] == ',' {
			rest = bytes.TrimLeft(rest[1:], jsonSpace)
		}
	}
	return elements, true
}
