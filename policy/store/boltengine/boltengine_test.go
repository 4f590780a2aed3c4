package boltengine

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/enginetest"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, enginetest.Factory{
		Open: func(t *testing.T) engine.Engine { return openNew(t) },
		Reopen: func(t *testing.T, backend engine.Engine) engine.Engine {
			require.NoError(t, backend.Close())
			return open(t, backend.(*Engine).path)
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
	backend, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	return backend
}
