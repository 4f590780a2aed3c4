package boltengine

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/enginetest"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, enginetest.Factory{
		Open: func(t *testing.T) store.Engine { return openNew(t) },
		Reopen: func(t *testing.T, engine store.Engine) store.Engine {
			require.NoError(t, engine.Close())
			return open(t, engine.(*Engine).path)
		},
	})
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "gatefold.db") }

func openNew(t testing.TB) *Engine {
	t.Helper()
	return open(t, newPath(t))
}

func open(t testing.TB, path string) *Engine {
	t.Helper()
	engine, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = engine.Close() })
	return engine
}
