package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store"
)

// The tests of this package run Caddy in their own process, one at a time: Caddy is
// global to the process.

// clock is the clock of all tests. It moves only when a test moves it.
var clock = keystest.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))

// logged is Caddy's log.
var logged = new(caddyLog)

func TestMain(m *testing.M) {
	// Until a configuration names another output, Caddy logs JSON to os.Stderr. Test
	// results and panics do not go through it.
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	caddy.BufferedLog()
	data, err := os.MkdirTemp("", "gatefold-test-")
	if err != nil {
		panic(err)
	}
	storeOptions.ClockStops = 100 * 365 * 24 * time.Hour // the clock of the tests is not that of a Redis
	_ = os.Setenv("XDG_DATA_HOME", data)                 // what nodes remember of a Redis
	now = clock.Now
	since = clock.Since
	caddy.RegisterModule(new(testLogWriter))
	code := m.Run()
	_ = os.RemoveAll(data)
	os.Exit(code)
}

// caddyLog is a log of JSON lines.
type caddyLog struct{ keystest.Log }

// entries returns the log lines of the loggers whose names begin with a prefix.
func (l *caddyLog) entries(t testing.TB, logger string) []map[string]any {
	t.Helper()
	var entries []map[string]any
	for _, line := range l.Lines() {
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

// holdsNoToken fails the test when the log contains a token, except in Caddy's own
// request logs, which are not filtered here.
func (l *caddyLog) holdsNoToken(t testing.TB) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, `"logger":"http.log.`) && !strings.Contains(line, `"logger":"admin`) && strings.Contains(line, "eyJ") {
			t.Errorf("a token is in the log: %s", line)
		}
	}
}

// testLogWriter is the log output `test`.
type testLogWriter struct{}

func (*testLogWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.test", New: func() caddy.Module { return new(testLogWriter) }}
}
func (*testLogWriter) String() string                                { return "test" }
func (*testLogWriter) WriterKey() string                             { return "test" }
func (*testLogWriter) OpenWriter() (io.WriteCloser, error)           { return logged, nil }
func (*testLogWriter) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// testSite is a gated site with its origin.
type testSite struct {
	testing.TB
	dir    string
	port   string
	site   string // http://127.0.0.1:port
	origin *keystest.Server
}

// standardRules protect articles and an account; all other pages are public.
const standardRules = `
		identify jwt {
			issuer self
			cookie reader
		}
		rule /articles/{publisherContentId} entitled premium {publisherContentId}
		rule /account authenticated
		rule /closed/{id} GET entitled other
		rule /closed/{id} any
		rule /public any
		rule / any
`

// newTestSite runs a site with the given lines in its gatefold directive.
func newTestSite(t testing.TB, gate string) *testSite {
	t.Helper()
	return newTestSiteWith(t, "", gate, "")
}

// newTestSiteWith runs a site with further global options, and further directives.
func newTestSiteWith(t testing.TB, global, gate, site string) *testSite {
	t.Helper()
	s := &testSite{TB: t, dir: t.TempDir(), origin: keystest.NewOrigin(t), port: keystest.FreePort(t)}
	s.site = "http://127.0.0.1:" + s.port
	logged.Reset()
	s.load(s.config(global, gate, site))
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		if users, open := openstore.Pool.References(s.database()); open {
			t.Errorf("the database has still %d users", users)
		}
		logged.holdsNoToken(t)
	})
	return s
}

func (s *testSite) database() string { return filepath.Join(s.dir, "gatefold.db") }

func (s *testSite) config(global, gate, site string) string {
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
`, s.dir, s.database(), global, s.port, site, gate, strings.TrimPrefix(s.origin.URL, "http://"))
}

// waitFor polls until a condition holds. It fails the test after 30 s.
func (s *testSite) waitFor(what string, holds func() bool) {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("waited for %s in vain", what)
		}
	}
}

// load loads a Caddyfile. It fails the test if that fails.
func (s *testSite) load(text string) {
	s.Helper()
	if err := load(text); err != nil {
		s.Fatal(err)
	}
}

func load(text string) error {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// shared returns the store that survives reloads.
func (s *testSite) shared() *openstore.Shared { return s.app().shared }

// running returns the runtime of the running app.
func (s *testSite) running() *openstore.Opened {
	s.Helper()
	rt, err := s.app().runtime.get()
	if err != nil {
		s.Fatal(err)
	}
	return rt
}

// link creates a signed link and returns its URL and its id.
func (s *testSite) link(claims keys.LinkClaims) (address, id string) {
	s.Helper()
	rt := s.running()
	ring, err := rt.Keyring.Ring(s.Context(), defaultVendor)
	if err != nil {
		s.Fatal(err)
	}
	claims.Issuer, claims.ID, claims.IssuedAt = keys.VendorIssuer(defaultVendor), rt.Store.NewLinkID(), clock.Now().Unix()
	if claims.ExpiresAt == 0 {
		claims.ExpiresAt = claims.IssuedAt + 3600
	}
	if claims.URL == "" && claims.SKU == "" && claims.PublisherContentID == "" {
		claims.URL = s.site + "/articles/hello"
	}
	token, err := keys.SignLink(ring, claims)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := rt.Store.As(store.Actor{}).CreateLink(s.Context(), defaultVendor, claims); err != nil {
		s.Fatal(err)
	}
	address = claims.URL
	if address == "" {
		address = s.site + "/articles/hello"
	}
	return keys.AppendToken(address, "token", token), claims.ID
}

// uses returns the number of a link's redemptions.
func (s *testSite) uses(id string) int64 {
	s.Helper()
	link, err := s.running().Store.SignedLink(s.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id)
	if err != nil {
		s.Fatal(err)
	}
	return link.Uses
}

// reader signs a reader token.
func (s *testSite) reader(claims keys.ReaderClaims) string {
	s.Helper()
	ring, err := s.running().Keyring.Ring(s.Context(), defaultVendor)
	if err != nil {
		s.Fatal(err)
	}
	if claims.ExpiresAt == 0 {
		claims.ExpiresAt = clock.Now().Unix() + 3600
	}
	token, err := keys.SignReader(ring, defaultVendor, defaultVendor, claims, clock.Now())
	if err != nil {
		s.Fatal(err)
	}
	return token
}

// grant creates a grant.
func (s *testSite) grant(grant store.Grant) store.Grant {
	s.Helper()
	made, err := s.running().Store.As(store.Actor{}).CreateGrant(s.Context(), defaultVendor, store.DefaultList, grant)
	if err != nil {
		s.Fatal(err)
	}
	return made
}

// subscriber grants premium to a reader, and returns the header of their credential.
func (s *testSite) subscriber() (name, value string) {
	s.Helper()
	s.grant(store.Grant{UserID: "subscriber", SKU: "premium"})
	return "Authorization", "Bearer " + s.reader(keys.ReaderClaims{UserID: "subscriber"})
}

// answer is a response with its body.
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

// get requests a page. The headers are pairs of name and value.
func (s *testSite) get(path string, headers ...string) answer {
	s.Helper()
	return s.do(http.MethodGet, path, headers...)
}

// newDevice returns an agent that no other request has: requests of one are of one device.
func newDevice() string { return fmt.Sprint("device/", devices.Add(1)) }

var devices atomic.Int64

func (s *testSite) do(method, path string, headers ...string) answer {
	s.Helper()
	if !strings.HasPrefix(path, "http") {
		path = s.site + path
	}
	request, err := http.NewRequestWithContext(s.Context(), method, path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
			continue
		}
		request.Header[headers[i]] = append(request.Header[headers[i]], headers[i+1])
	}
	if request.Header["User-Agent"] == nil {
		request.Header.Set("User-Agent", newDevice())
	}
	response, err := browser.Do(request)
	// Just after a load the connection may have reached the old server, which closes it.
	// A gate that aborts requests does so again.
	for range 3 {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			response, err = browser.Do(request)
		}
	}
	if err != nil {
		s.Fatal(err)
	}
	return s.read(response)
}

func (s *testSite) read(response *http.Response) answer {
	s.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.Fatal(err)
	}
	return answer{response, s.TB, string(body)}
}

// raw sends bytes that an HTTP client would not send.
func (s *testSite) raw(text string) answer {
	s.Helper()
	got, err := s.tryRaw(text)
	// As in do: just after a load the old server may have taken the connection.
	for range 3 {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
			got, err = s.tryRaw(text)
		}
	}
	if err != nil {
		s.Fatal(err)
	}
	return got
}

func (s *testSite) tryRaw(text string) (answer, error) {
	s.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return answer{}, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	return s.read(response), nil
}

// rawPath requests a path without normalizing it.
func (s *testSite) rawPath(path string) answer {
	s.Helper()
	return s.raw("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nConnection: close\r\n\r\n")
}

// denied expects a problem with the status and code, which no cache stores.
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

// page expects the page from the origin.
func (a answer) page() answer {
	a.t.Helper()
	if a.StatusCode != http.StatusOK || !strings.HasPrefix(a.body, "origin saw") {
		a.t.Fatalf("status %d %s, want the page", a.StatusCode, a.body)
	}
	return a
}

// linkCookie returns the link cookie that a response sets, as a Cookie header.
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

// siteOf returns a Caddyfile of one site with the given directives.
func (s *testSite) siteOf(site string) string {
	whole := s.config("", "", "")
	return whole[:strings.Index(whole, "\tlog\n\t\n")] + "\tlog\n" + site + "\n}\n"
}

// write writes a file into the site's directory.
func (s *testSite) write(name, text string) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// doBody sends a request with a body.
func (s *testSite) doBody(method, path, body string, headers ...string) answer {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), method, s.site+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	request.Close = true // a reload can close a connection that is kept
	response, err := browser.Do(request)
	if err != nil {
		s.Fatal(err)
	}
	return s.read(response)
}
