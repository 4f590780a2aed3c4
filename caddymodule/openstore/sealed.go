package openstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
)

// SealedBackup writes a verified and sealed copy of the database, and returns the SHA-256 of
// the database in it and its length in bytes. An error may come before anything is written.
func (o *Opened) SealedBackup(ctx context.Context, w io.Writer) (digest []byte, length int64, err error) {
	sealer, err := o.Sealer.For(keys.PurposeBackup)
	if err != nil {
		return nil, 0, err
	}
	sealed, plain := sealer.SealStream(w), sha256.New()
	length, err = o.Backup(ctx, io.MultiWriter(sealed, plain))
	if err == nil {
		err = sealed.Close()
	}
	return plain.Sum(nil), length, err
}

// checkSealed returns an error unless a file is a complete backup of the database with a
// SHA-256.
func (o *Opened) checkSealed(name string, digest []byte) error {
	sealer, err := o.Sealer.For(keys.PurposeBackup)
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	plain := sha256.New()
	if err := sealer.OpenStream(plain, file); err != nil {
		return fmt.Errorf("the backup that was written is not intact: %w", err)
	}
	if !bytes.Equal(plain.Sum(nil), digest) {
		return errors.New("the backup that was written is not what was read")
	}
	return nil
}

// SecretOf returns the secret of a configuration: of the placeholder, or if that is empty of
// the file beside the database.
func SecretOf(database, placeholder string) ([]byte, error) {
	if placeholder != "" {
		secret, err := setting.Secret("--secret", placeholder)
		return []byte(secret), err
	}
	secret, err := readSecretFile(database + secretSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("secret file %s%s is missing: put it there, from where it was backed up, or name the secret of the configuration with --secret; "+
			"no backup is opened without it", database, secretSuffix)
	}
	return secret, err
}
