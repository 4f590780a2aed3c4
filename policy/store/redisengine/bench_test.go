package redisengine_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// BenchmarkRedeem counts uses of one link, by many at once.
func BenchmarkRedeem(b *testing.B) {
	backend := open(b, optionsFor(b, redistest.Start(b).URL()))
	_, err := backend.Commit(b.Context(), "acme", &engine.Batch{Puts: []engine.Put{{Key: []byte("Slink"), Value: []byte("{}")}}})
	require.NoError(b, err)
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			var n atomic.Int64
			b.SetParallelism(max(callers/2, 1))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, err := backend.Commit(context.Background(), "acme", &engine.Batch{
						Checks: []engine.Check{{Key: []byte("Slink"), Present: true}, {Key: []byte("Xlink")}},
						Counters: []engine.Counter{{
							Key: []byte("Clink"), Max: 1 << 40, IdempotencyKey: fmt.Appendf(nil, "Ulink/%d/%d", callers, n.Add(1)), IdempotencyValue: []byte("2026-07-01T12:00:00Z"),
						}},
					})
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
