package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// sample is what a node holds at a time.
type sample struct {
	at                            time.Time
	heap, goroutines, descriptors int
	selfChecks, selfCheckFailures int
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)

// sample reads what the node holds: its heap after a collection, its goroutines, its
// descriptors, and the metrics of its self-checks.
func (n *soakNode) sample() (sample, error) {
	got := sample{at: time.Now()}
	for _, source := range []struct {
		path    string
		pattern *regexp.Regexp
		into    *int
	}{
		{"/debug/pprof/heap?gc=1&debug=1", heapAlloc, &got.heap},
		{"/debug/pprof/goroutine?debug=1", goroutineTotal, &got.goroutines},
		{"/metrics", regexp.MustCompile(`(?m)^gatefold_self_checks_total (\d+)`), &got.selfChecks},
		{"/metrics", regexp.MustCompile(`(?m)^gatefold_self_check_failures_total (\d+)`), &got.selfCheckFailures},
	} {
		text, err := n.read(source.path)
		if err != nil {
			return got, err
		}
		found := source.pattern.FindSubmatch(text)
		if found == nil {
			return got, fmt.Errorf("%s of node %d has no %v", source.path, n.index, source.pattern)
		}
		*source.into, _ = strconv.Atoi(string(found[1]))
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.process.Process.Pid))
	got.descriptors = len(open)
	return got, err
}

// read reads a page of the admin endpoint, again if a reload took the connection.
func (n *soakNode) read(path string) ([]byte, error) {
	for until := time.Now().Add(deadline); ; time.Sleep(20 * time.Millisecond) {
		response, err := oneShot.Get("http://" + n.admin + path)
		if err == nil {
			var text []byte
			text, err = io.ReadAll(response.Body)
			response.Body.Close()
			if err == nil {
				return text, nil
			}
		}
		if time.Now().After(until) {
			return nil, err
		}
	}
}

// flat compares the samples around the middle of a run with those of its end.
type flat struct {
	name  string
	of    func(sample) int
	slack int // beyond a fifth
}

// The heap includes caches and bounded tables that fill during a short run, and both
// numbers those of connections, requests and configurations in use when the sample
// was taken.
var flats = []flat{
	{"heap after a collection, KiB", func(s sample) int { return s.heap >> 10 }, 24 << 10},
	{"goroutines", func(s sample) int { return s.goroutines }, 100},
	{"descriptors", func(s sample) int { return s.descriptors }, 60},
}

// check returns the medians of the middle and the end, and whether they are alike.
func (f flat) check(samples []sample) (middle, end int, ok bool) {
	n := len(samples)
	middle, end = f.median(samples[n*2/5:n*3/5]), f.median(samples[n*4/5:])
	return middle, end, end <= middle+middle/5+f.slack
}

// median returns the lower median: of two samples, one may have been taken right after a
// reload, while the former configuration is still in memory.
func (f flat) median(samples []sample) int {
	values := f.values(samples)
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

func (f flat) values(samples []sample) []int {
	values := make([]int, len(samples))
	for i := range samples {
		values[i] = f.of(samples[i])
	}
	return values
}

// soakLog reads the log of a node, line by line, and keeps only what is unexpected.
type soakLog struct {
	mu         sync.Mutex
	begin      bytes.Buffer // the first lines, for a start that fails
	rest       []byte       // of a line that has not ended
	lines      int
	errors     map[string]int // expected kinds
	unexpected []string
}

// Write reads what the process prints. It keeps at most 20 unexpected lines.
func (l *soakLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begin.Len() < 64<<10 {
		l.begin.Write(p)
	}
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte{'\n'})
		if !whole {
			l.rest = slices.Clone(l.rest)
			return len(p), nil
		}
		l.rest = rest
		l.lines++
		if problem := l.problem(line); problem != "" && len(l.unexpected) < 20 {
			l.unexpected = append(l.unexpected, fmt.Sprintf("%s: %.1000s", problem, line))
		}
	}
}

// soakSecrets matches a token's payload, a link cookie and a client's secret, and no
// random name.
var soakSecrets = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ|gatefold-[A-Za-z0-9_-]{12}=[A-Za-z0-9]|gfsecret_[A-Za-z0-9_-]{8,}`)

// problem returns why a line must not be in the log.
func (l *soakLog) problem(line []byte) string {
	if soakSecrets.Match(line) {
		return "a secret"
	}
	var entry struct {
		Level, Logger, Msg, Error string
		Err                       string `json:"err"`
		Request                   struct{ URI string }
	}
	if err := json.Unmarshal(line, &entry); err != nil {
		return "no log line"
	}
	if entry.Level != "error" && entry.Level != "panic" && entry.Level != "fatal" {
		return ""
	}
	for _, expected := range expectedErrors {
		if strings.HasPrefix(entry.Logger, expected.logger) && strings.Contains(entry.Msg+" "+entry.Error, expected.text) && strings.HasPrefix(entry.Request.URI, expected.uri) {
			l.errors[expected.name]++
			return ""
		}
	}
	return "an error"
}

// expectedErrors are the kinds of errors that a soak causes.
var expectedErrors = []struct{ name, logger, text, uri string }{
	{"the origin failed", "http.log.", "", "/shaky"},
	{"the origin failed", "http.handlers.reverse_proxy", "", "/shaky"},
	{"a configuration was refused", "admin.api", "", ""},
}

func (l *soakLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begin.String()
}

// What grows until the end is found, and what fills or varies at first is not. An error
// of the log is found unless a failing origin caused it, and so is a secret.
func TestSoakFindsGrowthAndErrors(t *testing.T) {
	t.Parallel()
	rises, fills := make([]sample, soakSamples), make([]sample, soakSamples)
	for i := range soakSamples {
		rises[i] = sample{heap: i << 23, goroutines: 50 + 40*i, descriptors: 40 + 20*i}
		fills[i] = sample{heap: min(i, 5) << 23, goroutines: 50 + 40*(i%3), descriptors: 40 + 20*(i%3)}
	}
	for _, flat := range flats {
		if middle, end, ok := flat.check(rises); ok {
			t.Errorf("%s: %d in the middle and %d at the end pass", flat.name, middle, end)
		}
		if middle, end, ok := flat.check(fills); !ok {
			t.Errorf("%s: %d in the middle and %d at the end do not pass", flat.name, middle, end)
		}
	}
	log := &soakLog{errors: map[string]int{}}
	for _, line := range []string{
		`{"level":"info","logger":"http.log.access","msg":"handled request","request":{"uri":"/articles/a1"}}`,
		`{"level":"error","logger":"http.log.error","msg":"EOF","request":{"uri":"/shaky/x"}}`,
		`{"level":"error","logger":"http.log.error","msg":"EOF","request":{"uri":"/articles/a1"}}`,
		`{"level":"info","logger":"http.log.access","msg":"handled request","request":{"uri":"/?x=eyJhbGciOiJFUzI1NiJ9.eyJhbGci"}}`,
		`panic: runtime error`,
	} {
		fmt.Fprintln(log, line)
	}
	if len(log.unexpected) != 3 || log.lines != 5 || log.errors["the origin failed"] != 1 {
		t.Errorf("%d lines, %v, %q", log.lines, log.errors, log.unexpected)
	}
}
