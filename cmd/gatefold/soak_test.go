package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// soakTime is how long TestSoak runs, half of it with each store: `make soak` gives it
// half an hour.
var soakTime = flag.Duration("soak", time.Minute, "how long TestSoak runs")

const (
	soakWorkers     = 8 // that send a request after the other
	soakChangeEvery = 40 * time.Millisecond
	soakReloadEvery = 2 * time.Second
	soakSamples     = 20
	// fewSamples are too few to compare the middle of a run with its end.
	fewSamples = 5
)

// soak is a run: gatefold processes, their origins, and the model of what they must
// answer.
type soak struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	start  time.Time
	group  sync.WaitGroup
	number atomic.Int64
	faults atomic.Int64
	tally  *tally

	nodes     []*soakNode
	seen      *arrivals
	shaky     *shaky
	issuer    *issuer
	stranger  *issuerKey // that no gate trusts
	publisher *publisher
	readers   []*soakReader
	flips     []*fact
	oldTokens pool[soakToken]
	links     pool[*soakLink]
	counted   pool[*soakLink]
	cookies   pool[soakCookie]
	// keys and trust belong to the one goroutine that makes changes.
	keys  []soakKey
	trust bool
}

// Mixed traffic before real origins, while everything changes that can: every answer is
// the one that the model expects, a change that was acknowledged counts from the next
// request on, nothing but an origin causes a 5xx, streams are cut when they must be, the
// log has no error that was not provoked, self-checks find nothing, and at the end the
// process holds as much as in the middle.
func TestSoak(t *testing.T) {
	t.Parallel()
	t.Run("bolt", func(t *testing.T) {
		s := newSoak(t)
		s.startNode("store bolt " + filepath.Join(t.TempDir(), "gatefold.db"))
		s.run(*soakTime / 2)
	})
	t.Run("two nodes with Redis", func(t *testing.T) {
		redis := redistest.Start(t)
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("the same secret on all nodes\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSoak(t)
		for range 2 {
			s.startNode("store redis " + redis.URL() + "\n\t\tsecret {file." + secret + "}")
		}
		s.run(*soakTime / 2)
	})
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{t: t, tally: newTally(), seen: new(arrivals), issuer: newIssuer(t), publisher: newPublisher(t)}
	s.stranger = &issuerKey{private: newPublisher(t).private}
	s.shaky = newShaky(t, s.seen)
	for i := range soakReaders {
		s.readers = append(s.readers, &soakReader{
			user: fmt.Sprint("reader-", i), article: fmt.Sprint("a", i%soakArticles),
			premium: grantFact{fact: newFact(false)}, one: grantFact{fact: newFact(false)},
		})
	}
	return s
}

// Caddy stops a configuration without waiting for its requests. The connections to
// origins that they give back are closed, and the configuration freed, when they were
// idle for two minutes by default, which is longer than a short run.
//
// soakConfig is, in this order: the admin address, the store, the CA file, the host and
// port of news, the issuer, the shaky and the other origin, the host and port of desk,
// the other origin, the port of the API.
const soakConfig = `{
	admin %s
	auto_https off
	log {
		import without_tokens
	}
	gatefold {
		%s
		cache_size 4MiB
		jwks {
			ca %s
			cooldown 1s
		}
	}
}

http://%s {
	bind fd/3
	log {
		import without_tokens
	}
	gatefold {
		site news
		identify jwt {
			issuer self
			cookie reader
		}
		identify jwt {
			issuer %s
			cookie reader
			audience news
		}
		share_domain ` + partnerHost + `
		rule /articles/{publisherContentId} entitled premium {publisherContentId}
		rule /shaky-articles/{publisherContentId} entitled premium
		rule /account authenticated
		rule / any
	}
	@shaky path /shaky/* /shaky-articles/*
	reverse_proxy @shaky %s {
		transport http {
			dial_timeout 1s
			response_header_timeout 1s
			keepalive 1s
		}
	}
	reverse_proxy %s {
		transport http {
			keepalive 1s
		}
	}
}

http://%s {
	bind fd/3
	log {
		import without_tokens
	}
	gatefold {
		site desk
	}
	reverse_proxy %s {
		transport http {
			keepalive 1s
		}
	}
}

http://127.0.0.1:%s {
	bind 127.0.0.1
	gatefold_api
}
`

// startNode starts a gatefold over a store.
func (s *soak) startNode(store string) {
	s.t.Helper()
	ports := keystest.FreePorts(s.t, 2)
	socket, address := inheritedSocket(s.t)
	n := &soakNode{index: len(s.nodes), address: address, api: "127.0.0.1:" + ports[1], log: &soakLog{errors: map[string]int{}}}
	n.client = newSoakClient(address)
	n.server = &server{
		t: s.t, dir: s.t.TempDir(), admin: "127.0.0.1:" + ports[0], site: "http://" + address, log: new(keystest.Log),
		output: n.log, sockets: []*os.File{socket},
	}
	n.server.config = filepath.Join(n.dir, "Caddyfile")
	_, port, _ := strings.Cut(address, ":")
	pages := newPages(s.t, s.seen)
	n.writeConfig(withoutTokens + fmt.Sprintf(soakConfig, n.admin, store, s.issuer.ca, newsHost+":"+port, s.issuer.url(), s.shaky.address, pages,
		deskHost+":"+port, pages, ports[1]))
	n.launch()
	n.waitFor("the sites answer", func() bool {
		got, err := fetch("http://" + n.admin + "/gatefold/health")
		return err == nil && got.StatusCode == 200 && got.Header.Get("Gatefold-Loading") == ""
	})
	s.nodes = append(s.nodes, n)
}

// run runs the traffic for a time, and reports.
func (s *soak) run(length time.Duration) {
	s.t.Helper()
	s.ctx, s.cancel = context.WithCancel(s.t.Context())
	defer s.cancel()
	s.start = time.Now()
	first := s.nodes[0]
	for _, prepare := range []func() error{
		func() error { return s.deskRules(first) },
		func() error { return s.rotateKey(nil, first) },
		func() error { return s.changeTrust(nil, first) },
	} {
		if err := prepare(); err != nil {
			s.t.Fatalf("%v\n%s", err, first.log)
		}
	}
	s.spawn(s.change)
	for i := range soakWorkers {
		s.spawn(func(r *rand.Rand) { s.work(r, s.nodes[i%len(s.nodes)]) })
	}
	for _, n := range s.nodes {
		s.spawn(func(r *rand.Rand) {
			for s.ctx.Err() == nil {
				s.slowly(r, n)
			}
		})
		s.spawn(func(r *rand.Rand) { s.stream(r, n, kindEvents, "stream-events") })
		s.spawn(func(r *rand.Rand) { s.stream(r, n, kindSocket, "stream-socket") })
		configs := s.configs(n)
		s.spawn(func(*rand.Rand) { s.reload(n, configs) })
	}
	samples := s.watch(length)
	s.group.Wait()
	s.report(samples)
}

func (s *soak) spawn(do func(*rand.Rand)) {
	seed := s.number.Add(1)
	s.group.Go(func() { do(rand.New(rand.NewPCG(uint64(seed), 13))) }) //nolint:gosec // which request comes next
}

// work sends requests of all kinds to a node.
func (s *soak) work(r *rand.Rand, n *soakNode) {
	total := 0
	for _, kind := range traffic {
		total += kind.share
	}
	for s.ctx.Err() == nil {
		at := r.IntN(total)
		for _, kind := range traffic {
			if at -= kind.share; at < 0 {
				kind.send(s, r, n)
				break
			}
		}
	}
}

// configs are the node's configuration, one with other settings, and one that is
// refused.
func (s *soak) configs(n *soakNode) []reloadConfig {
	text, err := os.ReadFile(n.config)
	if err != nil {
		s.t.Fatal(err)
	}
	with := func(old, replacement string) []byte {
		return adaptConfig(s.t, n.server, strings.ReplaceAll(string(text), old, replacement))
	}
	return []reloadConfig{
		{with("cache_size 4MiB", "cache_size 3MiB"), true},
		{with("site desk", "site desk\n\t\tdeny {\n\t\t\terrors\n\t\t\tlogin /x\n\t\t}"), false},
		{with("site news", "site news\n\t\tlink_cookie_ttl 12h"), true},
		{with("bind fd/3", "bind 127.0.0.1"), false}, // the port is taken
		{adaptConfig(s.t, n.server, string(text)), true},
	}
}

// watch takes samples of all nodes until the run ends: when its time is over and there
// are enough samples, which takes longer on a busy machine.
func (s *soak) watch(length time.Duration) [][]sample {
	defer s.cancel()
	samples := make([][]sample, len(s.nodes))
	ticker := time.NewTicker(length / soakSamples)
	defer ticker.Stop()
	for s.wait(ticker) && (time.Since(s.start) < length || len(samples[len(samples)-1]) < fewSamples) {
		for i, n := range s.nodes {
			got, err := n.sample()
			if err != nil {
				s.fail("%v", err)
				continue
			}
			samples[i] = append(samples[i], got)
		}
	}
	return samples
}

// report logs what was done and seen, and fails the test for what must not be.
func (s *soak) report(samples [][]sample) {
	s.t.Helper()
	var text strings.Builder
	s.tally.write(&text, time.Since(s.start))
	for i, n := range s.nodes {
		taken := samples[i]
		if len(taken) < fewSamples {
			s.fail("node %d: only %d samples", i, len(taken))
			continue
		}
		for _, flat := range flats {
			middle, end, ok := flat.check(taken)
			fmt.Fprintf(&text, "node %d: %-42s %9d in the middle %9d at the end, all: %v\n", i, flat.name, middle, end, flat.values(taken))
			if !ok {
				s.fail("node %d: %s: %d in the middle, %d at the end", i, flat.name, middle, end)
			}
		}
		last := taken[len(taken)-1]
		fmt.Fprintf(&text, "node %d: %-42s %9d, %d failed\n", i, "self-checks", last.selfChecks, last.selfCheckFailures)
		if last.selfCheckFailures > 0 {
			s.fail("node %d: %d self-checks failed", i, last.selfCheckFailures)
		}
		n.stop()
		n.log.mu.Lock()
		fmt.Fprintf(&text, "node %d: %-42s %9d, expected errors %v\n", i, "log lines", n.log.lines, n.log.errors)
		for _, line := range n.log.unexpected {
			s.fail("node %d: in the log: %s", i, line)
		}
		n.log.mu.Unlock()
	}
	s.t.Logf("\n%s", &text)
}

// tally counts what was done and seen.
type tally struct {
	mu      sync.Mutex
	visits  map[string]*[4]int // by kind: the outcomes, and the verdicts that a change left open
	changes map[string]int
	latest  map[string]time.Duration
}

func newTally() *tally {
	return &tally{visits: map[string]*[4]int{}, changes: map[string]int{}, latest: map[string]time.Duration{}}
}

func (t *tally) add(kind string, result outcome, open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := t.visits[kind]
	if counts == nil {
		counts = new([4]int)
		t.visits[kind] = counts
	}
	counts[result]++
	if open {
		counts[3]++
	}
}

func (t *tally) count(change string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes[change]++
}

// late counts what ended in time, and keeps the longest.
func (t *tally) late(what string, took time.Duration) {
	t.count(what)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest[what] = max(t.latest[what], took)
}

func (t *tally) write(text *strings.Builder, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := 0
	fmt.Fprintf(text, "%-44s %9s %9s %9s %9s\n", "requests", "allowed", "denied", "no answer", "either")
	for _, kind := range sortedKeys(t.visits) {
		counts := t.visits[kind]
		total += counts[lost] + counts[allowed] + counts[denied]
		fmt.Fprintf(text, "%-44s %9d %9d %9d %9d\n", kind, counts[allowed], counts[denied], counts[lost], counts[3])
	}
	fmt.Fprintf(text, "%-44s %9d in %v\n", "total", total, took.Round(time.Second))
	for _, change := range sortedKeys(t.changes) {
		fmt.Fprintf(text, "%-44s %9d", change, t.changes[change])
		if latest := t.latest[change]; latest > 0 {
			fmt.Fprintf(text, ", at most %v later", latest.Round(time.Millisecond))
		}
		text.WriteByte('\n')
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
