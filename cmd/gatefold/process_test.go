package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// The tests of this package run the binary: real processes, ports and files. The
// tests named TestTree… do not, and are the ones that run with -short.

// binary is the path of the built program.
var binary string

func TestMain(m *testing.M) {
	if address := os.Getenv(unsteadyOriginVariable); address != "" {
		fmt.Fprintln(os.Stderr, serveUnsteadyOrigin(address))
		os.Exit(1)
	}
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run())
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gatefold-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "gatefold")
		build := exec.Command("go", "build", "-o", binary, ".")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// deadline bounds how long a test waits for a process; it is not a measure of
// anything.
const deadline = 60 * time.Second

// server is a running gatefold with a site, an origin and an admin endpoint of
// its own.
type server struct {
	t     *testing.T
	dir   string // its data directory, and that of the commands
	site  string // http://127.0.0.1:port
	admin string // host:port
	// management is the URL of gatefold_api, where it has a port of its own.
	management string
	config     string // the Caddyfile
	log        *keystest.Log
	// output, if not nil, gets what the process prints instead of log.
	output io.Writer
	// sockets are inherited by the process, as file descriptors from 3 on.
	sockets []*os.File
	// variables are added to the environment of the process.
	variables []string
	// prefix are words before the program, as of nsenter.
	prefix []string
	// leaks: the server has no log filters on purpose.
	leaks bool

	process *exec.Cmd
	exited  chan error
}

// withoutTokens are the log filters of Caddyfile.example.
var withoutTokens = func() string {
	text, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		panic(err)
	}
	_, filters, _ := strings.Cut(string(text), "\n(without_tokens) {\n")
	filters, _, _ = strings.Cut(filters, "\n{\n")
	return "(without_tokens) {\n" + filters + "\n"
}()

// siteConfig is a site with an origin that echoes the URI. %s is: admin address,
// global options, site port, origin port, origin port.
const siteConfig = `{
	admin %s
	auto_https off
	log {
		import without_tokens
	}
	gatefold {
		%s
	}
}

http://127.0.0.1:%s {
	log {
		import without_tokens
	}
	gatefold {
		identify jwt {
			issuer self
			cookie reader
		}
		rule /articles/{publisherContentId} entitled premium {publisherContentId}
		rule /account authenticated
		rule / any
	}
	reverse_proxy 127.0.0.1:%s
}

http://127.0.0.1:%s {
	respond "origin saw {http.request.uri}"
}
`

// newServer writes the configuration of a server, and does not start it.
func newServer(t *testing.T) *server {
	t.Helper()
	ports := keystest.FreePorts(t, 3)
	s := &server{
		t: t, dir: t.TempDir(), admin: "127.0.0.1:" + ports[0], site: "http://127.0.0.1:" + ports[1], log: new(keystest.Log),
	}
	s.config = filepath.Join(s.dir, "Caddyfile")
	s.writeConfig(withoutTokens + fmt.Sprintf(siteConfig, s.admin, "store bolt "+s.database(), ports[1], ports[2], ports[2]))
	return s
}

func (s *server) database() string { return filepath.Join(s.dir, "gatefold.db") }

func (s *server) writeConfig(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// startServer starts a server and waits until it answers.
func startServer(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	s.start()
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.waitFor("the site answers", func() bool { return answersOK(s.site + "/") })
	// The site answers before Caddy makes the configuration the active one.
	s.waitFor("the commands work", func() bool {
		got, err := fetch("http://" + s.admin + "/gatefold/health")
		return err == nil && got.Header.Get("Gatefold-Loading") == ""
	})
}

// answersOK reports whether a GET is answered with the status 200.
func answersOK(address string) bool {
	response, err := http.Get(address)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// launch starts the process without waiting for it.
func (s *server) launch() {
	s.t.Helper()
	first := s.process == nil
	words := append(slices.Clone(s.prefix), binary, "run", "--config", s.config)
	s.process = exec.Command(words[0], words[1:]...)
	s.process.Env = append(s.environment(), s.variables...)
	s.process.Dir, s.process.ExtraFiles = s.dir, s.sockets
	s.process.Stdout, s.process.Stderr = s.log, s.log
	if s.output != nil {
		s.process.Stdout, s.process.Stderr = s.output, s.output
	}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func(process *exec.Cmd) { exited <- process.Wait() }(s.process)
	s.exited = exited
	s.t.Cleanup(func() {
		s.kill()
		if first && !s.leaks { // once: the log is that of all starts
			s.checkLog()
		}
	})
}

func (s *server) environment() []string {
	return append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
}

// waitFor polls until a condition holds, or the process is gone.
func (s *server) waitFor(what string, holds func() bool) {
	s.t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(deadline)
	for !holds() {
		select {
		case err := <-s.exited:
			s.exited <- err
			s.t.Fatalf("waiting until %s: the server ended: %v\n%s", what, err, s.log)
		case <-timeout:
			s.t.Fatalf("waiting until %s: nothing for %v\n%s", what, deadline, s.log)
		case <-ticker.C:
		}
	}
}

// stop stops the server like a service manager, and expects exit code 0.
func (s *server) stop() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.wait(); err != nil {
		s.t.Fatalf("the server did not end well: %v\n%s", err, s.log)
	}
}

// kill kills the server.
func (s *server) kill() {
	if s.process.Process.Signal(syscall.SIGKILL) == nil {
		_ = s.wait()
	}
}

func (s *server) wait() error {
	select {
	case err := <-s.exited:
		s.exited <- err
		return err
	case <-time.After(deadline):
		return errors.New("it does not end")
	}
}

// result is the result of a command.
type result struct {
	stdout, stderr string
	code           int
}

// command runs a command of gatefold beside the server.
func (s *server) command(args ...string) result {
	s.t.Helper()
	return runCommand(s.t, s.dir, s.environment(), append(args, "--address", s.admin)...)
}

func runCommand(t *testing.T, dir string, environment []string, args ...string) result {
	t.Helper()
	return runProgram(t, binary, dir, environment, args...)
}

func runProgram(t *testing.T, program, dir string, environment []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Dir = environment, dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("running %q: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed, and returns its output without the
// newline at its end.
func (s *server) must(args ...string) string {
	s.t.Helper()
	got := s.command(args...)
	if got.code != 0 {
		s.t.Fatalf("%q: exit code %d: %s", args, got.code, got.stderr)
	}
	return strings.TrimSuffix(got.stdout, "\n")
}

// answer is an answer with its body read.
type answer struct {
	*http.Response
	body string
}

// get requests a URL; headers are name, value pairs.
func (s *server) get(address string, headers ...string) answer {
	s.t.Helper()
	got, err := fetch(address, headers...)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

var httpClient = &http.Client{
	Timeout: deadline, Transport: &devices{RoundTripper: http.DefaultTransport},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// devices gives every request another agent, unless it has one: without cookies, requests
// of one agent are of one device.
type devices struct {
	http.RoundTripper
	count atomic.Int64
}

func (d *devices) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header["User-Agent"] == nil {
		r = r.Clone(r.Context())
		r.Header.Set("User-Agent", fmt.Sprintf("device/%p/%d", d, d.count.Add(1)))
	}
	return d.RoundTripper.RoundTrip(r)
}

func fetch(address string, headers ...string) (answer, error) {
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	return send(request)
}

func send(request *http.Request) (answer, error) {
	response, err := httpClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response, string(body)}, err
}

// expect checks the status and, if not empty, the code.
func (a answer) expect(t *testing.T, status int, code string) {
	t.Helper()
	if a.StatusCode != status || code != "" && !strings.Contains(a.body, `"code":"`+code+`"`) {
		t.Fatalf("got %d %s, want %d %s", a.StatusCode, a.body, status, code)
	}
}

// cookie returns the link cookie that an answer sets, as a Cookie header.
func (a answer) cookie(t *testing.T) string {
	t.Helper()
	for _, cookie := range a.Cookies() {
		if strings.Contains(cookie.Name, "gatefold-") && cookie.Value != "" {
			return cookie.Name + "=" + cookie.Value
		}
	}
	t.Fatalf("the answer sets no link cookie: %v", a.Header)
	return ""
}

// tokenMaterial matches what no log may contain: the payload of a token, the value
// of a link cookie, or a client's secret.
var tokenMaterial = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}|gatefold-[A-Za-z0-9_-]{12}=[A-Za-z0-9]|gfsecret_[A-Za-z0-9_-]{8,}`)

// checkLog checks that the server's output has no secret. It runs at the end of
// every test with a server.
func (s *server) checkLog() {
	s.t.Helper()
	for line := range strings.Lines(s.log.String()) {
		if found := tokenMaterial.FindString(line); found != "" {
			s.t.Errorf("the log holds %q: %s", found, line)
		}
	}
}
