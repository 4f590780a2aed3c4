package boltengine

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// backupSuffix is in the name of the copy that a backup makes beside the database.
const backupSuffix = ".backup-"

// Backup writes a consistent copy of the database while it is in use, and returns its
// length in bytes. The copy is a database file: to restore it, replace the database with
// it. It contains all records, so protect it as well.
//
// Backup first copies to a temporary file beside the database, which needs the space: w
// may be slow, and bbolt cannot free or map pages during the copy. It verifies that file,
// as Verify does, and writes nothing of a database that is damaged. It returns ctx.Err()
// when ctx ends.
func (e *Engine) Backup(ctx context.Context, w io.Writer, record RecordCheck) (int64, error) {
	if err := e.calls.Enter(ctx); err != nil {
		return 0, err
	}
	copied, err := e.copyAside(ctx)
	e.calls.Leave() // Close need not wait for w
	if err != nil {
		return 0, fmt.Errorf("backing up database %s: %w", e.path, err)
	}
	defer func() {
		_ = copied.Close()
		_ = os.Remove(copied.Name())
	}()
	if err := Verify(copied.Name(), record); err != nil {
		return 0, fmt.Errorf("backing up database %s: the copy is not intact: %w", e.path, err)
	}
	n, err := io.Copy(contextWriter{ctx, w}, copied)
	if err != nil {
		return n, fmt.Errorf("backing up database %s: %w", e.path, err)
	}
	return n, nil
}

// copyAside copies the database to a temporary file, positioned at its start.
func (e *Engine) copyAside(ctx context.Context) (*os.File, error) {
	real := e.realPath()                                                                 // where what a killed process leaves is looked for
	file, err := os.CreateTemp(filepath.Dir(real), filepath.Base(real)+backupSuffix+"*") // mode 0600
	if err != nil {
		return nil, err
	}
	tx, err := e.begin()
	if err == nil {
		_, err = tx.WriteTo(contextWriter{ctx, file})
		_ = tx.Rollback() // of what was only read
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		_ = os.Remove(file.Name())
		return nil, err
	}
	return file, nil
}

// contextWriter writes to w until ctx ends.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (p contextWriter) Write(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}
