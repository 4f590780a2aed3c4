package main

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// chaosFault breaks something and mends it.
type chaosFault struct {
	name  string
	loses chaosLoss
	// killsStore: it is one of the kills that -chaos.kills counts.
	killsStore bool
	provoke    func(*chaosRound)
}

// chaosLoss is whether a fault makes the store lose writes that it acknowledged. What is
// lost must be reported, and what is not must not be.
type chaosLoss int

const (
	losesNothing chaosLoss = iota
	mayLose
	losesAlways
)

// chaosWait is far more than redeem_timeout for each of two calls, which a reader may wait
// on a quiet machine.
const chaosWait = 4 * time.Second

// hold lets a fault last.
func (r *chaosRound) hold() { r.rest(r.random, 1500, 3000) }

// gateFaults are faults of a gate.
func (c *chaosSite) gateFaults() []*chaosFault {
	return []*chaosFault{
		{name: "kill -9 of a gate", provoke: func(r *chaosRound) {
			victim := r.anyNode()
			victim.kill()
			victim.start()
		}},
		{name: "SIGSTOP of a gate", provoke: func(r *chaosRound) {
			victim := r.anyNode().process.Process
			_ = victim.Signal(syscall.SIGSTOP)
			r.hold()
			_ = victim.Signal(syscall.SIGCONT)
		}},
		{name: "SIGTERM of a gate", provoke: func(r *chaosRound) {
			victim := r.anyNode()
			victim.stop()
			victim.start()
		}},
	}
}

// redisFaults are faults of the Redis that has the records, without a replica.
func redisFaults(redis *redistest.Server) []*chaosFault {
	return []*chaosFault{
		{name: "kill -9 of Redis", killsStore: true, provoke: func(*chaosRound) {
			redis.Kill()
			redis.Start()
		}},
		{name: "Redis away for seconds", provoke: func(r *chaosRound) {
			redis.Kill()
			r.hold()
			redis.Start()
		}},
		{name: "SIGSTOP of Redis", provoke: func(r *chaosRound) {
			redis.Pause()
			r.hold()
			redis.Resume()
			if waited := time.Duration(r.longest.Load()); waited > chaosWait {
				r.violation("a reader waited %v for a 503", waited)
			}
		}},
		{name: "snapshot rollback", loses: losesAlways, provoke: func(r *chaosRound) {
			copied := redis.CopyFiles()
			r.waitForWrites(10)
			redis.Kill()
			redis.PutBack(copied)
			redis.Start()
		}},
		{name: "FLUSHALL", loses: losesAlways, provoke: func(*chaosRound) { redis.Do("flushall") }},
	}
}

// singleFaults are those of a Redis alone, and of the way to it.
func singleFaults(redis *redistest.Server, proxy *redistest.Proxy) []*chaosFault {
	return []*chaosFault{
		{name: "connections to Redis cut", provoke: func(r *chaosRound) {
			for range 5 {
				proxy.Cut()
				r.rest(r.random, 50, 400)
			}
		}},
		{name: "a gate cut off from Redis", provoke: func(r *chaosRound) {
			proxy.Refuse(true)
			r.hold()
			proxy.Refuse(false)
		}},
		{name: "connections to Redis silent", provoke: func(r *chaosRound) {
			proxy.Freeze()
			r.hold()
		}},
		{name: "memory of Redis full", provoke: func(r *chaosRound) { fullMemory(r, redis) }},
		{name: "Redis evicts records", loses: mayLose, provoke: func(r *chaosRound) { eviction(r, redis) }},
		{name: "reload to a Redis that is not there", provoke: func(r *chaosRound) { badReload(r, r.nodes[0], redis.URL()) }},
	}
}

// fullMemory gives a Redis less memory than it uses. Changes that give are refused, and
// those that take away are made.
func fullMemory(r *chaosRound, redis *redistest.Server) {
	r.Helper()
	var removed []*chaosRecord
	for len(removed) < 2*len(r.nodes) {
		if record, _ := r.ledger.create(r.anyNode(), len(removed)%2 == 0, r.newUser()); record != nil {
			removed = append(removed, record)
		}
	}
	redis.Do("config", "set", "maxmemory", r.usedMemory(redis)*3/4)
	defer redis.Do("config", "set", "maxmemory", 0)
	for i, node := range r.nodes {
		r.full(node)
		for _, record := range removed[2*i : 2*i+2] {
			if record.removal == kept && !r.ledger.remove(node, record) {
				r.violation("%s cannot be removed while the memory is full", record.path)
			}
		}
	}
	r.hold()
}

// full waits until a node has no room for a grant, and says so.
func (r *chaosRound) full(node *server) {
	r.Helper()
	r.waitFor("a grant is answered 507", func() bool {
		status, text := node.call(http.MethodPost, chaosGrants, fmt.Sprintf(`{"userId":%q,"sku":"premium"}`, r.newUser()))
		r.answers.Store(node, fmt.Sprintf("%d %s", status, text))
		return status == http.StatusInsufficientStorage
	})
}

func (r *chaosRound) usedMemory(redis *redistest.Server) int {
	r.Helper()
	info, err := redis.Client().Info(context.Background(), "memory").Result()
	used, parseErr := strconv.Atoi(regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(info)[1])
	if err != nil || parseErr != nil {
		r.Fatal(err, parseErr)
	}
	return used
}

// eviction gives a Redis less memory than it uses, and lets it evict, until the gates say so.
func eviction(r *chaosRound, redis *redistest.Server) {
	r.Helper()
	redis.Do("config", "set", "maxmemory-policy", "allkeys-lru")
	redis.Do("config", "set", "maxmemory", r.usedMemory(redis)-r.random.IntN(128<<10)) // some keys, or most of them
	r.hold()
	for _, node := range r.nodes {
		r.waitFor("redis_evicts is shown", func() bool { return node.hasCondition("redis_evicts") })
	}
	redis.Do("config", "set", "maxmemory-policy", "noeviction")
	redis.Do("config", "set", "maxmemory", 0)
}

// badReload reloads a gate to a Redis at a wrong port, which is refused.
func badReload(r *chaosRound, node *server, url string) {
	r.Helper()
	text := node.configText()
	node.writeConfig(strings.Replace(text, url, "redis://127.0.0.1:"+keystest.FreePort(r.T), 1))
	defer node.writeConfig(text)
	if got := runCommand(r.T, node.dir, node.environment(), "reload", "--config", node.config, "--address", node.admin); got.code == 0 {
		r.violation("a reload to a Redis that is not there succeeds")
	}
	if got := statusOf(node.site + "/"); got != http.StatusOK {
		r.violation("after it the site answers %d", got)
	}
}

// fullRedisDisk fills the disk of a Redis, which ends: it cannot keep what it acknowledges.
func fullRedisDisk(redis *redistest.Server, disk *privateDisk) *chaosFault {
	return &chaosFault{name: "full disk of Redis", provoke: func(r *chaosRound) {
		free, err := disk.fill()
		if err != nil {
			r.Fatal(err)
		}
		r.hold()
		free()
		redis.Kill()
		redis.Start()
	}}
}

// clockSteps sets the clock of Redis six minutes ahead or back, until the gates say so, and
// right again. For a gate that is the same as its own being wrong.
func clockSteps(clock *steppedClock) *chaosFault {
	return &chaosFault{name: "clock of Redis steps by 6 minutes", provoke: func(r *chaosRound) {
		step := []time.Duration{6 * time.Minute, -6 * time.Minute}[r.random.IntN(2)]
		set := func(to time.Duration) {
			if err := clock.ahead(to); err != nil {
				r.Fatal(err)
			}
		}
		set(step)
		for _, node := range r.nodes {
			r.waitFor("clock_stopped is shown", func() bool { return node.hasCondition("clock_stopped") })
			if status, text := node.call(http.MethodPost, "/management/create-signed-link", `{"sku":"premium"}`); status != http.StatusServiceUnavailable {
				r.violation("with a clock that is %v off a link is signed: %d %s", step, status, text)
			}
		}
		set(0)
	}}
}

// chaosCluster is a Cluster, one master of which has the records of the clients.
type chaosCluster struct {
	slot   int64
	holder *redistest.Server
	others []*redistest.Server
}

func (s *chaosCluster) faults() []*chaosFault {
	faults := redisFaults(s.holder)
	for _, fault := range faults {
		fault.name = strings.Replace(fault.name, "Redis", "the vendor's master", 1)
	}
	faults = append(faults,
		&chaosFault{name: "kill -9 of another master", provoke: func(r *chaosRound) {
			other := s.others[r.random.IntN(len(s.others))]
			other.Kill()
			r.hold()
			other.Start()
		}},
		&chaosFault{name: "the vendor's slot moves and comes back", provoke: func(r *chaosRound) {
			other := s.others[r.random.IntN(len(s.others))]
			all := append([]*redistest.Server{s.holder}, s.others...)
			pause := func() { r.rest(r.random, 10, 60) }
			redistest.MoveSlot(r.T, s.slot, s.holder, other, all, pause)
			r.rest(r.random, 200, 500)
			redistest.MoveSlot(r.T, s.slot, other, s.holder, all, pause)
		}},
	)
	for _, fault := range faults {
		provoke := fault.provoke
		fault.provoke = func(r *chaosRound) {
			s.together(r)
			provoke(r)
		}
	}
	return faults
}

// together waits until each master sees the whole Cluster, after an earlier fault.
func (s *chaosCluster) together(r *chaosRound) {
	r.Helper()
	for _, master := range append([]*redistest.Server{s.holder}, s.others...) {
		r.waitFor("the Cluster is whole", func() bool {
			info, err := master.Client().ClusterInfo(context.Background()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_pfail:0")
		})
	}
}
