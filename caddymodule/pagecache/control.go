package pagecache

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"
)

// control holds the directives of a response for this cache (RFC 9111, section 5.2.2).
// Times are in seconds, and negative if the directive is absent.
type control struct {
	noStore, private, noCache, mustRevalidate   bool
	maxAge, sharedMaxAge, whileRevalid, ifError int64
}

// maxSeconds is the largest delta-seconds (RFC 9111, section 1.2.2).
const maxSeconds = 1<<31 - 1

// targetedFields are the fields for this cache, in the order of preference (RFC 9213,
// section 2.2).
var targetedFields = [...]string{OwnControl, "Cdn-Cache-Control"}

// OwnControl is the targeted field of this cache alone. It is not sent to clients.
const OwnControl = "Gatefold-Cache-Control"

// surrogateControl is the older field of the same purpose. Its values are those of
// Cache-Control.
const surrogateControl = "Surrogate-Control"

// controlOf returns the directives of the first targeted field that is present, valid
// and not empty, or else those of Cache-Control.
func controlOf(header http.Header) control {
	for _, name := range targetedFields {
		if c, ok := parseTargeted(header[name]); ok {
			return c
		}
	}
	if values := header[surrogateControl]; len(values) > 0 {
		if c, _ := parseControl(values); c != noControl() { // content="ESI/1.0" says nothing of caching
			return c
		}
	}
	c, n := parseControl(header["Cache-Control"])
	if n == 0 && strings.EqualFold(strings.TrimSpace(header.Get("Pragma")), "no-cache") {
		c.noCache = true
	}
	return c
}

func noControl() control {
	return control{maxAge: -1, sharedMaxAge: -1, whileRevalid: -1, ifError: -1}
}

// parseTargeted parses a targeted field, which is a dictionary (RFC 9213, section 2.1).
func parseTargeted(values []string) (control, bool) {
	c := noControl()
	if len(values) == 0 {
		return c, false
	}
	fields, err := httpsfv.UnmarshalDictionary(values)
	if err != nil || len(fields.Names()) == 0 {
		return c, false
	}
	for _, name := range fields.Names() {
		member, _ := fields.Get(name)
		item, ok := member.(httpsfv.Item)
		if !ok {
			c.restrict(name)
			continue
		}
		switch value := item.Value.(type) {
		case bool:
			if value {
				c.set(name, "")
			}
		case int64:
			c.set(name, strconv.FormatInt(value, 10))
		case string:
			c.set(name, value)
		default:
			c.restrict(name)
		}
	}
	return c, true
}

// restrict applies a directive whose value is of another type than expected, such as
// private=("X-User"), if it forbids something. Others are ignored.
func (c *control) restrict(name string) {
	switch name {
	case "no-store", "private", "no-cache":
		c.set(name, "")
	}
}

// parseControl parses Cache-Control, and returns the number of its directives. An
// argument that is not a number of seconds makes the response stale (section 4.2.1).
func parseControl(values []string) (c control, n int) {
	c = noControl()
	for _, line := range values {
		for line != "" {
			var name, argument string
			name, argument, line = nextDirective(line)
			if name != "" {
				c.set(strings.ToLower(name), argument)
				n++
			}
		}
	}
	return c, n
}

// nextDirective cuts the first directive from a list. The argument is unquoted.
func nextDirective(list string) (name, argument, rest string) {
	end := strings.IndexAny(list, ",=")
	if end < 0 {
		return strings.TrimSpace(list), "", ""
	}
	name, rest = strings.TrimSpace(list[:end]), list[end+1:]
	if list[end] == ',' {
		return name, "", rest
	}
	rest = strings.TrimLeft(rest, " \t")
	if !strings.HasPrefix(rest, `"`) {
		argument, rest, _ = strings.Cut(rest, ",")
		return name, strings.TrimSpace(argument), rest
	}
	var text strings.Builder
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			if i++; i < len(rest) {
				text.WriteByte(rest[i])
			}
		case '"':
			_, rest, _ = strings.Cut(rest[i+1:], ",")
			return name, text.String(), rest
		default:
			text.WriteByte(rest[i])
		}
	}
	return name, "unclosed", ""
}

// set applies a directive. Of two the stricter counts. The qualified forms of private
// and no-cache count as the unqualified ones (sections 5.2.2.4 and 5.2.2.7).
func (c *control) set(name, argument string) {
	switch name {
	case "no-store":
		c.noStore = true
	case "private":
		c.private = true
	case "no-cache":
		c.noCache = true
	case "must-revalidate", "proxy-revalidate":
		c.mustRevalidate = true
	case "max-age":
		c.maxAge = stricter(c.maxAge, argument)
	case "s-maxage":
		c.sharedMaxAge = stricter(c.sharedMaxAge, argument)
	case "stale-while-revalidate":
		c.whileRevalid = stricter(c.whileRevalid, argument)
	case "stale-if-error":
		c.ifError = stricter(c.ifError, argument)
	}
}

func stricter(have int64, argument string) int64 {
	seconds := parseSeconds(argument)
	if have >= 0 {
		return min(have, seconds)
	}
	return seconds
}

// parseSeconds returns delta-seconds: 0 for what is none, and at most maxSeconds.
func parseSeconds(text string) int64 {
	if text == "" {
		return 0
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds > maxSeconds {
		return maxSeconds
	}
	return seconds
}
