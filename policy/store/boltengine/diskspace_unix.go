//go:build linux || darwin

package boltengine

import (
	"path/filepath"
	"syscall"
)

// DiskSpace returns the size of the disk of the database and what is available to this
// user, in bytes. Where neither is known it returns zero.
func (e *Engine) DiskSpace() (total, available uint64, err error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(e.reserve()), &disk); err != nil {
		return 0, 0, err
	}
	block := uint64(disk.Bsize) //nolint:gosec // never negative
	// As df counts: what is kept for root is no room for this user.
	return (disk.Blocks - disk.Bfree + disk.Bavail) * block, disk.Bavail * block, nil
}
