//go:build unix

package boltengine

import (
	"os"
	"syscall"
)

// giveTo makes a file belong to the owner of what is at like, where the process may do that:
// root, who restores the database of a server that has a user of its own.
func giveTo(file, like string) error {
	info, err := os.Stat(like)
	if err != nil || os.Getuid() != 0 {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Chown(file, int(owner.Uid), int(owner.Gid))
}
