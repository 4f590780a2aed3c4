package linkpath

import (
	"net/http"
	"net/url"
	"testing"
)

func parse(t *testing.T, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// The path behind the token stays byte for byte; whatever is not the form stays as it is.
func TestTake(t *testing.T) {
	for target, want := range map[string][2]string{
		"/.gatefold/l/a.b.c/x":                {"a.b.c", "/x"},
		"/.gatefold/l/a.b.c/":                 {"a.b.c", "/"},
		"/.gatefold/l/a-_9/x?y=1&z":           {"a-_9", "/x?y=1&z"},
		"/.gatefold/l/a/hell%6F/%2F%2e?a=%2F": {"a", "/hell%6F/%2F%2e?a=%2F"},
		"/.gatefold/l/a/b%20ü":                {"a", "/b%20%C3%BC"},
		"/.gatefold/l/a//x":                   {"a", "//x"},
		"/.gatefold/l/a/.gatefold/l/a/x":      {"a", "/.gatefold/l/a/x"}, // which the policy refuses
		"/.gatefold/l/a":                      {},
		"/.gatefold/l//x":                     {},
		"/.gatefold/l/":                       {},
		"/.gatefold/l/../x":                   {},
		"/.gatefold/l/a%2Eb/x":                {},
		"/.gatefold/l/a%2Fx":                  {},
		"/.gatefold/l/a b/x":                  {},
		"/.Gatefold/l/a/x":                    {},
		"/.gatefold/L/a/x":                    {},
		"/%2Egatefold/l/a/x":                  {},
		"//.gatefold/l/a/x":                   {},
		"/x/.gatefold/l/a/x":                  {},
		"/x":                                  {},
	} {
		u := parse(t, target)
		before := u.RequestURI()
		if want[1] == "" {
			want[1] = before
		}
		if got := Take(u, u); got != want[0] || u.RequestURI() != want[1] {
			t.Errorf("%s: %q of %s, want %q of %s", target, got, u.RequestURI(), want[0], want[1])
		}
	}
}

// A handler before the gate has rewritten the path. Both forms keep the token, or none does.
func TestTakeOfRewrittenPath(t *testing.T) {
	for _, test := range [][4]string{
		{"/.gatefold/l/a/x", "/.gatefold/l/a/y%20z", "/x", "/y%20z"},
		{"/.gatefold/l/a/x", "/index.php", "/.gatefold/l/a/x", "/index.php"},
		{"/site/.gatefold/l/a/x", "/.gatefold/l/a/x", "/site/.gatefold/l/a/x", "/.gatefold/l/a/x"},
		{"/.gatefold/l/a/x", "/.gatefold/l/b/x", "/.gatefold/l/a/x", "/.gatefold/l/b/x"},
	} {
		received, current := parse(t, test[0]), parse(t, test[1])
		Take(received, current)
		if received.RequestURI() != test[2] || current.RequestURI() != test[3] {
			t.Errorf("%v: %s %s", test, received.RequestURI(), current.RequestURI())
		}
	}
}

func TestCleanReferer(t *testing.T) {
	for referer, want := range map[string]string{
		"https://a.example/.gatefold/l/t/hls/list.m3u8?x": "https://a.example/hls/list.m3u8?x",
		"https://a.example/.gatefold/l/t":                 "https://a.example/",
		"https://a.example/.gatefold/l/t?x":               "https://a.example/?x",
		"https://a.example/.gatefold/l/t#x":               "https://a.example/#x",
		"https://a.example/?q=/.gatefold/l/t/x":           "https://a.example/?q=/.gatefold/l/t/x",
		"https://a.example/x":                             "https://a.example/x",
	} {
		if got := CleanReferer(referer); got != want {
			t.Errorf("%s: %s, want %s", referer, got, want)
		}
	}
}

// A player follows the origin's redirects with its link, and nothing else gets the token.
func TestLocation(t *testing.T) {
	page, err := url.Parse("https://news.example:8443/hls/film/list.m3u8?a=1")
	if err != nil {
		t.Fatal(err)
	}
	form := Form{"tok", page}
	const prefix = "/.gatefold/l/tok"
	for location, want := range map[string]string{
		"/hls/film/v2/list.m3u8?q=%2F#t":        prefix + "/hls/film/v2/list.m3u8?q=%2F#t",
		"v2/seg%201.ts":                         prefix + "/hls/film/v2/seg%201.ts",
		"../../../../x":                         prefix + "/x",
		"?page=2":                               prefix + "/hls/film/list.m3u8?page=2",
		"":                                      prefix + "/hls/film/list.m3u8?a=1",
		"https://news.example:8443":             "https://news.example:8443" + prefix + "/",
		"https://NEWS.example:8443/a?b":         "https://NEWS.example:8443" + prefix + "/a?b",
		"//news.example:8443/a":                 "https://news.example:8443" + prefix + "/a",
		"http://news.example:8443/a":            "http://news.example:8443/a",
		"https://news.example/a":                "https://news.example/a",
		"https://cdn.example/a":                 "https://cdn.example/a",
		"https://news.example:8443@evil/a":      "https://news.example:8443@evil/a",
		"https://x@news.example:8443/a":         "https://x@news.example:8443/a",
		"//evil.example/a":                      "//evil.example/a",
		"///evil.example/a":                     "///evil.example/a",
		"mailto:a@news.example":                 "mailto:a@news.example",
		"/.gatefold/l/tok/a":                    "/.gatefold/l/tok/a",
		"https://news.example:8443/.gatefold/x": "https://news.example:8443/.gatefold/x",
		"/\x00":                                 "/\x00",
	} {
		header := http.Header{"Location": {location}, "Referrer-Policy": {"unsafe-url"}}
		form.SetHeaders(header, true)
		if got := header.Get("Location"); got != want || header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%q: %v, want %q", location, header, want)
		}
		header = http.Header{"Location": {location}}
		if form.SetHeaders(header, false); header.Get("Location") != location {
			t.Errorf("%q becomes %v in a denial", location, header)
		}
	}
}

// A path that is refused is logged without what could be a token or a key, whatever letters of
// its beginning are escaped; a path without one as it is.
func TestRedact(t *testing.T) {
	for _, begins := range []string{"eyJ", "gfk_", "gff_", "GFK_", "%65yJ", "e%79J", "ey%4a", "%65%79%4A", "%2565yJ", "%67fk_", "g%66f_", "gf%6b_", "gfk%5F", "gfk%255f", "%67%66%6B%5F", "%2567%2566%256b%255f"} {
		if got := Redact("/.gatefold//l/" + begins + "secret/feed"); got != "/.gatefold//l/REDACTED" {
			t.Errorf("%s: %s", begins, got)
		}
	}
	for _, path := range []string{"", "/", "/articles//hello", "/eye/JAM", "/gf/k_x", "/%65/y"} {
		if got := Redact(path); got != path {
			t.Errorf("%s: %s", path, got)
		}
	}
}
