package redisengine_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/enginetest"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// spaces gives every engine of a test a keyspace of its own.
var spaces atomic.Int64

func optionsFor(t testing.TB, urls ...string) redisengine.Options {
	t.Helper()
	options, err := redisengine.ParseURLs(urls)
	require.NoError(t, err)
	options.Prefix = fmt.Sprintf("test%d", spaces.Add(1))
	return options
}

func open(t testing.TB, options redisengine.Options) *redisengine.Engine {
	t.Helper()
	backend, err := redisengine.New(options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = backend.Close() })
	return backend
}

// conform runs the suite of all engines.
func conform(t *testing.T, urls []string, change func(*redisengine.Options)) {
	t.Helper()
	opened := make(map[engine.Engine]redisengine.Options)
	enginetest.Run(t, enginetest.Factory{
		Open: func(t *testing.T) engine.Engine {
			options := optionsFor(t, urls...)
			if change != nil {
				change(&options)
			}
			backend := open(t, options)
			opened[backend] = options
			return backend
		},
		Reopen: func(t *testing.T, backend engine.Engine) engine.Engine {
			require.NoError(t, backend.Close())
			return open(t, opened[backend])
		},
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conform(t, []string{redistest.Start(t).URL()}, nil)
}
