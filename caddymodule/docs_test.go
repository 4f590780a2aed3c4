package caddymodule

import (
	"os"
	"regexp"
	"testing"
)

// Every Caddyfile of docs/proxy.md and docs/denials.md can be adapted.
func TestCaddyfilesOfTheDocuments(t *testing.T) {
	for document, least := range map[string]int{"proxy.md": 2, "denials.md": 3} {
		text, err := os.ReadFile("../docs/" + document)
		if err != nil {
			t.Fatal(err)
		}
		files := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
		if len(files) < least {
			t.Fatalf("%s has %d Caddyfiles", document, len(files))
		}
		for _, file := range files {
			if _, err := adapt(file[1]); err != nil {
				t.Errorf("%s: %v in\n%s", document, err, file[1])
			}
		}
	}
}
