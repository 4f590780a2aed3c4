package main

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// runBlocks are the lines of the blocks of a document that a test runs.
func runBlocks(t *testing.T, file string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "<!-- run -->\n```sh\n")[1:] {
		block, _, _ := strings.Cut(block, "```")
		lines = append(lines, strings.Split(strings.TrimSpace(block), "\n")...)
	}
	return lines
}

// The commands of docs/api-keys.md and docs/feeds.md work as they say, on a site with the rule
// of docs/feeds.md.
func TestReaderKeysDocuments(t *testing.T) {
	t.Parallel()
	s := exampleServer(t)
	lines := runBlocks(t, "../../docs/api-keys.md")
	if len(lines) != 7 {
		t.Fatalf("docs/api-keys.md has %d commands", len(lines))
	}
	outputs := runTranscript(t, s, append(lines, `curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $KEY" http://localhost:8080/articles/hello`))
	for i, want := range map[int]string{2: "whole article", 3: "whole article", 4: "archive search", 6: "revoked ", 7: "401"} {
		if !strings.Contains(outputs[i], want) {
			t.Errorf("command %d prints %q, want %q", i, outputs[i], want)
		}
	}
	rule := regexp.MustCompile(`(?s)rule /podcasts/.*?\n\t\t\}\n`).FindString(readTree(t, "docs/feeds.md"))
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.writeConfig(strings.Replace(string(config), "\t\trule /articles/", "\t\t"+rule+"\t\trule /articles/", 1))
	s.start()
	outputs = runTranscript(t, s, runBlocks(t, "../../docs/feeds.md"))
	if len(outputs) != 5 || !strings.Contains(outputs[4], "revoked 1 feeds of user-123") {
		t.Fatalf("the commands of docs/feeds.md print %q", outputs)
	}
	if got := s.get(strings.TrimSpace(outputs[0])); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("the URL of a revoked feed: %d %s", got.StatusCode, got.body)
	}
	// The origin of the example has no podcasts; the gate lets the request pass.
	address := s.must("feed", "create", s.site+"/podcasts/daily/feed.xml", "--space", "podcasts", "--user", "user-123")
	if got := s.get(address); got.StatusCode != http.StatusNotFound || !strings.Contains(got.body, "Not found") || address == strings.TrimSpace(outputs[0]) {
		t.Errorf("%s: %d %s", address, got.StatusCode, got.body)
	}
	if got := s.must("feed", "list", "user-123"); !strings.Contains(got, "podcasts") {
		t.Errorf("the list is %s", got)
	}
}
