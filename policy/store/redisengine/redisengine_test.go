package redisengine_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store"
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
	engine, err := redisengine.New(options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = engine.Close() })
	return engine
}

// conform runs the suite of all engines.
func conform(t *testing.T, urls []string, change func(*redisengine.Options)) {
	t.Helper()
	opened := make(map[store.Engine]redisengine.Options)
	enginetest.Run(t, enginetest.Factory{
		Open: func(t *testing.T) store.Engine {
			options := optionsFor(t, urls...)
			if change != nil {
				change(&options)
			}
			engine := open(t, options)
			opened[engine] = options
			return engine
		},
		Reopen: func(t *testing.T, engine store.Engine) store.Engine {
			require.NoError(t, engine.Close())
			return open(t, opened[engine])
		},
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conform(t, []string{redistest.Start(t).URL()}, nil)
}
