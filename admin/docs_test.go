package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
)

// block is a code block of a document and its language.
type block struct{ language, text string }

var blockPattern = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

func documentBlocks(t *testing.T, file string) []block {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	for _, match := range blockPattern.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{match[1], match[2]})
	}
	return blocks
}

// anything is the placeholder for a value that varies.
const anything = "…"

// differs returns the first difference between an answer and the document, or "".
func differs(path string, want, got any) string {
	switch want := want.(type) {
	case string:
		if want == anything && got != nil {
			return ""
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s is %v", path, got)
		}
		for i := range want {
			if text := differs(fmt.Sprintf("%s[%d]", path, i), want[i], list[i]); text != "" {
				return text
			}
		}
		return ""
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v", path, got)
		}
		for name := range object {
			if _, said := want[name]; !said {
				return fmt.Sprintf("%s.%s is not in the document", path, name)
			}
		}
		for name := range want {
			if text := differs(path+"."+name, want[name], object[name]); text != "" {
				return text
			}
		}
		return ""
	}
	if want != got {
		return fmt.Sprintf("%s is %v, want %v", path, got, want)
	}
	return ""
}

// Every request of the document is sent in order and answered as documented, field
// by field, as in the published contract.
func TestExamplesOfTheDocument(t *testing.T) {
	b := newFixture(t, false)
	visits := []store.Visit{
		{Site: "cowork", UserID: "alice", At: b.clock, Tags: []string{"app", "profile"}},
		{Site: "cowork", UserID: "kenneth", At: b.clock, Tags: []string{"app", "billing"}},
	}
	if err := b.store.RecordVisits(t.Context(), "cowork", visits); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	blocks := documentBlocks(t, "../docs/proxy.md")
	for i, asked := range blocks {
		if asked.language != "http" {
			continue
		}
		head, body, _ := strings.Cut(asked.text, "\n\n")
		line, _, _ := strings.Cut(head, "\n")
		method, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		got := b.callAs("cowork", method, path, strings.TrimSpace(body))
		route, _, _ := strings.Cut(path, "?")
		seen[method+" "+route] = true
		if i+1 == len(blocks) || blocks[i+1].language != "json" {
			got.want(http.StatusNoContent, nil)
			continue
		}
		var want, answered any
		if err := json.Unmarshal([]byte(blocks[i+1].text), &want); err != nil {
			t.Fatalf("%s: %v", blocks[i+1].text, err)
		}
		if got.code != http.StatusOK && got.code != http.StatusCreated {
			t.Fatalf("%s %s: %d %s", method, path, got.code, got.body)
		}
		if err := json.Unmarshal([]byte(got.body), &answered); err != nil {
			t.Fatal(err)
		}
		if text := differs("the answer", want, answered); text != "" {
			t.Errorf("%s %s: %s", method, path, text)
		}
	}
	for _, operation := range []string{
		"GET /api/proxy", "PUT /api/proxy", "GET /api/proxy/engagement", "GET /api/proxy/engagement/users", "POST /api/proxy/key",
		"GET /api/proxy/recent", "GET /api/proxy/rules", "POST /api/proxy/rules", "GET /api/proxy/rules/app", "PUT /api/proxy/rules/app",
		"GET /api/proxy/sessions/xia", "DELETE /api/proxy/rules/app", "PATCH /api/proxy/rules",
	} {
		if !seen[operation] {
			t.Errorf("the document has no example of %s", operation)
		}
	}
}
