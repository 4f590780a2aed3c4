package boltengine

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// killRounds is how often the process is killed.
var killRounds = flag.Int("bolt.kills", 6, "how often TestKilledProcessLosesNothingItAcknowledged kills the process")

const (
	killWriters = 8
	killMax     = 300 // bound of the counter that all share
)

// killMark separates what is written in one run from what is written in the next.
var killMark = fmt.Sprint(os.Getpid())

// writeUntilKilled writes from several goroutines and prints a line for each
// write that was acknowledged: "put <key>", "hit <counter>" or "use <marker>".
func writeUntilKilled(ctx context.Context, path string) error {
	backend, err := Open(path)
	if err != nil {
		return err
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
	return <-failures
}

func writeOnce(ctx context.Context, backend *Engine, writer, n int) error {
	key := fmt.Sprintf("put/%s/%d/%d", killMark, writer, n)
	hits := fmt.Sprintf("hits/%d", writer)
	_, err := backend.Commit(ctx, "acme", &engine.Batch{
		Puts:     []engine.Put{{Key: []byte(key), Value: []byte(key)}},
		Counters: []engine.Counter{{Key: []byte(hits)}},
		Event:    []byte(key),
	})
	if err != nil {
		return err
	}
	// One system call per line, so that a line is there whole or not at all.
	if _, err := fmt.Printf("put %s\nhit %s\n", key, hits); err != nil {
		return err
	}
	if n%4 != 0 {
		return nil
	}
	marker := fmt.Sprintf("use/%s/%d/%d", killMark, writer, n)
	_, err = backend.Commit(ctx, "acme", &engine.Batch{
		Counters: []engine.Counter{{Key: []byte("uses"), Max: killMax, IdempotencyKey: []byte(marker)}},
	})
	if _, full := errors.AsType[*engine.BoundError](err); full {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Printf("use %s\n", marker)
	return err
}

// TestKilledProcessLosesNothingItAcknowledged kills a process that writes, with
// SIGKILL and at a random moment, several times over on the same file.
func TestKilledProcessLosesNothingItAcknowledged(t *testing.T) {
	path := newPath(t)
	puts, uses, hits := map[string]bool{}, map[string]bool{}, map[string]int64{}
	for round := range *killRounds {
		lines := runAndKill(t, path, 1+rand.IntN(1500))
		t.Logf("round %d: killed after %d acknowledged writes", round, len(lines))
		for _, line := range lines {
			what, key, _ := strings.Cut(line, " ")
			switch what {
			case "put":
				puts[key] = true
			case "hit":
				hits[key]++
			case "use":
				uses[key] = true
			default:
				t.Fatalf("what is %q?", line)
			}
		}
		require.NoError(t, Verify(path, nil))
		checkAcknowledged(t, path, puts, uses, hits)
	}
	require.NotEmpty(t, uses)
}

// runAndKill starts a writer, kills it once it has acknowledged n writes, and
// returns all that it had acknowledged by then.
func runAndKill(t *testing.T, path string, n int) []string {
	cmd := child(t, "write until killed", path)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var lines []string
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		lines = append(lines, scanner.Text())
		if len(lines) == n {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.GreaterOrEqual(t, len(lines), n, "the writer ended by itself")
	require.Error(t, cmd.Wait(), "killed")
	return lines
}

func checkAcknowledged(t *testing.T, path string, puts, uses map[string]bool, hits map[string]int64) {
	t.Helper()
	backend := open(t, path)
	defer backend.Close()
	require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		for key := range puts {
			value, err := s.Get([]byte(key))
			require.NoError(t, err)
			require.Equal(t, key, string(value))
		}
		for marker := range uses {
			value, err := s.Get([]byte(marker))
			require.NoError(t, err)
			require.NotNil(t, value, marker)
		}
		for key, acknowledged := range hits {
			n, err := s.Count([]byte(key))
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, acknowledged, key)
		}
		return checkWhole(t, s, int64(len(uses)))
	}))
	position, err := backend.Position(t.Context(), "acme")
	require.NoError(t, err)
	require.GreaterOrEqual(t, position, uint64(len(puts)))
	checkExpiryIndex(t, backend, "acme")
}

// checkWhole says that no batch was torn: counters agree with what was written in
// the same step, acknowledged or not.
func checkWhole(t *testing.T, s engine.Snapshot, acknowledgedUses int64) error {
	t.Helper()
	written := func(prefix string) int64 {
		n := int64(0)
		for _, err := range s.Scan([]byte(prefix), nil) {
			require.NoError(t, err)
			n++
		}
		return n
	}
	uses, err := s.Count([]byte("uses"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, uses, acknowledgedUses)
	require.LessOrEqual(t, uses, int64(killMax))
	require.Equal(t, written("use/"), uses)

	total := int64(0)
	for writer := range killWriters {
		n, err := s.Count(fmt.Appendf(nil, "hits/%d", writer))
		require.NoError(t, err)
		total += n
	}
	require.Equal(t, written("put/"), total)
	return nil
}

// TestKilledProcessLeavesNoLock opens the file right after its owner was killed.
func TestKilledProcessLeavesNoLock(t *testing.T) {
	path := newPath(t)
	runAndKill(t, path, 1)
	require.NoError(t, open(t, path).Close())
}
