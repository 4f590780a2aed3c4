package boltengine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// fillPages makes a database of more pages than one slice reads.
func fillPages(t *testing.T, backend *Engine) {
	t.Helper()
	for i := range 30 {
		batch := &engine.Batch{Event: []byte("filled")}
		for j := range 100 {
			batch.Puts = append(batch.Puts, engine.Put{Key: fmt.Appendf(nil, "key/%d/%d", i, j), Value: bytes.Repeat([]byte{'v'}, 2000)})
		}
		_, err := backend.Commit(t.Context(), fmt.Sprint("vendor-", i%2), batch)
		require.NoError(t, err)
	}
}

func checkAll(backend *Engine, record RecordCheck) (slices int, err error) {
	err = backend.Check(context.Background(), record, func() error { slices++; return nil })
	return slices, err
}

// A disk returns wrong bytes in one page, while the server has the file open: whichever page
// of the records it is, the check says so. In bbolt a damaged page shows when it is read,
// and a backup copied it.
func TestCheckFindsEachDamagedPage(t *testing.T) {
	backend := openNew(t)
	fillPages(t, backend)
	seen := map[string]bool{}
	slices, err := checkAll(backend, func(partition string, key, _ []byte) error {
		seen[partition+string(key)] = true
		return nil
	})
	require.NoError(t, err)
	require.Len(t, seen, 3000, "each record is checked")
	require.Greater(t, slices, 8, "in steps: two partitions of three buckets, and more than one step for their data")

	content, err := os.ReadFile(backend.path)
	require.NoError(t, err)
	file, err := os.OpenFile(backend.path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer file.Close()
	size := backend.db.Info().PageSize
	found, used := 0, 0
	for number := 2; number < len(content)/size; number++ {
		page := content[number*size : (number+1)*size]
		if page[8] != branchPage && page[8] != leafPage || len(bytes.Trim(page, "\x00")) == 0 {
			continue // a further page of a value, or the freelist
		}
		if used++; used%25 != 0 {
			continue // a sample
		}
		_, err := file.WriteAt([]byte{0xff, 0xff, 0xff}, int64(number*size)) // its number
		require.NoError(t, err)
		if _, err := checkAll(backend, nil); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			found++
		}
		_, err = file.WriteAt(page[:3], int64(number*size))
		require.NoError(t, err)
	}
	require.Greater(t, used, 1000)
	// Freed pages are not part of the database.
	_, free, err := backend.Size(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, found, (used-int(free)/size)/25-2, "of %d pages, %d of them free", used, int(free)/size)
	_, err = checkAll(backend, nil)
	require.NoError(t, err)
}

// A disk lost the write of a freelist, or brought back an old one: a page of the records is
// listed as free, and the next write would overwrite it; or a page is neither used nor free. The
// check of the open file says so.
func TestCheckFindsPagesThatAreLostOrUsedTwice(t *testing.T) {
	backend := openNew(t)
	fillPages(t, backend)
	_, err := backend.Commit(t.Context(), "vendor-0", &engine.Batch{Deletes: [][]byte{[]byte("key/0/1"), []byte("key/2/2")}})
	require.NoError(t, err)
	_, err = checkAll(backend, nil)
	require.NoError(t, err)
	size := backend.db.Info().PageSize
	content, err := os.ReadFile(backend.path)
	require.NoError(t, err)
	var id int
	var root uint64
	require.NoError(t, backend.db.View(func(tx *bbolt.Tx) error {
		id, root = tx.ID(), uint64(tx.Cursor().Bucket().Root())
		return nil
	}))
	meta := id % 2 * size
	freelist := int(binary.NativeEndian.Uint64(content[meta+pageHeader+32:])) * size
	require.NotZero(t, content[freelist+10], "some pages are free")
	file, err := os.OpenFile(backend.path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer file.Close()
	at := int64(freelist + pageHeader)
	for says, page := range map[string]uint64{"is used": root, "neither used nor free": binary.NativeEndian.Uint64(content[at+8:])} {
		_, err = file.WriteAt(binary.NativeEndian.AppendUint64(nil, page), at)
		require.NoError(t, err)
		_, err = checkAll(backend, nil)
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorContains(t, err, says)
		_, err = file.WriteAt(content[at:at+8], at)
		require.NoError(t, err)
	}
	_, err = checkAll(backend, nil)
	require.NoError(t, err)
}

// A record that cannot be decoded is damage, although its page is intact; no backup is made
// of it.
func TestCheckAndBackupReadTheRecords(t *testing.T) {
	backend := openNew(t)
	fill(t, backend)
	refuse := func(_ string, key, _ []byte) error {
		if string(key) == "key/7/7" {
			return errors.New("the record cannot be decoded")
		}
		return nil
	}
	_, err := checkAll(backend, refuse)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "the record cannot be decoded")
	var copied bytes.Buffer
	_, err = backend.Backup(t.Context(), &copied, refuse)
	require.ErrorIs(t, err, ErrDamaged)
	require.Zero(t, copied.Len(), "nothing of it is sent")
}

// The check reads while others write: what moves meanwhile is no damage.
func TestCheckBesideWrites(t *testing.T) {
	backend := openNew(t)
	fillPages(t, backend)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		for i := 0; ; i++ {
			key := fmt.Appendf(nil, "key/%d/%d", i%30, i%100)
			_, err := backend.Commit(ctx, "vendor-0", &engine.Batch{Puts: []engine.Put{{Key: key, Value: bytes.Repeat([]byte{'w'}, i%3000)}}})
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for range 5 {
		_, err := checkAll(backend, nil)
		require.NoError(t, err)
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// What is removed is free in the file, which does not become shorter.
func TestSizeCountsFreePages(t *testing.T) {
	backend := openNew(t)
	fillPages(t, backend)
	before, _, err := backend.Size(t.Context())
	require.NoError(t, err)
	require.Greater(t, before, int64(6<<20))
	batch := new(engine.Batch)
	for i := range 30 {
		for j := range 100 {
			batch.Deletes = append(batch.Deletes, fmt.Appendf(nil, "key/%d/%d", i, j))
		}
	}
	for _, partition := range []string{"vendor-0", "vendor-1", "vendor-1"} { // what is freed by the last is free after it
		_, err = backend.Commit(t.Context(), partition, batch)
		require.NoError(t, err)
	}
	after, free, err := backend.Size(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, after, before)
	require.Greater(t, free, int64(5<<20))
}
