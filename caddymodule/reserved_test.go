package caddymodule

import (
	"net/http"
	"testing"

	"github.com/gatefold/gatefold/caddymodule/headers"
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
				if headers.Reserved(have) {
					t.Errorf("%s: %s reached the origin", path, have)
				}
			}
			if got.Header.Get("X-Harmless") != "kept" {
				t.Errorf("%s: an innocent header was lost beside %s", path, header)
			}
		}
	}
}
