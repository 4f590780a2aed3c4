package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// A stranger sends paths and queries of 8 KiB, and a reader has a long
// id with line separators of Unicode: the gate's own log gets a line of bounded size for
// each, with the length of what was cut, and no byte that begins another line.
func TestLogLinesOfTheGateAreBounded(t *testing.T) {
	s := newTestSite(t, standardRules)
	long := strings.Repeat("x", 8<<10)
	reader := s.reader(keys.ReaderClaims{UserID: strings.Repeat("u\u2028é", 30)})
	logged.Reset()
	s.get("/articles/"+long, "Authorization", "Bearer "+reader).denied(http.StatusForbidden, "not_entitled")
	s.get("/articles/hello?token="+long).denied(http.StatusUnauthorized, "login_required")
	s.rawPath("/articles/%0a"+long).denied(http.StatusBadRequest, "bad_path")
	s.get("/articles"+strings.Repeat("//a", 2_000)).denied(http.StatusBadRequest, "bad_path")
	entries := logged.entries(t, "http.handlers.gatefold")
	if len(entries) != 4 {
		t.Fatalf("%d denials are logged", len(entries))
	}
	for _, entry := range entries {
		line, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		if len(line) > 6*maxLogText {
			t.Errorf("a line of %d bytes: %.200s", len(line), line)
		}
	}
	if path, _ := entries[0]["path"].(string); !strings.HasSuffix(path, "… (8202 bytes)") {
		t.Errorf("the path %q does not give its length", path)
	}
	for line := range strings.Lines(logged.String()) {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
			t.Errorf("a line was injected: %.100s", line)
		}
	}
}

func TestCut(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "abcd": "abcd", "abcde": "abcd… (5 bytes)", "abcé": "abc… (5 bytes)", "\xff\xffabc": "ab… (5 bytes)",
	} {
		if got := cut(text, 4); got != want {
			t.Errorf("%q is cut to %q, want %q", text, got, want)
		}
	}
}
