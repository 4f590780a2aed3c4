package headers

import (
	"net/http"
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
