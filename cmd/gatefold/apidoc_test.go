package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// docBlock is a fenced block of a document.
type docBlock struct {
	language, text string
	runs           bool
}

func docBlocks(t *testing.T, file string) []docBlock {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []docBlock
	runs, inside := false, false
	for line := range strings.Lines(string(data)) {
		switch fence, found := strings.CutPrefix(strings.TrimRight(line, "\n"), "```"); {
		case found && !inside:
			blocks = append(blocks, docBlock{language: fence, runs: runs})
			inside, runs = true, false
		case found:
			inside = false
		case inside:
			blocks[len(blocks)-1].text += line
		case strings.HasPrefix(line, "<!-- runs -->"):
			runs = true
		}
	}
	return blocks
}

// shape returns the names of a JSON value's members, at every depth: two responses
// of one shape have the same fields.
func shape(value any) any {
	switch value := value.(type) {
	case map[string]any:
		members := map[string]any{}
		for name, member := range value {
			members[name] = shape(member)
		}
		return members
	case []any:
		if len(value) == 0 {
			return []any{}
		}
		return []any{shape(value[0])}
	default:
		return nil
	}
}

// The examples of docs/api.md run as written, in order, in one shell; where the
// document shows a response, the real one has the same fields.
func TestExamplesOfTheAPIDocument(t *testing.T) {
	t.Parallel()
	s, api := startAPI(t)
	blocks := docBlocks(t, "../../docs/api.md")
	script := "set -e\n"
	var answers []*docBlock
	for i := range blocks {
		if !blocks[i].runs {
			continue
		}
		script += blocks[i].text + "printf '\\036'\n"
		var answer *docBlock
		if i+1 < len(blocks) && blocks[i+1].language == "json" {
			answer = &blocks[i+1]
		}
		answers = append(answers, answer)
	}
	if len(answers) < 10 {
		t.Fatalf("the document has %d examples", len(answers))
	}
	tools := t.TempDir()
	standIn := "#!/bin/sh\nexec '" + binary + "' \"$@\" --address '" + s.admin + "'\n"
	if err := os.WriteFile(filepath.Join(tools, "gatefold"), []byte(standIn), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script)
	shell.Dir = t.TempDir()
	shell.Env = append(s.environment(), "API="+api, "PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	output, err := shell.Output()
	if err != nil {
		t.Fatalf("the examples ended: %v\n%s", err, output)
	}
	outputs := strings.Split(string(output), "\x1e")
	shown := 0
	for i, answer := range answers {
		if answer == nil {
			if strings.Contains(outputs[i], `"code":`) || strings.Contains(outputs[i], `"error":`) {
				t.Errorf("example %d fails: %s", i+1, outputs[i])
			}
			continue
		}
		shown++
		var want, got map[string]any
		decode(t, answer.text, &want)
		decode(t, outputs[i], &got)
		wanted, _ := json.Marshal(shape(want))
		if is, _ := json.Marshal(shape(got)); string(is) != string(wanted) {
			t.Errorf("example %d answers with the fields %s, the document shows %s", i+1, is, wanted)
		}
		for _, name := range []string{"status", "code", "detail", "token_type", "expires_in", "scope", "sku", "source"} {
			if text, constant := want[name]; constant && got[name] != text {
				t.Errorf("example %d: %s is %v, the document shows %v", i+1, name, got[name], text)
			}
		}
	}
	if shown < 5 {
		t.Errorf("the document shows %d answers", shown)
	}
	for _, part := range []string{`"sku":"premium"`, `rel="next"`, "revoked client_"} {
		if !slices.ContainsFunc(outputs, func(output string) bool { return strings.Contains(output, part) }) {
			t.Errorf("no example says %s", part)
		}
	}
}
