package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// These tests let 32 readers open a link with a maximum of uses, each until they have
// the page or a denial that says that it is used up, while nodes and the origin are killed.

var (
	linkcrashKills = flag.Int("linkcrash.kills", 15, "how many times each test of killed nodes kills one")
	linkcrashSeed  = flag.Uint64("linkcrash.seed", 0, "seed of the choices; 0: the time")
)

const linkcrashReaders = 32

// linkReader is a reader who opens a link, again and again until they know: with a
// browser, or with a program that keeps no cookies.
type linkReader struct {
	number  int // from one on
	browser bool
	client  *http.Client
	random  *rand.Rand

	begun, whole bool // the page
	code         string
	tries, cut   int
}

var linkcrashTransport = &http.Transport{DisableKeepAlives: true} // see onceClient

func newLinkReader(t *testing.T, number int, random *rand.Rand) *linkReader {
	t.Helper()
	r := &linkReader{number: number, browser: number%2 == 0, random: rand.New(rand.NewPCG(random.Uint64(), 0))}
	r.client = &http.Client{
		Timeout: deadline, Transport: linkcrashTransport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if r.browser {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		r.client.Jar = jar
	}
	return r
}

// get requests a page like the reader's program does.
func (r *linkReader) get(address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", fmt.Sprintf("podcasts/%d", r.number))
	if r.browser {
		request.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
		for name, value := range map[string]string{"Mode": "navigate", "Dest": "document", "Site": "cross-site"} {
			request.Header.Set("Sec-Fetch-"+name, value)
		}
	}
	return r.client.Do(request)
}

// keepTrying opens the link at random nodes until the reader has the page or a denial.
func (r *linkReader) keepTrying(link *recordedLink, nodes []*server, began time.Time) error {
	address := link.address
	for until := time.Now().Add(deadline); time.Now().Before(until); r.tries++ {
		time.Sleep(time.Duration(r.random.IntN(15)) * time.Millisecond) // readers come one after the other
		call := time.Since(began)
		response, err := r.get(nodes[r.random.IntN(len(nodes))].site + address)
		var answer linkAnswer
		if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
			continue // the node is down
		} else if err != nil {
			answer.unknown = true
		} else if response.StatusCode == http.StatusSeeOther {
			address = response.Header.Get("Location")
			_ = response.Body.Close()
			continue
		} else if answer, err = r.read(response); err != nil {
			return err
		}
		operation := porcupine.Operation{
			ClientId: r.number + 100*r.tries, Input: linkInput{opRedeem, r.number}, Call: call.Nanoseconds(), Output: answer, Return: time.Since(began).Nanoseconds(),
		}
		if answer.unknown {
			operation.Return = int64(time.Hour)
		}
		link.record(operation)
		if r.code = answer.code; r.whole || r.code == "link_used_up" {
			return nil
		}
		if r.browser && r.random.IntN(3) == 0 {
			address = link.address // the reader opens the link again instead of reloading the page
		}
	}
	return fmt.Errorf("reader %d got no answer in %v and %d tries; the last one is %q", r.number, deadline, r.tries, r.code)
}

// read reads an answer to the end.
func (r *linkReader) read(response *http.Response) (answer linkAnswer, err error) {
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		begun, whole := delivered(response.Body)
		r.begun, r.whole = r.begun || begun, whole
		if begun && !whole {
			r.cut++
		}
		answer.code = "page"
	case http.StatusForbidden:
		var body struct{ Code string }
		if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
			answer.unknown = true
			break
		}
		if answer.code = body.Code; body.Code != "link_used_up" {
			err = fmt.Errorf("reader %d got 403 %s", r.number, body.Code)
		}
	default:
		body, _ := io.ReadAll(response.Body)
		if answer.code = "origin_failed"; response.StatusCode < http.StatusInternalServerError || json.Valid(body) {
			err = fmt.Errorf("reader %d got %d %s", r.number, response.StatusCode, body) // of the gate
		}
	}
	return answer, err
}

// linkcrash is the site that is killed, and what was seen of it.
type linkcrash struct {
	*testing.T
	nodes  []*server
	origin *unsteadyOrigin
	random *rand.Rand

	kills, originKills, operations, unknown, cut, failed int
}

func newLinkcrash(t *testing.T, nodes ...*server) *linkcrash {
	t.Helper()
	seed := *linkcrashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-linkcrash.seed %d", seed)
	c := &linkcrash{T: t, nodes: nodes, origin: startUnsteadyOrigin(t), random: rand.New(rand.NewPCG(seed, 0))}
	for _, node := range nodes {
		node.proxyTo(c.origin.address)
		node.start()
	}
	return c
}

// run lets readers open one link after the other while nodes and the origin are killed.
func (c *linkcrash) run() {
	c.Helper()
	began := time.Now()
	for round := 0; c.kills < *linkcrashKills; round++ {
		c.round(round, []int{1, 5, 16, 31, linkcrashReaders, 40}[c.random.IntN(6)])
	}
	c.Logf("%d kills of nodes and %d of the origin in %v: %d operations, of which %d were not answered, %d failed by the origin, and %d pages broken off",
		c.kills, c.originKills, time.Since(began).Round(time.Second), c.operations, c.unknown, c.failed, c.cut)
	if c.unknown == 0 || c.cut == 0 || c.failed == 0 || c.originKills == 0 {
		c.Error("the histories show too little")
	}
}

func (c *linkcrash) round(round, maxUses int) {
	c.Helper()
	address, id := c.nodes[0].countedLink(maxUses)
	link := &recordedLink{id: id, address: address, maxUses: maxUses}
	began := time.Now()
	readers := make([]*linkReader, linkcrashReaders)
	var all sync.WaitGroup
	var failures sync.Map
	for i := range readers {
		readers[i] = newLinkReader(c.T, i+1, c.random)
		all.Go(func() {
			if err := readers[i].keepTrying(link, c.nodes, began); err != nil {
				failures.Store(i, err)
			}
		})
	}
	stop := make(chan struct{})
	watched := make(chan []porcupine.Operation)
	go func() { watched <- link.watch(stop, c.nodes, began) }()
	c.kill()
	all.Wait()
	close(stop)
	reads := <-watched
	failures.Range(func(_, err any) bool {
		c.Error(err)
		return true
	})
	c.check(round, link, readers, reads)
}

// kill kills some of the nodes, the origin, or both, and starts them again.
func (c *linkcrash) kill() {
	c.Helper()
	pause := func() { time.Sleep(time.Duration(c.random.IntN(60)) * time.Millisecond) } // the moment is one of the random choices
	pause()
	originToo := c.random.IntN(3) > 0
	if originToo {
		c.origin.kill()
		c.originKills++
		pause()
	}
	victims := slices.Clone(c.nodes)
	c.random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	if originToo && c.random.IntN(2) == 0 {
		c.origin.start()
		originToo = false
		pause()
	}
	victims = victims[:1+c.random.IntN(len(victims))]
	for _, victim := range victims {
		victim.kill()
		c.kills++
	}
	if originToo {
		c.origin.start()
	}
	for _, victim := range victims {
		victim.start()
	}
}

// watch returns reads of the number of uses that nodes show, until stop is closed.
func (l *recordedLink) watch(stop <-chan struct{}, nodes []*server, began time.Time) (reads []porcupine.Operation) {
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return reads
		case <-ticker.C:
		}
		call := time.Since(began).Nanoseconds()
		if answer, sent := l.try(nodes[i%len(nodes)], opRead); sent && !answer.unknown {
			reads = append(reads, porcupine.Operation{Call: call, Output: answer, Return: time.Since(began).Nanoseconds()})
		}
	}
}

// checkReads checks that each read shows the readers who had the page before it, at most
// those who had requested it, and not less than the read before. Of 32 readers at once
// any subset may be counted at a read, which is too much for the search of porcupine.
func (l *recordedLink) checkReads(t *testing.T, round int, reads []porcupine.Operation) {
	t.Helper()
	last := 0
	for _, read := range reads {
		got, had := map[int]bool{}, map[int]bool{}
		for _, operation := range l.history {
			answer, device := operation.Output.(linkAnswer), operation.Input.(linkInput).device
			if answer.code == "page" && operation.Return < read.Call {
				had[device] = true
			}
			if (answer.code == "page" || answer.unknown) && operation.Call < read.Return {
				got[device] = true
			}
		}
		uses := read.Output.(linkAnswer).uses
		if uses < len(had) || uses > len(got) || uses < last {
			t.Errorf("round %d: at %v, %d uses are counted, and %d a moment before; %d readers had the page by then, and %d had requested it",
				round, time.Duration(read.Call), uses, last, len(had), len(got))
		}
		last = uses
	}
}

// check checks that as many readers got the page as the link allows, that each of them
// is one use, and that the history is linearizable.
func (c *linkcrash) check(round int, link *recordedLink, readers []*linkReader, reads []porcupine.Operation) {
	c.Helper()
	whole, begun := 0, 0
	for _, reader := range readers {
		if reader.whole {
			whole++
		}
		if reader.begun {
			begun++
		}
		c.cut += reader.cut
	}
	want := min(link.maxUses, len(readers))
	if whole != want || begun != want {
		c.Errorf("round %d: %d readers have the page of a link with %d uses, and %d its beginning", round, whole, link.maxUses, begun)
	}
	for _, node := range c.nodes {
		if uses := node.usesOf(link.id); uses != want {
			c.Errorf("round %d: %d uses are counted, want %d", round, uses, want)
		}
	}
	for _, operation := range link.history {
		answer := operation.Output.(linkAnswer)
		c.operations++
		if answer.unknown {
			c.unknown++
		}
		if answer.code == "origin_failed" {
			c.failed++
		}
	}
	link.checkReads(c.T, round, reads)
	if c.Failed() {
		c.Fatalf("round %d: %s", round, describeHistory(link.history))
	}
	link.history = link.narrow(readers)
	link.check(c.T, round)
}

// narrow returns the history with operations that may take effect in a shorter time, and
// none without an answer, so that the search for an order of 32 readers at once is short.
// An order of the result is one of the history. Each order of the history has one of the
// result: of the uses, the one whose answer is the last can be the last, at the moment at
// which all others, and all failures of readers who are denied in the end, can have been.
//
// Operations without an answer count at the first page of their reader, or had no effect
// if the reader is denied: no reader loses a use that they have.
func (l *recordedLink) narrow(readers []*linkReader) []porcupine.Operation {
	var history []porcupine.Operation
	asked, uses := map[int]int64{}, map[int]int{}
	slices.SortFunc(l.history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	for _, operation := range l.history {
		answer, device := operation.Output.(linkAnswer), operation.Input.(linkInput).device
		if _, known := asked[device]; !known && (answer.unknown || answer.code == "page") {
			asked[device] = operation.Call
		}
		if answer.unknown {
			continue
		}
		if _, known := uses[device]; !known && answer.code == "page" {
			operation.Call, uses[device] = asked[device], len(history)
		}
		history = append(history, operation)
	}
	if len(uses) < l.maxUses {
		return history // there are no denials
	}
	var before, denials []*porcupine.Operation // of the last use
	var last *porcupine.Operation              // the use that can be the last
	var full int64                             // the earliest moment of it
	for i := range history {
		operation := &history[i]
		answer, device := operation.Output.(linkAnswer), operation.Input.(linkInput).device
		first, counts := uses[device]
		switch {
		case answer.code == "link_used_up":
			denials = append(denials, operation)
			continue
		case answer.code == "origin_failed" && readers[device-1].code == "link_used_up":
		case !counts || first != i:
			continue
		case last == nil || operation.Return > last.Return:
			last = operation
		}
		before, full = append(before, operation), max(full, operation.Call)
	}
	firstDenial := last.Return + 2
	for _, operation := range denials {
		firstDenial = min(firstDenial, operation.Return)
	}
	if full+1 > last.Return || full+2 > firstDenial {
		return l.history // there is no order
	}
	for _, operation := range before {
		operation.Return = min(operation.Return, full)
	}
	last.Call, last.Return = full+1, full+1
	for _, operation := range denials {
		operation.Call = max(operation.Call, full+2)
	}
	return history
}

// Three nodes share a Redis. They and the origin are killed.
func TestReadersKeepTryingOverThreeKilledNodes(t *testing.T) {
	redis := redistest.Start(t)
	node := func() *server { return newNodeWith(t, redis.URL(), "", []byte("the same secret on all nodes\n")) }
	newLinkcrash(t, node(), node(), node()).run()
}

// One node has an embedded database. It and the origin are killed.
func TestReadersKeepTryingOnOneKilledNode(t *testing.T) {
	newLinkcrash(t, newServer(t)).run()
}

// A node counts a use, and is killed before the page is whole. The reader who waited gets
// the page when they come back, with the same device or the same cookie, and no other does.
func TestUseCountedByAKilledNodeIsItsReaders(t *testing.T) {
	t.Parallel()
	var whole atomic.Bool
	reached := make(chan struct{}, 1)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, pageBegins)
		if r.URL.Path != "/" && !whole.Load() {
			_ = http.NewResponseController(w).Flush()
			reached <- struct{}{}
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, pageEnds)
	}))
	t.Cleanup(func() { origin.CloseClientConnections(); origin.Close() })
	s := newServer(t)
	s.proxyTo(origin.Listener.Addr().String())
	s.start()
	random := rand.New(rand.NewPCG(1, 1))
	for _, number := range []int{1, 2} { // a program, and a browser
		whole.Store(false)
		address, id := s.countedLink(1)
		reader := newLinkReader(t, number, random)
		open := func(reader *linkReader, address string) (linkAnswer, error) {
			response, err := reader.get(s.site + address)
			if err == nil && response.StatusCode == http.StatusSeeOther {
				_ = response.Body.Close()
				address = response.Header.Get("Location")
				response, err = reader.get(s.site + address)
			}
			if err != nil {
				return linkAnswer{unknown: true}, nil
			}
			return reader.read(response)
		}
		done := make(chan error)
		go func() {
			_, err := open(reader, address)
			done <- err
		}()
		<-reached
		s.waitFor("the use is counted", func() bool { return s.usesOf(id) == 1 })
		s.kill()
		if err := <-done; err != nil || reader.whole {
			t.Fatalf("%v, the page is whole: %v", err, reader.whole)
		}
		s.start()
		whole.Store(true)
		for _, other := range []int{number + 2, number + 3} {
			if answer, err := open(newLinkReader(t, other, random), address); err != nil || answer.code != "link_used_up" {
				t.Errorf("another reader got %+v, %v", answer, err)
			}
		}
		if answer, err := open(reader, address); err != nil || answer.code != "page" || !reader.whole {
			t.Errorf("the reader of the use got %+v, %v", answer, err)
		}
		if uses := s.usesOf(id); uses != 1 {
			t.Errorf("%d uses", uses)
		}
	}
}
