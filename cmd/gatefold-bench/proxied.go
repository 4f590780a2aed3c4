package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// contender is a server under a load, the subject of a slice.
type contender struct {
	name   string
	server string // see start
	load   string // see loads
	// every says in which rounds it takes part: each, each second one, …
	every int
}

// pair is a row of the table: one contender against another, slice by slice.
type pair struct {
	name        string
	of, against string // names of contenders
	metric      func(slice) float64
	target      float64 // 0: context only
	upper       bool    // the target is an upper bound
}

func cpuOf(s slice) float64        { return float64(s.cpu) }
func throughputOf(s slice) float64 { return s.throughput }
func p99Of(s slice) float64        { return float64(s.p99) }

// Headers of a browser.
var browserHeader = http.Header{
	"User-Agent":      {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
	"Accept":          {"*/*"},
	"Accept-Language": {"sv-SE,sv;q=0.8,en;q=0.5"},
	"Accept-Encoding": {"identity"},
}

func browserLoad(name, path string, extra http.Header) *load {
	header := browserHeader.Clone()
	maps.Copy(header, extra)
	return &load{name: name, path: path, header: header}
}

// runner is a contender whose server runs.
type runner struct {
	contender
	process *process
	load    func(round int) *load
}

// proxied measures requests through the proxy: the gate against the same binary
// without the directive, and against alternatives that are in use today.
func (b *bench) proxied(ctx context.Context) error {
	runners, err := b.runners(ctx)
	if err != nil {
		return err
	}
	for _, r := range runners { // to warm up
		if _, err := b.drive(ctx, r.process, r.load(0), b.options.connections, time.Second); err != nil {
			return err
		}
	}
	slices := make(map[string][]slice)
	defer func() { b.reportPairs(slices) }() // also after an interruption
	failed := 0
	for round := range b.options.rounds() {
		b.progress("round %d of %d", round+1, b.options.rounds())
		for _, r := range runners {
			var measured slice
			if round%r.every == 0 {
				var err error
				if measured, err = b.drive(ctx, r.process, r.load(round), b.options.connections, b.options.slice); err != nil {
					// A failed slice is discarded; too many end the part.
					b.progress("left out: %v", err)
					if failed++; failed > maxFailed || ctx.Err() != nil {
						return err
					}
				}
			}
			slices[r.name] = append(slices[r.name], measured)
		}
	}
	return b.takeProfiles(ctx, runners)
}

// maxFailed is how many slices may fail.
const maxFailed = 10

// contenders are in the order of their turns: compared ones are adjacent.
var contenders = slices.Concat([]contender{
	{"plain-public", "plain", "public", 1},
	{"gate-public", "gate", "public", 1},
	{"untuned-public", "untuned", "public", rareRounds},
	{"plain-reader", "plain", "reader", 1},
	{"gate-reader", "gate", "reader", 1},
	{"twin-reader", "twin", "reader", 1},
	{"gate-cookie", "gate", "cookie", 2},
	{"plain-cookie", "plain", "cookie", 2},
	{"gate-crowd", "big", "crowd", 1},
	{"plain-crowd", "plain", "crowd", 1},
	{"forward-auth", "forward-auth", "reader", rareRounds},
	{"forward-auth-jwt", "forward-auth-jwt", "reader", rareRounds},
	{"verify-each", "verify-each", "reader", rareRounds},
	{"nginx-auth-request", "nginx-auth-request", "reader", rareRounds},
	{"forward-auth-tuned", "forward-auth-tuned", "reader", rareRounds},
	{"forward-auth-jwt-tuned", "forward-auth-jwt-tuned", "reader", rareRounds},
}, keptContenders())

// rareRounds is the number of rounds between two turns of contenders that have a
// wide margin, or are only context.
const rareRounds = 3

// chosenPairs returns the rows that -only matches, and chosenContenders the
// contenders of those rows.
func (o *options) chosenPairs() []pair {
	return slices.DeleteFunc(slices.Clone(pairs), func(p pair) bool { return !o.wants(p.name, partProxied) })
}

func (o *options) chosenContenders() []contender {
	chosen := o.chosenPairs()
	return slices.DeleteFunc(slices.Clone(contenders), func(c contender) bool {
		return !slices.ContainsFunc(chosen, func(p pair) bool { return p.of == c.name || p.against == c.name })
	})
}

// runners starts the contenders. If the big site fails, the others are measured.
func (b *bench) runners(ctx context.Context) ([]runner, error) {
	var list []runner
	for _, c := range b.options.chosenContenders() {
		r := runner{contender: c}
		var err error
		if r.process, err = b.proxy(ctx, c.server); err == nil {
			r.load, err = b.loadOf(ctx, c.load)
		}
		if err != nil && c.load == "crowd" {
			b.progress("%s is left out: %v", c.name, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// loadOf returns the load of a contender.
func (b *bench) loadOf(ctx context.Context, name string) (func(round int) *load, error) {
	always := func(path string, extra http.Header) (func(int) *load, error) {
		l := browserLoad(name, path, extra)
		return func(int) *load { return l }, nil
	}
	switch name {
	case "public":
		return always("/index.html", nil)
	case "reader":
		return always("/articles/hello", b.world.reader())
	case "cookie":
		cookie, err := b.needCookie(ctx)
		if err != nil {
			return nil, err
		}
		return always("/articles/linked", http.Header{"Cookie": {"theme=dark; " + cookie}})
	case "crowd":
		if err := b.needBigDatabase(ctx); err != nil {
			return nil, err
		}
		return func(round int) *load {
			n := round % len(b.world.lists)
			return &load{name: fmt.Sprintf("crowd-%d", n), list: b.world.lists[n]}
		}, nil
	default:
		if l := b.keptLoad(name); l != nil {
			return func(int) *load { return l }, nil
		}
		return nil, fmt.Errorf("there is no load %q", name)
	}
}

// needCookie redeems a link at the small gate, once.
func (b *bench) needCookie(ctx context.Context) (string, error) {
	gate, err := b.proxy(ctx, "gate")
	if err != nil {
		return "", err
	}
	err = b.need("opening a link", func() (err error) {
		b.world.cookie, err = b.linkCookie(gate, "/articles/linked")
		return err
	})
	return b.world.cookie, err
}

var pairs = slices.Concat([]pair{
	{"plain against itself: CPU per request", "twin-reader", "plain-reader", cpuOf, 0, true},
	{"plain against itself: throughput", "twin-reader", "plain-reader", throughputOf, 0, false},
	{"plain against itself: p99", "twin-reader", "plain-reader", p99Of, 0, true},
	{"public page: CPU per request", "gate-public", "plain-public", cpuOf, 1.03, true},
	{"public page: throughput", "gate-public", "plain-public", throughputOf, 0.97, false},
	{"public page: p99", "gate-public", "plain-public", p99Of, 1.05, true},
	{"reader's token: CPU per request", "gate-reader", "plain-reader", cpuOf, 1.03, true},
	{"reader's token: throughput", "gate-reader", "plain-reader", throughputOf, 0.97, false},
	{"reader's token: p99", "gate-reader", "plain-reader", p99Of, 1.05, true},
	{"link cookie: CPU per request", "gate-cookie", "plain-cookie", cpuOf, 1.03, true},
	{"link cookie: throughput", "gate-cookie", "plain-cookie", throughputOf, 0.97, false},
	{"link cookie: p99", "gate-cookie", "plain-cookie", p99Of, 1.05, true},
	{"big site: CPU per request", "gate-crowd", "plain-crowd", cpuOf, 1.08, true},
	{"big site: throughput", "gate-crowd", "plain-crowd", throughputOf, 0, false},
	{"against forward_auth in Caddy as shipped: throughput", "gate-reader", "forward-auth", throughputOf, 1.8, false},
	{"against forward_auth that verifies a JWT, in Caddy as shipped: throughput", "gate-reader", "forward-auth-jwt", throughputOf, 2.4, false},
	{"against a handler that verifies ES256 each time, in Caddy as shipped: throughput", "gate-reader", "verify-each", throughputOf, 1.5, false},
	{"against nginx with auth_request: throughput", "gate-reader", "nginx-auth-request", throughputOf, 0, false},
	{"against forward_auth in our own binary: throughput", "gate-reader", "forward-auth-tuned", throughputOf, 0, false},
	{"against forward_auth that verifies a JWT, in our own binary: throughput", "gate-reader", "forward-auth-jwt-tuned", throughputOf, 0, false},
	{"our binary as shipped against GOGC=100, no gate: throughput", "plain-public", "untuned-public", throughputOf, 1.05, false},
	{"our binary as shipped against GOGC=100, no gate: CPU per request", "plain-public", "untuned-public", cpuOf, 0, true},
}, keptPairs())

// pairNames lists the rows.
func pairNames() []string {
	names := make([]string, len(pairs))
	for i := range pairs {
		names[i] = pairs[i].name
	}
	return names
}

// reportPairs compares slices of the same round.
func (b *bench) reportPairs(measured map[string][]slice) {
	for _, p := range b.options.chosenPairs() {
		var ratios []float64
		against := measured[p.against]
		for round, of := range measured[p.of] {
			if round < len(against) && of.requests > 0 && against[round].requests > 0 {
				ratios = append(ratios, p.metric(of)/p.metric(against[round]))
			}
		}
		if len(ratios) > 0 {
			b.table.ratio(p.name, medianOf(ratios), p.target, p.upper)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		var cpu, throughput, p50, p99 []float64
		for _, s := range measured[name] {
			if s.requests > 0 {
				cpu, throughput = append(cpu, float64(s.cpu.Microseconds())), append(throughput, s.throughput)
				p50, p99 = append(p50, s.p50.Seconds()*1e3), append(p99, s.p99.Seconds()*1e3)
			}
		}
		b.table.context(name, fmt.Sprintf("%.0f requests/s, %.0f µs CPU each, p50 %.2f ms, p99 %.2f ms",
			medianOf(throughput).median, medianOf(cpu).median, medianOf(p50).median, medianOf(p99).median))
	}
}
