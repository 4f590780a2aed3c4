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
	maxRuleArguments = 4096
	// MaxTags and MaxTag bound the engagement tags of a rule: their number, and
	// the bytes of each.
	MaxTags = 16
	MaxTag  = 50
)

// CheckTags returns an error if engagement tags are invalid.
func CheckTags(tags []string) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("there are more than %d tags", MaxTags)
	}
	for i, tag := range tags {
		switch {
		case tag == "" || len(tag) > MaxTag:
			return fmt.Errorf("a tag must have 1 to %d bytes", MaxTag)
		case strings.ContainsFunc(tag, func(c rune) bool { return c <= 0x20 || c == 0x7f || c == ',' || c == '\uFFFD' }):
			return errors.New("a tag contains a space, a comma, a control character or invalid UTF-8")
		case slices.Contains(tags[:i], tag):
			return fmt.Errorf("the tag %s is repeated", tag)
		}
	}
	return nil
}

// Rule decides who may read the pages below a path. Rules are tried by rank, lowest
// first, and the first that matches decides.
type Rule struct {
	Rank int `json:"rank"`
	// Path is a template of literal segments and of `{name}` or `:name`, which
	// capture a segment. It matches every path that begins with these segments; `/`
	// matches all.
	Path string `json:"path"`
	// Allow is the rule's first step: an operator with its arguments.
	Allow Allow `json:"allow"`
	// Then are further steps. Each is tried if no earlier step allows.
	Then []Allow `json:"then,omitempty"`
	// Methods limits the rule to these HTTP methods, in upper case. If it is empty,
	// the rule matches all. HEAD is judged as GET.
	Methods []string `json:"methods,omitempty"`
	// Forward sends allowed requests to the origin. Without it the site answers them
	// itself.
	Forward bool `json:"is_forward"`
	// Engaged are the engagement tags that a visit records.
	Engaged []string `json:"engaged,omitempty"`
	// Options are the values of registered rule options by name.
	Options map[string]json.RawMessage `json:"options,omitempty"`
	// Origin is the file:line of the rule in a configuration; empty for a stored rule.
	Origin string `json:"-"`
}

// Steps returns the rule's steps in the order in which they are tried.
func (r *Rule) Steps() []Allow { return append([]Allow{r.Allow}, r.Then...) }

// Allow is one step of a rule: an operator, by name or by DjaoApp's code, with its
// arguments.
//
// In JSON it is the string `<operator>` or `<operator>/<JSON object>`. A code without
// arguments is written as a number, and both forms are read. An Allow that was
// decoded must be replaced whole, not changed: it keeps its JSON.
type Allow struct {
	Operator  string
	Arguments Arguments

	encoded json.RawMessage // by MarshalJSON, of an Allow that was decoded
}

// Arguments are the stored arguments of a step by parameter name. An argument overrides
// a captured parameter of the same name, unless it is null.
type Arguments map[string]json.RawMessage

// MarshalJSON implements json.Marshaler.
func (a Allow) MarshalJSON() ([]byte, error) {
	if a.encoded != nil {
		return a.encoded, nil
	}
	if len(a.Arguments) == 0 {
		if code, err := strconv.Atoi(a.Operator); err == nil {
			return json.Marshal(code)
		}
	}
	return json.Marshal(a.String())
}

// String returns `<operator>` or `<operator>/<JSON object>`.
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

// UnmarshalJSON decodes the wire form, a number or a string.
func (a *Allow) UnmarshalJSON(data []byte) error {
	if parsed := parsedAllows.Get(unsafe.String(unsafe.SliceData(data), len(data))); parsed != nil {
		*a = *parsed
		return nil
	}
	parsed, err := parseAllowJSON(bytes.TrimSpace(data))
	if err != nil {
		return err
	}
	if parsed.encoded, err = parsed.MarshalJSON(); err != nil {
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

// ParseAllow parses `<operator>` or `<operator>/<JSON object>`.
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
