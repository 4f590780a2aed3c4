package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// The first and the last part of a page of an unsteady origin.
const pageBegins, pageEnds = "the page begins", "the page ends"

// unsteadyOriginVariable makes the test binary an unsteady origin at its value.
const unsteadyOriginVariable = "GATEFOLD_UNSTEADY_ORIGIN"

// serveUnsteadyOrigin serves pages in two parts, with pauses. Some of them fail: with an
// error, without an answer, after the header, or after the first part.
func serveUnsteadyOrigin(address string) error {
	pause := func() { time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond) } // slow enough to be killed meanwhile
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			return
		}
		abort := http.ErrAbortHandler
		flush := http.NewResponseController(w).Flush
		pause()
		switch rand.IntN(12) {
		case 0:
			http.Error(w, "no page", http.StatusInternalServerError)
			return
		case 1:
			panic(abort)
		case 2:
			w.Header().Set("Content-Length", "100")
			_ = flush()
			panic(abort)
		case 3:
			_, _ = io.WriteString(w, pageBegins)
			_ = flush()
			pause()
			panic(abort)
		}
		_, _ = io.WriteString(w, pageBegins)
		_ = flush()
		pause()
		_, _ = io.WriteString(w, pageEnds)
	}))
}

// unsteadyOrigin is a process that serves unsteady pages.
type unsteadyOrigin struct {
	t       *testing.T
	address string
	process *exec.Cmd
}

func startUnsteadyOrigin(t *testing.T) *unsteadyOrigin {
	t.Helper()
	o := &unsteadyOrigin{t: t, address: "127.0.0.1:" + keystest.FreePort(t)}
	o.start()
	t.Cleanup(o.kill)
	return o
}

// start starts the process, and waits until it accepts connections.
func (o *unsteadyOrigin) start() {
	o.t.Helper()
	executable, err := os.Executable()
	if err != nil {
		o.t.Fatal(err)
	}
	o.process = exec.Command(executable)
	o.process.Env = append(os.Environ(), unsteadyOriginVariable+"="+o.address)
	if err := o.process.Start(); err != nil {
		o.t.Fatal(err)
	}
	for end := time.Now().Add(deadline); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", o.address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			o.t.Fatalf("the origin does not start: %v", err)
		}
	}
}

func (o *unsteadyOrigin) kill() {
	_ = o.process.Process.Kill()
	_ = o.process.Wait()
}

var proxied = regexp.MustCompile(`reverse_proxy \S+`)

// proxyTo configures a server that is not running for another origin.
func (s *server) proxyTo(address string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.writeConfig(proxied.ReplaceAllLiteralString(string(text), fmt.Sprintf("reverse_proxy %s", address)))
}

// delivered reports what arrived of a page: its first byte, and all of it.
func delivered(body io.Reader) (begun, whole bool) {
	read, _ := io.ReadAll(body)
	return len(read) > 0, strings.HasPrefix(string(read), pageBegins) && strings.HasSuffix(string(read), pageEnds)
}
