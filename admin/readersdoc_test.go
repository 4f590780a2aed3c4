package admin_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

// Every command of the document is sent in order and answered with the fields that it shows.
func TestCommandsOfTheReadersDocument(t *testing.T) {
	b := newFixture(t, false)
	blocks, sent := documentBlocks(t, "../docs/readers.md"), 0
	for i, command := range blocks {
		if command.language != "sh" {
			continue
		}
		got := b.curl("acme", command.text)
		if got.code != http.StatusOK {
			t.Fatalf("%s%d %s", command.text, got.code, got.body)
		}
		var want, answered any
		parse(t, blocks[i+1].text, &want)
		if err := json.Unmarshal([]byte(got.body), &answered); err != nil {
			t.Fatal(err)
		}
		if text := differs("the answer", want, answered); text != "" {
			t.Errorf("%s%s", command.text, text)
		}
		sent++
	}
	if sent != 4 {
		t.Errorf("the document has %d commands", sent)
	}
}
