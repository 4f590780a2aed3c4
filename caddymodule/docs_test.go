package caddymodule

import (
	"os"
	"regexp"
	"testing"
)

// Every Caddyfile of docs/proxy.md can be adapted.
func TestCaddyfilesOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(files) < 2 {
		t.Fatalf("the document has %d Caddyfiles", len(files))
	}
	for _, file := range files {
		if _, err := adapt(file[1]); err != nil {
			t.Errorf("%v in\n%s", err, file[1])
		}
	}
}
