package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// chaosSentinel is a master, its replica and three Sentinels. The two change their places.
type chaosSentinel struct {
	master, replica *redistest.Server
	sentinels       []*redistest.Server
}

func newChaosSentinel(c *chaosSite) {
	c.Helper()
	s := &chaosSentinel{master: redistest.Start(c.T, durable...)}
	s.replica = redistest.Start(c.T, append([]string{"--replicaof", "127.0.0.1", fmt.Sprint(s.master.Port)}, durable...)...)
	s.replica.WaitForSync()
	s.sentinels = redistest.StartSentinels(c.T, "gate", s.master, 3)
	var urls []string
	for _, sentinel := range s.sentinels {
		urls = append(urls, "redis+sentinel://"+sentinel.Address()+"/gate")
	}
	url := strings.Join(urls, " ")
	c.startNodes(url, url, url)
	c.faults = append(c.faults, s.faults()...)
	c.failovers, c.describe = s.failovers, s.describe
	for _, fault := range c.faults {
		provoke := fault.provoke
		fault.provoke = func(r *chaosRound) {
			s.settled(r) // the Sentinels may have failed over since the last fault
			provoke(r)
		}
	}
}

// faults of a master with a replica and Sentinels.
func (s *chaosSentinel) faults() []*chaosFault {
	return []*chaosFault{
		{name: "kill -9 of the master", loses: mayLose, killsStore: true, provoke: func(r *chaosRound) {
			s.master.Kill()
			s.promoted(r)
		}},
		{name: "SIGSTOP of the master", loses: mayLose, provoke: func(r *chaosRound) {
			s.master.Pause()
			r.waitFor("the replica is promoted", func() bool { return isMaster(s.replica) })
			s.master.Resume()
			s.promoted(r)
		}},
		{name: "failover that loses writes", loses: losesAlways, provoke: func(r *chaosRound) {
			s.replica.Pause()
			s.master.Do("client", "kill", "type", "replica")
			r.waitForWrites(10)
			s.master.Kill()
			s.replica.Resume()
			s.promoted(r)
		}},
		{name: "failover by order", loses: mayLose, provoke: func(r *chaosRound) {
			s.sentinels[r.random.IntN(len(s.sentinels))].Do("sentinel", "failover", "gate")
			s.promoted(r)
		}},
		{name: "kill -9 of the replica", provoke: func(r *chaosRound) {
			s.replica.Kill()
			r.hold()
			s.replica.Start()
			s.settled(r)
		}},
		{name: "kill -9 of a Sentinel", provoke: func(r *chaosRound) {
			sentinel := s.sentinels[r.random.IntN(len(s.sentinels))]
			sentinel.Kill()
			r.hold()
			sentinel.Start()
		}},
	}
}

func isMaster(server *redistest.Server) bool {
	info, err := server.Client().Info(context.Background(), "replication").Result()
	return err == nil && strings.Contains(info, "role:master")
}

// promoted waits until the replica is the master, and makes the former master its replica.
func (s *chaosSentinel) promoted(r *chaosRound) {
	r.Helper()
	r.waitFor("the replica is promoted", func() bool { return isMaster(s.replica) })
	if !s.master.Runs() {
		s.master.Start()
	}
	s.master.Do("replicaof", "127.0.0.1", s.replica.Port)
	s.settled(r)
}

// settled waits until the Sentinels agree on the master, which may not be the one that it was,
// and the other server follows it.
func (s *chaosSentinel) settled(r *chaosRound) {
	r.Helper()
	redistest.WhileMoving(r.T, fmt.Sprintf("%s: %s: the Sentinels agree, and the replica follows (-chaos.seed %d)", r.form, r.fault.name, r.seed), func() (bool, string) {
		port, state := s.agreed()
		switch port {
		case s.master.Port:
		case s.replica.Port:
			s.master, s.replica = s.replica, s.master
		default:
			return false, state
		}
		connected, progress := s.replica.Follows()
		state += progress
		if !strings.Contains(progress, fmt.Sprint("master_port:", s.master.Port)) {
			s.replica.Do("replicaof", "127.0.0.1", s.master.Port)
			return false, state
		}
		return connected && isMaster(s.master), state
	})
}

// agreed returns the port of the server that all Sentinels take for the master and see up,
// zero if there is none.
func (s *chaosSentinel) agreed() (port int, state string) {
	found := map[string]bool{}
	var text strings.Builder
	for _, known := range s.known() {
		fmt.Fprintf(&text, "%s %s, %s replicas, epoch %s; ", known["port"], known["flags"], known["num-slaves"], known["config-epoch"])
		if found[known["port"]] = true; known["flags"] != "master" || known["num-slaves"] != "1" {
			found[""] = true
		}
	}
	if len(found) == 1 {
		for one := range found {
			port, _ = strconv.Atoi(one)
		}
	}
	return port, text.String()
}

// known returns what each Sentinel knows of the master.
func (s *chaosSentinel) known() []map[string]string {
	all := make([]map[string]string, 0, len(s.sentinels))
	for _, sentinel := range s.sentinels {
		ask := redis.NewMapStringStringCmd(context.Background(), "sentinel", "master", "gate")
		_ = sentinel.Client().Process(context.Background(), ask) // nothing is known of one that does not answer
		all = append(all, ask.Val())
	}
	return all
}

// failovers is the newest epoch that a Sentinel knows: each failover has its own.
func (s *chaosSentinel) failovers() int {
	newest := 0
	for _, known := range s.known() {
		epoch, _ := strconv.Atoi(known["config-epoch"])
		newest = max(newest, epoch)
	}
	return newest
}

// describe says what the two servers have of each partition.
func (s *chaosSentinel) describe() string {
	var text strings.Builder
	_, state := s.agreed()
	fmt.Fprintln(&text, "Sentinels:", state)
	for _, server := range []*redistest.Server{s.master, s.replica} {
		_, progress := server.Follows()
		fmt.Fprintf(&text, "%d: %s\n", server.Port, progress)
		names, _ := server.Client().ZRange(context.Background(), "gatefold:partitions", 0, -1).Result()
		for _, name := range names {
			meta, err := server.Client().HMGet(context.Background(), "gatefold:{"+name+"}:m", "gen", "rev", "last", "lost").Result()
			fmt.Fprintf(&text, "%d: %s: generation, revision, newest, lost: %q %v\n", server.Port, name, meta, err)
		}
	}
	return text.String()
}
