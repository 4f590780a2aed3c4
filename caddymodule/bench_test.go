package caddymodule

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// The tests of this package run a real Caddy in their own process: one at a
// time, because Caddy is one for each process.

// testClock is the clock of all tests. It stands still unless a test moves it.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var clock = &testClock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}

// logged is what Caddy wrote to its log.
var logged = new(testLog)

func TestMain(m *testing.M) {
	// Caddy logs to standard error, as JSON, until a configuration names another
	// output. Results of tests and panics are written elsewhere.
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	caddy.BufferedLog()
	now = clock.Now
	since = func(t time.Time) time.Duration { return clock.Now().Sub(t) }
	caddy.RegisterModule(new(testLogWriter))
	os.Exit(m.Run())
}

type testLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *testLog) Close() error { return nil }

func (l *testLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// entries returns the log lines of a logger, by the beginning of its name.
func (l *testLog) entries(t testing.TB, logger string) []map[string]any {
	t.Helper()
	var entries []map[string]any
	for line := range strings.Lines(l.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("not a log line: %q", line)
		}
		if name, _ := entry["logger"].(string); strings.HasPrefix(name, logger) {
			entries = append(entries, entry)
		}
	}
	return entries
}

// holdsNoToken wants no token in what anybody but Caddy's own logs of requests
// wrote: those stand unfiltered here.
func (l *testLog) holdsNoToken(t testing.TB) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, `"logger":"http.log.`) && !strings.Contains(line, `"logger":"admin`) && strings.Contains(line, "eyJ") {
			t.Errorf("a token is in the log: %s", line)
		}
	}
}

// testLogWriter is a log output that tests read.
type testLogWriter struct{}

func (*testLogWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.test", New: func() caddy.Module { return new(testLogWriter) }}
}
func (*testLogWriter) String() string                                { return "test" }
func (*testLogWriter) WriterKey() string                             { return "test" }
func (*testLogWriter) OpenWriter() (io.WriteCloser, error)           { return logged, nil }
func (*testLogWriter) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// origin is the publisher's own server. It keeps what it was asked.
type origin struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
	// answer, when set, answers; else it is 200 with the request URI.
	answer http.HandlerFunc
}

func newOrigin(t testing.TB) *origin {
	t.Helper()
	o := new(origin)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.seen = append(o.seen, r.Clone(r.Context()))
		answer := o.answer
		o.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		fmt.Fprintf(w, "origin saw %s", r.RequestURI)
	}))
	t.Cleanup(o.Close)
	return o
}

// last returns the last request, and forgets all.
func (o *origin) last(t testing.TB) *http.Request {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) == 0 {
		t.Fatal("the origin was asked for nothing")
	}
	last := o.seen[len(o.seen)-1]
	o.seen = nil
	return last
}

// untouched wants that the origin was asked for nothing.
func (o *origin) untouched(t testing.TB) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.seen {
		t.Errorf("the origin was asked for %s %s", r.Method, r.RequestURI)
	}
	o.seen = nil
}

// bench is a gated site with its origin.
type bench struct {
	testing.TB
	dir    string
	port   string
	site   string // http://127.0.0.1:port
	origin *origin
}

// standardRules gate articles and an account; the rest is public.
const standardRules = `
		identify jwt {
			issuer self
			cookie reader
		}
		rule /articles/{publisherContentId} entitled premium {publisherContentId}
		rule /account authenticated
		rule /closed/{id} GET entitled other
		rule /public any
		rule / any
`

// newBench runs a site with the given lines in its gatefold directive.
func newBench(t testing.TB, gate string) *bench {
	t.Helper()
	return newBenchWith(t, "", gate, "")
}

// newBenchWith adds global options, and directives to the site.
func newBenchWith(t testing.TB, global, gate, site string) *bench {
	t.Helper()
	b := &bench{TB: t, dir: t.TempDir(), origin: newOrigin(t), port: freePort(t)}
	b.site = "http://127.0.0.1:" + b.port
	logged.reset()
	b.load(b.config(global, gate, site))
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		if users, open := pool.References(b.database()); open {
			t.Errorf("the database has still %d users", users)
		}
		logged.holdsNoToken(t)
	})
	return b
}

func (b *bench) database() string { return filepath.Join(b.dir, "gatefold.db") }

func (b *bench) config(global, gate, site string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	storage file_system %s
	log {
		output test
		level INFO
	}
	gatefold {
		store bolt %s
	}
	%s
}

http://127.0.0.1:%s {
	log
	%s
	gatefold {
		%s
	}
	reverse_proxy %s
}
`, b.dir, b.database(), global, b.port, site, gate, strings.TrimPrefix(b.origin.URL, "http://"))
}

// waitFor polls until a condition holds, and fails the test when it never does.
func (b *bench) waitFor(what string, holds func() bool) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("waited for %s in vain", what)
		}
	}
}

// load loads a Caddyfile, which must succeed.
func (b *bench) load(text string) {
	b.Helper()
	if err := load(text); err != nil {
		b.Fatal(err)
	}
}

func load(text string) error {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// shared returns what survives reloads.
func (b *bench) shared() *sharedStore { return b.app().shared }

// running returns the app at work.
func (b *bench) running() *runtime {
	b.Helper()
	rt, err := b.app().runtime.get()
	if err != nil {
		b.Fatal(err)
	}
	return rt
}

// link makes a signed link and returns its URL and its id.
func (b *bench) link(claims keys.LinkClaims) (address, id string) {
	b.Helper()
	rt := b.running()
	ring, err := rt.keyring.Ring(b.Context(), defaultVendor)
	if err != nil {
		b.Fatal(err)
	}
	claims.Issuer, claims.ID, claims.IssuedAt = keys.VendorIssuer(defaultVendor), rt.store.NewLinkID(), clock.Now().Unix()
	if claims.ExpiresAt == 0 {
		claims.ExpiresAt = claims.IssuedAt + 3600
	}
	if claims.URL == "" && claims.SKU == "" && claims.PublisherContentID == "" {
		claims.URL = b.site + "/articles/hello"
	}
	token, err := keys.SignLink(ring, claims)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := rt.store.As(store.Actor{}).CreateLink(b.Context(), defaultVendor, claims); err != nil {
		b.Fatal(err)
	}
	address = claims.URL
	if address == "" {
		address = b.site + "/articles/hello"
	}
	return keys.AppendToken(address, "token", token), claims.ID
}

// uses is how often a link was redeemed.
func (b *bench) uses(id string) int64 {
	b.Helper()
	link, err := b.running().store.SignedLink(b.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id)
	if err != nil {
		b.Fatal(err)
	}
	return link.Uses
}

// reader makes a reader's token.
func (b *bench) reader(claims keys.ReaderClaims) string {
	b.Helper()
	ring, err := b.running().keyring.Ring(b.Context(), defaultVendor)
	if err != nil {
		b.Fatal(err)
	}
	if claims.ExpiresAt == 0 {
		claims.ExpiresAt = clock.Now().Unix() + 3600
	}
	token, err := keys.SignReader(ring, defaultVendor, defaultVendor, claims, clock.Now())
	if err != nil {
		b.Fatal(err)
	}
	return token
}

// grant gives a reader a sku.
func (b *bench) grant(grant store.Grant) store.Grant {
	b.Helper()
	made, err := b.running().store.As(store.Actor{}).CreateGrant(b.Context(), defaultVendor, store.DefaultList, grant)
	if err != nil {
		b.Fatal(err)
	}
	return made
}

// subscriber is a reader with premium, as header name and value.
func (b *bench) subscriber() (name, value string) {
	b.Helper()
	b.grant(store.Grant{UserID: "subscriber", SKU: "premium"})
	return "Authorization", "Bearer " + b.reader(keys.ReaderClaims{UserID: "subscriber"})
}

// answer is an answer with its body read.
type answer struct {
	*http.Response
	t    testing.TB
	body string
}

var browser = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
}

// get asks for a page; headers are name, value pairs.
func (b *bench) get(path string, headers ...string) answer {
	b.Helper()
	return b.do(http.MethodGet, path, headers...)
}

func (b *bench) do(method, path string, headers ...string) answer {
	b.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.site + path
	}
	request, err := http.NewRequestWithContext(b.Context(), method, path, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
			continue
		}
		request.Header[headers[i]] = append(request.Header[headers[i]], headers[i+1])
	}
	response, err := browser.Do(request)
	// Just after a load the connection may have been the old server's, which
	// ends it unread; a gate that breaks off does so again.
	for range 3 {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			response, err = browser.Do(request)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return b.read(response)
}

func (b *bench) read(response *http.Response) answer {
	b.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	return answer{response, b.TB, string(body)}
}

// raw sends bytes as they are, which no client library would.
func (b *bench) raw(text string) answer {
	b.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+b.port)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		b.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		b.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.Fatal(err)
	}
	return b.read(response)
}

// rawPath asks for a path as it stands.
func (b *bench) rawPath(path string) answer {
	b.Helper()
	return b.raw("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + b.port + "\r\nConnection: close\r\n\r\n")
}

// denied wants a problem with a status and a code, that no cache keeps.
func (a answer) denied(status int, code string) answer {
	a.t.Helper()
	var problem struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	if a.StatusCode != status {
		a.t.Fatalf("status %d %s, want %d %s", a.StatusCode, a.body, status, code)
	}
	if a.Header.Get("Content-Type") != "application/problem+json" || a.Header.Get("Cache-Control") != "no-store" {
		a.t.Errorf("the header of the denial is %v", a.Header)
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || problem.Code != code || problem.Status != status || problem.Title == "" || problem.Detail == "" {
		a.t.Fatalf("the problem is %s, want %s", a.body, code)
	}
	return a
}

// page wants the page from the origin.
func (a answer) page() answer {
	a.t.Helper()
	if a.StatusCode != http.StatusOK || !strings.HasPrefix(a.body, "origin saw") {
		a.t.Fatalf("status %d %s, want the page", a.StatusCode, a.body)
	}
	return a
}

// linkCookie returns the link cookie that an answer sets, as Cookie header.
func (a answer) linkCookie() string {
	a.t.Helper()
	for _, cookie := range a.Cookies() {
		if strings.Contains(cookie.Name, linkCookiePrefix) && cookie.MaxAge > 0 {
			return cookie.Name + "=" + cookie.Value
		}
	}
	a.t.Fatalf("the answer sets no link cookie: %v", a.Header)
	return ""
}

func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
