//go:build linux

package boltengine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
)

func init() {
	childRoles["revoke on a full disk"] = revokeOnFullDisk
}

// A log fills the disk of the database, a real one, to its last byte. A new grant is refused,
// and hundreds of links are revoked all the same. What the revocations need no grant takes. When
// the log is gone, everything works without a restart, and there is room for the next time.
func TestRevocationsHaveRoomOnAFullDisk(t *testing.T) {
	require.Equal(t, "ok\n", onSmallDisk(t, "revoke on a full disk", "64m"))
}

func revokeOnFullDisk(ctx context.Context, path string) error {
	backend, err := Open(path)
	if err != nil {
		return err
	}
	defer backend.Close()
	if err := backend.KeepRoom(ctx); err != nil {
		return err
	}
	reserve := path + reserveSuffix
	if info, err := os.Stat(reserve); err != nil || info.Size() != reserveSize {
		return fmt.Errorf("there is no reserve: %w", err)
	}
	if _, err := backend.Commit(ctx, "acme", &engine.Batch{Puts: []engine.Put{{Key: []byte("ended"), Expires: time.Unix(1, 0)}}}); err != nil {
		return err
	}
	full := filepath.Join(filepath.Dir(path), "access.log")
	if err := fillDisk(full); err != nil {
		return err
	}
	grant := func(n int) error {
		_, err := backend.Commit(ctx, "acme", &engine.Batch{Puts: []engine.Put{{Key: fmt.Appendf(nil, "grant-%d", n), Value: make([]byte, 200_000)}}})
		return err
	}
	refused := func(n int) error {
		if err := grant(n); !errors.Is(err, engine.ErrFull) {
			return fmt.Errorf("grant %d on a full disk: %w", n, err)
		}
		return nil
	}
	revoke := func(n int) error {
		_, err := backend.Commit(ctx, "acme", &engine.Batch{Closes: true, Puts: []engine.Put{{Key: fmt.Appendf(nil, "revoked-%d", n), Value: make([]byte, 5000)}}})
		return err
	}
	if err := errors.Join(refused(0), refused(1)); err != nil {
		return err
	}
	if info, err := os.Stat(reserve); err != nil || info.Size() != reserveSize {
		return fmt.Errorf("a grant took the reserve: %w", err)
	}
	for n := range 300 {
		if err := revoke(n); err != nil {
			return fmt.Errorf("revocation %d: %w", n, err)
		}
		if n%50 == 0 {
			if err := refused(n + 10); n > 0 && err != nil {
				return err
			}
		}
	}
	if info, err := os.Stat(reserve); err != nil || info.Size() != 0 {
		return errors.New("the reserve was not needed: the disk is not full")
	}
	if !backend.ReserveGivenUp() {
		return errors.New("the engine does not say that the reserve is given up")
	}
	if err := grant(998); err == nil || !strings.Contains(err.Error(), "the disk of "+filepath.Dir(path)) {
		return fmt.Errorf("the error does not name the folder: %w", err)
	}
	// A restart does not forget what the room was given up for.
	if err := backend.Close(); err != nil {
		return err
	}
	if backend, err = Open(path); err != nil {
		return err
	}
	if err := errors.Join(backend.KeepRoom(ctx), refused(999), revoke(999)); err != nil {
		return fmt.Errorf("after a restart: %w", err)
	}
	if n, err := backend.Sweep(ctx, "acme", time.Unix(2, 0), 10); err != nil || n != 1 {
		return fmt.Errorf("the sweep removed %d: %w", n, err)
	}
	if err := os.Remove(full); err != nil {
		return err
	}
	if backend.ReserveGivenUp() {
		return errors.New("the engine says that there is no room")
	}
	if err := grant(1000); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if info, err := os.Stat(reserve); err != nil || info.Size() != reserveSize {
		return fmt.Errorf("the reserve is not made again: %w", err)
	}
	if err := backend.Close(); err != nil {
		return err
	}
	if err := Verify(path, nil); err != nil {
		return err
	}
	fmt.Println("ok")
	return nil
}

// fillDisk writes a file until its disk is full.
func fillDisk(name string) error {
	file, err := os.Create(name) //nolint:gosec // of a test
	if err != nil {
		return err
	}
	defer file.Close()
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return nil
}
