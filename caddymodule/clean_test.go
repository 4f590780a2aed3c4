package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A client sends the gate's own headers in every spelling that some server folds to
// them. None reaches the origin, whatever the decision.
func TestReservedHeadersAreRemoved(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	spoofed := []string{
		"Gatefold-Session", "gatefold-session", "GATEFOLD-SESSION", "Gatefold_Session", "Gatefold.Session", "gatefold",
		"GatefoldUser", "X-Gatefold", "X-Gatefold-User", "X_Gatefold_User", "x.gatefold.user", "X-Gatefold_User", "XGatefoldUser",
		"X--Gatefold", "Gate-Fold-Session", "-Gatefold",
	}
	for _, path := range []string{"/", "/public/x", "/articles/hello"} {
		for _, header := range spoofed {
			s.do(http.MethodGet, path, header, "evil", name, bearer, "X-Harmless", "kept").page()
			got := s.origin.Last(t)
			for have := range got.Header {
				if reserved(have) {
					t.Errorf("%s: %s reached the origin", path, have)
				}
			}
			if got.Header.Get("X-Harmless") != "kept" {
				t.Errorf("%s: an innocent header was lost beside %s", path, header)
			}
		}
	}
}

// A client names the gate's header in Connection, so that a proxy would drop it as
// hop-by-hop (GHSA-w9mr-28mw-j8hg).
func TestReservedNamesAreRemovedFromConnection(t *testing.T) {
	for value, want := range map[string]string{
		"gatefold-session":                "",
		"close, Gatefold-Session":         "close",
		"X-Gatefold-User, keep-alive":     "keep-alive",
		"keep-alive, X_GATEFOLD_user , a": "keep-alive, a",
		"keep-alive, a":                   "keep-alive, a",
	} {
		r := &http.Request{Header: http.Header{"Connection": {value}, "Trailer": {value}}}
		cleanHeaders(r)
		for _, name := range []string{"Connection", "Trailer"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q becomes %q, want %q", name, value, got, want)
			}
		}
	}
}

func TestReservedNames(t *testing.T) {
	for name, want := range map[string]bool{
		"Gatefold": true, "Gatefold-Session": true, "gate_fold": true, "X-Gatefold": true, "x-gatefold-z": true, "XGatefold": true,
		"Gate": false, "X": false, "": false, "X-Gate": false, "My-Gatefold": false, "XX-Gatefold": false, "Cookie": false, "X-Gatefol": false,
	} {
		if got := reserved(name); got != want {
			t.Errorf("reserved(%q) = %v", name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { reserved("X-Forwarded-For") }); n != 0 {
		t.Errorf("looking at a name allocates %v times", n)
	}
}

// manyLinkCookies returns n link cookies with different names.
func manyLinkCookies(n int) string {
	var cookies []string
	for i := range n {
		cookies = append(cookies, fmt.Sprintf("gatefold-%d=x", i))
	}
	return strings.Join(cookies, "; ")
}

func TestTakeLinkCookies(t *testing.T) {
	const ours, secure = "gatefold-AAAAAAAAAAAA", "__Host-gatefold-AAAAAAAAAAAA"
	for _, test := range []struct {
		name    string
		lines   []string
		https   bool
		kept    string // joined by |
		counted string
	}{
		{"none", []string{"a=1; b=2"}, false, "a=1; b=2", ""},
		{"one", []string{"a=1; " + ours + "=x; b=2"}, false, "a=1; b=2", ours + "=x"},
		{"alone", []string{ours + "=x"}, false, "", ours + "=x"},
		{"over two lines", []string{"a=1", ours + "=x"}, false, "a=1", ours + "=x"},
		{"unprefixed on https", []string{ours + "=x"}, true, "", ""},
		{"prefixed on https", []string{secure + "=x"}, true, "", secure + "=x"},
		{"prefixed on http", []string{secure + "=x"}, false, "", ""},
		{"duplicate counts as none", []string{ours + "=x; " + ours + "=y"}, false, "", ""},
		{"twice over lines", []string{ours + "=x", ours + "=y"}, false, "", ""},
		{"in another case", []string{"GateFold-AAAAAAAAAAAA=x; a=1"}, false, "a=1", ""},
		{"with odd spaces", []string{"a=1;\u00a0" + ours + "=x"}, false, "a=1", ""},
		{"without value", []string{ours + "; a=1"}, false, "a=1", ours + "="},
		{"bytes of others stay", []string{`a="q, x"; ` + ours + "=x;  c=ü"}, false, `a="q, x"; c=ü`, ours + "=x"},
		{"between others", []string{"a=1;b=2; " + ours + "=x;c=3;  d=4"}, false, "a=1;b=2; c=3;  d=4", ours + "=x"},
		{"at the end", []string{"a=1;b=2;" + ours + "=x"}, false, "a=1;b=2", ours + "=x"},
		{"between nothing", []string{" ;" + ours + "=x; ;"}, false, "", ours + "=x"},
		{"more than a browser keeps", []string{manyLinkCookies(maxTakenCookies + 1)}, false, "", ""},
		{"too many", []string{ours + "=x; big=" + strings.Repeat("x", maxCookieBytes)}, false, "big=" + strings.Repeat("x", maxCookieBytes), ""},
	} {
		header := http.Header{"Cookie": append([]string(nil), test.lines...)}
		var counted []string
		for _, cookie := range takeLinkCookies(header, header["Cookie"], test.https, nil) {
			counted = append(counted, cookie.name+"="+cookie.value)
		}
		if got := strings.Join(header["Cookie"], "|"); got != test.kept {
			t.Errorf("%s: the origin gets %q, want %q", test.name, got, test.kept)
		}
		if got := strings.Join(counted, " "); got != test.counted {
			t.Errorf("%s: %q counts, want %q", test.name, got, test.counted)
		}
	}
}
