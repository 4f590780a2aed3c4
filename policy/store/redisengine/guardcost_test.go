package redisengine

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// lateCheck is what notices a late use.
var lateCheck = map[string]string{"local late = is_late()": "local late = false"}

// lossCheck is what notices a store that went back in time.
var lossCheck = map[string]string{
	"\ncompare()\n": "\ngeneration, lost, position = 0, false, redis.call('HGET', meta, 'pos') or '0'\n",
	"revision, recorded = revision + 1, true":                          "revision, recorded = redis.call('HINCRBY', meta, 'rev', 1), true",
	"redis.call('HSET', meta, 'rev', name, 'last', name .. ' ' .. id)": "",
}

// without returns the script without some checks.
func without(t testing.TB, checks ...map[string]string) *writeScript {
	t.Helper()
	source := usesScript.source
	for _, check := range checks {
		for call, instead := range check {
			require.Equal(t, 1, strings.Count(source, call), call)
			source = strings.Replace(source, call, instead, 1)
		}
	}
	return &writeScript{Script: redis.NewScript(source), source: source}
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
	scripts := map[string]*writeScript{"guarded": usesScript, "unguarded": without(b, lateCheck, lossCheck), "no deadline": without(b, lateCheck)}
	defer func(was *writeScript) { usesScript = was }(usesScript)
	calls := regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+),usec=(\d+)`)
	n := 0
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprint("uses=", size), func(b *testing.B) {
			costs := map[string][]float64{} // of each script, which others on the machine disturb
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
					costs[name] = append(costs[name], usec)
				}
			}
			cost := map[string]float64{}
			for name, all := range costs {
				slices.Sort(all)
				cost[name] = all[len(all)/2]
				b.ReportMetric(cost[name]/float64(size), strings.ReplaceAll(name, " ", "-")+"-µs/use")
			}
			b.ReportMetric(100*(cost["guarded"]/cost["unguarded"]-1), "%more")
		})
	}
}
