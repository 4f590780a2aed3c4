//go:build unix && !solaris && !aix

package boltengine

import (
	"os"
	"syscall"
)

// unlock lets go of bbolt's lock on a file. To close the file does not do that
// while it is still mapped.
func unlock(file *os.File) { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }
