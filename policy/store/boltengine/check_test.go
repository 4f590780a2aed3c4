package boltengine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

func init() { childRoles["verify damaged files"] = verifyDamaged }

// A disk returns wrong bytes somewhere in a database: verifying the file gives a verdict,
// whichever bytes they are, and does not end the process. The process that verifies is
// another one, as a fault of memory cannot be recovered everywhere.
func TestVerifyOfDamagedFilesGivesAVerdict(t *testing.T) {
	path := newPath(t)
	require.NoError(t, os.WriteFile(path, wholeDatabase(t), 0o600))
	output, err := child(t, "verify damaged files", path).Output()
	require.NoError(t, err)
	require.Equal(t, "ok\n", string(output))
}

// verifyDamaged verifies, reads and writes copies of a database with damage in each
// field of each page's header and elements.
func verifyDamaged(ctx context.Context, path string) error {
	whole, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	page := os.Getpagesize()
	for at := 2 * page; at < len(whole); at += page {
		for i := range 12 {
			content := append([]byte(nil), whole...)
			// The header, and the first elements after it.
			offset := at + 4*random.IntN(24)
			value := []uint32{0, 1, 0xffff, 1 << 20, 1 << 31, ^uint32(0), random.Uint32()}[random.IntN(7)]
			if binary.NativeEndian.Uint32(content[offset:]) == value {
				continue
			}
			binary.NativeEndian.PutUint32(content[offset:], value)
			if err := useDamaged(ctx, path, content, at/page%16 == i); err != nil {
				return fmt.Errorf("page %d, offset %d, value %x: %w", at/page, offset%page, value, err)
			}
		}
	}
	fmt.Println("ok")
	return nil
}

// useDamaged verifies a damaged file, and reads it as a server would; some are written as
// well, which takes the time of a sync. Only a panic or a
// fault is an error: what is damaged may be an unused page.
func useDamaged(ctx context.Context, path string, content []byte, write bool) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	_ = Verify(path, nil)
	backend, err := Open(path)
	if err != nil {
		return nil //nolint:nilerr // refused with a verdict
	}
	_ = backend.View(ctx, "acme", func(s engine.Snapshot) error {
		for _, err := range s.Scan(nil, nil) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if write {
		_, _ = backend.Commit(ctx, "acme", small("new"))
		_, _ = backend.Sweep(ctx, "acme", time.Unix(1<<40, 0), 10_000)
	}
	_, _ = backend.Events(ctx, "acme", 0, 100)
	_, _ = backend.Partitions(ctx)
	_ = backend.Close()
	return nil
}
