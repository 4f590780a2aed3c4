package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// options are the settings of a run.
type options struct {
	gatefold    string
	slices      int
	slice       time.Duration
	connections int
	grants      int
	readers     int
	rules       int
	restarts    int
	revocations int
	limit       time.Duration
	output      string
	only        *regexp.Regexp // nil: all
	profiles    string         // folder; empty: none
	profile     time.Duration  // length of each
}

// rounds is the number of turns of each contender. A comparison has two slices in
// each.
func (o *options) rounds() int { return max(o.slices/2, 1) }

func readOptions() *options {
	o := new(options)
	quick := flag.Bool("quick", false, "a few short slices and a small site: whether it runs, not what it costs")
	flag.StringVar(&o.gatefold, "gatefold", "./gatefold", "the program that is measured")
	flag.IntVar(&o.slices, "slices", 60, "slices of each comparison, half of them for either side")
	flag.DurationVar(&o.slice, "slice", 2*time.Second, "length of a slice, in whole seconds")
	flag.IntVar(&o.connections, "connections", 32, "connections that wrk keeps busy")
	flag.IntVar(&o.grants, "grants", 1_000_000, "grants of the big site")
	flag.IntVar(&o.readers, "readers", 100_000, "readers of the big site who come")
	flag.IntVar(&o.rules, "rules", 10_000, "rules of the big site")
	flag.IntVar(&o.restarts, "restarts", 7, "starts that are measured, of either side")
	flag.IntVar(&o.revocations, "revocations", 300, "grants that are removed at one of two nodes")
	flag.DurationVar(&o.limit, "limit", 30*time.Minute, "give up after this time, with what there is")
	flag.StringVar(&o.output, "output", "", "file for the table, besides the terminal")
	flag.Func("only", "measure only what has a name that this `regexp` matches, of a row of the table or of a part:\n"+partNames(), func(text string) (err error) {
		o.only, err = regexp.Compile(text)
		return err
	})
	flag.StringVar(&o.profiles, "profiles", "", "`folder` for a CPU profile of each Caddy under its load, taken when the rounds are over")
	o.profile = 10 * time.Second
	flag.Parse()
	if *quick {
		o.slices, o.slice, o.grants, o.readers, o.rules, o.restarts = 4, time.Second, 20_000, 2_000, 1_000, 2
		o.revocations, o.profile = 20, time.Second
		flag.Parse() // what is named counts all the same
	}
	return o
}

// bench is the state of one run.
type bench struct {
	options   *options
	dir       string // temporary folder of the run
	gatefold  string // absolute
	self      string
	origin    string // host:port
	redis     string // host:port; see needRedis
	world     *world
	big       *process // the big site's gate
	proxies   map[string]*process
	needed    map[string]error // results of need, by name
	processes []*process
	table     *table
	began     time.Time
}

func main() {
	// Processes end with the thread that started them (PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	if len(os.Args) > 1 {
		switch role := os.Args[1]; role {
		case roleOrigin, roleAuthorizer, roleCaddy:
			exit(play(role, os.Args[2:]))
		}
	}
	options := readOptions()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, options.limit)
	defer cancel()
	exit(measure(ctx, options))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "gatefold-bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measure prints the table even after a failure, with the rows that were measured.
func measure(ctx context.Context, o *options) error {
	if err := needTools(); err != nil {
		return err
	}
	if len(o.chosen()) == 0 {
		return fmt.Errorf("nothing has a name that %q matches: see -help", o.only)
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer b.stop()
	failed := b.run(ctx)
	text := b.table.String()
	fmt.Print(text)
	if o.output != "" {
		failed = errors.Join(failed, os.WriteFile(o.output, []byte(text), 0o644)) //nolint:gosec // not a secret
	}
	return failed
}

func newBench(o *options) (*bench, error) {
	gatefold, err := filepath.Abs(o.gatefold)
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath(gatefold); err != nil {
		return nil, fmt.Errorf("the program that is measured: %w; `make bench` builds it", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gatefold-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{
		options: o, dir: dir, gatefold: gatefold, self: self, began: time.Now(),
		proxies: make(map[string]*process), needed: make(map[string]error),
	}
	b.table = newTable(b)
	return b, nil
}

// run measures the parts in order. A part that fails does not stop the others.
func (b *bench) run(ctx context.Context) error {
	var err error
	if b.world, err = newWorld(b.dir); err != nil {
		return err
	}
	if err := b.startOrigin(); err != nil {
		return err
	}
	var failed []error
	for _, part := range b.options.chosen() {
		if ctx.Err() != nil {
			failed = append(failed, ctx.Err())
			break
		}
		b.progress("%s", part.name)
		if err := part.measure(b, ctx); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", part.name, err))
			b.progress("%s failed: %v", part.name, err)
		}
	}
	return errors.Join(failed...)
}

// stop stops all servers.
func (b *bench) stop() {
	for _, p := range b.processes {
		p.stop()
	}
}

// progress prints a line to standard error.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}
