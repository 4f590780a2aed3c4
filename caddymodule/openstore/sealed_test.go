package openstore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/policy"
)

// What was written is read again and compared with what was copied, before it counts as a
// backup.
func TestBackupIsComparedWithWhatWasRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := &Config{Engine: Bolt, File: filepath.Join(dir, "gatefold.db")}
	shared, isNew, err := config.Acquire(Options{
		Now: time.Now, CacheBytes: policy.MinCacheBytes, StalePages: func(*Shared) *nodestate.StalePages { return nil },
	})
	if err != nil || !isNew {
		t.Fatal(isNew, err)
	}
	t.Cleanup(func() {
		if err := shared.Release(); err != nil {
			t.Error(err)
		}
	})
	opened, err := shared.Open(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "copy.backup"))
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := opened.SealedBackup(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := opened.checkSealed(file.Name(), digest); err != nil {
		t.Errorf("a good backup: %v", err)
	}
	if err := opened.checkSealed(file.Name(), []byte("another digest")); err == nil {
		t.Error("a backup that is not what was read is taken for good")
	}
	if err := os.Truncate(file.Name(), 64); err != nil {
		t.Fatal(err)
	}
	if err := opened.checkSealed(file.Name(), digest); err == nil {
		t.Error("half a backup is taken for good")
	}
}
