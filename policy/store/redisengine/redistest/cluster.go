package redistest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// StartCluster starts a Cluster of masters, among which the slots are divided.
func StartCluster(t testing.TB, masters int, settings ...string) []*Server {
	t.Helper()
	const slots = 16384
	nodes := make([]*Server, masters)
	for i := range nodes {
		nodes[i] = startNode(t, settings...)
	}
	for i, node := range nodes {
		node.Do("cluster", "addslotsrange", slots*i/masters, slots*(i+1)/masters-1)
		node.Do("cluster", "set-config-epoch", i+1)
	}
	for _, node := range nodes[1:] {
		nodes[0].Do("cluster", "meet", "127.0.0.1", node.Port, node.bus)
	}
	for _, node := range nodes {
		require.Eventually(t, func() bool {
			info, err := node.Client().ClusterInfo(context.Background()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", masters))
		}, 60*time.Second, 50*time.Millisecond, "the cluster does not come together")
	}
	return nodes
}

// startNode starts a node of a Cluster, which knows no others.
func startNode(t testing.TB, settings ...string) *Server {
	t.Helper()
	bus := freePort(t)
	node := Start(t, append([]string{
		"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "15000", "--cluster-port", strconv.Itoa(bus),
	}, settings...)...)
	node.bus = bus
	return node
}

// ClusterURLs returns the addresses of nodes.
func ClusterURLs(nodes []*Server) []string {
	urls := make([]string, len(nodes))
	for i, node := range nodes {
		urls[i] = "redis+cluster://" + node.Address()
	}
	return urls
}

// NodeID returns the name of a node in its Cluster.
func (s *Server) NodeID() string {
	s.t.Helper()
	id, _ := s.Do("cluster", "myid").(string)
	return id
}

// MoveSlot moves a slot with all that is in it from one node to another, key by key
// while both are in use. between is called after every key.
func MoveSlot(t testing.TB, slot int64, from, to *Server, others []*Server, between func()) {
	t.Helper()
	to.Do("cluster", "setslot", slot, "importing", from.NodeID())
	from.Do("cluster", "setslot", slot, "migrating", to.NodeID())
	for {
		keys, _ := from.Do("cluster", "getkeysinslot", slot, 1).([]any)
		if len(keys) == 0 {
			break
		}
		from.Do("migrate", "127.0.0.1", to.Port, keys[0], 0, 10000)
		between()
	}
	for _, node := range append([]*Server{to, from}, others...) {
		node.Do("cluster", "setslot", slot, "node", to.NodeID())
	}
}

// StartSentinels starts Sentinels that watch over a master, and promote one of its
// replicas when it fails.
func StartSentinels(t testing.TB, name string, master *Server, count int) []*Server {
	t.Helper()
	sentinels := make([]*Server, count)
	for i := range sentinels {
		s := &Server{t: t, Port: freePort(t), folder: t.TempDir()}
		t.Cleanup(s.Kill)
		path := s.WriteFile("sentinel.conf", fmt.Appendf(nil, `port %d
bind 127.0.0.1
dir %s
sentinel monitor %s 127.0.0.1 %d %d
sentinel down-after-milliseconds %s 1000
sentinel failover-timeout %s 5000
`, s.Port, s.folder, name, master.Port, count/2+1, name, name))
		s.args = []string{path, "--sentinel"}
		s.Start()
		sentinels[i] = s
	}
	for _, s := range sentinels {
		require.Eventually(t, func() bool {
			info, err := s.Client().Info(context.Background(), "sentinel").Result()
			return err == nil && strings.Contains(info, "status=ok,") && !strings.Contains(info, "slaves=0,") && strings.Contains(info, fmt.Sprintf(",sentinels=%d", count))
		}, 60*time.Second, 50*time.Millisecond, "the sentinels do not find each other")
	}
	return sentinels
}

// AddReplica starts a replica of one node of a Cluster.
func AddReplica(t testing.TB, master *Server, settings ...string) *Server {
	t.Helper()
	replica := startNode(t, append([]string{"--repl-diskless-sync-delay", "0"}, settings...)...)
	replica.Do("cluster", "meet", "127.0.0.1", master.Port, master.bus)
	require.Eventually(t, func() bool {
		return replica.Client().Do(context.Background(), "cluster", "replicate", master.NodeID()).Err() == nil
	}, 60*time.Second, 50*time.Millisecond, "the replica does not find its master")
	replica.WaitForSync()
	return replica
}
