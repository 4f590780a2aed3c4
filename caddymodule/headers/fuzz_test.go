package headers

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzPrivate checks that no word to a shared cache is left in a private response,
// and that a second Set changes nothing.
func FuzzPrivate(f *testing.F) {
	for _, seed := range [][3]string{
		{"public, max-age=300", "X-Accel-Expires", "300"},
		{"s-maxage=9\nPUBLIC", "Surrogate-Control", "max-age=1"},
		{`no-cache="set-cookie, public", s-maxage = 5`, "Expires", "Mon, 23 Nov 2037 12:00:00 GMT"},
		{"", "CDN-Cache-Control", "public"},
		{"private, private", "Vary", "Cookie, Authorization"},
		{`"public`, "pragma", "public"},
		{"private=\"x\"", "Edge-Control", "!no-store"},
		{" ,, Public ;x", "Expires", "0"},
		{"privateer, public", "Netlify-CDN-Cache-Control", "x"},
		{"no-store", "Cache-control", "public"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, control, name, value string) {
		header := http.Header{}
		if control != "" {
			header["Cache-Control"] = strings.Split(control, "\n")
		}
		header.Add(name, value)
		new(Private).Set(header, func() time.Time { return now })
		if len(header["Cache-Control"]) != 1 {
			t.Fatalf("Cache-Control is %q", header["Cache-Control"])
		}
		directives := namesOfDirectives(header.Get("Cache-Control"))
		if directives[0] != "private" || slices.Contains(directives[1:], "private") || slices.Contains(directives, "public") || slices.Contains(directives, "s-maxage") {
			t.Errorf("Cache-Control is %q", header["Cache-Control"])
		}
		if !slices.Contains(header["Vary"], "Cookie, Authorization") {
			t.Errorf("Vary is %q", header["Vary"])
		}
		for left, values := range header {
			lower := strings.ToLower(left)
			if lower == "x-accel-expires" || lower == "edge-control" || strings.HasPrefix(lower, "surrogate-") || strings.HasPrefix(lower, "x-litespeed-") ||
				lower != "cache-control" && strings.HasSuffix(lower, "-cache-control") {
				t.Errorf("%s: %q is left", left, values)
			}
		}
		for _, expires := range header["Expires"] {
			if at, err := http.ParseTime(expires); err == nil && at.After(now) {
				t.Errorf("Expires is %s", expires)
			}
		}
		before := header.Clone()
		new(Private).Set(header, func() time.Time { return now })
		for left := range before {
			if !slices.Equal(before[left], header[left]) {
				t.Errorf("a second Set changes %s from %q to %q", left, before[left], header[left])
			}
		}
	})
}

// namesOfDirectives parses a Cache-Control as RFC 9110, section 5.6.1, has lists.
func namesOfDirectives(value string) (names []string) {
	var name strings.Builder
	quoted, escaped, named := false, false, false
	for _, c := range value + "," {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',':
			names = append(names, strings.ToLower(strings.TrimSpace(name.String())))
			name.Reset()
			named = false
			continue
		}
		named = named || c == '='
		if !named {
			name.WriteRune(c)
		}
	}
	return names
}

// FuzzDropCookies compares the cookies that are left with those of a plain split.
func FuzzDropCookies(f *testing.F) {
	for _, seed := range []string{
		"a=1; gate-x=2; b=3", "gate-x=1", "gate-x=1\na=2\n", ";;gate-x; ;", "a=\"x; gate-y=1\"; b=2", " \tGATE-x = 1 ;a", "a;gate-1;gate-2;b", "gate-x=1;;; a=1",
	} {
		f.Add(seed)
	}
	drop := func(cookie string) bool {
		name, _, _ := strings.Cut(cookie, "=")
		return HasPrefixFold(strings.TrimSpace(name), "gate-")
	}
	f.Fuzz(func(t *testing.T, lines string) {
		var want []string
		dropped := false
		for line := range strings.SplitSeq(lines, "\n") {
			for cookie := range strings.SplitSeq(line, ";") {
				if drop(cookie) {
					dropped = true
				} else if cookie = strings.Trim(cookie, " \t"); cookie != "" {
					want = append(want, cookie)
				}
			}
		}
		header := http.Header{"Cookie": strings.Split(lines, "\n")}
		DropCookies(header, header["Cookie"], "gate-", drop)
		var left []string
		for _, line := range header["Cookie"] {
			for cookie := range strings.SplitSeq(line, ";") {
				if drop(cookie) {
					t.Errorf("%q leaves %q", lines, line)
				}
				if cookie = strings.Trim(cookie, " \t"); cookie != "" {
					left = append(left, cookie)
				}
			}
		}
		if !slices.Equal(left, want) {
			t.Errorf("of %q is left %q, want %q", lines, left, want)
		}
		if dropped {
			return
		}
		for _, line := range header["Cookie"] {
			if !strings.Contains(lines, line) {
				t.Errorf("%q was changed to %q", lines, header["Cookie"])
			}
		}
	})
}
