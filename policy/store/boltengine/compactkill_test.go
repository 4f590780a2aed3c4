//go:build unix

package boltengine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// compactKills is how often a compacting process is killed at random, beside once a phase.
var compactKills = flag.Int("bolt.compactkills", 4, "how often TestKilledWhileCompacting kills the process at a random moment")

const phaseVariable = "BOLTENGINE_CHILD_PHASE"

func init() {
	childRoles["compact until killed"] = compactUntilKilled
	childRoles["compact on a full disk"] = compactOnFullDisk
	childRoles["compact without room"] = compactWithoutRoom
}

// compactUntilKilled writes as writeUntilKilled does, and compacts and backs up all the time. It kills itself
// at the end of a phase, unless there is none in the environment.
func compactUntilKilled(ctx context.Context, path string) error {
	backend, err := Open(path)
	if err != nil {
		return err
	}
	fatal, n := os.Getenv(phaseVariable), 0
	compactPhase = func(phase string) {
		if n++; phase == fatal && n > 4 { // in the second compaction
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	failures := make(chan error)
	for writer := range killWriters {
		go func() {
			for n := 0; ; n++ {
				if err := writeOnce(ctx, backend, writer, n); err != nil {
					failures <- err
				}
			}
		}()
	}
	go func() {
		for {
			done, err := backend.Compact(ctx, nil)
			if err != nil {
				failures <- err
				return
			}
			fmt.Printf("compacted %d\n", done.After)
			if _, err := backend.Backup(ctx, io.Discard, nil); err != nil {
				failures <- err
				return
			}
		}
	}()
	return <-failures
}

// A server is killed while it writes, compacts and backs up: at the end of each phase, and at random. Its
// database is whole, has everything that was acknowledged, and a started server leaves nothing
// of the compaction.
func TestKilledWhileCompacting(t *testing.T) {
	path := newPath(t)
	puts, uses, hits := map[string]bool{}, map[string]bool{}, map[string]int64{}
	phases := []string{"copied", "verified", "synced", "exchanged"}
	for range *compactKills {
		phases = append(phases, "")
	}
	compactions := 0
	for _, phase := range phases {
		cmd := child(t, "compact until killed", path)
		cmd.Env = append(cmd.Env, phaseVariable+"="+phase)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		last := 200 + rand.IntN(3000)
		n := 0
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); n++ {
			what, key, _ := strings.Cut(scanner.Text(), " ")
			switch what {
			case "put":
				puts[key] = true
			case "hit":
				hits[key]++
			case "use":
				uses[key] = true
			case "compacted":
				compactions++
			default:
				t.Fatalf("what is %q?", scanner.Text())
			}
			if phase == "" && n == last {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.ErrorContains(t, cmd.Wait(), "killed")
		require.NoError(t, Verify(path, nil), "after %q", phase)
		checkAcknowledged(t, path, puts, uses, hits)
		require.Empty(t, filesBeside(t, path), "after %q", phase)
	}
	require.Greater(t, compactions, 3)
	t.Logf("%d kills, %d compactions, %d acknowledged writes", len(phases), compactions, len(puts)+len(uses))
}

// The disk has no room for the new file, and that shows while it is written: the compaction
// fails, and the database goes on.
func TestCompactOnAFullDisk(t *testing.T) {
	path := newPath(t)
	output, err := child(t, "compact on a full disk", path).Output()
	require.NoError(t, err)
	require.Equal(t, "ok\n", string(output))
	require.NoError(t, Verify(path, nil))
	require.Empty(t, filesBeside(t, path))
}

func compactOnFullDisk(ctx context.Context, path string) error {
	backend, err := Open(path)
	if err != nil {
		return err
	}
	defer backend.Close()
	for i := range 40 {
		batch := &engine.Batch{Puts: []engine.Put{{Key: fmt.Appendf(nil, "k%d", i), Value: bytes.Repeat([]byte{'v'}, 100_000)}}}
		if _, err := backend.Commit(ctx, "acme", batch); err != nil {
			return err
		}
	}
	if err := limitFileSize(1 << 20); err != nil {
		return err
	}
	_, err = backend.Compact(ctx, nil)
	if err == nil || !strings.Contains(err.Error(), "no space") {
		return fmt.Errorf("a compaction without room gave: %w", err)
	}
	if err := limitFileSize(noLimit); err != nil {
		return err
	}
	if _, err := backend.Commit(ctx, "acme", small("after")); err != nil {
		return err
	}
	if _, err := backend.Compact(ctx, nil); err != nil {
		return err
	}
	fmt.Println("ok")
	return nil
}

// A disk that has too little room for the new file from the start: nothing is begun.
func TestCompactNeedsRoom(t *testing.T) {
	require.Equal(t, "ok\n", onSmallDisk(t, "compact without room", "12m"))
}

func compactWithoutRoom(ctx context.Context, path string) error {
	backend, err := Open(path)
	if err != nil {
		return err
	}
	defer backend.Close()
	if _, err := backend.Commit(ctx, "acme", small("before")); err != nil {
		return err
	}
	compactPhase = func(string) { panic("it began") }
	_, err = backend.Compact(ctx, nil)
	if !errors.Is(err, engine.ErrFull) || !strings.Contains(err.Error(), "free some first; nothing was changed") {
		return fmt.Errorf("a compaction without room gave: %w", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		return fmt.Errorf("it left %v: %w", left, err)
	}
	if _, err := backend.Commit(ctx, "acme", small("after")); err != nil {
		return err
	}
	fmt.Println("ok")
	return nil
}
