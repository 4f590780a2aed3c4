//go:build unix

package pagecache

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mapMemory returns memory that the garbage collector does not see. It takes none of the
// machine's until it is written.
func mapMemory(size int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes: %w", size, err)
	}
	return mem, nil
}

func unmapMemory(mem []byte) error { return unix.Munmap(mem) }
