package denial

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Target is the URL of the page to which a denial leads, such as a login page or a
// checkout. Its placeholders are whole segments of the path and whole values of the query.
type Target struct {
	base     url.URL // without path and query
	segments []piece
	query    []parameter
	hasNext  bool
}

// piece is a literal text, which is escaped already, or the name of a placeholder.
type piece struct{ literal, name string }

type parameter struct {
	key   string
	value piece
}

// Values are the values of the placeholders, by name.
type Values map[string]string

// next is the placeholder of the denied page, and the parameter that has it in a target
// without the placeholder.
const next = "next"

// ParseTarget parses a target: an http or https URL, or a path of the site, with the
// placeholders that are known. A placeholder is its name in braces.
func ParseTarget(text string, known ...string) (*Target, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	whole := parsed.Host != "" && (parsed.Scheme == "https" || parsed.Scheme == "http")
	local := parsed.Host == "" && parsed.Scheme == "" && strings.HasPrefix(parsed.Path, "/")
	if !whole && !local {
		return nil, fmt.Errorf("%q must be an http or https URL, or a path of this site", text)
	}
	t := &Target{base: *parsed}
	t.base.Path, t.base.RawPath, t.base.RawQuery, t.base.ForceQuery = "", "", "", false
	text, _, _ = strings.Cut(text, "#")
	path, query, _ := strings.Cut(text, "?")
	if whole {
		_, path, _ = strings.Cut(path, "://")
	}
	if _, path, ok := strings.Cut(path, "/"); ok {
		if err := t.parsePath(path, known); err != nil {
			return nil, err
		}
	}
	if err := t.parseQuery(query, known); err != nil {
		return nil, err
	}
	if strings.ContainsAny(parsed.Fragment, "{}") {
		return nil, errors.New("a placeholder cannot be in the fragment: write it as a segment of the path or a value of the query")
	}
	return t, nil
}

func (t *Target) parsePath(path string, known []string) error {
	for segment := range strings.SplitSeq(path, "/") {
		part, err := t.parsePiece(segment, known)
		if err != nil {
			return err
		}
		if part.name == "" {
			decoded, err := url.PathUnescape(segment)
			if err != nil {
				return err
			}
			part.literal = (&url.URL{Path: decoded, RawPath: segment}).EscapedPath()
		}
		t.segments = append(t.segments, part)
	}
	// The last segment may be empty. Any other one could begin an authority once those
	// before it are left out.
	empty := slices.ContainsFunc(t.segments[:len(t.segments)-1], func(part piece) bool { return part == piece{} })
	if empty && (t.base.Host == "" || strings.Contains(path, "{")) {
		return errors.New("the path has an empty segment: leave it out")
	}
	return nil
}

func (t *Target) parseQuery(query string, known []string) error {
	if query == "" {
		return nil
	}
	for pair := range strings.SplitSeq(query, "&") {
		key, text, _ := strings.Cut(pair, "=")
		value, err := t.parsePiece(text, known)
		if err != nil {
			return err
		}
		if strings.ContainsAny(key, "{}") {
			return errors.New("a placeholder cannot be the name of a parameter: write it as a value")
		}
		if value.name == "" {
			key, value = pair, piece{}
		}
		t.query = append(t.query, parameter{key, value})
	}
	return nil
}

// parsePiece parses a segment or a value.
func (t *Target) parsePiece(text string, known []string) (piece, error) {
	if !strings.ContainsAny(text, "{}") {
		return piece{literal: text}, nil
	}
	name, opens := strings.CutPrefix(text, "{")
	name, closes := strings.CutSuffix(name, "}")
	switch {
	case !opens || !closes || strings.ContainsAny(name, "{}"):
		return piece{}, fmt.Errorf("%q: a placeholder must be a whole segment of the path or a whole value of the query", text)
	case !slices.Contains(known, name):
		return piece{}, fmt.Errorf("%q has no value for this page; known are {%s}", text, strings.Join(known, "}, {"))
	}
	t.hasNext = t.hasNext || name == next
	return piece{name: name}, nil
}

// URL returns the URL with the values, each of them escaped as one segment or one value. A
// segment or parameter whose value is empty is left out, and so is a segment that a
// browser would take for a dot segment. The value of next, which is the denied page,
// becomes the parameter `next` of a target without that placeholder.
func (t *Target) URL(values Values) string {
	var path, query []string
	for _, part := range t.segments {
		text := part.literal
		if part.name != "" {
			if text = values[part.name]; text == "" || text == "." || text == ".." {
				continue
			}
			text = url.PathEscape(text)
		}
		path = append(path, text)
	}
	for _, p := range t.query {
		switch text := values[p.value.name]; {
		case p.value.name == "":
			query = append(query, p.key)
		case text != "":
			query = append(query, p.key+"="+url.QueryEscape(text))
		}
	}
	if !t.hasNext {
		query = append(query, next+"="+url.QueryEscape(values[next]))
	}
	target := t.base
	if t.segments != nil {
		target.RawPath = "/" + strings.Join(path, "/")
		target.Path, _ = url.PathUnescape(target.RawPath)
	}
	target.RawQuery = strings.Join(query, "&")
	return target.String()
}
