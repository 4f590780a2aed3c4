package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// initWith runs init with what is typed at its prompts.
func initWith(typed string, args ...string) (stdout, stderr string, err error) {
	cmd := &cobra.Command{Use: "init", SilenceErrors: true}
	initCommand(cmd)
	var out, errOut strings.Builder
	cmd.SetIn(strings.NewReader(typed))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(args)
	err = cmd.Execute()
	return out.String(), errOut.String(), err
}

// Five questions make a Caddyfile. A wrong answer is asked for again, an empty one is the
// usual one, and flags answer without a question.
func TestInitAsks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	out, asked, err := initWith("news.example.com/x\nnews.example.com\nrails\nexpress\n\n\n/premium\n", "--output", file)
	if err != nil || strings.Count(asked, "? [") != 7 || !strings.Contains(asked, "without a path") || !strings.Contains(asked, "[localhost:3000]") {
		t.Fatalf("%v\n%s", err, asked)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "\nnews.example.com {") || !strings.Contains(string(text), "rule /premium entitled premium") ||
		!strings.Contains(string(text), "reverse_proxy localhost:3000") || !strings.Contains(out, "gatefold validate --config "+file) {
		t.Errorf("%v\n%s\n%s", err, out, text)
	}
	if _, _, err := initWith("", "--yes", "--output", file); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("an existing file: the error is %v", err)
	}
	if again, _ := os.ReadFile(file); string(again) != string(text) {
		t.Error("the refused command changed the file")
	}
	if _, asked, err := initWith("", "--yes", "--force", "--host", "blog.example.com", "--output", file); err != nil || asked != "" {
		t.Errorf("with --yes: %v, asked %q", err, asked)
	}
	out, asked, err = initWith("none\n", "--output", "-", "--host", "a.example.com", "--kind", "static", "--origin", "/srv/a", "--paid", "/a")
	if err != nil || strings.Count(asked, "? [") != 1 || !strings.HasPrefix(out, "# Made by gatefold init") {
		t.Errorf("flags for all but one: %v, asked %q, out %q", err, asked, out)
	}
}

// Without answers and without --yes there is no file, and the error names the flag.
func TestInitWithoutAnswers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	for typed, want := range map[string]string{
		"":                   "--host",
		"news.example.com\n": "--kind",
		"?\n?\n?\n?\n?\nnews.example.com\nother\n": "--help",
	} {
		if _, _, err := initWith(typed, "--output", file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v", typed, err)
		}
	}
	if _, _, err := initWith("", "--yes", "--paid", "articles", "--output", file); err == nil || !strings.Contains(err.Error(), "--paid: ") {
		t.Errorf("a wrong flag: the error is %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was written")
	}
}
