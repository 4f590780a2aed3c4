package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// chaosSite is gates over one form of store.
type chaosSite struct {
	*testing.T
	form   string
	seed   uint64
	random *rand.Rand
	nodes  []*server
	// bound is how long a gate may open a page after a removal was acknowledged.
	bound   time.Duration
	faults  []*chaosFault
	leftOut []string // faults that cannot be provoked here, with the reason
	results map[string]*chaosResult
	// failovers returns how often the store failed over, also without a fault, as where
	// Sentinels had to wait for a busy machine. Each may lose writes.
	failovers func() int
	// judged is the number of failovers of which all losses must have been noticed.
	judged int
	// describe says what is in the store of its losses, for failures of the test.
	describe func() string
	users    atomic.Int64
}

func (c *chaosSite) anyNode() *server { return c.nodes[c.random.IntN(len(c.nodes))] }

func (c *chaosSite) newUser() string { return fmt.Sprint("reader-", c.users.Add(1)) }

// durable are the settings of a Redis that keeps what it acknowledged.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"}

// chaosSettings are the settings of a gate.
const chaosSettings = "stale_for 3s\n\t\tstream_grace 1s"

func (c *chaosSite) startNodes(urls ...string) {
	c.Helper()
	for _, url := range urls {
		c.nodes = append(c.nodes, startNode(c.T, url, chaosSettings))
	}
	c.bound = chaosStaleFor + time.Second
	c.faults = append(c.faults, c.gateFaults()...)
}

// newChaosSingle starts three gates over a Redis. One reaches it through a proxy.
func newChaosSingle(c *chaosSite) {
	c.Helper()
	redis := redistest.New(c.T, durable...)
	disk, diskErr := newPrivateDisk(c.T, redis.Folder(), "512m", false)
	if diskErr == nil {
		redis.Prefix, redis.Root = disk.prefix, disk.root
	}
	clock, clockErr := newSteppedClock(c.T)
	if clockErr == nil {
		redis.Variables = clock.variables
	}
	redis.Start()
	proxy := redistest.NewProxy(c.T, redis.Address())
	c.startNodes(redis.URL(), redis.URL(), proxy.URL())
	c.faults = append(c.faults, redisFaults(redis)...)
	c.faults = append(c.faults, singleFaults(redis, proxy)...)
	c.faults = append(c.faults, startChaosKeeper(c, redis).faults()...)
	if c.offered(diskErr, "full disk of Redis") {
		c.faults = append(c.faults, fullRedisDisk(redis, disk))
	}
	if c.offered(clockErr, "clock of Redis steps") {
		c.faults = append(c.faults, clockSteps(clock))
	}
}

// offered notes what cannot be provoked here.
func (c *chaosSite) offered(err error, names ...string) bool {
	if err == nil {
		return true
	}
	for _, name := range names {
		c.leftOut = append(c.leftOut, fmt.Sprintf("%s: %s: %v", c.form, name, err))
	}
	return false
}

// newChaosCluster starts three gates over a Cluster of three masters. All that the clients
// write is on one of them.
func newChaosCluster(c *chaosSite) {
	c.Helper()
	masters := redistest.StartCluster(c.T, 3, durable...)
	url := strings.Join(redistest.ClusterURLs(masters), " ")
	c.startNodes(url, url, url)
	slot, _ := masters[0].Do("cluster", "keyslot", "gatefold:{default}:m").(int64)
	s := &chaosCluster{slot: slot, holder: masters[len(masters)*int(slot)/16384]}
	for _, master := range masters {
		if master != s.holder {
			s.others = append(s.others, master)
		}
	}
	c.faults = append(c.faults, s.faults()...)
}

// boltDisk is the size of the database's disk: in ten minutes a database grows to some 60 MiB, and
// needs as much again while it is compacted.
const boltDisk = "384m"

// newChaosBolt starts a gate with a database on a disk of its own.
func newChaosBolt(c *chaosSite) {
	c.Helper()
	node := newServer(c.T)
	folder := filepath.Join(node.dir, "disk")
	if err := os.Mkdir(folder, 0o700); err != nil {
		c.Fatal(err)
	}
	b := &chaosBolt{node: node, database: filepath.Join(folder, "gatefold.db")}
	disk, err := newPrivateDisk(c.T, folder, boltDisk, true)
	immutable := err
	if err != nil {
		disk, err = newPrivateDisk(c.T, folder, boltDisk, false)
	}
	b.file = b.database
	if err == nil {
		b.disk, b.file, node.prefix = disk, disk.path(b.database), disk.prefix
	}
	node.writeConfig(strings.Replace(node.configText(), "store bolt "+node.database(), "stream_grace 1s\n\t\tstore bolt "+b.database, 1))
	node.start()
	c.nodes = []*server{node}
	c.faults = append(c.gateFaults(), b.faults()...)
	if c.offered(err, "full disk", "removals on a full disk") {
		c.faults = append(c.faults, b.fullDisk(), b.fullDiskRemovals())
	}
	if c.offered(immutable, "read-only file") {
		c.faults = append(c.faults, b.readOnly())
	}
}
