package headers

import (
	"net/http"
	"strings"
	"testing"
)

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
		Clean(r)
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
		if got := Reserved(name); got != want {
			t.Errorf("Reserved(%q) = %v", name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Reserved("X-Forwarded-For") }); n != 0 {
		t.Errorf("looking at a name allocates %v times", n)
	}
}

// A client asks to upgrade the connection to a protocol in which its further requests would
// reach the origin without a decision (h2c smuggling). Only a WebSocket may.
func TestOnlyWebSocketsMayUpgrade(t *testing.T) {
	for _, test := range []struct {
		upgrade    []string
		connection string
		passes     bool
	}{
		{[]string{"websocket"}, "Upgrade", true},
		{[]string{"WebSocket"}, "keep-alive, upgrade", true},
		{[]string{"h2c"}, "Upgrade, HTTP2-Settings", false},
		{[]string{"h2c"}, "upgrade", false},
		{[]string{"H2C"}, "http2-settings, UPGRADE", false},
		{[]string{"TLS/1.2"}, "Upgrade", false},
		{[]string{"websocket, h2c"}, "Upgrade", false},
		{[]string{"websocket", "h2c"}, "Upgrade", false},
		{[]string{"h2c", "websocket"}, "Upgrade", false},
		{[]string{""}, "Upgrade", false},
	} {
		r := &http.Request{Method: http.MethodGet, Header: http.Header{
			"Upgrade": test.upgrade, "Connection": {test.connection}, "Http2-Settings": {"AAMAAABkAAQAoAAAAAIAAAAA"},
		}}
		Clean(r)
		switch connection := r.Header.Get("Connection"); {
		case test.passes && (connection != test.connection || r.Header.Get("Upgrade") != test.upgrade[0]):
			t.Errorf("%q does not pass: %v", test.upgrade, r.Header)
		case !test.passes && (r.Header["Upgrade"] != nil || r.Header["Http2-Settings"] != nil || connection != ""):
			t.Errorf("%q passes: %v", test.upgrade, r.Header)
		}
	}
}

// A header names another page or method than the one that is judged, to an origin that reads
// it. Methods of requests that only read cannot be overridden at all.
func TestHeadersThatNameAnotherRequestAreRemoved(t *testing.T) {
	for name, methods := range map[string]string{
		"X-Original-Url": "GET POST", "X_original_url": "GET POST", "X.Rewrite.Url": "GET POST", "Xrewriteurl": "GET", "Script_name": "GET POST",
		"X-Script-Name": "GET POST", "X-Http-Method-Override": "GET HEAD OPTIONS CONNECT", "X-Http-Method": "GET", "X_method_override": "HEAD",
		"X-Original-Ur": "", "X-Original-Urls": "", "X-Forwarded-For": "", "X": "", "S": "", "X-": "", "Script-Names": "", "Save-Data": "",
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "CONNECT", "POST", "DELETE", "SEARCH"} {
			r := &http.Request{Method: method, Header: http.Header{name: {"x"}}}
			Clean(r)
			if removed := r.Header[name] == nil; strings.Contains(methods, method) && !removed || methods == "" && removed {
				t.Errorf("%s of %s: removed is %v", name, method, removed)
			}
		}
	}
	r := &http.Request{Method: http.MethodPost, Header: http.Header{"X-Http-Method-Override": {"DELETE"}}}
	if Clean(r); r.Header.Get("X-Http-Method-Override") == "" {
		t.Error("the method of a POST cannot be overridden, which origins depend on")
	}
	if n := testing.AllocsPerRun(100, func() { claims("X-Http-Method-Overridden", methodNames[:]) }); n != 0 {
		t.Errorf("looking at a name allocates %v times", n)
	}
}
