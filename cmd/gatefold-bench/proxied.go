package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"time"
)

// contender is a server under a load: what is measured in a slice.
type contender struct {
	name   string
	server *process
	load   func(round int) *load
	// every says in which rounds it takes part: each, each second one, …
	every int
}

func always(l *load) func(int) *load { return func(int) *load { return l } }

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

// What everybody's browser sends along.
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

// proxied measures requests through the proxy: the gate against the same binary
// without the directive, and against what people run today.
func (b *bench) proxied(ctx context.Context) error {
	contenders, err := b.contenders(ctx)
	if err != nil {
		return err
	}
	for _, c := range contenders { // until everything is warm
		if _, err := b.drive(ctx, c.server, c.load(0), b.options.connections, time.Second); err != nil {
			return err
		}
	}
	slices := make(map[string][]slice)
	defer func() { b.reportPairs(slices) }() // also of a measurement that was cut short
	failed := 0
	for round := range b.options.rounds() {
		b.progress("round %d of %d", round+1, b.options.rounds())
		for _, c := range contenders {
			var measured slice
			if round%c.every == 0 {
				var err error
				if measured, err = b.drive(ctx, c.server, c.load(round), b.options.connections, b.options.slice); err != nil {
					// A slice that failed is none. Where many fail, something is wrong.
					b.progress("left out: %v", err)
					if failed++; failed > maxFailed || ctx.Err() != nil {
						return err
					}
				}
			}
			slices[c.name] = append(slices[c.name], measured)
		}
	}
	return nil
}

// maxFailed is how many slices may fail.
const maxFailed = 10

// contenders starts the servers, in the order in which they take their turns:
// what is compared stands side by side.
func (b *bench) contenders(ctx context.Context) ([]contender, error) {
	small := filepath.Join(b.dir, "small.db")
	if err := fill(ctx, small, 0, 0, "reader-one"); err != nil {
		return nil, err
	}
	gate, err := b.startCaddy(b.gate("gate", small, gateRules), "/articles/hello", http.StatusOK)
	if err != nil {
		return nil, err
	}
	cookie, err := b.linkCookie(gate, "/articles/linked")
	if err != nil {
		return nil, err
	}
	plain, err := b.startCaddy(site{name: "plain"}, "/", http.StatusOK)
	if err != nil {
		return nil, err
	}
	twin, err := b.startCaddy(site{name: "twin"}, "/", http.StatusOK)
	if err != nil {
		return nil, err
	}
	untuned, err := b.startCaddy(site{name: "untuned", environment: []string{"GOGC=100"}}, "/", http.StatusOK)
	if err != nil {
		return nil, err
	}
	public := always(browserLoad("public", "/index.html", nil))
	reader := always(browserLoad("reader", "/articles/hello", b.world.reader()))
	link := always(browserLoad("cookie", "/articles/linked", http.Header{"Cookie": {"theme=dark; " + cookie}}))
	list := []contender{
		{"plain-public", plain, public, 1},
		{"gate-public", gate, public, 1},
		{"untuned-public", untuned, public, rareRounds},
		{"plain-reader", plain, reader, 1},
		{"gate-reader", gate, reader, 1},
		{"twin-reader", twin, reader, 1},
		{"gate-cookie", gate, link, 2},
		{"plain-cookie", plain, link, 2},
	}
	if b.big != nil {
		crowd := func(round int) *load {
			n := round % len(b.world.lists)
			return &load{name: fmt.Sprintf("crowd-%d", n), list: b.world.lists[n]}
		}
		list = append(list, contender{"gate-crowd", b.big, crowd, 1}, contender{"plain-crowd", plain, crowd, 1})
	}
	others, err := b.today(reader)
	return slices.Concat(list, others), err
}

// today starts what people run today.
func (b *bench) today(reader func(int) *load) ([]contender, error) {
	minimal, err := b.startAuthorizer("authorizer")
	if err != nil {
		return nil, err
	}
	verifying, err := b.startAuthorizer("authorizer-jwt", "-jwks", b.world.keyFile)
	if err != nil {
		return nil, err
	}
	const forward = "forward_auth %s {\n\t\turi /\n\t\tcopy_headers X-User\n\t}"
	var list []contender
	for _, s := range []site{
		{name: "forward-auth", directives: fmt.Sprintf(forward, minimal)},
		{name: "forward-auth-jwt", directives: fmt.Sprintf(forward, verifying)},
		{name: "verify-each", directives: "verify_each * " + b.world.keyFile, program: b.self},
	} {
		p, err := b.startCaddy(s, "/articles/hello", http.StatusOK)
		if err != nil {
			return nil, err
		}
		list = append(list, contender{s.name, p, reader, rareRounds})
	}
	nginx, err := b.startNginx("nginx-auth-request", minimal)
	return append(list, contender{"nginx-auth-request", nginx, reader, rareRounds}), err
}

// rareRounds is how many rounds pass between two turns of those that are far
// enough behind, or only context.
const rareRounds = 3

var pairs = []pair{
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
	{"against forward_auth: throughput", "gate-reader", "forward-auth", throughputOf, 1.8, false},
	{"against forward_auth that verifies a JWT: throughput", "gate-reader", "forward-auth-jwt", throughputOf, 2.4, false},
	{"against a handler that verifies ES256 each time: throughput", "gate-reader", "verify-each", throughputOf, 1.5, false},
	{"against nginx with auth_request: throughput", "gate-reader", "nginx-auth-request", throughputOf, 0, false},
	{"our binary as shipped against GOGC=100, no gate: throughput", "plain-public", "untuned-public", throughputOf, 1.05, false},
	{"our binary as shipped against GOGC=100, no gate: CPU per request", "plain-public", "untuned-public", cpuOf, 0, true},
}

// reportPairs compares slices of the same round.
func (b *bench) reportPairs(measured map[string][]slice) {
	for _, p := range pairs {
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
