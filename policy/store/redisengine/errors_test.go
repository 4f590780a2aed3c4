package redisengine_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/engine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

func splitLines(text string) []string { return strings.Split(text, "\r\n") }

// refused opens an engine on what must be refused, and returns why.
func refused(t *testing.T, options redisengine.Options) error {
	t.Helper()
	backend := open(t, options)
	_, err := backend.Inspect(t.Context())
	require.Error(t, err)
	_, writeErr := backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("k", "v")}})
	require.Error(t, writeErr)
	require.NotContains(t, err.Error()+writeErr.Error(), "hunter2")
	return err
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	server := redistest.New(t, "--requirepass", "correct horse")
	server.Password = "correct horse"
	server.Start()
	options := optionsFor(t, server.URL())
	require.ErrorContains(t, refused(t, options), "user or password is wrong or missing")
	options.Password = "hunter2"
	require.ErrorIs(t, refused(t, options), redisengine.ErrRefused)
	options.User, options.Password = "unknown", "correct horse"
	require.ErrorIs(t, refused(t, options), redisengine.ErrRefused)
	options.User = ""
	_, err := open(t, options).Inspect(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 0, server.Do("exists", options.Prefix+":{acme}:m"))
}

func TestUserWhoMayNot(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Do("acl", "setuser", "reader", "on", ">hunter2", "~*", "+@read", "+@connection", "+info")
	options := optionsFor(t, server.URL())
	options.User, options.Password = "reader", "hunter2"
	_, err := open(t, options).Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("k", "v")}})
	require.ErrorIs(t, err, redisengine.ErrRefused)
	require.ErrorContains(t, err, "lacks a permission")
}

func TestWrongTLS(t *testing.T) {
	t.Parallel()
	server, _ := redistest.StartTLS(t)
	right := optionsFor(t, "rediss://"+server.Address())
	right.TLS = server.TLS
	_, err := open(t, right).Inspect(t.Context())
	require.NoError(t, err)

	require.ErrorIs(t, refused(t, optionsFor(t, "rediss://"+server.Address())), redisengine.ErrRefused, "an unknown authority")
	other := right
	other.TLS = &tls.Config{RootCAs: right.TLS.RootCAs, ServerName: "redis.example.com", MinVersion: tls.VersionTLS12}
	require.ErrorIs(t, refused(t, other), redisengine.ErrRefused, "another name")
	plain := optionsFor(t, "redis://"+server.Address())
	require.ErrorContains(t, refused(t, plain), "rediss://", "no TLS where TLS is spoken")
	unencrypted := redistest.Start(t)
	toPlain := optionsFor(t, "rediss://"+unencrypted.Address())
	toPlain.Timeout, toPlain.DialTimeout = 500*time.Millisecond, 500*time.Millisecond
	require.Error(t, refused(t, toPlain), "TLS where none is spoken")
}

func TestVersionTooOld(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	info, err := server.Client().InfoMap(t.Context(), "server").Result()
	require.NoError(t, err)
	version := info["Server"]["redis_version"]
	proxy := redistest.NewProxy(t, server.Address())
	proxy.Rewrite("redis_version:"+version, "redis_version:5"+version[1:])
	_, err = open(t, optionsFor(t, proxy.URL())).Inspect(t.Context())
	require.ErrorIs(t, err, redisengine.ErrTooOld)
	require.ErrorContains(t, err, "6.2 or newer")
}

// TestMemoryFull fills the server: writes are refused whole, and removing goes on.
func TestMemoryFull(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	options := optionsFor(t, server.URL())
	backend := open(t, options)
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("k", "before"), put("l", "x"), {Key: []byte("old"), Expires: time.Unix(1, 0)}}, Event: []byte("one")})
	server.Do("config", "set", "maxmemory", "1")
	for name, batch := range map[string]engine.Batch{
		"put":              {Puts: []engine.Put{put("k", "after")}},
		"delete and put":   {Deletes: [][]byte{[]byte("l")}, Puts: []engine.Put{put("k", "after")}, Event: []byte("two")},
		"event":            {Event: []byte("two")},
		"counter":          {Counters: []engine.Counter{{Key: []byte("n"), Max: 1}}},
		"counter and once": {Counters: []engine.Counter{{Key: []byte("n"), IdempotencyKey: []byte("o")}}, Deletes: [][]byte{[]byte("l")}},
	} {
		_, err := backend.Commit(t.Context(), "acme", &batch)
		require.ErrorIs(t, err, redisengine.ErrFull, name)
		require.ErrorIs(t, err, engine.ErrFull, name)
	}
	require.Equal(t, map[string]string{"k": "before", "l": "x", "old": ""}, contents(t, backend))
	position, err := backend.Position(t.Context(), "acme")
	require.NoError(t, err)
	require.EqualValues(t, 1, position)

	// What takes access away has room: the reserve, then what can be spared.
	reserve := options.Prefix + ":{acme}:r"
	require.EqualValues(t, 1, server.Do("exists", reserve))
	for i := range 3 {
		commit(t, backend, engine.Batch{Puts: []engine.Put{put("X", fmt.Sprint(i))}, Closes: true})
	}
	require.EqualValues(t, 0, server.Do("exists", reserve))
	require.Equal(t, map[string]string{"k": "before", "l": "x", "X": "2"}, contents(t, backend), "the expired entry was spared")
	commit(t, backend, engine.Batch{Deletes: [][]byte{[]byte("l"), []byte("X")}, Event: []byte("two")})
	commit(t, backend, engine.Batch{Puts: []engine.Put{{Key: []byte("old"), Expires: time.Unix(1, 0)}}, Closes: true})
	removed, err := backend.Sweep(t.Context(), "acme", time.Now(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, removed)
	require.Equal(t, map[string]string{"k": "before"}, contents(t, backend))
	server.Do("config", "set", "maxmemory", "0")
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("k", "after")}})
}

func contents(t testing.TB, backend engine.Engine) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, backend.View(t.Context(), "acme", func(s engine.Snapshot) error {
		for entry, err := range s.Scan(nil, nil) {
			require.NoError(t, err)
			found[string(entry.Key)] = string(entry.Value)
		}
		return nil
	}))
	return found
}

func TestReadOnlyReplica(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := master.StartReplica()
	options := optionsFor(t, master.URL())
	commit(t, open(t, options), engine.Batch{Puts: []engine.Put{put("k", "v")}})
	options.Addresses = []string{replica.Address()}
	backend := open(t, options)
	found, err := backend.Inspect(t.Context())
	require.NoError(t, err)
	require.Contains(t, riskOf(found, redisengine.RiskReadOnly), "is a replica")
	_, err = backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("k", "w")}})
	require.ErrorIs(t, err, redisengine.ErrReadOnly)
}

// TestEviction: a server that may drop counters counts nothing that has a bound.
func TestEviction(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	backend := open(t, optionsFor(t, server.URL()))
	found, err := backend.Inspect(t.Context())
	require.NoError(t, err)
	require.Contains(t, riskOf(found, redisengine.RiskEviction), "maxmemory-policy allkeys-lru")
	use := engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 1}}}
	_, err = backend.Commit(t.Context(), "acme", &use)
	require.ErrorIs(t, err, redisengine.ErrEviction)
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("k", "v")}})

	server.Do("config", "set", "maxmemory-policy", "noeviction")
	_, err = backend.Inspect(t.Context())
	require.NoError(t, err)
	commit(t, backend, use)
}

// riskOf returns the text of a risk, empty if the server does not have it.
func riskOf(found redisengine.Inspection, kind redisengine.RiskKind) string {
	for _, risk := range found.Risks {
		if risk.Kind == kind {
			return risk.Text
		}
	}
	return ""
}

func TestRisks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings []string
		want     string
		kind     redisengine.RiskKind
	}{
		"no file":             {nil, "appendonly yes", redisengine.RiskNotPersistent},
		"fsync by the system": {[]string{"--appendonly", "yes", "--appendfsync", "no"}, "appendfsync always, or everysec", redisengine.RiskNotPersistent},
		"fsync every second":  {[]string{"--appendonly", "yes", "--appendfsync", "everysec"}, "of the last second", redisengine.RiskSyncsLate},
		"fsync always":        {[]string{"--appendonly", "yes", "--appendfsync", "always"}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := open(t, optionsFor(t, redistest.Start(t, c.settings...).URL())).Inspect(t.Context())
			require.NoError(t, err)
			if c.want == "" {
				require.Empty(t, found.Risks)
				return
			}
			require.Len(t, found.Risks, 1)
			require.Contains(t, riskOf(found, c.kind), c.want)
		})
	}
}

// With ack_replicas a write that is on a replica survives a master that syncs late. When
// the replica is gone, every write fails, which the inspection says before the first one.
func TestMissingReplicaIsARisk(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	options := optionsFor(t, master.URL())
	options.AckReplicas = 1
	backend := open(t, options)
	inspect := func() redisengine.Inspection {
		found, err := backend.Inspect(t.Context())
		require.NoError(t, err)
		return found
	}
	require.Contains(t, riskOf(inspect(), redisengine.RiskReplicasMissing), "asks for 1 replicas and the Redis server has 0")
	replica := master.StartReplica()
	require.Eventually(t, func() bool { return len(inspect().Risks) == 0 }, 20*time.Second, 10*time.Millisecond)
	replica.Kill()
	require.Eventually(t, func() bool { return riskOf(inspect(), redisengine.RiskReplicasMissing) != "" }, 20*time.Second, 10*time.Millisecond)
}

// The clock of the server is ahead of the node's, or behind, by as much as the node's is
// wrong. The time of the answer is no difference.
func TestClockOfTheServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, wrong := range []time.Duration{0, 5 * time.Minute, -5 * time.Minute} {
		options := optionsFor(t, server.URL())
		options.Now = func() time.Time { return time.Now().Add(-wrong) }
		found, err := open(t, options).Inspect(t.Context())
		require.NoError(t, err)
		require.InDelta(t, wrong.Seconds(), found.ClockAhead.Seconds(), 2)
	}
}

// TestAcknowledgedByReplicas: what no replica has is not acknowledged.
func TestAcknowledgedByReplicas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := master.StartReplica()
	options := optionsFor(t, master.URL())
	options.AckReplicas, options.AckTimeout = 1, 300*time.Millisecond
	backend := open(t, options)
	use := engine.Batch{Counters: []engine.Counter{{Key: []byte("n"), Max: 1, IdempotencyKey: []byte("o")}}}
	// A replica acknowledges within its own time, however busy the machine is.
	require.Eventually(t, func() bool {
		_, err := backend.Commit(t.Context(), "acme", &use)
		return err == nil
	}, 20*time.Second, time.Millisecond)
	replica.Pause()
	_, err := backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("k", "v")}})
	require.ErrorIs(t, err, redisengine.ErrNotAcknowledged)
	// A replayed use is not acknowledged by a replica that does not have it.
	_, err = backend.Commit(t.Context(), "acme", &use)
	require.ErrorIs(t, err, redisengine.ErrNotAcknowledged)
	_, err = backend.Commit(t.Context(), "acme", &engine.Batch{Checks: []engine.Check{{Key: []byte("none"), Present: true}}})
	require.Equal(t, &engine.CheckError{Index: 0}, err, "a refused write needs no acknowledgement")
	replica.Resume()
	require.Eventually(t, func() bool {
		_, err := backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("k", "v")}})
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	backend := open(t, optionsFor(t, server.URL()))
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("k", "v")}})
	server.Kill()
	_, err := backend.Commit(t.Context(), "acme", &engine.Batch{Puts: []engine.Put{put("k", "v")}})
	require.ErrorIs(t, err, redisengine.ErrUnreachable)
	_, err = backend.Cursors(context.Background(), nil)
	require.ErrorIs(t, err, redisengine.ErrUnreachable)
	server.Start()
	commit(t, backend, engine.Batch{Puts: []engine.Put{put("k", "v")}})
}
