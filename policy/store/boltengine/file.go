package boltengine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// format is the version of the layout that the package comment describes.
const format = "1"

var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format")
)

// lockTimeout is how long to wait for another process to release the file, as at a
// restart.
const lockTimeout = time.Second

// initialMmapSize is the address space that is reserved from the start. Mapping more
// blocks all views, so it should be rare. On Windows it would be the size of the file.
func initialMmapSize() int {
	if runtime.GOOS == "windows" {
		return 0
	}
	return 64 << 20
}

var (
	// ErrDamaged is wrapped by every error of a file whose pages are invalid.
	ErrDamaged = errors.New("database is damaged")
	// errForeign: a bbolt file of another program.
	errForeign = errors.New("database of another program")
)

// ErrInUse is returned when another process has the database open.
var ErrInUse = errors.New("database is in use by another process")

// inUseError is ErrInUse for the database at a path.
type inUseError string

func (e inUseError) Error() string {
	return fmt.Sprintf("database %s is in use by another process; stop it or choose another file with `store bolt <file>`", string(e))
}

func (e inUseError) Is(target error) bool { return target == ErrInUse }

// formatError is an unknown version of the layout.
type formatError string

func (e formatError) Error() string { return fmt.Sprintf("unknown format %q", string(e)) }

func openOrCreate(path string) (*bbolt.DB, error) {
	err := checkPresent(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = create(path)
	}
	if err != nil {
		return nil, err
	}
	return openFile(path)
}

// checkPresent returns fs.ErrNotExist if there is no file, and ErrDamaged if it is empty:
// bbolt makes a new database of an empty file, and what a crash of the file system or a
// failed restore left would open as one without grants and links. A file that has
// anything, however short, is refused by bbolt.
func checkPresent(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() == 0 {
		return fmt.Errorf("%w: the file is empty", ErrDamaged)
	}
	return err
}

// create creates an empty database. It writes a temporary file and links it to path when
// it is complete, so that a full disk or a power cut leaves no incomplete database.
func create(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := openFile(temp.Name())
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace a database that another process
	// created concurrently. On systems without links openFile creates the file.
	if err := os.Link(temp.Name(), path); err != nil {
		return nil
	}
	return syncDir(dir)
}

// syncDir makes a new name in a directory durable: fsync of the file alone does not.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// openFile opens a database for reading and writing, and initializes an empty one.
func openFile(path string) (*bbolt.DB, error) {
	db, err := openBolt(path, options())
	if err != nil {
		return nil, err
	}
	if err := claim(db); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// options are those of a database that is written.
func options() *bbolt.Options {
	return &bbolt.Options{
		Timeout:         lockTimeout,
		InitialMmapSize: initialMmapSize(),
		// The array, bbolt's default, becomes slow when many pages are free,
		// as they are after a large sweep.
		FreelistType: bbolt.FreelistMapType,
		// The freelist is written with each commit (NoFreelistSync is false).
		// Without that, bbolt would rebuild it at each start by reading the whole
		// file in a goroutine, where a damaged page crashes the process.

		// The statistics are not used, and cost each view a lock.
		NoStatistics: true,
	}
}

// openBolt is bbolt.Open, but returns an error for any damage of the file: in bbolt a
// damaged page is a panic, and a missing one a memory fault.
func openBolt(path string, options *bbolt.Options) (db *bbolt.DB, err error) {
	var file *os.File
	options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if errors.Is(err, ErrDamaged) && file != nil {
			unlock(file) // a panic leaves it open and locked
			_ = file.Close()
		}
	}()
	defer guard(&err)

	db, err = bbolt.Open(path, 0o600, options)
	if err != nil {
		return nil, err
	}
	err = checkSame(path, file)
	if err == nil {
		err = checkSize(db, file)
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// checkSame returns the error of a file in use if the open file is not the one at its path:
// another process compacted the database while this one waited for the lock.
func checkSame(path string, file *os.File) error {
	opened, err := file.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(opened, there) {
		return berrors.ErrTimeout
	}
	return nil
}

// checkSize detects a truncated file, such as an incomplete copy: reading a missing page
// later would crash the process.
func checkSize(db *bbolt.DB, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it ends after %d of %d bytes", ErrDamaged, info.Size(), tx.Size())
		}
		return nil
	})
}

// claim checks the version of the layout, and writes it to an empty database.
func claim(db *bbolt.DB) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	err = db.View(checkFormat)
	if !errors.Is(err, errEmpty) {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		return meta.Put(formatKey, []byte(format))
	})
}

var errEmpty = errors.New("database is empty")

func checkFormat(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		if first, _ := tx.Cursor().First(); first != nil {
			return errForeign
		}
		return errEmpty
	}
	found := meta.Get(formatKey)
	if found == nil {
		return errForeign
	}
	if string(found) != format {
		return formatError(found)
	}
	return nil
}

// explain adds the remedy to an error of opening a database.
func explain(path string, err error) error {
	var unknown formatError
	var system syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return inUseError(path)
	case errors.As(err, &unknown):
		return fmt.Errorf("database %s was written by another version of Gatefold (%w); start that version, or choose another file with `store bolt <file>`", path, err)
	case errors.Is(err, errForeign):
		return fmt.Errorf("file %s is not a Gatefold database (%w); choose another file with `store bolt <file>`", path, err)
	case diskFull(err):
		return explainWrite(path, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("database %s cannot be written (%w); let this user write the file and its folder, or choose another file with `store bolt <file>`", path, err)
	case errors.As(err, &system):
		return fmt.Errorf("database %s cannot be used: %w", path, err)
	default:
		return fmt.Errorf("file %s is not a database or is damaged (%w); restore a backup, move it away to start with an empty one, or choose another file with `store bolt <file>`", path, err)
	}
}

// explainWrite adds the remedy to an error of writing a database.
func explainWrite(path string, err error) error {
	if diskFull(err) {
		return &fullError{fmt.Errorf("no space for database %s (%w); free some on the disk of %s", path, err, filepath.Dir(path))}
	}
	return fmt.Errorf("writing database %s: %w", path, err)
}

// fullError is the error of a write for which the disk has no space. It matches engine.ErrFull.
type fullError struct{ error }

func (e *fullError) Unwrap() error { return e.error }

// Is implements the interface of errors.Is.
func (*fullError) Is(target error) bool { return target == engine.ErrFull }

// diskFull reports whether an error is a full disk, an exceeded quota, or the process's
// limit of file sizes.
func diskFull(err error) bool {
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		// bbolt wraps some errors as text only.
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

// guard, deferred, turns a panic of bbolt into an error. Where debug.SetPanicOnFault is
// set, a fault at a damaged page is such a panic; elsewhere it ends the process.
func guard(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("%w: %v", ErrDamaged, cause)
	}
}

// removeLeftovers removes the files that compactions, backups and restores of a process that
// was killed left beside the database. The lock of the database says that none is under way.
func removeLeftovers(path string) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	entries, _ := os.ReadDir(filepath.Dir(path)) // what cannot be read stays
	for _, entry := range entries {
		rest, beside := strings.CutPrefix(entry.Name(), filepath.Base(path))
		left := rest == compactSuffix || strings.HasPrefix(rest, reserveSuffix+"-") || strings.HasPrefix(rest, backupSuffix) || strings.HasPrefix(rest, RestoreSuffix)
		if beside && left && entry.Type().IsRegular() {
			_ = os.Remove(filepath.Join(filepath.Dir(path), entry.Name()))
		}
	}
}
