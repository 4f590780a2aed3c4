package redistest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/keys/keystest"
)

// Server is a redis-server.
type Server struct {
	// Port is where it listens on 127.0.0.1.
	Port int
	// Password, and TLS where the server has certificates, are how Client connects.
	Password string
	TLS      *tls.Config
	// Prefix are words before redis-server, as of nsenter, and Variables is added to its
	// environment. Root is the root of the file system that it then sees.
	Prefix, Variables []string
	Root              string

	t       testing.TB
	bus     int // port for the other nodes of a Cluster
	folder  string
	args    []string
	process *exec.Cmd
	exited  chan struct{}
	output  *bytes.Buffer
	client  *redis.Client
}

// Address returns the host and port of the server.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// URL returns the address as a URL.
func (s *Server) URL() string { return "redis://" + s.Address() }

// Start starts a server with settings of its command line, such as
// "--appendonly", "yes". It has no persistence unless it is told so, and ends with
// the test.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := New(t, settings...)
	s.Start()
	return s
}

// New prepares a server, for a test that starts it itself.
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := &Server{t: t, Port: freePort(t), folder: t.TempDir()}
	s.args = append([]string{"--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir", s.folder}, settings...)
	t.Cleanup(s.Kill)
	return s
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := strconv.Atoi(keystest.FreePort(t))
	require.NoError(t, err)
	return port
}

// Start starts the server, again after it was stopped, and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.launch()
	require.Eventually(s.t, func() bool { return s.Client().Ping(context.Background()).Err() == nil }, 30*time.Second, 10*time.Millisecond,
		"redis-server does not answer:\n%s", s.output)
}

func (s *Server) launch() {
	s.t.Helper()
	args := s.args
	if s.TLS != nil {
		args = append([]string{"--port", "0", "--tls-port", fmt.Sprint(s.Port)}, args...)
	} else {
		args = append([]string{"--port", fmt.Sprint(s.Port)}, args...)
	}
	if len(s.args) > 0 && strings.HasSuffix(s.args[0], ".conf") {
		args = s.args
	}
	s.output = new(bytes.Buffer)
	command := append(append(append([]string{}, s.Prefix...), "redis-server"), args...)
	s.process = exec.CommandContext(context.Background(), command[0], command[1:]...) //nolint:gosec // a test's own words
	s.process.Env = append(os.Environ(), s.Variables...)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	require.NoError(s.t, s.process.Start(), "redis-server is needed; `make test` installs it")
	exited, process := make(chan struct{}), s.process
	s.exited = exited
	go func() {
		_ = process.Wait()
		close(exited)
	}()
}

// Client returns a client of the server.
func (s *Server) Client() *redis.Client {
	if s.client == nil {
		s.client = redis.NewClient(&redis.Options{Addr: s.Address(), Password: s.Password, TLSConfig: s.TLS, DialerRetries: 1})
	}
	return s.client
}

// Do sends a command that must succeed.
func (s *Server) Do(words ...any) any {
	s.t.Helper()
	answer, err := s.Client().Do(context.Background(), words...).Result()
	require.NoError(s.t, err, "%v", words)
	return answer
}

// Kill ends the server at once, as a failure of its machine would.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Stop lets the server end in order.
func (s *Server) Stop() { s.signal(syscall.SIGTERM) }

func (s *Server) signal(signal syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(signal)
	<-s.exited
	s.process = nil
	if s.client != nil {
		_ = s.client.Close()
		s.client = nil
	}
}

// Runs reports whether the server was started, and neither killed nor stopped since.
func (s *Server) Runs() bool { return s.process != nil }

// Pause makes the server answer nothing, with all its connections open, until
// Resume.
func (s *Server) Pause() { _ = s.process.Process.Signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume() { _ = s.process.Process.Signal(syscall.SIGCONT) }

// StartReplica starts a replica of the server.
func (s *Server) StartReplica() *Server {
	s.t.Helper()
	replica := New(s.t, "--replicaof", "127.0.0.1", fmt.Sprint(s.Port), "--repl-diskless-sync-delay", "0")
	replica.Start()
	replica.WaitForSync()
	return replica
}

// progressFields are those of INFO that change while a replica is on its way to its master.
var progressFields = regexp.MustCompile(`(?m)^(role|master_port|master_link_status|master_sync_in_progress|master_sync_read_bytes|slave_read_repl_offset|loading_loaded_bytes):.*$`)

// Follows reports whether the server is a replica that is connected to its master, and how far
// it came.
func (s *Server) Follows() (connected bool, progress string) {
	info, err := s.Client().Info(context.Background(), "replication", "persistence").Result()
	if err != nil {
		return false, "it does not answer"
	}
	progress = strings.ReplaceAll(strings.Join(progressFields.FindAllString(info, -1), " "), "\r", "")
	return strings.Contains(info, "master_link_status:up"), progress
}

// WaitForSync waits until a replica follows its master, as long as it comes nearer.
func (s *Server) WaitForSync() {
	s.t.Helper()
	WhileMoving(s.t, "the replica follows", s.Follows)
}

const (
	// stuckFor is how long something may stay as it is until it counts as stuck.
	stuckFor = 60 * time.Second
	// movingFor bounds what goes on moving and never comes to an end.
	movingFor = 10 * time.Minute
)

// WhileMoving polls until a condition holds. It fails when the state that is returned beside
// it stays the same for a minute: a busy machine is slow, and does go on.
func WhileMoving(t testing.TB, what string, holds func() (held bool, state string)) {
	t.Helper()
	last, began := "", time.Now()
	for since := began; ; time.Sleep(20 * time.Millisecond) {
		held, state := holds()
		if held {
			return
		}
		now := time.Now()
		if state != last {
			last, since = state, now
		}
		if now.Sub(since) > stuckFor || now.Sub(began) > movingFor {
			t.Fatalf("waiting until %s: stuck at %s", what, state)
		}
	}
}

// WriteFile writes a file into the server's folder, and returns its path.
func (s *Server) WriteFile(name string, content []byte) string {
	s.t.Helper()
	path := filepath.Join(s.folder, name)
	require.NoError(s.t, os.WriteFile(path, content, 0o600))
	return path
}
