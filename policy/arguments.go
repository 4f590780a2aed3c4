package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// template is an argument: a text, or the name of a parameter. The zero value is no
// argument.
type template struct {
	text  string
	param bool
}

// resolve returns the value of the argument for a path that the rule matched.
func (t template) resolve(rule *compiledRule, segments []string) string {
	if !t.param {
		return t.text
	}
	value, _ := rule.param(t.text, segments)
	return value
}

// parseTemplate parses an argument: a text, or `{name}` for a captured parameter.
func parseTemplate(text string, captures []string) (template, error) {
	if text == "" {
		return template{}, errors.New("an argument is empty")
	}
	if !strings.ContainsAny(text, "{}") {
		return template{text: text}, nil
	}
	name, ok := captureName(text)
	if !ok || text[0] != '{' || strings.ContainsAny(name, "{}") {
		return template{}, fmt.Errorf("%s: a parameter must be the whole argument, as {name}", text)
	}
	if !slices.Contains(captures, name) {
		return template{}, fmt.Errorf("{%s} is not captured by the path", name)
	}
	return template{text: name, param: true}, nil
}

// maxSKUs bounds the skus or plans of one step.
const maxSKUs = 64

// templates returns an argument that is a string or a list of strings. The default is
// the captured parameter of that name. Noun names the strings in errors.
func (a Arguments) templates(name, noun string, captures []string) ([]template, error) {
	texts, err := a.list(name)
	if err != nil {
		return nil, err
	}
	if len(texts) > maxSKUs {
		return nil, fmt.Errorf("it takes at most %d %ss", maxSKUs, noun)
	}
	if len(texts) == 0 && slices.Contains(captures, name) {
		return []template{{text: name, param: true}}, nil
	}
	parsed := make([]template, len(texts))
	for i, text := range texts {
		if parsed[i], err = parseTemplate(text, captures); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

// template returns an argument that is a string. The default is the captured parameter
// of that name, or else the zero value.
func (a Arguments) template(name string, captures []string) (template, error) {
	text, ok, err := a.text(name)
	switch {
	case err != nil:
		return template{}, err
	case ok:
		return parseTemplate(text, captures)
	case slices.Contains(captures, name):
		return template{text: name, param: true}, nil
	default:
		return template{}, nil
	}
}

// only returns an error if there is an argument other than those named.
func (a Arguments) only(names ...string) error {
	for name := range a {
		if !slices.Contains(names, name) {
			return fmt.Errorf("it takes no argument %q", name)
		}
	}
	return nil
}

// text returns an argument that must be a string. Null counts as absent.
func (a Arguments) text(name string) (string, bool, error) {
	raw, ok := a[name]
	if !ok || string(raw) == "null" {
		return "", false, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", false, fmt.Errorf("the argument %s must be a string", name)
	}
	return text, true, nil
}

// list returns an argument that is a string or a list of strings.
func (a Arguments) list(name string) ([]string, error) {
	raw, ok := a[name]
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	if text, _, err := a.text(name); err == nil {
		return []string{text}, nil
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("the argument %s must be a string or a list of strings", name)
	}
	return list, nil
}

// strings returns the arguments that are strings and not parameters, which override a
// capture of the same name.
func (a Arguments) strings() (map[string]string, error) {
	var fixed map[string]string
	for name, raw := range a {
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			return nil, fmt.Errorf("the argument %s is not JSON", name)
		}
		text, ok := value.(string)
		if !ok {
			continue
		}
		if _, refers := captureName(text); refers && text[0] == '{' {
			continue
		}
		if fixed == nil {
			fixed = make(map[string]string)
		}
		fixed[name] = text
	}
	return fixed, nil
}
