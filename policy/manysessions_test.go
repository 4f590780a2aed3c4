package policy

import (
	"context"
	"runtime"
	"testing"
	"time"
)

// newReaders are sessions of as many readers as there are ids, without a map of them.
type newReaders struct{ ends time.Time }

func (n newReaders) LoginSession(_ context.Context, _, id string) (LoginSession, error) {
	user := "reader-" + id[:16]
	return LoginSession{Reader: Reader{UserID: user, Email: user + "@example.com"}, Origin: loginOrigin, EndsAt: n.ends, DueAt: n.ends}, nil
}

// The readers of a newspaper have 100,000 sessions, all in use: what the gate keeps of them, with
// what their readers were granted, is in 48 MiB of memory, but for a few that share their place with others.
func TestManySessionsInMemory(t *testing.T) {
	const sessions, most = 100_000, 48 << 20
	env := newTestEnv(t)
	var err error
	env.policy, err = New(Options{Records: env.records, Versions: new(Versions), Operators: StandardOperators(), CacheBytes: 64 << 20, Now: env.now, KeySets: env.sets})
	must(t, err)
	t.Cleanup(env.policy.Close)
	tickets := NewTickets([32]byte{7}, "acme", "news")
	verifier := NewSessionVerifier(tickets, newReaders{env.now().Add(time.Hour)}, "acme", loginOrigin, func(string) {})
	all := make([]string, sessions)
	for i := range all {
		all[i], _ = tickets.New()
	}
	before := heap()
	read := func() (known int) {
		hits := env.policy.counts.readerTokens.hits.Load()
		for _, ticket := range all {
			reader, err := env.policy.SessionReader(context.Background(), verifier, ticket, env.now())
			must(t, err)
			r := &Request{Site: env.site, Method: "GET", EscapedPath: "/gold", Reader: reader, Now: env.now()}
			if decision := env.policy.Decide(context.Background(), r); decision.Reason != ReasonNotEntitled {
				t.Fatal(decision.Reason, decision.Err)
			}
		}
		return int(env.policy.counts.readerTokens.hits.Load() - hits)
	}
	read()
	env.waitForCaches()
	known := read()
	used := heap() - before
	t.Logf("%d of %d sessions are known from memory, in %.1f MiB", known, sessions, float64(used)/(1<<20))
	if known < sessions*99/100 || used > most {
		t.Errorf("%d of %d sessions are known from memory, in %d bytes", known, sessions, used)
	}
	runtime.KeepAlive(all)
}

// heap is the memory that Go has from the system for its heap and uses, after a collection.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse) //nolint:gosec // it fits
}
