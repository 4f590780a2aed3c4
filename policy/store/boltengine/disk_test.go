//go:build unix

package boltengine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

func init() {
	childRoles["fill the disk"] = fillTheDisk
	childRoles["open on a full disk"] = openOnFullDisk
	childRoles["open without permission"] = openWithoutPermission
}

// A disk that is full is played by a limit on the size of files: any user can set
// it, and it fails the same system calls.
func TestFullDiskFailsOnlyWhatDoesNotFit(t *testing.T) {
	path := newPath(t)
	output, err := child(t, "fill the disk", path).Output()
	require.NoError(t, err)
	require.Equal(t, "ok\n", string(output))
	require.NoError(t, Verify(path, nil))
	backend := open(t, path)
	require.NoError(t, hasSmall(backend, "before", "together 1", "together 3", "during", "after"))
	require.NoError(t, hasBig(backend))
}

func limitFileSize(limit uint64) error {
	signal.Ignore(syscall.SIGXFSZ) // else the limit ends the process
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
		return err
	}
	now.Cur = min(limit, now.Max) // only the soft limit, so that it can be lifted
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now)
}

const noLimit = ^uint64(0)

func fillTheDisk(ctx context.Context, path string) error {
	backend, err := Open(path)
	if err != nil {
		return err
	}
	defer backend.Close()
	if _, err := backend.Commit(ctx, "acme", small("before")); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := limitFileSize(uint64(info.Size())); err != nil {
		return err
	}
	// In one group, so that the one that does not fit spoils the transaction of
	// those that do.
	jobs := []*job{newJob(small("together 1")), newJob(big()), newJob(small("together 3"))}
	backend.run(jobs)
	if jobs[0].err != nil || jobs[2].err != nil {
		return fmt.Errorf("small writes failed with the big one: %w", errors.Join(jobs[0].err, jobs[2].err))
	}
	if err := saysNoSpace(jobs[1].err, path); err != nil {
		return err
	}
	_, err = backend.Commit(ctx, "acme", big())
	if err := saysNoSpace(err, path); err != nil {
		return err
	}
	if _, err := backend.Commit(ctx, "acme", small("during")); err != nil {
		return err
	}
	// Space was made: everything works again, without a restart.
	if err := limitFileSize(noLimit); err != nil {
		return err
	}
	if _, err := backend.Commit(ctx, "acme", big()); err != nil {
		return err
	}
	if _, err := backend.Commit(ctx, "acme", small("after")); err != nil {
		return err
	}
	fmt.Println("ok")
	return nil
}

func small(key string) *engine.Batch {
	return &engine.Batch{
		Puts:     []engine.Put{{Key: []byte(key), Value: []byte("v")}},
		Counters: []engine.Counter{{Key: []byte("n")}},
	}
}

const bigValues = 24

func big() *engine.Batch {
	batch := &engine.Batch{Counters: []engine.Counter{{Key: []byte("big")}}}
	for i := range bigValues {
		batch.Puts = append(batch.Puts, engine.Put{Key: fmt.Appendf(nil, "big/%d", i), Value: make([]byte, engine.MaxValueSize)})
	}
	return batch
}

func saysNoSpace(err error, path string) error {
	if !errors.Is(err, engine.ErrFull) || !strings.HasPrefix(err.Error(), "no space for database "+path) {
		return fmt.Errorf("a write that does not fit gave: %w", err)
	}
	return nil
}

func hasSmall(backend *Engine, keys ...string) error {
	return backend.View(context.Background(), "acme", func(s engine.Snapshot) error {
		for _, key := range keys {
			if value, err := s.Get([]byte(key)); err != nil || string(value) != "v" {
				return fmt.Errorf("%s is lost: %w", key, err)
			}
		}
		if n, err := s.Count([]byte("n")); err != nil || n != int64(len(keys)) {
			return fmt.Errorf("%d writes were counted as %d: %w", len(keys), n, err)
		}
		return nil
	})
}

func hasBig(backend *Engine) error {
	return backend.View(context.Background(), "acme", func(s engine.Snapshot) error {
		if n, err := s.Count([]byte("big")); err != nil || n != 1 {
			return fmt.Errorf("the one write that found space was counted as %d: %w", n, err)
		}
		return nil
	})
}

func TestFullDiskLeavesNoHalfMadeDatabase(t *testing.T) {
	path := newPath(t)
	output, err := child(t, "open on a full disk", path).Output()
	require.NoError(t, err)
	require.Contains(t, string(output), "no space for database "+path)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, left)
	open(t, path)
}

func openOnFullDisk(_ context.Context, path string) error {
	if err := limitFileSize(4096); err != nil {
		return err
	}
	return printOpenError(path)
}

func printOpenError(path string) error {
	backend, err := Open(path)
	if err == nil {
		_ = backend.Close()
		return errors.New("it can be opened")
	}
	fmt.Println(err)
	return nil
}

func TestReadOnlyFileAndFolderAreSaid(t *testing.T) {
	output, err := child(t, "open without permission", "").Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	require.Len(t, lines, 2)
	for _, line := range lines {
		require.Contains(t, line, "cannot be written")
		require.Contains(t, line, "permission denied")
		require.Contains(t, line, "let this user write the file and its folder, or choose another file with `store bolt <file>`")
	}
}

// openWithoutPermission tries a file that it may not write, then a folder. It is
// a process of its own because nothing is forbidden to root.
func openWithoutPermission(context.Context, string) error {
	if os.Getuid() == 0 {
		const unprivileged = 65534
		if err := errors.Join(syscall.Setgid(unprivileged), syscall.Setuid(unprivileged)); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "boltengine")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "gatefold.db")
	backend, err := Open(path)
	if err != nil {
		return err
	}
	if err := backend.Close(); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o400); err != nil {
		return err
	}
	if err := printOpenError(path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		return err
	}
	defer os.Chmod(dir, 0o700)
	return printOpenError(path)
}
