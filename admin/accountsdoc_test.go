package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Every command of the document is sent in order and answered as documented, field by field.
// $KEY is the key of the answer before.
func TestCommandsOfTheAccountsDocument(t *testing.T) {
	b := newFixture(t, false)
	blocks, sent, key := documentBlocks(t, "../docs/accounts.md"), 0, ""
	for i, command := range blocks {
		if command.language != "sh" {
			continue
		}
		got := b.curl("cowork", strings.ReplaceAll(command.text, "$KEY", key))
		if got.code != http.StatusOK && got.code != http.StatusCreated {
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
		key, _ = answered.(map[string]any)["grant_key"].(string)
		sent++
	}
	if sent != 7 {
		t.Errorf("the document has %d commands", sent)
	}
}
