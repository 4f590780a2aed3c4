package nodefile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Key seals the files of one owner. Whatever must not be exchanged has another key.
type Key [sha256.Size]byte

// For returns the key for a purpose, derived with HKDF-SHA256 (RFC 5869).
func (k Key) For(purpose string) (derived Key, err error) {
	text, err := hkdf.Expand(sha256.New, k[:], purpose, len(derived))
	copy(derived[:], text)
	return derived, err
}

// ErrDamaged is returned for a file that is damaged, or sealed with another key.
var ErrDamaged = errors.New("the file is damaged, or sealed for another store, vendor, node or secret")

const (
	saltSize   = 32
	headerSize = 4 + saltSize
)

// sealing seals the blocks of one file with AES-256-GCM. The key is one of the file, derived
// with its random salt, so the number of a block is its nonce: blocks can neither be moved
// within a file nor to another one.
type sealing struct{ cipher.AEAD }

func newSealing(k Key, salt []byte, purpose string) (sealing, error) {
	key, err := hkdf.Key(sha256.New, k[:], salt, purpose, sha256.Size)
	if err != nil {
		return sealing{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealing{}, err
	}
	aead, err := cipher.NewGCM(block)
	return sealing{aead}, err
}

func (s sealing) seal(to []byte, number uint64, plain []byte) []byte {
	return s.Seal(to, nonce(number), plain, nil)
}

func (s sealing) open(to []byte, number uint64, sealed []byte) ([]byte, error) {
	plain, err := s.Open(to, nonce(number), sealed, nil)
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}

func nonce(number uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), number)
}

// newHeader returns the header of a new file, with its sealing.
func newHeader(k Key, magic string) ([]byte, sealing, error) {
	header := append([]byte(magic), make([]byte, saltSize)...)
	_, _ = rand.Read(header[len(magic):]) // never fails, see crypto/rand
	s, err := newSealing(k, header[len(magic):], magic)
	return header, s, err
}

// readHeader reads the header of a file.
func readHeader(k Key, magic string, from io.ReaderAt) (sealing, error) {
	var header [headerSize]byte
	if _, err := from.ReadAt(header[:], 0); err != nil || string(header[:len(magic)]) != magic {
		return sealing{}, ErrDamaged
	}
	return newSealing(k, header[len(magic):], magic)
}

// replace writes the content of a temporary file to the disk, closes it, and gives it its
// name. It removes it after an error.
func replace(file *os.File, path string) error {
	err := errors.Join(file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(file.Name())))
	}
	return SyncFolder(path)
}

// SyncFolder makes the new name of a file durable: fsync of the file alone does not.
func SyncFolder(file string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
