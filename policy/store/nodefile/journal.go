package nodefile

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// A journal is a header and sealed records, each after its length. A process that is killed
// may leave an unfinished record at the end, which was never acknowledged.

const (
	magicJournal = "GFJ1"
	// maxRecord bounds a sealed record.
	maxRecord = 1 << 20
)

// Journal is a journal that is open for appending. It is not safe for concurrent use.
type Journal struct {
	file    *os.File
	sealing sealing
	number  uint64
	size    int64
}

// CreateJournal makes a journal with a first record, and replaces what is at the path.
func CreateJournal(path string, key Key, first []byte) (*Journal, error) {
	header, s, err := newHeader(key, magicJournal)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), temporary) // mode 0600
	if err != nil {
		return nil, err
	}
	j := &Journal{file: file, sealing: s, size: headerSize}
	if _, err = file.Write(header); err == nil {
		err = j.Append(first)
	}
	if err == nil {
		err = errors.Join(file.Sync(), os.Rename(file.Name(), path))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	if err := SyncFolder(path); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

// Append appends a record. When it returns nil the record outlives the process; after Sync it
// outlives the machine.
func (j *Journal) Append(record []byte) error {
	line := j.sealing.seal(make([]byte, 4, 4+len(record)+j.sealing.Overhead()), j.number, record)
	if len(line)-4 > maxRecord {
		return errors.New("a record of a journal is too large")
	}
	binary.BigEndian.PutUint32(line, uint32(len(line)-4))
	if _, err := j.file.Write(line); err != nil {
		return err
	}
	j.number++
	j.size += int64(len(line))
	return nil
}

// Size returns the size of the file in bytes.
func (j *Journal) Size() int64 { return j.size }

// Sync writes the records to the disk.
func (j *Journal) Sync() error { return j.file.Sync() }

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

// ReadJournal returns the records of a journal, without an unfinished one at its end. It
// returns ErrDamaged for one that is damaged or sealed with another key.
func ReadJournal(path string, key Key) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	s, err := readHeader(key, magicJournal, file)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.NewSectionReader(file, headerSize, maxJournal))
	if err != nil {
		return nil, err
	}
	var records [][]byte
	for len(content) >= 4 {
		size := int64(binary.BigEndian.Uint32(content))
		if size > maxRecord {
			return nil, ErrDamaged
		}
		if int64(len(content)-4) < size {
			break
		}
		sealed := content[4 : 4+size]
		content = content[4+size:]
		record, err := s.open(sealed[:0], uint64(len(records)), sealed)
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	if len(records) == 0 {
		return nil, ErrDamaged
	}
	return records, nil
}

// maxJournal bounds what is read of a journal, in bytes; its writer begins another one long
// before.
const maxJournal = 64 << 20
