package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// These tests record what clients saw of counted links while nodes are killed, and check
// that the histories are linearizable: that all of them can be explained by one counter
// with a maximum that can be revoked, each operation of which takes effect at one moment
// between its request and its response.

var (
	linearizableFor  = flag.Duration("linearizable.for", 6*time.Second, "how long each test of linearizability makes histories")
	linearizableSeed = flag.Uint64("linearizable.seed", 0, "seed of the clients' choices; 0: the time")
)

// linkOp is an operation on a link.
type linkOp string

const (
	opRedeem linkOp = "redeem"
	opRevoke linkOp = "revoke"
	opRead   linkOp = "read"
)

// linkInput is an operation of a client.
type linkInput struct {
	op linkOp
	// device is the number of a client that comes again, below 64, plus one; zero for one
	// that never comes again.
	device int
}

// linkAnswer is what a client learned from an operation. An operation without an answer
// may have taken effect, at any time since.
type linkAnswer struct {
	unknown bool
	code    string // page, link_used_up, link_revoked, or origin_failed; if unknown, that of an error
	uses    int    // that a read shows
	revoked bool
}

type linkState struct {
	uses    int
	revoked bool
	readers uint64 // the devices that have a use, as bits
}

// countedLinkModel is the sequential specification of a link with a maximum of uses. A
// device that has a use gets the page again. An origin that fails spends nothing.
//
// An operation without an answer takes effect if it can. In a history it ends after
// all others, so that one without an effect comes last.
func countedLinkModel(maxUses int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return linkState{} },
		Step: func(state, input, output any) (bool, any) {
			before, in, answer := state.(linkState), input.(linkInput), output.(linkAnswer)
			after, right := before, true
			device := uint64(1) << in.device >> 1
			known := before.readers&device != 0
			switch {
			case in.op == opRevoke:
				after.revoked = true
			case in.op == opRead:
				right = answer.uses == before.uses && answer.revoked == before.revoked
			case before.revoked:
				right = answer.code == "link_revoked"
			case !known && before.uses >= maxUses:
				right = answer.code == "link_used_up"
			case answer.code == "origin_failed":
			case known:
				right = answer.code == "page"
			default:
				right = answer.code == "page"
				after.uses++
				after.readers |= device
			}
			return right || answer.unknown, after
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

// recordedLink is a link with the history of the operations on it.
type recordedLink struct {
	id, address string
	maxUses     int

	mu      sync.Mutex
	history []porcupine.Operation
}

func (l *recordedLink) record(operation porcupine.Operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = append(l.history, operation)
}

// onceClient sends every request once: one that keeps connections would repeat a GET
// when its server dies.
var onceClient = &http.Client{
	Timeout: deadline, Transport: &devices{RoundTripper: &http.Transport{DisableKeepAlives: true}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// try makes one operation at a node. It returns false if the request was never sent.
func (l *recordedLink) try(node *server, op linkOp) (answer linkAnswer, sent bool) {
	method, address := http.MethodGet, node.site+l.address
	if op != opRedeem {
		address = "http://" + node.admin + "/gatefold/management/signed-links/" + l.id
	}
	if op == opRevoke {
		method = http.MethodDelete
	}
	request, err := http.NewRequestWithContext(context.Background(), method, address, nil)
	if err != nil {
		return answer, false
	}
	response, err := onceClient.Do(request)
	if err != nil {
		dial, ok := errors.AsType[*net.OpError](err)
		return linkAnswer{unknown: true}, !ok || dial.Op != "dial"
	}
	defer response.Body.Close()
	var body struct {
		Code   string
		Status any // of a link a word, of a denial a number
		Uses   int
	}
	decoded := json.NewDecoder(response.Body).Decode(&body)
	switch {
	case op == opRevoke && response.StatusCode == http.StatusNoContent:
	case op == opRead && response.StatusCode == http.StatusOK && decoded == nil:
		answer.uses, answer.revoked = body.Uses, body.Status == "revoked"
	case op == opRedeem && response.StatusCode == http.StatusOK:
		answer.code = "page"
	case op == opRedeem && response.StatusCode == http.StatusForbidden && decoded == nil:
		answer.code = body.Code
	default:
		answer.unknown, answer.code = true, body.Code
	}
	return answer, true
}

// work makes operations at random nodes until the context ends.
func (l *recordedLink) work(ctx context.Context, client int, nodes []*server, random *rand.Rand, began time.Time) {
	for ctx.Err() == nil {
		op := opRedeem
		switch n := random.IntN(100); {
		case n < 25:
			op = opRead
		case n == 25 && time.Since(began) > time.Second/2:
			op = opRevoke
		}
		call := time.Since(began).Nanoseconds()
		answer, sent := l.try(nodes[random.IntN(len(nodes))], op)
		if !sent {
			time.Sleep(5 * time.Millisecond) // the node is down
			continue
		}
		ended := time.Since(began).Nanoseconds()
		if answer.unknown {
			if op == opRead {
				continue // it changed nothing and says nothing
			}
			ended = int64(time.Hour)
		}
		// A client whose operation may still be under way goes on as another client.
		l.record(porcupine.Operation{ClientId: client, Input: linkInput{op: op}, Call: call, Output: answer, Return: ended})
		if answer.unknown {
			client += 100
		}
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond) // readers come one after the other
	}
}

// checkHistories makes histories of links at nodes, one of which is killed and started
// again in each round, and checks them.
func checkHistories(t *testing.T, nodes []*server) {
	t.Helper()
	seed := *linearizableSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-linearizable.seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	operations, unknown, codes := 0, 0, map[string]int{}
	until := time.Now().Add(*linearizableFor)
	shown := func() bool { return codes["page"] > 0 && codes["link_used_up"] > 0 && codes["link_revoked"] > 0 }
	for round := 0; time.Now().Before(until) || !shown() && round < 20; round++ {
		links := recordRound(nodes, nodes[round%len(nodes)], random)
		for _, link := range links {
			link.check(t, round)
			for _, operation := range link.history {
				answer := operation.Output.(linkAnswer)
				operations++
				codes[answer.code]++
				if answer.unknown {
					unknown++
				}
			}
		}
	}
	t.Logf("%d operations, of which %d were not answered: %v", operations, unknown, codes)
	if !shown() {
		t.Error("the histories show too little")
	}
}

// check fails the test if the history is not that of a link with a maximum.
func (l *recordedLink) check(t *testing.T, round int) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(countedLinkModel(l.maxUses), l.history, time.Minute)
	if result == porcupine.Ok {
		return
	}
	page := filepath.Join(t.TempDir(), l.id+".html")
	if err := porcupine.VisualizePath(countedLinkModel(l.maxUses), info, page); err != nil {
		t.Error(err)
	}
	t.Fatalf("round %d: the history of %s with %d uses is %s\n%s", round, l.id, l.maxUses, result, describeHistory(l.history))
}

// recordRound lets clients use new links while a node is killed and started again.
func recordRound(nodes []*server, victim *server, random *rand.Rand) []*recordedLink {
	var links []*recordedLink
	for _, maxUses := range []int{3, 20, 60} {
		address, id := victim.countedLink(maxUses)
		links = append(links, &recordedLink{id: id, address: address, maxUses: maxUses})
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var clients sync.WaitGroup
	began := time.Now()
	for i, link := range links {
		for client := range 3 {
			own := rand.New(rand.NewPCG(random.Uint64(), 0))
			clients.Go(func() { link.work(ctx, 10*i+client, nodes, own, began) })
		}
	}
	time.Sleep(time.Duration(20+random.IntN(200)) * time.Millisecond) // the moment is one of the random choices
	victim.kill()
	victim.start()
	time.Sleep(time.Duration(100+random.IntN(400)) * time.Millisecond)
	stop()
	clients.Wait()
	return links
}

func describeHistory(history []porcupine.Operation) string {
	var lines []string
	for _, operation := range history {
		lines = append(lines, fmt.Sprintf("client %d, %v to %v: %+v %+v", operation.ClientId,
			time.Duration(operation.Call), time.Duration(operation.Return), operation.Input, operation.Output))
	}
	return strings.Join(lines, "\n")
}

// Three nodes share a Redis, and one after the other is killed.
func TestRedemptionsAreLinearizableOverThreeNodes(t *testing.T) {
	redis := redistest.Start(t)
	checkHistories(t, []*server{startNode(t, redis.URL(), ""), startNode(t, redis.URL(), ""), startNode(t, redis.URL(), "")})
}

// One node with an embedded database is killed.
func TestRedemptionsAreLinearizableOnOneNode(t *testing.T) {
	checkHistories(t, []*server{startServer(t)})
}

// The check finds a use too many, a use that is lost, and a redemption after the
// revocation.
func TestHistoriesThatAreNotLinearizable(t *testing.T) {
	t.Parallel()
	page, unknown := linkAnswer{code: "page"}, linkAnswer{unknown: true}
	redeem, read, revoke := linkInput{op: opRedeem}, linkInput{op: opRead}, linkInput{op: opRevoke}
	first, second := linkInput{opRedeem, 1}, linkInput{opRedeem, 64}
	type exchange struct {
		input  linkInput
		answer linkAnswer
	}
	for name, answers := range map[string][]exchange{
		"too many":      {{redeem, page}, {redeem, page}},
		"lost":          {{redeem, page}, {read, linkAnswer{uses: 0}}},
		"revoked":       {{revoke, linkAnswer{}}, {redeem, page}},
		"not used":      {{read, linkAnswer{}}, {redeem, linkAnswer{code: "link_used_up"}}},
		"undone":        {{redeem, unknown}, {read, linkAnswer{uses: 1}}, {read, linkAnswer{uses: 0}}},
		"one of two":    {{redeem, unknown}, {read, linkAnswer{uses: 2}}},
		"another":       {{first, page}, {second, page}},
		"counted twice": {{first, page}, {first, page}, {read, linkAnswer{uses: 2}}},
		"locked out":    {{first, page}, {first, linkAnswer{code: "link_used_up"}}},
		"origin's cost": {{first, linkAnswer{code: "origin_failed"}}, {read, linkAnswer{uses: 1}}},
		"reached":       {{first, page}, {second, linkAnswer{code: "origin_failed"}}},
	} {
		var history []porcupine.Operation
		for i, one := range answers {
			operation := porcupine.Operation{ClientId: i, Input: one.input, Call: int64(10 * i), Output: one.answer, Return: int64(10*i + 5)}
			if one.answer.unknown {
				operation.Return = int64(time.Hour)
			}
			history = append(history, operation)
		}
		if porcupine.CheckOperations(countedLinkModel(1), history) {
			t.Errorf("%s: the check accepts it", name)
		}
	}
}
