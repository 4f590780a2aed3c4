package command

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// A backup is verified on a disk that others can read, such as that of an archive: its content
// is in no file beside it at any time, nor in one with a name in the temporary folder, so that
// nothing is left by a command that is killed.
func TestUnsealAsideLeavesNothing(t *testing.T) {
	archive, temporary := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temporary)
	sealer, err := keys.NewSealer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w := sealer.SealStream(&sealed)
	if _, err := w.Write([]byte("every record")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(archive, "copy.backup")
	if err := os.WriteFile(backup, sealed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	path, remove, err := unsealAside(backup, sealer)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "every record" { //nolint:gosec // of the test
		t.Errorf("the content is %q, %v", content, err)
	}
	want := func(when, folder string, number int) {
		t.Helper()
		if files, err := os.ReadDir(folder); err != nil || len(files) != number {
			t.Errorf("%s: %s has %v, %v", when, folder, files, err)
		}
	}
	want("while it is open", archive, 1)
	if _, err := os.Stat("/proc/self/fd"); err == nil {
		want("while it is open", temporary, 0)
	}
	remove()
	want("afterwards", temporary, 0)
	if err := os.Truncate(backup, int64(sealed.Len()-1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := unsealAside(backup, sealer); err == nil {
		t.Error("a backup that is cut short is unsealed")
	}
	want("after a failure", temporary, 0)
}
