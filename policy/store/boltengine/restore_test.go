//go:build unix

package boltengine

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

func init() {
	childRoles["restore until killed"] = restoreUntilKilled
}

// backUp writes a copy of a database to a file.
func backUp(t *testing.T, backend *Engine, name string) {
	t.Helper()
	file, err := os.Create(name)
	require.NoError(t, err)
	_, err = backend.Backup(t.Context(), file, nil)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

// A backup takes the place of the database, which is kept. What followed the feed of a vendor
// notices that it missed something: positions are not used again for other events.
func TestRestore(t *testing.T) {
	folder := t.TempDir()
	path, copied, kept := filepath.Join(folder, "gatefold.db"), filepath.Join(folder, "copy.db"), filepath.Join(folder, "kept.db")
	backend := open(t, path)
	write := func(key string) {
		batch := small(key)
		batch.Event = []byte(key)
		_, err := backend.Commit(t.Context(), "acme", batch)
		require.NoError(t, err)
	}
	write("before")
	backUp(t, backend, copied)
	write("lost")
	_, err := backend.Commit(t.Context(), "later", &engine.Batch{Event: []byte("new vendor")})
	require.NoError(t, err)
	position, err := backend.Position(t.Context(), "acme")
	require.NoError(t, err)

	from := open(t, copied)
	require.ErrorIs(t, Restore(t.Context(), path, path, backend, from), os.ErrExist, "what is there is not overwritten")
	backend, from = open(t, path), open(t, copied)
	_, err = Open(path)
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, Restore(t.Context(), path, kept, backend, from))
	require.NoFileExists(t, copied)

	restored := open(t, path)
	require.NoError(t, hasSmall(restored, "before"))
	_, err = restored.Events(t.Context(), "acme", position, 10)
	require.ErrorIs(t, err, engine.ErrFeedGap)
	_, err = restored.Events(t.Context(), "later", 1, 10)
	require.ErrorIs(t, err, engine.ErrFeedGap)
	next, err := restored.Commit(t.Context(), "acme", &engine.Batch{Event: []byte("next")})
	require.NoError(t, err)
	require.Greater(t, next.Position, position+1)
	require.NoError(t, Verify(kept, nil))
	require.NoError(t, restored.Close())
	require.NoError(t, Verify(path, nil))

	// The disk was lost: there is nothing to keep.
	from = open(t, kept)
	gone := filepath.Join(t.TempDir(), "gatefold.db")
	require.NoError(t, Restore(t.Context(), gone, "", nil, from))
	require.NoError(t, hasSmall(open(t, gone), "before", "lost"))
}

// Root restores the database of a server that runs as another user: it belongs to that user
// afterwards, as its folder does where the disk was lost, so that the server can open it.
func TestRestoreKeepsTheOwner(t *testing.T) {
	owner := uint32(os.Getuid()) //nolint:gosec // never negative
	if owner == 0 {
		owner = 4321
	}
	ownerOf := func(name string) uint32 {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0), info.Mode().Perm()&0o077, "others may read %s", name)
		return info.Sys().(*syscall.Stat_t).Uid
	}
	folder := t.TempDir()
	require.NoError(t, os.Chmod(folder, 0o700)) //nolint:gosec // a folder
	path, copied := filepath.Join(folder, "gatefold.db"), filepath.Join(t.TempDir(), "copy.db")
	backend := open(t, path)
	backUp(t, backend, copied)
	require.NoError(t, os.Chmod(copied, 0o600))
	require.NoError(t, os.Chown(path, int(owner), -1))
	require.NoError(t, Restore(t.Context(), path, path+".kept", backend, open(t, copied)))
	require.Equal(t, owner, ownerOf(path))

	require.NoError(t, os.Chown(folder, int(owner), -1))
	require.NoError(t, os.Chown(path, os.Getuid(), -1))
	gone := filepath.Join(folder, "gone.db")
	require.NoError(t, Restore(t.Context(), gone, "", nil, open(t, path)))
	require.Equal(t, owner, ownerOf(gone))
}

func restoreUntilKilled(ctx context.Context, path string) error {
	last := os.Getenv(phaseVariable)
	restoreStep = func(phase string) {
		if phase == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	current, err := Open(path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path + ".aside")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+RestoreSuffix+"copy", content, 0o600); err != nil {
		return err
	}
	from, err := Open(path + RestoreSuffix + "copy")
	if err != nil {
		return err
	}
	return Restore(ctx, path, path+".kept-"+last, current, from)
}

// A restore is killed in each of its phases: at the path is the old database or the restored
// one, both whole, and the old one is never lost.
func TestKilledRestoreLeavesOneOfBoth(t *testing.T) {
	for phase, want := range map[string][]string{
		"complete": {"before", "later"}, "kept": {"before", "later"}, "in place": {"before"},
	} {
		t.Run(phase, func(t *testing.T) {
			path := newPath(t)
			backend := open(t, path)
			_, err := backend.Commit(t.Context(), "acme", small("before"))
			require.NoError(t, err)
			backUp(t, backend, path+".aside")
			_, err = backend.Commit(t.Context(), "acme", small("later"))
			require.NoError(t, err)
			require.NoError(t, backend.Close())
			cmd := child(t, "restore until killed", path)
			cmd.Env = append(cmd.Env, phaseVariable+"="+phase)
			require.ErrorContains(t, cmd.Run(), "killed")

			require.NoError(t, Verify(path, nil))
			require.NoError(t, hasSmall(open(t, path), want...))
			if kept := path + ".kept-" + phase; phase == "in place" {
				require.NoError(t, hasSmall(open(t, kept), "before", "later"))
			}
			require.NoFileExists(t, path+RestoreSuffix+"copy")
		})
	}
}

// What killed processes left beside the database is removed when it is opened, also beside the
// one that a link leads to; what is not of it stays. A compaction keeps the link.
func TestLeftoversAndLinks(t *testing.T) {
	folder := t.TempDir()
	real, link := filepath.Join(folder, "gatefold.db"), filepath.Join(t.TempDir(), "link.db")
	require.NoError(t, open(t, real).Close())
	require.NoError(t, os.Symlink(real, link))
	for _, name := range []string{".compact", ".backup-2", ".restore-3", ".secret", ".compacted", "2.backup-1", ".before-restore-1"} {
		require.NoError(t, os.WriteFile(real+name, []byte("x"), 0o600))
	}
	backend := open(t, link)
	require.Equal(t, []string{"gatefold.db.before-restore-1", "gatefold.db.compacted", "gatefold.db.secret", "gatefold.db2.backup-1"}, filesBeside(t, real))
	_, err := backend.Commit(t.Context(), "acme", small("a"))
	require.NoError(t, err)
	done, err := backend.Compact(t.Context(), nil)
	require.NoError(t, err)
	require.Less(t, done.FreeAfter, done.After)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())
	require.Empty(t, filesBeside(t, link))
	require.NoError(t, backend.Close())
	require.NoError(t, hasSmall(open(t, real), "a"))
}
