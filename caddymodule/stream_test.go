package caddymodule

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// streamRules are empty: the site's rules are in the store.
const streamRules = "identify jwt {\nissuer self\ncookie reader\n}\n"

// A stream that begins before the watcher sees that the last one ended does not start a
// second watcher.
func TestStreamsHaveOneWatcher(t *testing.T) {
	watchers := func() int {
		stacks := make([]byte, 4<<20)
		return strings.Count(string(stacks[:goruntime.Stack(stacks, true)]), "(*streams).watch(")
	}
	before := watchers()
	s := new(streams)
	for range 20 {
		one := new(stream)
		s.add(one)
		s.remove(one)
	}
	if n := watchers() - before; n > 1 {
		t.Errorf("%d watch", n)
	}
}

// newStreamSite returns a site whose rules are in the store, with an origin that sends
// without end: events under /articles/events, a download under /articles/download, a
// tunnel under /articles/tunnel.
func newStreamSite(t *testing.T) *testSite {
	t.Helper()
	s := newTestSite(t, streamRules)
	s.setRules(
		policy.Rule{Rank: 1, Path: "/articles/{publisherContentId}", Forward: true, Allow: policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["premium"]`)}}},
		policy.Rule{Rank: 2, Path: "/", Forward: true, Allow: policy.Allow{Operator: "any"}},
	)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/articles/download":
			chunk := make([]byte, 32<<10)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
				time.Sleep(time.Millisecond) // a network that is not the fastest
			}
		case "/articles/tunnel":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, buffered, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "hello\n")
			_, _ = io.Copy(conn, buffered) // an echo, until it is closed
		default:
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: hello\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done() // and never another
		}
	})
	return s
}

func (s *testSite) setRules(rules ...policy.Rule) {
	s.Helper()
	rt := s.running()
	if err := rt.Store.As(store.Actor{}).ReplaceRules(s.Context(), defaultVendor, defaultVendor, rules, policy.StandardOperators()); err != nil {
		s.Fatal(err)
	}
	if _, err := rt.Policy.RefreshRules(s.Context(), defaultVendor, defaultVendor); err != nil {
		s.Fatal(err)
	}
}

// open opens a stream and reads its beginning. The channel ended is closed when it
// ends.
func (s *testSite) open(path string, headers ...string) (conn net.Conn, ended chan struct{}) {
	s.Helper()
	conn, _, ended = s.openAnswered(path, headers...)
	return conn, ended
}

// openAnswered opens a stream as open does, and returns the head of its response, too.
func (s *testSite) openAnswered(path string, headers ...string) (conn net.Conn, response *http.Response, ended chan struct{}) {
	s.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	request := "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\n"
	if strings.Contains(path, "/tunnel") {
		request += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	}
	for i := 0; i < len(headers); i += 2 {
		request += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		s.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err = http.ReadResponse(reader, nil)
	if err != nil {
		s.Fatal(err)
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(response.Body)
		s.Fatalf("%s: %s %s", path, response.Status, body)
	}
	var body io.Reader = response.Body
	if response.StatusCode == http.StatusSwitchingProtocols {
		body = reader
	}
	if _, err := io.ReadFull(body, make([]byte, 6)); err != nil {
		s.Fatal(err)
	}
	ended = make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, body)
		close(ended)
	}()
	return conn, response, ended
}

// A stream is cut when what allowed it is removed, whatever its kind. Streams of other
// readers continue.
func TestStreamsAreCut(t *testing.T) {
	s := newStreamSite(t)
	rt := s.running()
	reader := func(name string) (grant store.Grant, header []string) {
		grant = s.grant(store.Grant{UserID: name, SKU: "premium"})
		return grant, []string{"Authorization", "Bearer " + s.reader(keys.ReaderClaims{UserID: name})}
	}
	_, others := reader("other")
	otherConn, other := s.open("/articles/events", others...)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, revoke := range map[string]func(path string) (headers []string, address string, revoke func()){
		"grant": func(path string) ([]string, string, func()) {
			grant, header := reader("g" + path)
			return header, path, func() {
				check(rt.Store.As(store.Actor{}).DeleteGrant(t.Context(), defaultVendor, store.DefaultList, grant.ID, nil))
			}
		},
		"grant that ends": func(path string) ([]string, string, func()) {
			end := clock.Now().Add(time.Minute)
			s.grant(store.Grant{UserID: "e" + path, SKU: "premium", EndsAt: &end})
			return []string{"Cookie", "reader=" + s.reader(keys.ReaderClaims{UserID: "e" + path})}, path, func() { clock.Advance(time.Minute) }
		},
		"link": func(path string) ([]string, string, func()) {
			address, id := s.link(keys.LinkClaims{SKU: "premium", URL: s.site + path})
			return nil, strings.TrimPrefix(address, s.site), func() {
				_, err := rt.Store.As(store.Actor{}).RevokeLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id)
				check(err)
			}
		},
		"counted link": func(path string) ([]string, string, func()) {
			address, id := s.link(keys.LinkClaims{SKU: "premium", URL: s.site + path, MaxUses: 1})
			return nil, strings.TrimPrefix(address, s.site), func() {
				_, err := rt.Store.As(store.Actor{}).RevokeLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id)
				check(err)
			}
		},
	} {
		for _, kind := range []string{"events", "download", "tunnel"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				headers, address, take := revoke("/articles/" + kind)
				_, ended := s.open(address, headers...)
				if kind == "download" {
					clock.Advance(2 * time.Second) // it is long by now
				}
				s.waitFor("the stream is watched", func() bool { return openStreams.count() == 2 })
				select {
				case <-ended:
					t.Fatal("it was cut before anything was taken back")
				case <-time.After(3 * watchStreams):
				}
				began := time.Now()
				take()
				select {
				case <-ended:
				case <-time.After(30 * time.Second):
					t.Fatal("it goes on")
				}
				t.Logf("cut after %v", time.Since(began))
				s.waitFor("the removal of the stream", func() bool { return openStreams.count() == 1 })
			})
		}
	}
	select {
	case <-other:
		t.Fatal("a stream was cut that nothing was taken from")
	default:
	}
	otherConn.Close()
	s.waitFor("nothing is watched", func() bool { return openStreams.count() == 0 })
	if cut := strings.Count(fmt.Sprint(logged.entries(t, "http.handlers.gatefold")), "msg:cut"); cut != 12 {
		t.Errorf("the log has %d cut streams, want 12", cut)
	}
}

// A change of a rule or a key, which many readers share, cuts their streams.
func TestSharedChangesCutStreams(t *testing.T) {
	for name, revoke := range map[string]func(s *testSite){
		"rule": func(s *testSite) {
			s.setRules(policy.Rule{Rank: 1, Path: "/", Forward: true, Allow: policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["other"]`)}}})
		},
		"list": func(s *testSite) {
			if _, err := s.running().Store.As(store.Actor{}).UpdateList(s.Context(), defaultVendor, store.DefaultList, func(list *store.AccessList) error {
				list.Status = "INACTIVE"
				return nil
			}); err != nil {
				s.Fatal(err)
			}
		},
		"key": func(s *testSite) {
			keyring, operator := s.running().Keyring, s.running().Store.As(store.Actor{})
			before, err := keyring.Keys(s.Context(), defaultVendor)
			if err == nil {
				_, err = keyring.Rotate(s.Context(), operator, defaultVendor)
			}
			if err == nil {
				_, err = keyring.Retire(s.Context(), operator, defaultVendor, before[0].ID)
			}
			if err != nil {
				s.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStreamSite(t)
			name, bearer := s.subscriber()
			_, subscriber := s.open("/articles/events", name, bearer)
			_, anybody := s.open("/events")
			s.waitFor("both are watched", func() bool { return openStreams.count() == 2 })
			revoke(s)
			select {
			case <-subscriber:
			case <-time.After(30 * time.Second):
				t.Fatal("a subscriber's stream goes on")
			}
			if name == "rule" {
				select {
				case <-anybody:
				case <-time.After(30 * time.Second):
					t.Fatal("the stream of a page that is not public any more goes on")
				}
			}
		})
	}
}

// An ordinary response is no stream.
func TestOrdinaryResponseIsNoStream(t *testing.T) {
	s := newStreamSite(t)
	s.origin.Handle(nil)
	name, bearer := s.subscriber()
	for range 3 {
		if got := s.get("/articles/one", name, bearer); got.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
	}
	if n := openStreams.count(); n != 0 {
		t.Errorf("%d ordinary pages are watched as streams", n)
	}
}
