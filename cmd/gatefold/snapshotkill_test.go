package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

var snapshotKills = flag.Int("snapshot.kills", 4, "how often TestKilledWhileASnapshotIsWritten kills the node")

// hasMetric reports whether a node has a series with a value.
func (s *server) hasMetric(series string, value int) bool {
	got, err := fetch("http://" + s.admin + "/metrics")
	return err == nil && strings.Contains(got.body, fmt.Sprintln(series, value))
}

// tables returns the names of the tables of the snapshots.
func (s *server) tables() string {
	files, _ := filepath.Glob(filepath.Join(s.dir, "caddy", "gatefold", "snapshots", "*", "*.table"))
	return strings.Join(files, " ")
}

// unfinished returns the files of a snapshot that are being written, or were left.
func (s *server) unfinished() []string {
	files, _ := filepath.Glob(filepath.Join(s.dir, "caddy", "gatefold", "snapshots", "*", "new-*"))
	return files
}

// A node is killed again and again, at random moments and in those in which it writes its
// snapshot, and starts while its Redis is away. It has a whole snapshot, the old or the new one,
// or none: its reader is answered 200 or 503, one whose grant was removed and strangers never
// 200. What the killed process left is removed, and the node goes on with the Redis.
func TestKilledWhileASnapshotIsWritten(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	proxy := redistest.NewProxy(t, redis.Address())
	other, node := startNode(t, redis.URL(), ""), startNode(t, proxy.URL(), "stale_for 10m")
	importMany := func(name string) {
		t.Helper()
		rows := new(strings.Builder)
		rows.WriteString("userId,sku\n")
		for i := range 600 {
			fmt.Fprintf(rows, "%s-%d,premium\n", name, i)
		}
		other.must("grant", "import", other.write(name+".csv", rows.String()))
	}
	tokens := map[string]string{}
	for _, user := range []string{"ada", "eve", "stranger"} {
		tokens[user] = other.must("token", "reader", "--user", user)
	}
	at := func(user string) int {
		got, err := fetch(node.site+"/articles/hello", "Authorization", "Bearer "+tokens[user])
		if err != nil {
			return 0
		}
		return got.StatusCode
	}
	other.must("grant", "add", "--user", "ada", "--sku", "premium")
	for i := range 10 {
		importMany(fmt.Sprint("first", i))
	}
	usable, writing := 0, 0
	for round := range *snapshotKills {
		var grant struct{ ID string }
		decode(t, other.must("grant", "add", "--user", "eve", "--sku", "premium", "--json"), &grant)
		node.waitFor("the grant counts", func() bool { return at("eve") == http.StatusOK })
		before := node.tables()
		importMany(fmt.Sprint("with-", round)) // so many changes that the tables are written again
		node.waitFor("the snapshot has the grant", func() bool { return node.tables() != before && node.hasMetric("gatefold_snapshot_usable", 1) })
		other.must("grant", "remove", grant.ID)
		node.waitFor("the removal holds", func() bool { return at("eve") == http.StatusForbidden })
		importMany(fmt.Sprint("without-", round))
		moment := time.After(time.Duration(rand.IntN(3000)) * time.Millisecond)
		node.waitFor("the moment", func() bool {
			if round%2 == 0 && len(node.unfinished()) > 0 {
				return true
			}
			select {
			case <-moment:
				return true
			default:
				return false
			}
		})
		node.kill()
		proxy.Refuse(true)
		left := len(node.unfinished())
		if left > 0 {
			writing++
		}
		node.start()
		switch status := at("ada"); status {
		case http.StatusOK:
			usable++
		case http.StatusServiceUnavailable:
		default:
			t.Fatalf("round %d: the reader is answered %d", round, status)
		}
		for _, user := range []string{"eve", "stranger"} {
			if status := at(user); status != http.StatusForbidden && status != http.StatusServiceUnavailable {
				t.Fatalf("round %d: %s is answered %d", round, user, status)
			}
		}
		if left > 0 {
			node.waitFor("what was left is removed", func() bool { return len(node.unfinished()) == 0 })
		}
		proxy.Refuse(false)
		node.waitFor("the Redis decides", func() bool {
			return node.hasMetric(`gatefold_store_state{state="following"}`, 1) && at("ada") == http.StatusOK && at("eve") == http.StatusForbidden
		})
	}
	if usable == 0 {
		t.Error("no snapshot could be used")
	}
	t.Logf("%d kills, %d while a table was written, after %d the snapshot was used", *snapshotKills, writing, usable)
}
