package boltengine

import (
	"context"
	"encoding/binary"
	"os"

	"go.etcd.io/bbolt"
)

// Size returns the length of the file in bytes, and how many of them are in pages that are
// free: what was removed makes room for new records, and the file does not become shorter.
func (e *Engine) Size(ctx context.Context) (bytes, free int64, err error) {
	// The transaction keeps the pages of its freelist as they are. bbolt counts free pages
	// only with statistics, which cost each view a lock.
	err = e.readFile(ctx, func(tx *bbolt.Tx, file *os.File) error {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		bytes = info.Size()
		c := &checker{file: file, pageSize: uint64(tx.DB().Info().PageSize)} //nolint:gosec // never negative
		meta, err := c.readAt(uint64(tx.ID()%2)*c.pageSize, pageHeader+64)   //nolint:gosec // never negative
		if err != nil {
			return err
		}
		list, err := c.readAt(binary.NativeEndian.Uint64(meta[pageHeader+32:])*c.pageSize, pageHeader+8)
		if err != nil {
			return err
		}
		count := uint64(binary.NativeEndian.Uint16(list[10:]))
		if count == 0xffff {
			count = binary.NativeEndian.Uint64(list[pageHeader:])
		}
		free = int64(count * c.pageSize) //nolint:gosec // of a file
		return nil
	})
	return bytes, free, err
}
