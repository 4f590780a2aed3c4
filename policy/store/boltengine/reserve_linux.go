package boltengine

import (
	"os"
	"syscall"
)

// allocate takes room on the disk for a file, without writing it.
func allocate(file *os.File, size int64) error {
	return syscall.Fallocate(int(file.Fd()), 0, 0, size)
}
