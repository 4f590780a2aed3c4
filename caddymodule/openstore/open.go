package openstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// Pool holds the stores, which survive reloads, by the absolute path of a database or
// Config.identity.
var Pool = caddy.NewUsagePool()

// Acquire takes the store of a configuration from the Pool, or adds it unopened. It reports
// whether it was not there. The caller releases the store, see Release.
func (c *Config) Acquire(o Options) (s *Shared, isNew bool, err error) {
	var key, file string
	var open func(*Shared) (engine.Engine, error)
	switch c.Engine {
	case Bolt:
		if o.StaleFor != 0 {
			return nil, false, setting.In("stale_for", errors.New("stale_for is for the engine redis: an embedded database is always reachable"))
		}
		if file, err = c.databaseFile(); err != nil {
			return nil, false, err
		}
		key, open = file, openBolt
	case Redis:
		options, err := c.redisOptions(&o)
		if err != nil {
			return nil, false, err
		}
		key = c.identity(o.StaleFor, options)
		kept, err := c.snapshots(&options, o.Secret)
		if err != nil {
			return nil, false, err
		}
		open = func(s *Shared) (engine.Engine, error) { return openRedis(s, options, kept) }
	default:
		return nil, false, fmt.Errorf("unknown engine %q; known are %s and %s", c.Engine, Bolt, Redis)
	}
	if configured := open; o.OpenEngine != nil {
		open = func(s *Shared) (engine.Engine, error) { return o.OpenEngine(s, configured) }
	}
	pooled, loaded, err := Pool.LoadOrNew(key, func() (caddy.Destructor, error) { return newShared(key, file, o, open) })
	if err != nil {
		return nil, false, err
	}
	return pooled.(*Shared), !loaded, nil
}

// Release gives the store back to the Pool, which closes it when no configuration uses it.
func (s *Shared) Release() error {
	_, err := Pool.Delete(s.key)
	return err
}

// Opened is an open store, with what its secret opens.
type Opened struct {
	*Shared
	Keyring  *store.Keyring
	Sealer   *keys.Sealer
	Sessions *store.Sessions
}

// Open opens the store, unless it is open, with the secret of a configuration: nil if that is
// in the file beside the database.
func (s *Shared) Open(ctx context.Context, secret []byte) (*Opened, error) {
	if _, err := s.Engine.Open(); err != nil {
		return nil, err
	}
	if secret == nil {
		var err error
		if secret, err = secretBeside(s.file, s.isNew); err != nil {
			return nil, err
		}
	}
	sealer, err := keys.NewSealer(secret)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	keyring := store.NewKeyring(s.Store, sealer)
	if err := keyring.Check(ctx); err != nil {
		return nil, err
	}
	return &Opened{Shared: s, Keyring: keyring, Sealer: sealer, Sessions: store.NewSessions(keyring)}, nil
}

// isNew reports whether the store was never written to.
func (s *Shared) isNew() (bool, error) {
	partitions, err := s.Engine.Partitions(context.Background())
	return len(partitions) == 0, err
}

// Absent reports whether the store is an embedded database whose file does not exist.
func (s *Shared) Absent() bool {
	if s.file == "" {
		return false
	}
	_, err := os.Stat(s.file)
	return errors.Is(err, fs.ErrNotExist)
}

// CheckSecretFile returns an error if the secret beside the database cannot be read.
func (s *Shared) CheckSecretFile() error {
	_, err := readSecretFile(s.file + secretSuffix)
	return err
}

// Awaited reports whether an error of Open ends by itself: a shared store does not answer, or some
// of it, or this node has yet to make removals again that it lost. The gate answers 503 until then.
func (s *Shared) Awaited(err error) bool {
	return s.file == "" && errors.Is(err, engine.ErrUnavailable) && !errors.Is(err, redisengine.ErrRefused) && !errors.Is(err, redisengine.ErrTooOld)
}
