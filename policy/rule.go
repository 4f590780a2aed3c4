package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/gatefold/gatefold/policy/memory"
)

// Limits of one rule.
const (
	maxRulePath      = 1024
	maxRuleArguments = 4096
	// MaxTags and MaxTag bound the engagement tags of a rule: their number, and
	// the bytes of each.
	MaxTags = 16
	MaxTag  = 50
)

// CheckTags says what is wrong with engagement tags.
func CheckTags(tags []string) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("there are more than %d tags", MaxTags)
	}
	for i, tag := range tags {
		switch {
		case tag == "" || len(tag) > MaxTag:
			return fmt.Errorf("a tag must have 1 to %d bytes", MaxTag)
		case strings.ContainsFunc(tag, func(c rune) bool { return c <= 0x20 || c == 0x7f || c == ',' || c == '\uFFFD' }):
			return errors.New("a tag holds a space, a comma, a control character or invalid UTF-8")
		case slices.Contains(tags[:i], tag):
			return fmt.Errorf("the tag %s is named twice", tag)
		}
	}
	return nil
}

// Rule says what may be read at a path. Rules are tried by rank, lowest first,
// and the first that matches decides.
type Rule struct {
	Rank int `json:"rank"`
	// Path is a template: segments that must be equal, `{name}` or `:name`
	// for a segment that is captured. It matches every path that begins with
	// these segments; `/` matches all.
	Path string `json:"path"`
	// Allow is the rule's first step: an operator with its arguments.
	Allow Allow `json:"allow"`
	// Then are further steps, tried in order where no earlier step lets the reader
	// in.
	Then []Allow `json:"then,omitempty"`
	// Methods limits the rule to these HTTP methods, in capitals; empty means
	// all. HEAD is judged as GET.
	Methods []string `json:"methods,omitempty"`
	// Forward sends allowed requests to the origin; else the site answers
	// them itself.
	Forward bool `json:"is_forward"`
	// Engaged holds the engagement tags that a visit records.
	Engaged []string `json:"engaged,omitempty"`
	// Options holds the values of registered rule options by name.
	Options map[string]json.RawMessage `json:"options,omitempty"`
	// Origin says where the rule was written, as file:line; empty for a rule
	// from the store.
	Origin string `json:"-"`
}

// Steps returns the rule's steps in the order in which they are tried.
func (r *Rule) Steps() []Allow { return append([]Allow{r.Allow}, r.Then...) }

// Allow is one step of a rule: an operator, by name or by DjaoApp's code, with its
// arguments.
//
// On the wire it is `<operator>` or `<operator>/<JSON object>`: a bare code is
// written as a number, anything else as a string; both are read.
type Allow struct {
	Operator  string
	Arguments Arguments
}

// Arguments are the stored arguments of a rule, by parameter name. A stored
// argument overrides what the path captured under the same name, unless it is
// null.
type Arguments map[string]json.RawMessage

// MarshalJSON writes the wire form.
func (a Allow) MarshalJSON() ([]byte, error) {
	if len(a.Arguments) == 0 {
		if code, err := strconv.Atoi(a.Operator); err == nil {
			return json.Marshal(code)
		}
	}
	return json.Marshal(a.String())
}

// String returns the wire form as text.
func (a Allow) String() string {
	if len(a.Arguments) == 0 {
		return a.Operator
	}
	arguments, err := json.Marshal(a.Arguments)
	if err != nil {
		return a.Operator
	}
	return a.Operator + "/" + string(arguments)
}

// parsedAllows holds the last steps by their JSON: thousands of rules mostly name the
// same few. Rules share the parsed arguments, which must not be changed.
var parsedAllows = memory.NewRecent[Allow](512)

// UnmarshalJSON reads the wire form, a number or a string.
func (a *Allow) UnmarshalJSON(data []byte) error {
	if parsed := parsedAllows.Get(unsafe.String(unsafe.SliceData(data), len(data))); parsed != nil {
		*a = *parsed
		return nil
	}
	parsed, err := parseAllowJSON(bytes.TrimSpace(data))
	if err != nil {
		return err
	}
	*a = parsed
	parsedAllows.Put(string(data), parsed)
	return nil
}

func parseAllowJSON(data []byte) (Allow, error) {
	// Pointers tell null, which sets nothing, from a zero: null names no operator,
	// least of all `any`.
	if len(data) == 0 || data[0] != '"' {
		var code *int
		if err := json.Unmarshal(data, &code); err == nil && code != nil {
			return Allow{Operator: strconv.Itoa(*code)}, nil
		}
	}
	var text *string
	if err := json.Unmarshal(data, &text); err != nil || text == nil {
		return Allow{}, errors.New("allow must be an operator's code, or a string: <operator> or <operator>/<JSON arguments>")
	}
	return ParseAllow(*text)
}

// ParseAllow reads `<operator>` or `<operator>/<JSON object>`.
func ParseAllow(text string) (Allow, error) {
	operator, arguments, found := strings.Cut(text, "/")
	if operator == "" {
		return Allow{}, errors.New("allow names no operator")
	}
	if !found {
		return Allow{Operator: operator}, nil
	}
	if len(arguments) > maxRuleArguments {
		return Allow{}, fmt.Errorf("the arguments of %s are longer than %d bytes", operator, maxRuleArguments)
	}
	parsed := Allow{Operator: operator}
	decoder := json.NewDecoder(bytes.NewReader([]byte(arguments)))
	if err := decoder.Decode(&parsed.Arguments); err != nil || decoder.More() {
		return Allow{}, fmt.Errorf("the arguments of %s are not one JSON object", operator)
	}
	return parsed, nil
}

// segment is one segment of a rule's path template.
type segment struct {
	literal string
	capture string // the parameter's name; empty for a literal
}

// parseTemplatePath parses a rule's path, and refuses what could never match a
// request's path.
func parseTemplatePath(path string) ([]segment, error) {
	if len(path) > maxRulePath {
		return nil, fmt.Errorf("the path is longer than %d bytes", maxRulePath)
	}
	segments := make([]segment, 0, strings.Count(path, "/"))
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		if name, ok := captureName(part); ok {
			segments = append(segments, segment{capture: name})
			continue
		}
		if err := checkLiteral(part); err != nil {
			return nil, err
		}
		segments = append(segments, segment{literal: part})
	}
	return segments, nil
}

// captureName returns the name in `{name}` or `:name`.
func captureName(part string) (string, bool) {
	if len(part) > 2 && part[0] == '{' && part[len(part)-1] == '}' {
		return part[1 : len(part)-1], true
	}
	if len(part) > 1 && part[0] == ':' {
		return part[1:], true
	}
	return "", false
}

func checkLiteral(part string) error {
	switch {
	case part == "*":
		return errors.New("a path matches by prefix: leave the trailing * out")
	case isDots(part):
		return errors.New("the path holds a dot segment, which no request path has")
	case strings.ContainsAny(part, `\?#`):
		return errors.New(`the path holds one of \ ? #, which no request path has`)
	case strings.Contains(part, "%"):
		return errors.New("the path holds a %: rules are compared with decoded paths, so write the character itself")
	}
	for _, c := range part {
		if c < 0x20 || c == 0x7f || c == '\uFFFD' {
			return errors.New("the path holds a control character or invalid UTF-8")
		}
	}
	return nil
}

// covers says whether every path that the template b matches is matched by a.
func covers(a, b []segment) bool {
	if len(a) > len(b) {
		return false
	}
	for i, s := range a {
		if s.capture == "" && (b[i].capture != "" || b[i].literal != s.literal) {
			return false
		}
	}
	return true
}

// coversMethods says whether every method of b is one of a.
func coversMethods(a, b []string) bool {
	if len(a) == 0 {
		return true
	}
	if len(b) == 0 {
		return false
	}
	for _, method := range b {
		if !slices.Contains(a, method) {
			return false
		}
	}
	return true
}
