package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// load is what wrk sends: one request repeatedly, or those of a list.
type load struct {
	name   string
	path   string
	header http.Header
	// list is a file with a path and a bearer token in each line, sent one after
	// the other; then path and header are not used.
	list string
	// refused: the expected responses are denials.
	refused bool
}

// slice is the result of one slice of time.
type slice struct {
	requests   int64
	throughput float64 // requests per second
	p50, p99   time.Duration
	cpu        time.Duration // of the server, per request
}

// The script tells wrk what to send, and prints what it measured in a form that
// a program reads.
const luaDone = `
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
		e.connect + e.read + e.write + e.timeout, e.status, latency:percentile(50), latency:percentile(99)))
end
`

const luaList = `
local list, n, i = {}, 0, 0
local function add(line)
	local path, token = line:match("^(%%S+) (%%S+)$")
	n = n + 1
	list[n] = wrk.format("GET", path, {["Host"] = wrk.headers["Host"], ["Authorization"] = "Bearer " .. token})
end
function init(args)
	for line in io.lines(%q) do add(line) end;
end
function request()
	i = i %% n + 1
	return list[i]
end
`

func (l *load) script() string {
	if l.list != "" {
		return fmt.Sprintf(luaList, l.list) + luaDone
	}
	var text strings.Builder
	for name, values := range l.header {
		fmt.Fprintf(&text, "wrk.headers[%q] = %q\n", name, values[0])
	}
	return text.String() + luaDone
}

// drive sends a load to a server for a while and measures both.
func (b *bench) drive(ctx context.Context, p *process, l *load, connections int, length time.Duration) (slice, error) {
	script := filepath.Join(b.dir, "load-"+l.name+".lua")
	if err := os.WriteFile(script, []byte(l.script()), 0o600); err != nil {
		return slice{}, err
	}
	before, err := p.cpu()
	if err != nil {
		return slice{}, err
	}
	wrk := exec.CommandContext(ctx, "wrk", "-t1", //nolint:gosec // its arguments are our own
		fmt.Sprintf("-c%d", connections),
		fmt.Sprintf("-d%ds", max(int(length/time.Second), 1)), "--timeout", "10s", "-s", script, p.url+l.path)
	output, err := wrk.CombinedOutput()
	if err != nil {
		return slice{}, fmt.Errorf("wrk on %s: %w\n%s", p.name, err, output)
	}
	after, err := p.cpu()
	if err != nil {
		return slice{}, err
	}
	return l.read(p, string(output), after-before)
}

func (l *load) read(p *process, output string, cpu time.Duration) (slice, error) {
	_, result, found := strings.Cut(output, "RESULT ")
	if !found {
		return slice{}, fmt.Errorf("wrk on %s printed no result:\n%s", p.name, output)
	}
	var requests, micros, failed, refused int64
	var p50, p99 float64
	if _, err := fmt.Sscanf(result, "%d %d %d %d %g %g", &requests, &micros, &failed, &refused, &p50, &p99); err != nil {
		return slice{}, fmt.Errorf("wrk on %s: %w:\n%s", p.name, err, output)
	}
	want := int64(0)
	if l.refused {
		want = requests
	}
	switch {
	case requests == 0:
		return slice{}, fmt.Errorf("%s answered nothing", p.name)
	case failed > 0 || refused != want:
		return slice{}, fmt.Errorf("%s, %s: of %d requests %d failed, and %d were refused instead of %d", p.name, l.name, requests, failed, refused, want)
	}
	return slice{
		requests: requests, throughput: float64(requests) / (float64(micros) / 1e6),
		p50: time.Duration(p50) * time.Microsecond, p99: time.Duration(p99) * time.Microsecond,
		cpu: cpu / time.Duration(requests),
	}, nil
}

// needTools returns an error that names missing tools.
func needTools() error {
	var missing []error
	for _, tool := range []string{"wrk", "nginx", "redis-server"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, fmt.Errorf("%s is not installed: %w; `make bench` installs it", tool, err))
		}
	}
	return errors.Join(missing...)
}
