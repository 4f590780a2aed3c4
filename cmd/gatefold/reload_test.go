package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// reloads is how many configurations are loaded under load, half of them bad.
const reloads = 1000

// Valid and invalid configurations are loaded during requests. Every request that the
// gate has read is answered correctly, no use is given twice or lost, a response in
// progress is completed, and no resource leaks.
//
// The site listens on an inherited socket, as with systemd. Caddy's own socket is
// closed and opened at each reload, and the kernel then drops connections that were
// not accepted yet, with or without this module.
//
// One race in Go's server remains (net/http, conn.serve): it closes a connection
// whose first request it reads after its shutdown began. So a client may see a new
// connection end. The test checks that this is all: it never happens on a connection
// that had a response, nor to a request that reached the gate or the origin or spent
// a use, and the same request succeeds when it is repeated.
func TestThousandReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	s, origin := startOnSocket(t)
	token := s.must("token", "reader", "--user", "u")
	s.must("grant", "add", "--user", "u", "--sku", "premium")
	const maxUses = 50
	counted := s.must("link", "create", s.site+"/articles/hello", "--max-uses", strconv.Itoa(maxUses))
	cookie := s.get(s.must("link", "create", s.site+"/articles/hello")).cookie(t)

	slow := make(chan string, 1)
	go func() {
		got, err := fetch(s.site+"/articles/slow", "Cookie", cookie, "Authorization", "Bearer "+token)
		if err != nil {
			got.body = err.Error()
		}
		slow <- got.body
	}()
	<-origin.slowBegun

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	visits := []reloadVisit{
		{"public", s.site + "/", nil, []int{200}},
		{"subscriber", s.site + "/articles/hello", []string{"Authorization", "Bearer " + token}, []int{200}},
		{"cookie", s.site + "/articles/hello", []string{"Cookie", cookie}, []int{200}},
		{"stranger", s.site + "/articles/hello", nil, []int{401}},
		{"link", counted, nil, []int{200, 403}},
	}
	seen := new(reloadTraffic)
	for range 2 {
		load.Go(func() {
			for i := 0; ctx.Err() == nil && seen.visit(t, origin, &visits[i%len(visits)]); i++ {
			}
		})
	}

	configs := reloadConfigs(t, s)
	var before int
	for i := range reloads {
		s.load(configs[i%len(configs)])
		if t.Failed() {
			break
		}
		if i == reloads/5 {
			before = s.goroutines()
		}
	}
	close(origin.slowGoOn)
	if body := <-slow; body != "slow page, begun and ended" {
		t.Errorf("the page that was on its way is %q", body)
	}
	stop()
	load.Wait()

	if seen.answered.Load() < reloads/10 {
		t.Errorf("only %d requests were made under load", seen.answered.Load())
	}
	t.Logf("%d requests answered during %d reloads, %d connections ended before their first request was read",
		seen.answered.Load(), reloads, seen.ended.Load())
	// Every page has a use, and every use a page: the remaining uses are those that
	// were not delivered.
	if seen.redeemed.Load() == 0 {
		t.Error("no link was redeemed under load")
	}
	for left := maxUses - seen.redeemed.Load(); left > 0; left-- {
		s.get(counted).expect(t, http.StatusOK, "")
	}
	s.get(counted).expect(t, http.StatusForbidden, "link_used_up")
	if after := s.goroutines(); after > before+50 {
		t.Errorf("%d goroutines after %d reloads, %d after a fifth of them", after, reloads, before)
	}
	s.get(s.site+"/articles/hello", "Cookie", cookie).expect(t, http.StatusOK, "")
	s.stop()
}

// reloadVisit is a kind of request, with its permitted responses.
type reloadVisit struct {
	name, path string
	headers    []string
	statuses   []int
}

// reloadTraffic counts the responses.
type reloadTraffic struct {
	number, answered, ended, redeemed atomic.Int64
}

// visit makes one request, until it is answered. It reports whether to continue.
func (r *reloadTraffic) visit(t *testing.T, origin *slowOrigin, visit *reloadVisit) bool {
	for {
		id := strconv.FormatInt(r.number.Add(1), 10)
		reused := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, visit.path, nil)
		if err != nil {
			t.Error(err)
			return false
		}
		request.Header.Set("X-Visit", id)
		for i := 0; i < len(visit.headers); i += 2 {
			request.Header.Set(visit.headers[i], visit.headers[i+1])
		}
		got, err := send(request)
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			// Go's client itself repeats requests that a reused connection did not
			// answer.
			if _, arrived := origin.visits.Load(id); arrived || reused {
				t.Errorf("%s: %v, on an old connection: %v, at the origin: %v", visit.name, err, reused, arrived)
				return false
			}
			r.ended.Add(1)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", visit.name, err)
			return false
		}
		r.answered.Add(1)
		if visit.name == "link" && got.StatusCode == http.StatusOK {
			r.redeemed.Add(1)
		}
		if !slices.Contains(visit.statuses, got.StatusCode) {
			t.Errorf("%s: %d %s", visit.name, got.StatusCode, got.body)
			return false
		}
		return true
	}
}

// slowOrigin is an origin with a slow page.
type slowOrigin struct {
	*httptest.Server
	slowBegun, slowGoOn chan struct{}
	visits              sync.Map // the ids of requests that arrived
}

// startOnSocket starts a server whose site listens on an inherited socket.
func startOnSocket(t *testing.T) (*server, *slowOrigin) {
	t.Helper()
	origin := &slowOrigin{slowBegun: make(chan struct{}), slowGoOn: make(chan struct{})}
	origin.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin.visits.Store(r.Header.Get("X-Visit"), true)
		if r.URL.Path != "/articles/slow" {
			fmt.Fprint(w, "page")
			return
		}
		fmt.Fprint(w, "slow page, begun")
		w.(http.Flusher).Flush()
		close(origin.slowBegun)
		<-origin.slowGoOn
		fmt.Fprint(w, " and ended")
	}))
	t.Cleanup(origin.Close)

	socket, address := inheritedSocket(t)
	s := &server{
		t: t, dir: t.TempDir(), site: "http://" + address, admin: "127.0.0.1:" + keystest.FreePorts(t, 1)[0], log: new(keystest.Log),
		sockets: []*os.File{socket},
	}
	s.config = filepath.Join(s.dir, "Caddyfile")
	s.writeConfig(fmt.Sprintf(`{
	admin %s
	auto_https off
	log {
		level ERROR
	}
	gatefold {
		store bolt %s
	}
}

http://%s {
	bind fd/3
	gatefold {
		identify jwt {
			issuer self
		}
		rule /articles/{publisherContentId} entitled premium
		rule / any
	}
	reverse_proxy %s {
		flush_interval -1
		transport http {
			keepalive off
		}
	}
}
`, s.admin, s.database(), address, strings.TrimPrefix(origin.URL, "http://")))
	s.start()
	return s, origin
}

// inheritedSocket returns a listening socket, to be inherited by a process, and its
// address.
func inheritedSocket(t *testing.T) (*os.File, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket, listener.Addr().String()
}

// reloadConfig is a configuration, and the expected result of loading it.
type reloadConfig struct {
	json []byte
	good bool
}

// reloadConfigs are the server's own configuration, and ones that fail in
// different steps of loading, each after a good one.
func reloadConfigs(t *testing.T, s *server) []reloadConfig {
	t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	good := adaptConfig(t, s, string(text))
	var configs []reloadConfig
	for _, change := range [][2]string{
		{"store bolt", "secret {env.GATEFOLD_TEST_UNSET}\n\t\tstore bolt"},            // the app's Provision
		{"rule / any", "rule / any\n\t\tdeny {\n\t\t\terrors\n\t\t\tlogin /x\n\t\t}"}, // the handler's Validate
		{"bind fd/3", "bind 127.0.0.1"},                                               // the listener's Start: the port is taken
		{s.database(), "/dev/null/gatefold.db"},                                       // the store
	} {
		bad := adaptConfig(t, s, strings.Replace(string(text), change[0], change[1], 1))
		configs = append(configs, reloadConfig{good, true}, reloadConfig{bad, false})
	}
	return configs
}

func adaptConfig(t *testing.T, s *server, text string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	adapt := exec.Command(binary, "adapt", "--config", file)
	adapt.Env = s.environment()
	config, err := adapt.Output()
	if err != nil {
		t.Fatalf("adapt: %v", err)
	}
	return config
}

// load posts a configuration to the admin endpoint. Caddy closes the endpoint's
// own listener at each load, so a call that never arrived is made again.
func (s *server) load(config reloadConfig) {
	s.t.Helper()
	s.waitFor("the configuration is taken or refused", func() bool {
		request, err := http.NewRequest(http.MethodPost, "http://"+s.admin+"/load", bytes.NewReader(config.json))
		if err != nil {
			s.t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Cache-Control", "must-revalidate") // load it though it is the same
		response, err := oneShot.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		answer, _ := io.ReadAll(response.Body)
		if good := response.StatusCode == http.StatusOK; good != config.good {
			s.t.Errorf("a configuration that is good (%v) was answered %d %s", config.good, response.StatusCode, answer)
		}
		return true
	})
}

// oneShot reuses no connections, because the listener is replaced repeatedly.
var oneShot = &http.Client{Timeout: deadline, Transport: &devices{RoundTripper: &http.Transport{DisableKeepAlives: true}}}

var goroutineTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)

// goroutines is how many goroutines the server has.
func (s *server) goroutines() int {
	s.t.Helper()
	total := 0
	s.waitFor("the server counts its goroutines", func() bool {
		response, err := oneShot.Get("http://" + s.admin + "/debug/pprof/goroutine?debug=1")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		profile, _ := io.ReadAll(response.Body)
		found := goroutineTotal.FindSubmatch(profile)
		if found == nil {
			return false
		}
		total, _ = strconv.Atoi(string(found[1]))
		return true
	})
	return total
}
