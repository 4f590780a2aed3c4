package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
)

// shellWords splits a command into words, by spaces outside quotes.
func shellWords(t *testing.T, text string) (words []string) {
	t.Helper()
	var word strings.Builder
	var quote rune
	open := false
	for _, c := range strings.ReplaceAll(text, "\\\n", " ") {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == ' ' || c == '\n':
			if open || word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(c)
		}
	}
	if quote != 0 {
		t.Fatalf("a quote does not end: %s", text)
	}
	return words
}

// curl sends the request of a curl command to the API, as a vendor.
func (b *fixture) curl(vendor, command string) answer {
	b.Helper()
	words := shellWords(b.T, command)
	method, address, body, header := "", "", "", http.Header{}
	for i := 1; i < len(words); i++ {
		switch word := words[i]; word {
		case "-X", "-d", "-H":
			i++
			switch word {
			case "-X":
				method = words[i]
			case "-d":
				body = words[i]
			default:
				name, value, _ := strings.Cut(words[i], ": ")
				header.Set(name, value)
			}
		default:
			address = word
		}
	}
	if method == "" {
		method = http.MethodGet
	}
	path, known := strings.CutPrefix(address, "$API")
	if words[0] != "curl" || !known {
		b.Fatalf("not a curl command with $API: %s", command)
	}
	return b.send(vendor, method, path, body, header)
}

// Every command of the document is sent in order and answered as documented, field by field.
func TestCommandsOfTheSubscriptionsDocument(t *testing.T) {
	b := newFixture(t, false)
	w := b.store.As(store.Actor{})
	if _, err := w.CreateUser(t.Context(), "cowork", store.User{Slug: "xia"}); err != nil {
		t.Fatal(err)
	}
	profile := store.Profile{Slug: "xia", Type: store.TypePersonal, Owner: "xia", FullName: "Xia Lee"}
	if _, err := w.CreateProfile(t.Context(), "cowork", profile); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateRole(t.Context(), "cowork", store.Role{Profile: "xia", User: "xia", Type: "manager"}); err != nil {
		t.Fatal(err)
	}
	sent := 0
	blocks := documentBlocks(t, "../docs/subscriptions.md")
	for i, command := range blocks {
		if command.language != "sh" {
			continue
		}
		if i+1 == len(blocks) || blocks[i+1].language != "json" {
			t.Fatalf("there is no answer to %s", command.text)
		}
		got := b.curl("cowork", command.text)
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
		sent++
	}
	if sent != 7 {
		t.Errorf("the document has %d commands", sent)
	}
}
