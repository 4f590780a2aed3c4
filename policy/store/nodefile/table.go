package nodefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"sort"
)

// A table is a header, sealed blocks of entries in ascending order, a sealed index of them,
// and the position of the index. An entry is its key and its value, each after its length.

const (
	magicTable = "GFT1"
	// blockSize is the size of a block before it is sealed, but for one with a large entry.
	blockSize   = 16 << 10
	indexNumber = math.MaxUint64
	footerSize  = 8
	// maxIndex bounds the sealed index of a table.
	maxIndex = 256 << 20
)

// ErrTableFull is returned by TableWriter.Add for a table that would be larger than its limit.
var ErrTableFull = errors.New("the records are larger than the limit of a snapshot")

// TableWriter writes a table. It is not safe for concurrent use.
type TableWriter struct {
	file    *os.File
	sealing sealing
	limit   int64
	written int64
	number  uint64
	block   []byte
	first   []byte // key of the block
	last    []byte // key that was added last
	index   []byte
	sealed  []byte
}

// NewTable begins a table of at most limit bytes in a folder. Either Commit or Abort ends it.
func NewTable(folder string, key Key, limit int64) (*TableWriter, error) {
	header, s, err := newHeader(key, magicTable)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(folder, temporary) // mode 0600
	if err != nil {
		return nil, err
	}
	w := &TableWriter{file: file, sealing: s, limit: limit}
	if err := w.write(header); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// temporary is the pattern of files that are not finished.
const temporary = "new-*"

func (w *TableWriter) write(b []byte) error {
	if w.written += int64(len(b)); w.written > w.limit {
		return ErrTableFull
	}
	_, err := w.file.Write(b)
	return err
}

// Add adds an entry, whose key must be greater than the one before.
func (w *TableWriter) Add(key, value []byte) error {
	if w.last != nil && bytes.Compare(key, w.last) <= 0 {
		return fmt.Errorf("the entries of a table must ascend")
	}
	w.last = append(w.last[:0], key...)
	if len(w.block) == 0 {
		w.first = append(w.first[:0], key...)
	}
	w.block = appendBytes(appendBytes(w.block, key), value)
	if len(w.block) < blockSize {
		return nil
	}
	return w.flush()
}

func (w *TableWriter) flush() error {
	if len(w.block) == 0 {
		return nil
	}
	w.sealed = w.sealing.seal(w.sealed[:0], w.number, w.block)
	w.index = binary.AppendUvarint(appendBytes(w.index, w.first), uint64(len(w.sealed)))
	w.number++
	w.block = w.block[:0]
	return w.write(w.sealed)
}

// Commit writes the table to the disk under a path in its folder, and replaces what is there.
// It returns the size of the file.
func (w *TableWriter) Commit(path string) (int64, error) {
	err := w.flush()
	at := w.written
	if err == nil {
		err = w.write(w.sealing.seal(nil, indexNumber, w.index))
	}
	if err == nil {
		err = w.write(binary.BigEndian.AppendUint64(nil, uint64(at)))
	}
	if err != nil {
		return 0, errors.Join(err, w.Abort())
	}
	return w.written, replace(w.file, path)
}

// Abort removes the unfinished file.
func (w *TableWriter) Abort() error {
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}

// RemoveUnfinished removes what writers left in a folder when their process was killed.
func RemoveUnfinished(folder string) {
	files, _ := filepath.Glob(filepath.Join(folder, temporary)) // the pattern is right
	for _, file := range files {
		_ = os.Remove(file) // it is never read
	}
}

func appendBytes(to, b []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(b))), b...)
}

func cutBytes(from []byte) (b, rest []byte, err error) {
	n, used := binary.Uvarint(from)
	if used <= 0 || n > uint64(len(from)-used) {
		return nil, nil, ErrDamaged
	}
	return from[used : used+int(n)], from[used+int(n):], nil
}

// Table is a table that is open for reading. It is safe for concurrent use.
type Table struct {
	file    *os.File
	sealing sealing
	blocks  []tableBlock
}

type tableBlock struct {
	first []byte
	at    int64
	size  int64
}

// OpenTable opens a table after it has verified all of it. It returns ErrDamaged for one that
// is damaged or sealed with another key.
func OpenTable(path string, key Key) (*Table, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t := &Table{file: file}
	if err = t.readIndex(key); err == nil {
		err = t.verify()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return t, nil
}

func (t *Table) readIndex(key Key) error {
	info, err := t.file.Stat()
	if err != nil {
		return err
	}
	if t.sealing, err = readHeader(key, magicTable, t.file); err != nil {
		return err
	}
	var footer [footerSize]byte
	end := info.Size() - footerSize
	if end < headerSize {
		return ErrDamaged
	}
	if _, err := t.file.ReadAt(footer[:], end); err != nil {
		return err
	}
	at := int64(binary.BigEndian.Uint64(footer[:]))
	if at < headerSize || at > end || end-at > maxIndex {
		return ErrDamaged
	}
	sealed := make([]byte, end-at)
	if _, err := t.file.ReadAt(sealed, at); err != nil {
		return err
	}
	index, err := t.sealing.open(sealed[:0], indexNumber, sealed)
	if err != nil {
		return err
	}
	next := int64(headerSize)
	for len(index) > 0 {
		var block tableBlock
		if block.first, index, err = cutBytes(index); err != nil {
			return err
		}
		size, used := binary.Uvarint(index)
		if used <= 0 || size > uint64(at-next) {
			return ErrDamaged
		}
		index = index[used:]
		block.at, block.size = next, int64(size)
		next += block.size
		t.blocks = append(t.blocks, block)
	}
	if next != at {
		return ErrDamaged
	}
	return nil
}

// verify opens every block.
func (t *Table) verify() error {
	var buffer []byte
	for i := range t.blocks {
		plain, err := t.block(i, buffer)
		if err != nil {
			return err
		}
		buffer = plain[:0]
		for len(plain) > 0 {
			if _, plain, err = cutBytes(plain); err == nil {
				_, plain, err = cutBytes(plain)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// block returns the content of a block, in the buffer if it fits.
func (t *Table) block(i int, buffer []byte) ([]byte, error) {
	block := &t.blocks[i]
	if int64(cap(buffer)) < block.size {
		buffer = make([]byte, block.size)
	}
	sealed := buffer[:block.size]
	if _, err := t.file.ReadAt(sealed, block.at); err != nil {
		return nil, err
	}
	return t.sealing.open(sealed[:0], uint64(i), sealed)
}

// Get returns the value of a key, nil if there is none; an empty value is not nil.
func (t *Table) Get(key []byte) ([]byte, error) {
	for entry, err := range t.Scan(key, nil) {
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(entry.Key, key) {
			break
		}
		return entry.Value, nil
	}
	return nil, nil
}

// Entry is a key with its value.
type Entry struct{ Key, Value []byte }

// Scan yields the entries whose keys begin with a prefix and, unless after is nil, sort after
// it, in ascending order. An error ends the scan and is yielded last, with an empty entry.
func (t *Table) Scan(prefix, after []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		from := prefix
		if bytes.Compare(after, from) > 0 {
			from = after
		}
		// The first block that may have the key is the one before the first that begins after it.
		i := sort.Search(len(t.blocks), func(i int) bool { return bytes.Compare(t.blocks[i].first, from) > 0 })
		for i = max(i-1, 0); i < len(t.blocks); i++ {
			plain, err := t.block(i, nil)
			for err == nil && len(plain) > 0 {
				var entry Entry
				if entry.Key, plain, err = cutBytes(plain); err == nil {
					entry.Value, plain, err = cutBytes(plain)
				}
				switch {
				case err != nil, bytes.Compare(entry.Key, from) < 0, after != nil && bytes.Compare(entry.Key, after) <= 0:
					continue
				case !bytes.HasPrefix(entry.Key, prefix):
					return
				}
				if !yield(entry, nil) {
					return
				}
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
		}
	}
}

// Close closes the file.
func (t *Table) Close() error { return t.file.Close() }
