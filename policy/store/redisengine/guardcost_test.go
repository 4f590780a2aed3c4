package redisengine

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// unguarded is the script without what notices a store that went back, and a late use.
func unguarded(t testing.TB) *writeScript {
	t.Helper()
	source := usesScript.source
	for call, without := range map[string]string{
		"\ncompare()\n": "\ngeneration, revision, lost = 0, 0, false\n", "local late = is_late()": "local late = false",
	} {
		require.Equal(t, 1, strings.Count(source, call), call)
		source = strings.Replace(source, call, without, 1)
	}
	return newWriteScript(strings.TrimPrefix(source, commonLua))
}

// BenchmarkGuards measures what each use costs the server, with and without noticing a store
// that went back in time and a late use, in turns: `go test -run - -bench Guards`.
func BenchmarkGuards(b *testing.B) {
	server := redistest.Start(b)
	options, err := ParseURLs([]string{server.URL()})
	require.NoError(b, err)
	backend, err := New(options)
	require.NoError(b, err)
	defer backend.Close()
	backend.Guard(nil)
	scripts := map[string]*writeScript{"guarded": usesScript, "unguarded": unguarded(b)}
	defer func(was *writeScript) { usesScript = was }(usesScript)
	calls := regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+),usec=(\d+)`)
	n := 0
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprint("uses=", size), func(b *testing.B) {
			cost := map[string]float64{}
			for range b.N {
				for name, script := range scripts {
					usesScript = script
					batches := make([]*engine.Batch, size)
					for i := range batches {
						n++
						batches[i] = &engine.Batch{
							Checks:   []engine.Check{{Key: []byte("Xlink")}},
							Counters: []engine.Counter{{Key: []byte("Clink"), Max: 1 << 40, IdempotencyKey: fmt.Appendf(nil, "Ulink/%d", n), IdempotencyValue: []byte("2026")}},
						}
					}
					server.Do("config", "resetstat")
					_, outcomes := backend.Together("acme", batches)
					require.NoError(b, outcomes[0].Err)
					found := calls.FindStringSubmatch(fmt.Sprint(server.Do("info", "commandstats")))
					require.NotNil(b, found)
					usec, err := strconv.ParseFloat(found[2], 64)
					require.NoError(b, err)
					cost[name] += usec
				}
			}
			for name, sum := range cost {
				b.ReportMetric(sum/float64(b.N*size), name+"-µs/use")
			}
			b.ReportMetric(100*(cost["guarded"]/cost["unguarded"]-1), "%more")
		})
	}
}
