package boltengine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/gatefold/gatefold/policy/store/engine"
)

func TestOpenMakesAPrivateFileInAPrivateFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "deeper", "gatefold.db")
	open(t, path)
	if runtime.GOOS == "windows" {
		return
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 1, "nothing but the database")
}

func TestFileInUseIsSaid(t *testing.T) {
	path := newPath(t)
	first := open(t, path)
	_, err := Open(path)
	require.EqualError(t, err, "database "+path+" is in use by another process; stop it or choose another file with `store bolt <file>`")
	require.ErrorContains(t, Verify(path, nil), "is in use by another process")
	require.NoError(t, first.Close())
	open(t, path)
}

func TestOpenWaitsForTheProcessBefore(t *testing.T) {
	path := newPath(t)
	first := open(t, path)
	closed := make(chan error)
	time.AfterFunc(lockTimeout/10, func() { closed <- first.Close() })
	open(t, path)
	require.NoError(t, <-closed)
}

// TestWrongFilesAreRefused opens files that are no database, or not whole. None
// may end the process, be changed, or stay locked.
func TestWrongFilesAreRefused(t *testing.T) {
	whole := wholeDatabase(t)
	pageSize := os.Getpagesize()
	overwrite := func(from, to int, with byte) []byte {
		content := bytes.Clone(whole)
		copy(content[from:to], bytes.Repeat([]byte{with}, to-from))
		return content
	}
	const damaged = "is not a database or is damaged"
	for name, file := range map[string]struct {
		content []byte
		says    string
	}{
		"text":                   {[]byte("site: news\n"), damaged},
		"a large text":           {bytes.Repeat([]byte("site: news\n"), 10_000), damaged},
		"zeros":                  {make([]byte, 64<<10), damaged},
		"nothing":                {nil, "the file is empty"},
		"one byte":               {[]byte{1}, damaged},
		"a page and a half":      {whole[:pageSize*3/2], damaged},
		"less than a page":       {whole[:pageSize-1], damaged},
		"one page":               {whole[:pageSize], damaged},
		"the first pages":        {whole[:2*pageSize], damaged},
		"cut in the middle":      {whole[:len(whole)/2/pageSize*pageSize], damaged},
		"one page short":         {whole[:len(whole)-pageSize], damaged},
		"both meta pages erased": {overwrite(0, 2*pageSize, 0), damaged},
		"all pages but the meta": {overwrite(2*pageSize, len(whole), 0xff), damaged},
		"pages of zeros":         {overwrite(2*pageSize, len(whole), 0), damaged},
		"another program's":      {databaseOf(t, "buckets", "k", "v"), "is not a Gatefold database"},
		"another's meta bucket":  {databaseOf(t, "meta", "k", "v"), "is not a Gatefold database"},
		"a later format":         {databaseOf(t, "meta", "format", "2"), `was written by another version of Gatefold (unknown format "2")`},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			require.NoError(t, os.WriteFile(path, file.content, 0o600))
			for range 2 {
				_, err := Open(path)
				require.ErrorContains(t, err, path)
				require.ErrorContains(t, err, file.says)
				require.ErrorContains(t, err, "choose another file with `store bolt <file>`")
			}
			require.ErrorContains(t, Verify(path, nil), file.says)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(file.content, after), "the file was changed")
		})
	}
}

func TestFolderInPlaceOfTheFileIsSaid(t *testing.T) {
	path := t.TempDir()
	_, err := Open(path)
	require.ErrorContains(t, err, "database "+path+" cannot be used: ")
}

// wholeDatabase returns a database that has some pages.
func wholeDatabase(t *testing.T) []byte {
	t.Helper()
	backend := openNew(t)
	fill(t, backend)
	var backup bytes.Buffer
	_, err := backend.Backup(t.Context(), &backup, nil)
	require.NoError(t, err)
	return backup.Bytes()
}

func fill(t *testing.T, backend *Engine) {
	t.Helper()
	for i := range 20 {
		batch := &engine.Batch{Event: []byte("filled")}
		for j := range 50 {
			batch.Puts = append(batch.Puts, engine.Put{
				Key:     fmt.Appendf(nil, "key/%d/%d", i, j),
				Value:   bytes.Repeat([]byte{'v'}, 100),
				Expires: time.Unix(int64(i), 0),
			})
		}
		_, err := backend.Commit(t.Context(), "acme", batch)
		require.NoError(t, err)
	}
}

func databaseOf(t *testing.T, bucket, key, value string) []byte {
	t.Helper()
	path := newPath(t)
	db, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucket))
		require.NoError(t, err)
		return b.Put([]byte(key), []byte(value))
	}))
	require.NoError(t, db.Close())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return content
}

// TestDamageThatShowsOnlyWhenReadIsAnError damages pages that opening does not
// look at. Reading and writing them must not end the process.
func TestDamageThatShowsOnlyWhenReadIsAnError(t *testing.T) {
	content := wholeDatabase(t)
	pageSize := os.Getpagesize()
	for at := 0; at+pageSize <= len(content); at += pageSize {
		// Entries of the data bucket, recognised by their values.
		if bytes.Contains(content[at:at+pageSize], bytes.Repeat([]byte{'v'}, 50)) {
			copy(content[at+8:], []byte{0, 0}) // the page's type: now it has none
		}
	}
	path := newPath(t)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	require.ErrorContains(t, Verify(path, nil), "is damaged")

	backend := open(t, path)
	require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		_, err := s.Get([]byte("key/1/1"))
		require.ErrorIs(t, err, ErrDamaged)
		_, err = s.Count([]byte("key/1/1"))
		require.ErrorIs(t, err, ErrDamaged)
		for _, err := range s.Scan([]byte("key/"), nil) {
			require.ErrorIs(t, err, ErrDamaged)
		}
		return nil
	}))
	batch := &engine.Batch{Puts: []engine.Put{{Key: []byte("key/1/1")}}}
	_, err := backend.Commit(t.Context(), "acme", batch)
	require.ErrorIs(t, err, ErrDamaged)
	_, err = backend.Commit(t.Context(), "other", batch)
	require.ErrorIs(t, err, ErrDamaged, "a damaged file is not written any more")
	require.NoError(t, backend.Close())
}

func TestBackupIsAWholeDatabaseWhileOthersWrite(t *testing.T) {
	backend := openNew(t)
	fill(t, backend)
	ctx, cancel := context.WithCancel(t.Context())
	writing, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ctx.Err() == nil; n++ {
			key := fmt.Appendf(nil, "%d", n)
			_, err := backend.Commit(t.Context(), "acme", &engine.Batch{
				Puts:  []engine.Put{{Key: append([]byte("a/"), key...)}, {Key: append([]byte("b/"), key...)}},
				Event: key,
			})
			if err != nil {
				t.Error(err)
			}
			if n == 0 {
				close(writing)
			}
		}
	}()
	<-writing
	path := newPath(t)
	file, err := os.Create(path)
	require.NoError(t, err)
	n, err := backend.Backup(t.Context(), file, nil)
	require.NoError(t, err)
	cancel()
	<-stopped
	require.NoError(t, file.Close())

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, info.Size(), n)
	require.NoError(t, Verify(path, nil))
	restored := open(t, path)
	checkExpiryIndex(t, restored, "acme")
	position, err := restored.Position(t.Context(), "acme")
	require.NoError(t, err)
	for _, prefix := range []string{"a/", "b/"} {
		require.Len(t, keysOf(t, restored, prefix), int(position)-20, "as many as there are events")
	}
	left, err := os.ReadDir(filepath.Dir(backend.path))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
}

func TestBackupEndsWithItsContextOrItsReader(t *testing.T) {
	backend := openNew(t)
	fill(t, backend)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := backend.Backup(ctx, writerFunc(func(b []byte) (int, error) {
		cancel()
		return len(b), nil
	}), nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = backend.Backup(t.Context(), writerFunc(func([]byte) (int, error) { return 0, os.ErrClosed }), nil)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, backend.Close())
	_, err = backend.Backup(t.Context(), &bytes.Buffer{}, nil)
	require.ErrorIs(t, err, engine.ErrClosed)
}

// TestSlowBackupStopsNobody writes, reads and closes while the one who wanted a
// backup takes nothing of it.
func TestSlowBackupStopsNobody(t *testing.T) {
	backend := openNew(t)
	reached, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		first := true
		_, err := backend.Backup(context.Background(), writerFunc(func(b []byte) (int, error) {
			if first {
				first = false
				close(reached)
				<-release
			}
			return len(b), nil
		}), nil)
		done <- err
	}()
	<-reached
	fill(t, backend)
	require.Len(t, keysOf(t, backend, "key/"), 1000)
	require.NoError(t, backend.Close())
	close(release)
	require.NoError(t, <-done)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	path := newPath(t)
	require.ErrorContains(t, Verify(path, nil), "no such file")
	require.NoError(t, os.WriteFile(path, []byte("text"), 0o600))
	require.ErrorContains(t, Verify(path, nil), "is damaged")
	require.NoError(t, os.WriteFile(path, databaseOf(t, "meta", "format", "2"), 0o600))
	require.ErrorContains(t, Verify(path, nil), "another version of Gatefold")
	require.NoError(t, os.WriteFile(path, wholeDatabase(t), 0o600))
	require.NoError(t, Verify(path, nil))
}

func keysOf(t *testing.T, backend *Engine, prefix string) []string {
	t.Helper()
	var keys []string
	require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		for entry, err := range s.Scan([]byte(prefix), nil) {
			require.NoError(t, err)
			keys = append(keys, string(entry.Key))
		}
		return nil
	}))
	return keys
}
