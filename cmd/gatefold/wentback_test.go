package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// hasCondition reports whether a node shows a condition.
func (s *server) hasCondition(name string) bool {
	got, err := fetch("http://" + s.admin + "/gatefold/health")
	return err == nil && strings.Contains(got.body, `"name":"`+name+`"`)
}

// An operator removes a grant and revokes a link at one node, whose machine fails. Then the
// Redis, which has snapshots only, is killed, and comes back with the one from before. The
// grant and the link stay closed at the other nodes, which heard of the removals; the link
// with 50 uses opens not more than 50 pages; status says what was lost, until the operator
// accepts it on one node. A node that was down at that time finds the removals in its file.
func TestRedisRestartedFromASnapshot(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	nodes := []*server{startNode(t, redis.URL(), ""), startNode(t, redis.URL(), ""), startNode(t, redis.URL(), "")}
	ada := nodes[0].must("token", "reader", "--user", "ada")
	grant := subscribe(t, nodes, ada)
	link, id := nodes[0].countedLink(50)
	_, revoked := nodes[0].countedLink(5)
	var pages atomic.Int64
	use := func(n int) {
		for i := range n {
			if statusOf(nodes[1+i%2].site+link) == http.StatusOK {
				pages.Add(1)
			}
		}
	}
	use(10)
	redis.Do("save")

	nodes[0].must("grant", "remove", grant)
	nodes[0].must("link", "revoke", revoked)
	use(30)
	if pages.Load() != 40 {
		t.Fatalf("%d pages were delivered, want 40", pages.Load())
	}
	adaAt := func(node *server) int {
		got, err := fetch(node.site+"/articles/hello", "Authorization", "Bearer "+ada)
		if err != nil {
			return 0
		}
		return got.StatusCode
	}
	for _, node := range nodes {
		node.waitFor("the grant is removed", func() bool { return adaAt(node) == http.StatusForbidden })
	}
	nodes[0].kill()

	stop := make(chan struct{})
	var group sync.WaitGroup
	for _, node := range nodes[1:] {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if adaAt(node) == http.StatusOK {
					t.Error("the removed grant opens a page")
					return
				}
			}
		})
	}
	redis.Kill()
	redis.Start()
	use(60)
	for _, node := range nodes[1:] {
		node.waitFor("the loss is shown", func() bool { return node.hasCondition("store_went_back") })
		node.waitFor("the node decides", func() bool { return adaAt(node) == http.StatusForbidden })
	}
	use(20)
	nodes[0].start()
	nodes[0].waitFor("the loss is shown", func() bool { return nodes[0].hasCondition("store_went_back") })
	nodes[0].waitFor("the node decides", func() bool { return adaAt(nodes[0]) == http.StatusForbidden })
	// One of the nodes that learned of the removals makes them again: the first that is there.
	again := slices.ContainsFunc(nodes, func(node *server) bool {
		return strings.Contains(node.command("status").stdout, "removals and revocations again")
	})
	status := nodes[1].command("status")
	if !again || status.code != 1 || !strings.Contains(status.stdout, "store_went_back") || !strings.Contains(status.stdout, "came back with write") {
		t.Errorf("status exits with %d: %s", status.code, status.stdout)
	}
	if pages.Load() > 50 {
		t.Errorf("%d pages of 50 were delivered", pages.Load())
	}
	if shown := nodes[1].must("link", "show", revoked); !strings.Contains(shown, "revoked") {
		t.Errorf("the link is not revoked any more: %s", shown)
	}
	close(stop)
	group.Wait()

	accepted := nodes[2].must("store", "accept-loss")
	if !strings.Contains(accepted, "accepted") || !strings.Contains(accepted, "default: writes ") {
		t.Errorf("store accept-loss says %s", accepted)
	}
	for _, node := range nodes {
		node.waitFor("the loss is accepted", func() bool { return !node.hasCondition("store_went_back") })
		if got := adaAt(node); got != http.StatusForbidden {
			t.Errorf("after the acceptance the removed grant is answered %d", got)
		}
	}
	nodes[1].waitFor("the link opens", func() bool { return statusOf(nodes[1].site+link) == http.StatusOK })
	if uses := nodes[1].usesOf(id); uses < 11 {
		t.Errorf("%d uses are counted", uses)
	}
	if again := nodes[2].must("store", "accept-loss"); !strings.Contains(again, "lost nothing") {
		t.Errorf("accepting again says %s", again)
	}
}

// The only node is stopped, its Redis comes back with a snapshot, and the node starts: it runs,
// makes the removal again, and says what was lost.
func TestStartAfterALoss(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	node := startNode(t, redis.URL(), "")
	ada := node.must("token", "reader", "--user", "ada")
	grant := subscribe(t, []*server{node}, ada)
	redis.Do("save")
	node.must("grant", "remove", grant)
	node.waitFor("the node knows of the removal over a restart", func() bool {
		files, _ := filepath.Glob(filepath.Join(node.dir, "caddy", "gatefold", "redis-*.json"))
		return slices.ContainsFunc(files, func(name string) bool {
			content, err := os.ReadFile(name)
			return err == nil && strings.Contains(string(content), `"default":[{"key"`)
		})
	})
	node.kill()
	redis.Kill()
	redis.Start()
	node.start()
	node.waitFor("the loss is shown", func() bool { return node.hasCondition("store_went_back") })
	node.waitFor("the node decides", func() bool {
		got, err := fetch(node.site+"/articles/hello", "Authorization", "Bearer "+ada)
		if err == nil && got.StatusCode == http.StatusOK {
			t.Fatal("the removed grant opens a page")
		}
		return err == nil && got.StatusCode == http.StatusForbidden
	})
}

// A node starts while a part of its Cluster is away: it runs, and works once that is back.
func TestStartBesideAClusterThatIsNotWhole(t *testing.T) {
	t.Parallel()
	master := redistest.StartCluster(t, 1)[0]
	slot := master.Do("cluster", "keyslot", "gatefold:{_system}:m")
	master.Do("config", "set", "cluster-require-full-coverage", "no")
	master.Do("cluster", "delslots", slot)
	node := startNode(t, redistest.ClusterURLs([]*redistest.Server{master})[0], "")
	master.Do("cluster", "addslots", slot)
	node.waitFor("the node works", func() bool { return node.command("token", "reader", "--user", "ada").code == 0 })
	subscribe(t, []*server{node}, node.must("token", "reader", "--user", "ada"))
}

// The Redis is emptied under running nodes: it says ok to everything, and has no record. The
// nodes say that it went back.
func TestRedisEmptied(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	nodes := []*server{startNode(t, redis.URL(), ""), startNode(t, redis.URL(), "")}
	link, _ := nodes[0].countedLink(5)
	if got := statusOf(nodes[1].site + link); got != http.StatusOK {
		t.Fatalf("the link is answered %d", got)
	}
	redis.Do("flushall")
	for _, node := range nodes {
		node.waitFor("the loss is shown", func() bool { return node.hasCondition("store_went_back") })
		if got := statusOf(node.site + link); got == http.StatusOK {
			t.Error("the link opens a page without its record")
		}
	}
	nodes[0].must("store", "accept-loss")
	for _, node := range nodes {
		node.waitFor("the loss is accepted", func() bool { return !node.hasCondition("store_went_back") })
	}
	fresh, _ := nodes[0].countedLink(1)
	nodes[1].waitFor("a new link opens", func() bool { return statusOf(nodes[1].site+fresh) == http.StatusOK })
}

// The Redis is frozen: it takes requests and answers none. From the first reader on, a counted
// link is answered 503 within redeem_timeout and a little, and once the node knows, at once.
// When the Redis goes on, it reads what was sent to it, and counts none of the uses.
func TestFrozenRedisKeepsNoReaderWaiting(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	node := startNode(t, redis.URL(), "")
	link, id := node.countedLink(50)
	pages := 0
	for range 5 {
		if statusOf(node.site+link) == http.StatusOK {
			pages++
		}
	}
	var longest atomic.Int64
	ask := func() {
		began := time.Now()
		if got := statusOf(node.site + link); got != http.StatusServiceUnavailable {
			t.Errorf("with a frozen Redis the link is answered %d", got)
		}
		longest.Store(max(longest.Load(), int64(time.Since(began))))
	}
	redis.Pause()
	var group sync.WaitGroup
	for range 20 {
		group.Go(ask)
	}
	group.Wait()
	first := time.Duration(longest.Swap(0))
	for range 20 {
		ask()
	}
	later := time.Duration(longest.Load())
	t.Logf("the first twenty readers waited %v at most, the next %v", first, later)
	if first > 3*time.Second || later > time.Second { // quiet machines: 0.5 s, 2 ms
		t.Errorf("readers waited %v, and %v", first, later)
	}
	redis.Resume()
	node.waitFor("the link opens again", func() bool {
		if statusOf(node.site+link) != http.StatusOK {
			return false
		}
		pages++
		return true
	})
	if uses := node.usesOf(id); uses != pages {
		t.Errorf("%d uses are counted, and %d pages were delivered", uses, pages)
	}
}
