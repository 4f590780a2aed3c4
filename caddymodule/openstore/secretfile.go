package openstore

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// secretSuffix is what the name of the secret file adds to the database's.
const secretSuffix = ".secret"

// secretBeside returns the secret in the file beside the database. It creates the file if
// there is none and the database is new, for which it calls isNew: another secret would
// not open the keys of a database that was restored or moved without its own.
func secretBeside(database string, isNew func() (bool, error)) ([]byte, error) {
	path := database + secretSuffix
	secret, err := readSecretFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return secret, err
	}
	empty, err := isNew()
	if err != nil {
		return nil, err
	}
	if !empty {
		return nil, fmt.Errorf("database %s has records and its secret file %s is missing: restore that file from where it was backed up, or configure `secret`; "+
			"a new secret would not open the stored signing keys", database, path)
	}
	if err := createSecretFile(path); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("creating the secret file %s: %w", path, err)
	}
	return readSecretFile(path)
}

// readSecretFile reads the secret. It fails if others may read the file.
func readSecretFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("secret file %s can be read by others: run `chmod 600 %s`", path, path)
	}
	secret, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return nil, err
	}
	if len(secret) < 32 {
		return nil, fmt.Errorf("secret file %s is truncated: restore it from a backup; without it the stored signing keys cannot be opened", path)
	}
	return secret, nil
}

// createSecretFile writes a random secret. The file appears complete or not at all.
func createSecretFile(path string) error {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	temporary, err := os.CreateTemp(filepath.Dir(path), ".secret-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.WriteString(base64.StdEncoding.EncodeToString(random[:]))
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	// Link fails if the file exists, so that one of two concurrent calls wins.
	if err := os.Link(temporary.Name(), path); err != nil {
		return err
	}
	return nodefile.SyncFolder(path)
}
