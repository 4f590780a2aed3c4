package setting

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Name   string            `json:"name"`
	List   []string          `json:"list"`
	Claims map[string]string `json:"claims"`
}

type config struct {
	Text      string                     `json:"text"`
	Keyword   string                     `json:"keyword" placeholders:"-"`
	Inner     *inner                     `json:"inner"`
	Lifetime  Duration                   `json:"lifetime,omitzero"`
	Number    Count                      `json:"number,omitzero"`
	Memory    Size                       `json:"memory,omitzero"`
	Arguments map[string]json.RawMessage `json:"arguments" placeholders:"captures"`
}

func TestReplace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GATEFOLD_T", "value")
	t.Setenv("GATEFOLD_D", "30s")
	t.Setenv("GATEFOLD_N", "7")
	t.Setenv("GATEFOLD_S", "64MiB")
	const text = `{"text":"a {env.GATEFOLD_T} b","keyword":"{env.GATEFOLD_T}",
		"inner":{"name":"{file.FILE}","list":["x","{env.GATEFOLD_T}"],"claims":{"{env.GATEFOLD_T}":"c"}},
		"lifetime":"{env.GATEFOLD_D}","number":"{env.GATEFOLD_N}","memory":"{env.GATEFOLD_S}",
		"arguments":{"sku":["{id}","{env.GATEFOLD_T}"],"n":12}}`
	var c config
	if err := json.Unmarshal([]byte(strings.ReplaceAll(text, "FILE", file)), &c); err != nil {
		t.Fatal(err)
	}
	kept, err := json.Marshal(c)
	if err != nil || !strings.Contains(string(kept), `"lifetime":"{env.GATEFOLD_D}"`) {
		t.Errorf("before Replace the configuration is %s, %v", kept, err)
	}
	if err := Replace(&c); err != nil {
		t.Fatal(err)
	}
	want := config{
		Text: "a value b", Keyword: "{env.GATEFOLD_T}",
		Inner:    &inner{Name: "from a file", List: []string{"x", "value"}, Claims: map[string]string{"value": "c"}},
		Lifetime: Duration{V: 30 * time.Second}, Number: Count{V: 7}, Memory: Size{V: 64 << 20},
		Arguments: map[string]json.RawMessage{"sku": json.RawMessage(`["{id}","value"]`), "n": json.RawMessage("12")},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("the configuration is %+v", c)
	}
}

// An error names the option and the placeholder, and holds no value.
func TestReplaceErrors(t *testing.T) {
	t.Setenv("GATEFOLD_EMPTY", "")
	t.Setenv("GATEFOLD_WORDS", "hunter2")
	for text, want := range map[string]string{
		`{"text":"{env.GATEFOLD_NONE}"}`:                                  "text: {env.GATEFOLD_NONE} is not set",
		`{"text":"{env.GATEFOLD_EMPTY}"}`:                                 "text: {env.GATEFOLD_EMPTY} is not set, or empty",
		`{"text":"{file./nonexistent}"}`:                                  "text: {file./nonexistent} is not set",
		`{"inner":{"list":["{env.GATEFOLD_NONE}"]}}`:                      "inner: list: {env.GATEFOLD_NONE} is not set",
		`{"inner":{"claims":{"email":"{env.GATEFOLD_NONE}"}}}`:            "inner: claims: email: {env.GATEFOLD_NONE} is not set",
		`{"text":"{http.request.host}"}`:                                  "text: {http.request.host} has no value when the configuration is loaded",
		`{"lifetime":"{env.GATEFOLD_WORDS}"}`:                             "lifetime: {env.GATEFOLD_WORDS} must be a duration above zero",
		`{"number":"{env.GATEFOLD_WORDS}"}`:                               "number: {env.GATEFOLD_WORDS} must be a number above zero",
		`{"memory":"{env.GATEFOLD_WORDS}"}`:                               "memory: {env.GATEFOLD_WORDS} must be a size",
		`{"arguments":{"sku":["{id}","{env.GATEFOLD_NONE}"]}}`:            "arguments: sku: {env.GATEFOLD_NONE} is not set",
		`{"inner":{"claims":{"{env.GATEFOLD_WORDS}":"a","hunter2":"b"}}}`: "is given twice",
	} {
		var c config
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		err := Replace(&c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error is %v, want %q", text, err, want)
		}
	}
}
