package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// maxRulePath bounds the path of a rule, in bytes.
const maxRulePath = 1024

// segment is one segment of a rule's path template.
type segment struct {
	literal string
	capture string // the parameter's name; empty for a literal
}

// RootedPath returns the path of a rule with its leading slash, which may be left out
// before a letter, a digit or a capture. Before any other character it is probably not a
// path but a matcher of another server, such as `~ ^/a`, `@name` or `!/a`.
func RootedPath(path string) (string, error) {
	if strings.HasPrefix(path, "/") {
		return path, nil
	}
	if path != "" && (path[0] == '{' || path[0] == ':' || isWord(rune(path[0])) || path[0] >= 0x80) {
		return "/" + path, nil
	}
	return "", errors.New("the path does not begin with a slash")
}

// parseTemplatePath parses a rule's path. It refuses a path that no request could match,
// and characters that are hardly meant literally, see signs.
func parseTemplatePath(path string) ([]segment, error) {
	if len(path) > maxRulePath {
		return nil, fmt.Errorf("the path is longer than %d bytes", maxRulePath)
	}
	path, err := RootedPath(path)
	if err != nil {
		return nil, err
	}
	if strings.Contains(path, "//") {
		return nil, errors.New("the path contains an empty segment (//): write it with single slashes, and without scheme and host")
	}
	segments := make([]segment, 0, strings.Count(path, "/"))
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" {
			continue
		}
		parsed, err := parseSegment(part)
		if err != nil {
			return nil, err
		}
		segments = append(segments, parsed)
	}
	return segments, checkReachable(path, segments)
}

func parseSegment(part string) (segment, error) {
	if name, ok := captureName(part); ok {
		for _, c := range name {
			if !isWord(c) && c != '-' {
				return segment{}, fmt.Errorf("the capture %s is not a name of letters, digits, _ and -; placeholders are not replaced in paths, and `\\:` begins a segment with a colon", part)
			}
		}
		return segment{capture: name}, nil
	}
	literal, err := parseLiteral(part)
	return segment{literal: literal}, err
}

// captureName returns the name in `{name}` or `:name`.
func captureName(part string) (string, bool) {
	if len(part) > 2 && part[0] == '{' && part[len(part)-1] == '}' && strings.Count(part, "{") == 1 {
		return part[1 : len(part)-1], true
	}
	if len(part) > 1 && part[0] == ':' {
		return part[1:], true
	}
	return "", false
}

func isWord(c rune) bool { return c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c) }

// signs are the characters that are refused in a literal, because they are signs of
// another syntax and no browser sends most of them, with the remedy. A backslash before
// one of them means the character itself.
var signs = map[rune]string{
	'*': "a path matches everything below it, so leave a wildcard out; {name} matches any segment",
	'?': "rules match paths, not queries",
	'#': "no request has a fragment",
	'^': isPattern, '|': isPattern, '[': isPattern, ']': isPattern,
	'<': isPattern, '>': isPattern,
	'"': "leave quotes out",
	';': "no request path has one, unless the site has `paths { allow parameters }`",
	'%': "rules are compared with decoded paths, so write the character itself",
	' ': "leave spaces out",
}

const isPattern = "rules are templates by segments, not regular expressions or patterns: {name} matches any segment"

// escapable are the further characters before which a backslash is allowed.
const escapable = "{}():+$~@!"

// parseLiteral returns the text of a literal segment, without the backslashes of its
// escapes.
func parseLiteral(part string) (string, error) {
	if err := checkPattern(part); err != nil {
		return "", err
	}
	if !strings.ContainsRune(part, '\\') {
		return part, checkSigns(part)
	}
	var text, plain strings.Builder
	escaped := false
	for _, c := range part {
		switch {
		case escaped && signs[c] == "" && !strings.ContainsRune(escapable, c):
			return "", fmt.Errorf(`the path contains \%c: a backslash is written only before a sign such as * or ?, to mean the character itself; %s`, c, isPattern)
		case !escaped && c == '\\':
			escaped = true
			continue
		case !escaped:
			plain.WriteRune(c)
		}
		text.WriteRune(c)
		escaped = false
	}
	if escaped {
		return "", errors.New(`the path contains a backslash at the end of a segment, which no request path has`)
	}
	return text.String(), checkSigns(plain.String())
}

// checkSigns refuses signs, and characters that are not displayed.
func checkSigns(text string) error {
	for _, c := range text {
		switch {
		case c == '\uFFFD' || unicode.IsControl(c):
			return errors.New("the path contains a control character or invalid UTF-8")
		case signs[c] != "":
			return fmt.Errorf(`the path contains %q: %s. If the character itself is meant, write \%c`, c, signs[c], c)
		case unicode.IsSpace(c) || c == '\u200B' || c == '\uFEFF':
			return fmt.Errorf("the path contains the invisible character %U: leave it out", c)
		}
	}
	return nil
}

// checkPattern refuses combinations of characters that are legitimate by themselves, as in
// /c++, /a(b) or /$metadata, but together are signs of a regular expression, of an
// alternative or of a placeholder.
func checkPattern(part string) error {
	last := len(part) - 1
	switch {
	case part == "~":
		return errors.New("the path contains a segment ~ alone: " + isPattern + `. If the character itself is meant, write \~`)
	case part[last] == '$' && (last == 0 || part[last-1] != '\\'):
		return errors.New("the path contains a segment that ends with $: " + isPattern + `. If the character itself is meant, write \$`)
	}
	for _, repeat := range []string{".+", ")+", "}+"} {
		if strings.Contains(part, repeat) {
			return fmt.Errorf(`the path contains %s: %s. If the characters themselves are meant, write \+`, repeat, isPattern)
		}
	}
	for _, rest := range strings.Split(part, "{")[1:] {
		if within, _, closed := strings.Cut(rest, "}"); closed && strings.ContainsAny(within, ".$,:") {
			return fmt.Errorf(`the path contains {%s}: neither placeholders nor alternatives are replaced in paths; write the path itself, or {name} as a whole segment to match any`, within)
		}
	}
	return nil
}

// checkReachable refuses a path that the gate never lets through to the rules, whatever
// the site's settings are.
func checkReachable(path string, segments []segment) error {
	if err := readTemplate(path, segments, PathOptions{EmptySegments: true, EncodedSlash: true, Parameters: true, PathInfo: true}); err != nil {
		return fmt.Errorf("no request can match the path: %w", err)
	}
	return nil
}

// readTemplate reads the path of a rule as a request's path would be read.
func readTemplate(path string, segments []segment, allow PathOptions) error {
	var read Path
	if !strings.ContainsRune(path, '\\') {
		return read.Read(path, allow)
	}
	var text strings.Builder
	for _, part := range segments {
		text.WriteString("/" + strings.ReplaceAll(part.literal+part.capture, "%", "%25"))
	}
	return read.Read(text.String(), allow)
}
