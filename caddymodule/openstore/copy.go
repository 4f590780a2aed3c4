package openstore

import (
	"context"
	"errors"
	"io"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// Backup writes a consistent and verified copy of the database, see
// boltengine.Engine.Backup.
func (s *Shared) Backup(ctx context.Context, w io.Writer) (int64, error) {
	length, err := onEngine(s.Engine, "", func(e engine.Engine) (int64, error) {
		source, ok := e.(interface {
			Backup(ctx context.Context, w io.Writer, record boltengine.RecordCheck) (int64, error)
		})
		if !ok {
			return 0, errors.New("this store has no backup of its own: use that of its server")
		}
		return source.Backup(ctx, w, store.CheckRecord)
	})
	s.read(err) // a copy that is damaged shows that the database is
	return length, err
}

// Compact replaces the file of the database, see boltengine.Engine.Compact.
func (s *Shared) Compact(ctx context.Context) (boltengine.Compacted, error) {
	done, err := onEngine(s.Engine, "", func(e engine.Engine) (boltengine.Compacted, error) {
		database, ok := e.(*boltengine.Engine)
		if !ok {
			return boltengine.Compacted{}, errors.New("this store is no embedded database: Redis frees its memory itself")
		}
		return database.Compact(ctx, store.CheckRecord)
	})
	s.read(err) // a new file that is damaged shows that the database is
	return done, err
}
