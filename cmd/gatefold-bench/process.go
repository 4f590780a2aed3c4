package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a server of the run.
type process struct {
	name  string
	url   string // http://127.0.0.1:port
	admin string // host:port of the admin endpoint; empty when there is none
	cmd   *exec.Cmd
	log   string
	began time.Time
	ended chan error
}

// start starts a program whose output goes to a file. It is killed when this
// process ends in any way.
func (b *bench) start(name, url string, environment []string, program string, args ...string) (*process, error) {
	p := &process{name: name, url: url, log: filepath.Join(b.dir, name+".log"), ended: make(chan error, 1)}
	output, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	p.cmd = exec.CommandContext(context.Background(), program, args...)
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.Dir = b.dir
	p.cmd.Env = append(cleanEnvironment(), "XDG_DATA_HOME="+filepath.Join(b.dir, name), "XDG_CONFIG_HOME="+filepath.Join(b.dir, name))
	p.cmd.Env = append(p.cmd.Env, environment...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	b.processes = append(b.processes, p)
	go func() { p.ended <- p.cmd.Wait() }()
	return p, nil
}

// cleanEnvironment is the environment without the variables of Go's runtime.
func cleanEnvironment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		switch name, _, _ := strings.Cut(variable, "="); name {
		case "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG":
		default:
			kept = append(kept, variable)
		}
	}
	return kept
}

const (
	startDeadline = 60 * time.Second
	stopDeadline  = 10 * time.Second
)

// answers waits until the server answers a path with a status. It returns the
// time since the server's start.
func (p *process) answers(path string, status int, header http.Header) (time.Duration, error) {
	client := &http.Client{
		Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	last := errors.New("no answer")
	for time.Since(p.began) < startDeadline {
		select {
		case err := <-p.ended:
			p.ended <- err
			return 0, fmt.Errorf("%s ended: %w\n%s", p.name, err, p.tail())
		default:
		}
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, p.url+path, nil)
		if err != nil {
			return 0, err
		}
		request.Header = header.Clone()
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == status {
				return time.Since(p.began), nil
			}
			err = fmt.Errorf("status %d, want %d", response.StatusCode, status)
		}
		last = err
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("%s does not answer %s: %w\n%s", p.name, path, last, p.tail())
}

// tail returns the end of a process's output.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	if len(text) > 2000 {
		text = text[len(text)-2000:]
	}
	return string(text)
}

// stop terminates a process, and kills it after stopDeadline.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.ended:
		p.ended <- err
	case <-time.After(stopDeadline):
		_ = p.cmd.Process.Kill()
		p.ended <- <-p.ended
	}
}

// cpu returns the processor time that a process and its children have used.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range append(p.children(), p.cmd.Process.Pid) {
		// The clock of another process, as clock_getcpuclockid(3) names it.
		var at unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|2), &at); err != nil {
			return 0, fmt.Errorf("the processor time of %s: %w", p.name, err)
		}
		sum += time.Duration(at.Nano())
	}
	return sum, nil
}

func (p *process) children() []int {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	text, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// anonymous returns the anonymous memory of a process, in bytes.
func (p *process) anonymous() (int64, error) {
	file, err := os.Open("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the kernel does not tell RssAnon")
}

// freePort returns an unused port of the loopback interface.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it returns at once
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}
