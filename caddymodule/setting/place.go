package setting

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Places maps the options of a module to their places in a Caddyfile, as file:line, so
// that an error of provisioning names them: Caddy's JSON has no places of its own. An
// option's key is its path, such as `deny/login`; the second and later ones of a name have
// their index, as `identify[1]/audience`. The empty key is the directive.
type Places map[string]string

// PlacesOf returns the places in the segment of a directive. It resets the dispenser.
func PlacesOf(d *caddyfile.Dispenser) Places {
	d.Reset()
	defer d.Reset()
	if !d.Next() {
		return nil
	}
	places := Places{"": place(d)}
	seen := map[string]int{}
	var blocks []string // the paths of the open blocks
	path := ""
	for {
		if d.NextArg() {
			continue
		}
		if !d.Next() {
			return places
		}
		switch token := d.Token(); {
		case token.Text == "{" && !token.Quoted():
			blocks = append(blocks, path)
		case token.Text == "}" && !token.Quoted():
			blocks = blocks[:max(len(blocks)-1, 0)]
		case len(blocks) > 0:
			path = indexed(join(blocks[len(blocks)-1], token.Text), seen)
			places[path] = place(d)
		}
	}
}

func place(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }

// indexed counts a path, and adds the index from the second one.
func indexed(path string, seen map[string]int) string {
	n := seen[path]
	seen[path]++
	return Item(path, n)
}

// Item returns the path of the option with an index among those of its name.
func Item(path string, index int) string {
	if index == 0 {
		return path
	}
	return path + "[" + strconv.Itoa(index) + "]"
}

func join(block, option string) string {
	if block == "" || option == "" || option[0] == '[' {
		return block + option
	}
	return block + "/" + option
}

// misplaced is an error with the path of its option.
type misplaced struct {
	path string
	error
}

func (m *misplaced) Unwrap() error { return m.error }

// In returns an error about an option, which is named by its path in the block that the
// error is returned from. The text of the error stays as it is.
func In(path string, err error) error {
	if err == nil {
		return nil
	}
	if inner, ok := errors.AsType[*misplaced](err); ok {
		path = join(path, inner.path)
	}
	return &misplaced{path, err}
}

// At returns an error with the place of its option, or else of the block around it. A
// module that no Caddyfile has configured has no places.
func (p Places) At(err error) error {
	if err == nil || len(p) == 0 {
		return err
	}
	path := ""
	if inner, ok := errors.AsType[*misplaced](err); ok {
		path = inner.path
	}
	return fmt.Errorf("%s: %w", p.of(path), err)
}

// of returns the place of the longest known beginning of a path.
func (p Places) of(path string) string {
	for {
		if at, known := p[path]; known {
			return at
		}
		if item := strings.LastIndexByte(path, '['); item > strings.LastIndexByte(path, '/') {
			path = path[:item] // one value of several on the option's line
			continue
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
		if path == "" {
			return p[path]
		}
	}
}
