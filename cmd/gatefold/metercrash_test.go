package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

const (
	meterLimit    = 5
	meterContents = 12
	meterRounds   = 6
)

// meterRun is one reader of a meter, whose programs open pages on all nodes while these are
// killed.
type meterRun struct {
	*testing.T
	nodes  []*server
	user   string
	token  string
	mu     sync.Mutex
	opened map[string]bool // by content: the page came
	lost   int             // requests without an answer
}

// ask asks for a content until the reader has the page or a denial.
func (m *meterRun) ask(content string, random *rand.Rand) error {
	for until := time.Now().Add(deadline); time.Now().Before(until); {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, m.nodes[random.IntN(len(m.nodes))].site+"/metered/"+content, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+m.token)
		response, err := (&http.Client{Timeout: deadline, Transport: linkcrashTransport}).Do(request)
		if err != nil {
			if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
				m.mu.Lock()
				m.lost++
				m.mu.Unlock()
			}
			time.Sleep(5 * time.Millisecond) // the node is down, and is asked again
			continue
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		switch {
		case response.StatusCode == http.StatusOK:
			m.mu.Lock()
			m.opened[content] = true
			m.mu.Unlock()
			return nil
		case response.StatusCode == http.StatusForbidden && strings.Contains(string(body), "meter_used_up"):
			return nil
		case response.StatusCode < http.StatusInternalServerError:
			return fmt.Errorf("%s: %d %s", content, response.StatusCode, body)
		}
	}
	return fmt.Errorf("%s: no answer in %v", content, deadline)
}

// run lets the programs open all contents, three at once each, while nodes are killed.
func (m *meterRun) run(random *rand.Rand) {
	m.Helper()
	var programs sync.WaitGroup
	for i := range 3 * meterContents {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		programs.Go(func() {
			time.Sleep(time.Duration(own.IntN(80)) * time.Millisecond) // they come one after the other
			if err := m.ask(fmt.Sprint("c", i%meterContents), own); err != nil {
				m.Error(err)
			}
		})
	}
	time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond) // the moment is one of the random choices
	for _, victim := range m.nodes[:1+random.IntN(len(m.nodes))] {
		victim.kill()
		victim.start()
	}
	programs.Wait()
	// A view that a killed node counted opens its content: those that were not answered are
	// asked for again by then, so that as many are open as are counted.
	if len(m.opened) != meterLimit {
		m.Errorf("%s opened %d contents, want %d", m.user, len(m.opened), meterLimit)
	}
	for _, node := range m.nodes {
		var explained admin.Explanation
		if status := node.api(http.MethodGet, "/management/explain?user="+m.user+"&url="+node.site+"/metered/other", "", &explained); status != http.StatusOK {
			m.Fatalf("explain: %d", status)
		}
		if d := explained.Decision; d.Reason != "meter_used_up" || d.Meter == nil || d.Meter.Used != meterLimit {
			m.Errorf("%s: %+v, %+v", m.user, d, d.Meter)
		}
	}
}

func runMeters(t *testing.T, nodes ...*server) {
	t.Helper()
	for _, node := range nodes {
		text, err := os.ReadFile(node.config)
		if err != nil {
			t.Fatal(err)
		}
		rule := fmt.Sprintf("rule /metered/{publisherContentId} metered free %d per month\n\t\trule / any", meterLimit)
		node.writeConfig(strings.Replace(string(text), "rule / any", rule, 1))
		node.start()
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random, lost := rand.New(rand.NewPCG(seed, 0)), 0
	for round := range meterRounds {
		user := fmt.Sprint("reader", round)
		m := &meterRun{T: t, nodes: nodes, user: user, token: nodes[0].readerToken(user), opened: map[string]bool{}}
		m.run(random)
		if lost += m.lost; t.Failed() {
			return
		}
	}
	t.Logf("%d requests were not answered", lost)
}

// A reader's programs open twelve articles at once, on three nodes over one Redis, of which
// some are killed. They have exactly five of them in the end, each as one view.
func TestMeterIsExactOverThreeKilledNodes(t *testing.T) {
	redis := redistest.Start(t)
	node := func() *server { return newNodeWith(t, redis.URL(), "", []byte("the same secret on all nodes\n")) }
	runMeters(t, node(), node(), node())
}

// The same with one node and its embedded database.
func TestMeterIsExactOnOneKilledNode(t *testing.T) {
	runMeters(t, newServer(t))
}
