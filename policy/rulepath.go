package policy

import (
	"errors"
	"fmt"
	"strings"
)

// maxRulePath bounds the path of a rule, in bytes.
const maxRulePath = 1024

// segment is one segment of a rule's path template.
type segment struct {
	literal string
	capture string // the parameter's name; empty for a literal
}

// parseTemplatePath parses a rule's path. It refuses a path that no request could
// match.
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
		return errors.New("the path contains a dot segment, which no request path has")
	case strings.ContainsAny(part, `\?#`):
		return errors.New(`the path contains one of \ ? #, which no request path has`)
	case strings.Contains(part, "%"):
		return errors.New("the path contains a %: rules are compared with decoded paths, so write the character itself")
	}
	for _, c := range part {
		if c < 0x20 || c == 0x7f || c == '\uFFFD' {
			return errors.New("the path contains a control character or invalid UTF-8")
		}
	}
	return nil
}
