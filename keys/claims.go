package keys

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is a JSON object: its members in order, with their values as JSON text.
type object []member

type member struct {
	name  string
	value []byte
}

// Maximum numbers of the members of an object, and of the claims of a token.
const (
	maxMembers = 64
	maxClaims  = 256
)

// readObject reads a JSON object (RFC 8259). It returns false when a name is
// empty or occurs twice, or there are more than maxMembers.
func readObject(data []byte) (object, bool) { return readObjectUpTo(data, maxMembers) }

// readObjectUpTo is readObject with another maximum number of members. If the object
// has more, it returns that many and false.
func readObjectUpTo(data []byte, most int) (object, bool) {
	if !json.Valid(data) || !utf8.Valid(data) {
		return nil, false
	}
	// The text is valid JSON: the rest only needs to find where values end.
	rest := bytes.TrimLeft(data, jsonSpace)
	if rest[0] != '{' {
		return nil, false
	}
	members := make(object, 0, 12)
	var names memberNames
	rest = bytes.TrimLeft(rest[1:], jsonSpace)
	for rest[0] != '}' {
		if len(members) == most {
			return members, false
		}
		end := valueEnd(rest)
		name, ok := unquote(rest[:end])
		if !ok || name == "" || names.has(members, name) {
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

// memberNames finds a name among members: few one by one, many by a set, because a
// forged token with many members must not cost more than one of its length.
type memberNames map[string]struct{}

// fewMembers is the number of members up to which comparing all is faster.
const fewMembers = 24

// has reports whether one of the members has the name, which is the next one's.
func (n *memberNames) has(members object, name string) bool {
	if len(members) < fewMembers {
		return members.find(name) != nil
	}
	if *n == nil {
		*n = make(memberNames, maxClaims)
		for i := range members {
			(*n)[members[i].name] = struct{}{}
		}
	}
	_, found := (*n)[name]
	(*n)[name] = struct{}{}
	return found
}

const jsonSpace = " \t\r\n"

// valueEnd returns the length of the JSON value at the start of valid JSON text.
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

// stringEnd returns the length of the JSON string at the start of the text.
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

// unquote decodes a JSON string. It returns false for an unpaired surrogate,
// which encoding/json would replace: two distinct names must stay distinct.
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

// find returns the value of a member, or nil when it is absent.
func (o object) find(name string) []byte {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return nil
}

// hasCaseVariant reports whether the name of a member equals one of the names
// only when case is ignored. JSON libraries that ignore case would take it for
// that member.
func (o object) hasCaseVariant(names []string) bool {
	for i := range o {
		for _, name := range names {
			if o[i].name != name && strings.EqualFold(o[i].name, name) {
				return true
			}
		}
	}
	return false
}

// registeredClaims are the claims of RFC 7519, section 4.1.
var registeredClaims = [...]string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// text returns a member that must be a string of 1 to maxBytes bytes.
func (o object) text(name string, maxBytes int) (string, error) {
	value, err := o.optionalText(name, maxBytes)
	if err == nil && value == "" {
		return "", &claimError{name, "is missing or empty"}
	}
	return value, err
}

// optionalText returns a member that is a string of at most maxBytes bytes
// without control characters, or "" when it is absent.
func (o object) optionalText(name string, maxBytes int) (string, error) {
	value := o.find(name)
	if value == nil {
		return "", nil
	}
	text, ok := unquote(value)
	switch {
	case !ok:
		return "", &claimError{name, "is not a string"}
	case len(text) > maxBytes:
		return "", &claimError{name, tooLong}
	case hasControl(text):
		return "", &claimError{name, "contains a control character"}
	}
	return text, nil
}

// hasControl reports whether a text contains an ASCII control character.
func hasControl(text string) bool {
	for i := range len(text) {
		if text[i] < 0x20 || text[i] == 0x7f {
			return true
		}
	}
	return false
}

// maxDigits is the maximum length of an integer that identifies a reader.
const maxDigits = 20

// textOrInteger is text, and accepts an integer as well, whose digits it returns. An
// integer has one spelling: without fraction, exponent or a minus before zero. A string
// that spells an integer is refused, because it could name another reader: where some
// users are numbered, others may choose their names.
func (o object) textOrInteger(name string, maxBytes int) (string, error) {
	if value := o.find(name); spellsInteger(string(value)) {
		return string(value), nil
	}
	text, err := o.text(name, maxBytes)
	if err == nil && spellsInteger(text) {
		return "", &claimError{name, "is a string of digits, which could be the number of another reader"}
	}
	return text, err
}

// spellsInteger reports whether a text is the one spelling of an integer in JSON.
func spellsInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return digits != "" && len(digits) <= maxDigits && (digits[0] != '0' || text == "0") &&
		!strings.ContainsFunc(digits, func(c rune) bool { return c < '0' || c > '9' })
}

// textField is a string member of an object, with its maximum length in bytes and
// the variable to set.
type textField struct {
	name     string
	maxBytes int
	to       *string
}

// readTextFields sets the variables of optional string members.
func (o object) readTextFields(fields ...textField) (err error) {
	for _, f := range fields {
		if *f.to, err = o.optionalText(f.name, f.maxBytes); err != nil {
			return err
		}
	}
	return nil
}

// boolean returns a member that is true or false, and false when it is absent.
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

// booleanOrText is boolean, and accepts the two values as strings as well, which issuers
// such as Amazon Cognito write.
func (o object) booleanOrText(name string) (bool, error) {
	switch string(o.find(name)) {
	case `"true"`:
		return true, nil
	case `"false"`:
		return false, nil
	}
	return o.boolean(name)
}

// date returns a member that is a NumericDate (RFC 7519, section 2), in Unix
// seconds. A fraction is rounded up if up is set, else down; callers choose the
// direction that does not extend the validity of the token.
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

// positive returns a member that is an integer from 1 to maxValue, and zero when
// it is absent.
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

// times are the time claims of a token, in Unix seconds; zero when absent.
type times struct {
	issuedAt, notBefore, expiresAt int64
}

// Leeway is the accepted clock difference for `iat` and `nbf`, in seconds.
const Leeway = 60

// times reads the time claims of a token (RFC 7519, sections 4.1.4 to 4.1.6), of
// which `exp` is required.
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

// check returns ErrExpired at and after `exp`, and ErrNotYetValid when `iat` or
// `nbf` is more than Leeway seconds ahead of now.
func (t times) check(now int64) error {
	if now >= t.expiresAt {
		return ErrExpired
	}
	if t.issuedAt > now+Leeway || t.notBefore > now+Leeway {
		return ErrNotYetValid
	}
	return nil
}

// readArray returns the elements of a JSON array. It returns false when the text
// is not an array or has more than maxElements elements.
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

// readTexts returns the elements of a JSON array of strings. It returns false
// when the text is not such an array or has more than maxElements elements, and
// nil for an empty one.
func readTexts(text []byte, maxElements int) ([]string, bool) {
	elements, ok := readArray(text, maxElements)
	if !ok {
		return nil, false
	}
	var texts []string
	for _, element := range elements {
		text, ok := unquote(element)
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}
