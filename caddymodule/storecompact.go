package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/command"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// serveCompact replaces the file of the database by one without free pages while it is in
// use. A client that disconnects ends it, and nothing is changed then. Like a backup it is for
// the operator of the machine only.
func (a *App) serveCompact(w http.ResponseWriter, r *http.Request) error {
	if err := beginLongCall(w, r, "a compaction", http.MethodPost); err != nil {
		return err
	}
	began := time.Now()
	done, err := a.shared.engine.Compact(r.Context())
	a.shared.read(err) // a new file that is damaged shows that the database is
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

// Compact replaces the file of the database, see boltengine.Engine.Compact.
func (l *lazyEngine) Compact(ctx context.Context) (boltengine.Compacted, error) {
	return onEngine(l, "", func(e engine.Engine) (boltengine.Compacted, error) {
		database, ok := e.(*boltengine.Engine)
		if !ok {
			return boltengine.Compacted{}, errors.New("this store is no embedded database: Redis frees its memory itself")
		}
		return database.Compact(ctx, store.CheckRecord)
	})
}
