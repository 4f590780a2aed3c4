package caddymodule

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

// backupTime is the form of the time in the name of a backup.
const backupTime = "20060102T150405Z"

// The operator names a folder, and forgets it: a backup is there at once, another each hour,
// and the oldest go. One day the folder cannot be written: the node says so before it is
// needed, and goes on by itself when it can.
func TestBackupsAreMadeByThemselves(t *testing.T) {
	keepClock(t)
	before := storeOptions.BackupLook
	storeOptions.BackupLook = 20 * time.Millisecond
	t.Cleanup(func() { storeOptions.BackupLook = before })
	s := newTestSite(t, standardRules)
	folder := filepath.Join(s.dir, "deeper", "backups")
	config := strings.Replace(s.config("", standardRules, ""), "store bolt", "backup "+folder+" every 1h keep 2\n\t\tstore bolt", 1)
	s.grant(store.Grant{UserID: "ada", SKU: "premium"})
	s.load(config)
	names := func() (names []string) {
		entries, _ := os.ReadDir(folder)
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}
	complete := func() int {
		return len(slices.DeleteFunc(names(), func(name string) bool { return strings.HasPrefix(name, ".") }))
	}
	s.waitFor("the first backup", func() bool { return complete() == 1 })
	first := names()[0]
	if info, err := os.Stat(filepath.Join(folder, first)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has the mode %v, %v", info.Mode(), err)
	}
	content, err := os.ReadFile(filepath.Join(folder, first))
	if err != nil || bytes.Contains(content, []byte("ada")) {
		t.Errorf("a thief of the backup reads its grants: %v", err)
	}
	sealer, err := s.running().Sealer.For(keys.PurposeBackup)
	if err != nil {
		t.Fatal(err)
	}
	opened := filepath.Join(s.dir, "opened.db")
	var plain bytes.Buffer
	if err := sealer.OpenStream(&plain, bytes.NewReader(content)); err != nil || !bytes.Contains(plain.Bytes(), []byte("ada")) {
		t.Errorf("the backup opens with %v", err)
	}
	if err := os.WriteFile(opened, plain.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := boltengine.Verify(opened, store.CheckRecord); err != nil {
		t.Error(err)
	}

	// A reload makes none before its time: the ones that are there count.
	s.load(strings.Replace(config, "log\n", "log\n\theader X-Reloaded yes\n", 1))
	clock.Advance(59 * time.Minute)
	s.waitFor("another look", func() bool { _, known := s.shared().BackupAge(); return known })
	if got := names(); len(got) != 1 {
		t.Fatalf("before the hour is over: %q", got)
	}
	// One whose name is of next year was made while the clock was wrong, and delays none.
	if err := os.WriteFile(filepath.Join(folder, "gatefold-"+clock.Now().UTC().AddDate(1, 0, 0).Format(backupTime)+".backup"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Hour)
	now := clock.Now().UTC().Format(backupTime)
	s.waitFor("a backup beside it", func() bool {
		return slices.ContainsFunc(names(), func(name string) bool { return strings.Contains(name, now) })
	})
	s.waitFor("the older one to go", func() bool { return complete() == 2 })
	if err := os.Remove(filepath.Join(folder, names()[len(names())-1])); err != nil {
		t.Fatal(err)
	}
	// What a killed process left goes with the next one.
	partial := filepath.Join(folder, ".gatefold-backup-123")
	if err := os.WriteFile(partial, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		clock.Advance(time.Hour)
		newest := clock.Now().UTC().Format(backupTime)
		s.waitFor("the next backup", func() bool {
			got := names()
			return len(got) > 0 && len(got) <= 2 && strings.Contains(got[len(got)-1], newest)
		})
	}
	if got := names(); len(got) != 2 || slices.Contains(got, first) {
		t.Errorf("two are kept: %q", got)
	}
	s.waitFor("the age of the newest", func() bool {
		age, known := s.shared().BackupAge()
		return known && age <= time.Second
	})

	moved := folder + ".moved"
	if err := os.Rename(folder, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	clock.Advance(90 * time.Minute)
	s.waitFor("the failure", func() bool {
		return len(logged.entries(t, "gatefold.store")) > 0 && strings.Contains(logged.String(), "a backup failed")
	})
	if c := s.found("backup_old"); c != nil {
		t.Errorf("one that is late is no condition yet: %+v", c)
	}
	clock.Advance(time.Hour)
	s.waitForCondition("backup_old", "one is due every 1h0m0s", "not a directory")
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(moved, folder); err != nil {
		t.Fatal(err)
	}
	s.waitForEnd("backup_old")

	// Without the option there are no more, and no condition.
	s.load(s.config("", standardRules, ""))
	had := names()
	clock.Advance(24 * time.Hour)
	if c := s.found("backup_old"); c != nil || !slices.Equal(names(), had) {
		t.Errorf("without the option: %+v, %q", c, names())
	}
}
