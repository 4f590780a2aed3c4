package headers

import (
	"hash/maphash"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// privateVary is what a private response depends on.
const privateVary = "Cookie, Authorization"

// Private makes responses private, so that no shared cache stores them (RFC 9111,
// sections 3.5 and 5.2.2). The zero value is ready for one response.
type Private struct {
	values [2]string // saves an allocation for Cache-Control and Vary
}

// Set rewrites the caching headers of a response. It removes every header for shared
// caches, and an Expires after now, which a cache may obey that ignores Cache-Control;
// its time becomes the max-age. The clock is read only for an Expires.
func (p *Private) Set(header http.Header, now func() time.Time) {
	var expires []string
	for name, values := range header {
		switch {
		case name == "Expires":
			expires = values
		case forSharedCaches(name) || name == "Pragma" && !isNoCache(values):
			delete(header, name)
		}
	}
	if have := header["Cache-Control"]; len(have) == 1 && isPrivate(have[0]) {
		p.values[0] = have[0]
	} else {
		p.values[0] = madePrivate(have)
		header["Cache-Control"] = p.values[:1:1]
	}
	if expires != nil {
		p.dropExpires(header, expires, now())
	}
	switch vary := header["Vary"]; {
	case len(vary) == 0:
		p.values[1] = privateVary
		header["Vary"] = p.values[1:]
	case vary[len(vary)-1] != privateVary:
		header["Vary"] = append(vary, privateVary)
	}
}

// dropExpires removes Expires unless it is past. For the browser's own cache its time
// becomes the max-age, if there is none.
func (p *Private) dropExpires(header http.Header, expires []string, now time.Time) {
	var latest time.Time
	for _, value := range expires {
		// A date that cannot be read is past (RFC 9111, section 5.3).
		if at, err := http.ParseTime(value); err == nil && at.After(latest) {
			latest = at
		}
	}
	if !latest.After(now) {
		return
	}
	delete(header, "Expires")
	if !strings.Contains(p.values[0], "max-age") {
		p.values[0] += ", max-age=" + strconv.FormatInt(int64(latest.Sub(now)/time.Second), 10)
		header["Cache-Control"] = p.values[:1:1]
	}
}

// NoStore forbids every cache to store a response (RFC 9111, section 5.2.2.5), and
// removes whatever else a cache could obey.
func NoStore(header http.Header) {
	for name := range header {
		if forSharedCaches(name) || name == "Expires" || name == "Pragma" {
			delete(header, name)
		}
	}
	header["Cache-Control"] = []string{"no-store"}
}

// forSharedCaches reports whether a response header speaks to shared caches:
// X-Accel-Expires, which nginx obeys before Cache-Control, Edge-Control, Surrogate-Control
// and its family, LiteSpeed's, and every targeted cache control field, such as
// CDN-Cache-Control (RFC 9213).
func forSharedCaches(name string) bool {
	const targeted = "-cache-control"
	if name == "" {
		return false
	}
	switch name[0] | 0x20 {
	case 'x':
		if strings.EqualFold(name, "X-Accel-Expires") || HasPrefixFold(name, "X-Litespeed-") {
			return true
		}
	case 's':
		if HasPrefixFold(name, "Surrogate-") {
			return true
		}
	case 'e':
		if strings.EqualFold(name, "Edge-Control") {
			return true
		}
	}
	return len(name) > len(targeted) && strings.EqualFold(name[len(name)-len(targeted):], targeted)
}

// isNoCache reports whether Pragma says no-cache, which only narrows what caches do.
func isNoCache(values []string) bool {
	return len(values) == 1 && strings.EqualFold(strings.TrimSpace(values[0]), "no-cache")
}

// isPrivate reports whether a Cache-Control has the form that privateCacheControl
// returns, so that a header that is set twice costs no allocation.
func isPrivate(value string) bool {
	rest, private := strings.CutPrefix(value, "private")
	return private && (rest == "" || strings.HasPrefix(rest, ", ")) &&
		indexFold(rest, "private") < 0 && indexFold(rest, "public") < 0 && indexFold(rest, "s-maxage") < 0
}

// privateForms are values of Cache-Control that were made private, by their hash. Sites have
// few different ones.
var privateForms [64]atomic.Pointer[privateForm]

type privateForm struct{ value, private string }

// maxPrivateForm bounds a value that is kept in privateForms, in bytes.
const maxPrivateForm = 256

var privateSeed = maphash.MakeSeed()

// madePrivate is privateCacheControl with a memory: to read a list takes as long as a decision.
func madePrivate(values []string) string {
	if len(values) != 1 || len(values[0]) > maxPrivateForm {
		return privateCacheControl(values)
	}
	at := &privateForms[maphash.String(privateSeed, values[0])%uint64(len(privateForms))]
	if form := at.Load(); form != nil && form.value == values[0] {
		return form.private
	}
	form := &privateForm{value: strings.Clone(values[0]), private: privateCacheControl(values)}
	at.Store(form)
	return form.private
}

// privateCacheControl returns Cache-Control with private, and without the directives
// for shared caches.
func privateCacheControl(values []string) string {
	if len(values) == 0 {
		return "private"
	}
	size := len("private")
	for _, value := range values {
		size += len(", ") + len(value)
	}
	var kept strings.Builder
	kept.Grow(size + 16) // blanks may be added behind commas
	kept.WriteString("private")
	for _, value := range values {
		for directive := range directives(value) {
			name, _, _ := strings.Cut(directive, "=")
			name = strings.TrimSpace(name)
			if name == "" || strings.EqualFold(name, "public") || strings.EqualFold(name, "s-maxage") || strings.EqualFold(name, "private") {
				continue
			}
			kept.WriteString(", ")
			kept.WriteString(directive)
		}
	}
	return kept.String()
}

// directives returns the parts of a list between the commas that are not in a quoted string.
func directives(value string) iter.Seq[string] {
	return func(yield func(string) bool) {
		quoted, start := false, 0
		for i := range len(value) {
			switch {
			case value[i] == '"':
				quoted = !quoted
			case value[i] == ',' && !quoted:
				if !yield(strings.TrimSpace(value[start:i])) {
					return
				}
				start = i + 1
			}
		}
		yield(strings.TrimSpace(value[start:]))
	}
}
