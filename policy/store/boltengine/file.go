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
)

// format is the version of the layout that the package comment describes.
const format = "1"

var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format")
)

// lockTimeout is how long to wait for another process to let go of the file: a
// restart overlaps with the end of what ran before.
const lockTimeout = time.Second

// initialMmapSize is how much address space is reserved from the start. To map
// more, bbolt waits until no view is running and lets no new one begin; so that
// should happen rarely. On Windows it would be the size of the file.
func initialMmapSize() int {
	if runtime.GOOS == "windows" {
		return 0
	}
	return 64 << 20
}

var (
	// errDamaged: the file's pages make no sense.
	errDamaged = errors.New("database is damaged")
	// errForeign: a bbolt file, but not one of ours.
	errForeign = errors.New("database of another program")
)

// ErrInUse says that another process has the database open.
var ErrInUse = errors.New("database is in use by another process")

// inUseError is ErrInUse for the database at a path.
type inUseError string

func (e inUseError) Error() string {
	return fmt.Sprintf("database %s is in use by another process; stop it or choose another file with `store bolt <file>`", string(e))
}

func (e inUseError) Is(target error) bool { return target == ErrInUse }

// formatError is the version of a layout that this package does not know.
type formatError string

func (e formatError) Error() string { return fmt.Sprintf("unknown format %q", string(e)) }

func openOrCreate(path string) (*bbolt.DB, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = create(path)
	}
	if err != nil {
		return nil, err
	}
	return openFile(path)
}

// create makes an empty database. It is made under another name and appears
// under its own when it is complete: a disk that is full, or a power cut, leaves
// no half-made file that would later be taken for a damaged one.
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
	// A link, unlike a rename, does not replace the database of another process
	// that was a little faster. Where there are no links, openFile creates.
	if err := os.Link(temp.Name(), path); err != nil {
		return nil
	}
	return syncDir(dir)
}

// syncDir makes a new name in a folder durable: fsync of the file alone does not.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// openFile opens a database for reading and writing, and makes an empty one ours.
func openFile(path string) (*bbolt.DB, error) {
	db, err := openBolt(path, &bbolt.Options{
		Timeout:         lockTimeout,
		InitialMmapSize: initialMmapSize(),
		// The array, bbolt's default, becomes slow when many pages are free,
		// as they are after a large sweep.
		FreelistType: bbolt.FreelistMapType,
		// The list of free pages is written with each commit (NoFreelistSync
		// stays false), though writing would be faster without: it would have to
		// be found again at each start by reading the whole file, which bbolt
		// does in a goroutine of its own, where a damaged page would end the
		// process instead of giving an error.

		// Nobody reads bbolt's own statistics, and they cost each view a lock.
		NoStatistics: true,
	})
	if err != nil {
		return nil, err
	}
	if err := claim(db); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// openBolt is bbolt.Open, but what is wrong with the file is always an error. In
// bbolt a damaged page is a panic, and one that is missing at the end of the
// file a memory fault.
func openBolt(path string, options *bbolt.Options) (db *bbolt.DB, err error) {
	var file *os.File
	options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if errors.Is(err, errDamaged) && file != nil {
			unlock(file) // a panic leaves it locked, and open
			_ = file.Close()
		}
	}()
	defer guard(&err)

	db, err = bbolt.Open(path, 0o600, options)
	if err != nil {
		return nil, err
	}
	if err := checkSize(db, file); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// checkSize finds a file that was cut off, by a copy that broke for example:
// reading a missing page later would end the process.
func checkSize(db *bbolt.DB, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it ends after %d of %d bytes", errDamaged, info.Size(), tx.Size())
		}
		return nil
	})
}

// claim checks the layout's version, and writes it into a database that is empty.
func claim(db *bbolt.DB) (err error) {
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

// explain says what to do about an error of opening a database.
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

// explainWrite says what to do about an error of writing a database.
func explainWrite(path string, err error) error {
	if diskFull(err) {
		return fmt.Errorf("no space for database %s (%w); free some on its disk", path, err)
	}
	return fmt.Errorf("writing database %s: %w", path, err)
}

// diskFull says whether an error means that there is no room: on the disk, in the
// user's quota, or under the process's own limit.
func diskFull(err error) bool {
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		// bbolt wraps some errors as text only.
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

// guard, deferred, turns a panic of bbolt into an error.
func guard(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("%w: %v", errDamaged, cause)
	}
}
