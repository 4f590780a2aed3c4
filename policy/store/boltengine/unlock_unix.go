//go:build unix && !solaris && !aix

package boltengine

import (
	"os"
	"syscall"
)

// unlock releases bbolt's lock of a file. Closing the file does not release it while the
// file is mapped.
func unlock(file *os.File) { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }
