package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// serveBackup answers with a consistent copy of the database while it is in use. The
// copy has the records of every vendor, so only the operator of the machine may get it. It
// is sealed by the secret, which it does not contain.
func (a *App) serveBackup(w http.ResponseWriter, r *http.Request) error {
	if err := beginLongCall(w, r, "a backup", http.MethodGet); err != nil {
		return err
	}
	copied := &backupWriter{w: w, digest: sha256.New()}
	rt, err := a.runtime.get()
	var length int64
	if err == nil {
		_, length, err = rt.SealedBackup(r.Context(), copied)
	}
	switch {
	case err != nil && !copied.begun:
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
	case err != nil:
		a.logger.Error("the backup was interrupted", zap.Int64("bytes", length), zap.Error(err))
		panic(http.ErrAbortHandler) // so that the client detects the truncation
	}
	w.Header().Set(command.BackupDigest, hex.EncodeToString(copied.digest.Sum(nil)))
	a.logger.Info("served a backup", zap.Int64("bytes", length))
	return nil
}

// beginLongCall refuses other methods, and removes the read timeout of Caddy's admin endpoint,
// ten seconds: what is made of a large database takes longer.
func beginLongCall(w http.ResponseWriter, r *http.Request, what, method string) error {
	if r.Method != method {
		w.Header().Set("Allow", method)
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New(what + " requires " + method)}
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
	}
	return nil
}

// backupWriter begins the answer with the first bytes of the copy, so that an earlier
// error can still be answered with a problem.
type backupWriter struct {
	w      http.ResponseWriter
	digest hash.Hash
	begun  bool
}

func (b *backupWriter) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		header := b.w.Header()
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Cache-Control", "no-store")
		header.Set("Trailer", command.BackupDigest)
	}
	_, _ = b.digest.Write(p) // never fails, see hash.Hash
	return b.w.Write(p)
}

// serveCompact replaces the file of the database by one without free pages while it is in
// use. A client that disconnects ends it, and nothing is changed then. Like a backup it is for
// the operator of the machine only.
func (a *App) serveCompact(w http.ResponseWriter, r *http.Request) error {
	if err := beginLongCall(w, r, "a compaction", http.MethodPost); err != nil {
		return err
	}
	began := time.Now()
	done, err := a.shared.Compact(r.Context())
	switch {
	case errors.Is(err, boltengine.ErrCompacting):
		return caddy.APIError{HTTPStatus: http.StatusConflict, Err: err}
	case err != nil:
		a.logger.Error("the compaction failed", zap.Error(err))
		status := http.StatusInternalServerError
		if errors.Is(err, engine.ErrFull) {
			status = http.StatusInsufficientStorage
		}
		return caddy.APIError{HTTPStatus: status, Err: err}
	}
	a.logger.Info("compacted the database", zap.Int64("bytes_before", done.Before), zap.Int64("bytes", done.After), zap.Duration("took", time.Since(began)))
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(command.Compacted{
		BytesBefore: done.Before, FreeBytesBefore: done.FreeBefore, Bytes: done.After, FreeBytes: done.FreeAfter,
	})
}
