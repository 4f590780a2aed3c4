package redisengine_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// What ack_replicas costs: docs/redis.md has the figures that this test logs. A master
// that synced each write is killed. With one replica the promoted one has none of its
// own: every write is refused until the former master joins again. With two replicas
// writes are acknowledged from the promotion on.
func TestCostOfAckReplicas(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		t.Run(strconv.Itoa(replicas)+" replicas", func(t *testing.T) {
			t.Parallel()
			master := redistest.Start(t)
			for range replicas {
				master.StartReplica()
			}
			var urls []string
			for _, s := range redistest.StartSentinels(t, "gate", master, 3) {
				urls = append(urls, "redis+sentinel://"+s.Address()+"/gate")
			}
			options := optionsFor(t, urls...)
			plain := open(t, options)
			options.AckReplicas, options.AckTimeout, options.Timeout = 1, 500*time.Millisecond, time.Second
			backend := open(t, options)
			write := func(to *redisengine.Engine) error {
				_, err := to.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("k", "v")}})
				return err
			}
			until := func(what string, holds func() bool) time.Duration {
				t.Helper()
				began := time.Now()
				require.Eventually(t, holds, 60*time.Second, 5*time.Millisecond, what)
				return time.Since(began)
			}
			until("the replicas acknowledge", func() bool { return write(backend) == nil })
			t.Logf("a write: %v, with ack_replicas 1: %v (medians)", median(t, func() error { return write(plain) }), median(t, func() error { return write(backend) }))

			master.Kill()
			promoted := until("a replica is promoted", func() bool { return write(plain) == nil })
			if replicas == 1 {
				began := time.Now()
				err := write(backend)
				require.ErrorIs(t, err, redisengine.ErrNotAcknowledged)
				t.Logf("writes without ack_replicas %v after the kill; with it each is refused after %v", promoted, time.Since(began))
				found, err := backend.Inspect(t.Context())
				require.NoError(t, err)
				require.NotEmpty(t, riskOf(found, redisengine.RiskReplicasMissing))
				master.Start()
				t.Logf("acknowledged %v after the former master is back", until("the former master acknowledges", func() bool { return write(backend) == nil }))
				return
			}
			t.Logf("writes without ack_replicas %v after the kill, acknowledged ones %v later", promoted, until("the other replica acknowledges", func() bool { return write(backend) == nil }))
		})
	}
}

// median returns the median duration of a hundred calls.
func median(t *testing.T, call func() error) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 100 {
		began := time.Now()
		if err := call(); err != nil && !errors.Is(err, redisengine.ErrNotAcknowledged) {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}
