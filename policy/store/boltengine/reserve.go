package boltengine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	// reserveSuffix is that of the name of the file beside the database which keeps room on the
	// disk for writes that take access away. It is given up when such a write finds none.
	reserveSuffix = ".reserve"
	// reserveSize is its length, in bytes.
	reserveSize = 8 << 20
	// reserveRoom is what the disk must have for it to be made: it must not fill the disk.
	reserveRoom = 4 * reserveSize
)

// errReserved is the error of a write that would take what the reserve was given up for.
var errReserved = fmt.Errorf("%w: what is left is kept for removals and revocations", syscall.ENOSPC)

// mayUseReserve reports whether a write takes access away or frees room.
func mayUseReserve(w write) bool {
	switch w := w.(type) {
	case *batchWrite:
		return w.batch.Closes
	case *sweepWrite:
		return true
	}
	return false
}

// KeepRoom makes the reserve: 8 MiB on the disk of the database, if it has four times as much.
// When the disk is full, a batch that takes access away (engine.Batch.Closes) or a sweep gets
// this room. Other writes get an error that matches engine.ErrFull from then on, until the disk
// has room for the reserve again: the first of them makes it.
func (e *Engine) KeepRoom(ctx context.Context) error {
	return e.alone(ctx, func() error { e.keepReserve(); return nil })
}

// reserve is the path of the reserve: on the disk of the database.
func (e *Engine) reserve() string { return e.realPath() + reserveSuffix }

// keepReserve makes the reserve if it is not there and the disk has room. What fails is tried
// again by the next write that needs it.
func (e *Engine) keepReserve() {
	path := e.reserve()
	if info, err := os.Stat(path); err == nil {
		// An empty one was given up, maybe by a process before this one.
		if e.spent = info.Size() != reserveSize; !e.spent {
			return
		}
	}
	total, available, err := e.DiskSpace()
	if err != nil || total == 0 || available < reserveRoom {
		return
	}
	if err := makeReserve(path); err == nil {
		e.spent = false
	}
}

// makeReserve makes the reserve as a whole or not at all. Where the file system does not
// allocate, it has random bytes: one that compresses would keep no room for others.
func makeReserve(path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if err = allocate(file, reserveSize); err != nil {
		content := make([]byte, reserveSize)
		_, _ = rand.Read(content) // never fails, see crypto/rand
		_, err = file.Write(content)
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// giveUpReserve frees the room of the reserve. It reports whether there was one.
func (e *Engine) giveUpReserve() bool {
	path := e.reserve()
	if info, err := os.Stat(path); err != nil || info.Size() == 0 || os.Truncate(path, 0) != nil {
		return false
	}
	e.spent = true
	return true
}

// ReserveGivenUp reports whether the reserve was given up, and the disk has no room for another
// one: what takes no access away is refused. It is safe for concurrent use.
func (e *Engine) ReserveGivenUp() bool {
	info, err := os.Stat(e.reserve())
	if err != nil || info.Size() != 0 {
		return false
	}
	_, available, err := e.DiskSpace()
	return err != nil || available < reserveRoom
}

// admit returns errReserved for a write that grows the file while the reserve is given up, and
// the disk has no room for another one.
func (e *Engine) admit(group []*job) error {
	if !e.spent {
		return nil
	}
	for _, j := range group {
		if !mayUseReserve(j.write) {
			if e.keepReserve(); e.spent {
				return errReserved
			}
			return nil
		}
	}
	return nil
}
