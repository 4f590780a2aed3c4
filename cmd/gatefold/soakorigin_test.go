package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/keys/keystest"
)

// originMark is in every page of an origin, and in no answer of the gate.
const originMark = "the-origin-wrote-this"

// visitHeader carries the number of a request to the origins.
const visitHeader = "X-Soak-Visit"

// arrivals are the numbers of the requests that reached an origin.
type arrivals struct{ numbers sync.Map }

func (a *arrivals) arrive(r *http.Request) { a.numbers.Store(r.Header.Get(visitHeader), true) }

// take reports whether a request arrived, and forgets it.
func (a *arrivals) take(number string) bool {
	_, arrived := a.numbers.LoadAndDelete(number)
	return arrived
}

// newPages starts an origin with ordinary pages, large pages below /big, and streams
// below /articles/stream-.
func newPages(t *testing.T, seen *arrivals) string {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.arrive(r)
		w.Header().Set("X-Origin", "pages")
		switch {
		case r.Header.Get("Upgrade") != "":
			serveSocket(w)
		case strings.HasPrefix(r.URL.Path, "/articles/stream-"):
			w.Header().Set("Content-Type", "text/event-stream")
			serveTicks(r.Context(), w, http.NewResponseController(w).Flush)
		case strings.HasPrefix(r.URL.Path, "/big"):
			block := strings.Repeat(originMark+"\n", 1000)
			for range 20 {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
			}
		default:
			w.Header().Set("Cache-Control", "public, max-age=600")
			fmt.Fprintln(w, originMark, r.URL.Path)
		}
	}))
	t.Cleanup(func() { origin.CloseClientConnections(); origin.Close() })
	return origin.Listener.Addr().String()
}

// serveTicks writes without end.
func serveTicks(ctx context.Context, w io.Writer, flush func() error) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(w, "data: "+originMark+"\n\n"); err != nil || flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// serveSocket answers as a WebSocket and writes text frames without end.
func serveSocket(w http.ResponseWriter) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "websocket")
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	frame := append([]byte{0x81, byte(len(originMark))}, originMark...)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, conn)
	}()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := conn.Write(frame); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// shaky is an origin that fails in one way after the other.
type shaky struct {
	seen    *arrivals
	address string
	mode    atomic.Int32
	mu      sync.Mutex
	up      net.Listener // nil while the origin is dead
	conns   sync.WaitGroup
}

// The ways in which a shaky origin fails.
var shakyModes = []string{"works", "dead", "hangs", "not HTTP", "cut body", "cut header", "500", "resets"}

func newShaky(t *testing.T, seen *arrivals) *shaky {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &shaky{seen: seen, address: listener.Addr().String()}
	o.serve(listener)
	t.Cleanup(func() { o.set("dead"); o.conns.Wait() })
	return o
}

// set changes the way in which the origin fails.
func (o *shaky) set(mode string) {
	for i, name := range shakyModes {
		if name == mode {
			o.mode.Store(int32(i)) //nolint:gosec // a handful
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case mode == "dead" && o.up != nil:
		o.up.Close()
		o.up = nil
	case mode != "dead" && o.up == nil:
		if listener, err := net.Listen("tcp", o.address); err == nil {
			o.serveLocked(listener)
		} // else another process has the port for now: the origin stays dead
	}
}

func (o *shaky) serve(listener net.Listener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.serveLocked(listener)
}

func (o *shaky) serveLocked(listener net.Listener) {
	o.up = listener
	o.conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			o.conns.Go(func() {
				defer conn.Close()
				reader := bufio.NewReader(conn)
				for o.respond(conn, reader) {
				}
			})
		}
	})
}

// respond answers one request, and reports whether the connection goes on.
func (o *shaky) respond(conn net.Conn, reader *bufio.Reader) bool {
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	request, err := http.ReadRequest(reader)
	if err != nil {
		return false
	}
	o.seen.arrive(request)
	page := fmt.Sprintf("%s %s\n", originMark, request.URL.Path)
	const head = "HTTP/1.1 200 OK\r\nX-Origin: shaky\r\nContent-Length: %d\r\n\r\n%s"
	switch shakyModes[o.mode.Load()] {
	case "works":
		_, err = fmt.Fprintf(conn, head, len(page), page)
		return err == nil
	case "hangs":
		_, _ = reader.ReadByte() // until the gate gives up
	case "not HTTP":
		_, _ = io.WriteString(conn, "+OK nothing that speaks HTTP\r\n")
	case "cut body":
		_, _ = fmt.Fprintf(conn, head, 1000, page)
	case "cut header":
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Origin: sha")
	case "500":
		_, err = fmt.Fprintf(conn, strings.Replace(head, "200 OK", "500 Sorry", 1), len(page), page)
		return err == nil
	case "resets":
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	return false
}

// issuer is a login service whose keys rotate.
type issuer struct {
	*keystest.KeyHost
	ca      string
	mu      sync.Mutex
	current *issuerKey
	old     *issuerKey // no longer in the key set
	made    int
}

type issuerKey struct {
	private *ecdsa.PrivateKey
	kid     string
	trusted *fact
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{KeyHost: keystest.NewKeyHost(t, jose.JSONWebKeySet{})}
	i.ca = i.WriteRoots(t)
	if err := i.rotate(); err != nil {
		t.Fatal(err)
	}
	return i
}

// keySetLag is how long a gate may take to notice a change of a key set: the cooldown,
// a fetch, and a busy machine. A gate fetches a key set again when it sees an unknown
// key, which is the case after every rotation, and all the time in a flood.
const keySetLag = 15 * time.Second

// rotate replaces the key set's only key.
func (i *issuer) rotate() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.made++
	key := &issuerKey{private, fmt.Sprint("issuer-", i.made), newFact(false)}
	key.trusted.lag = keySetLag
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: key.kid, Use: "sig", Algorithm: "ES256"}}}
	old := i.current
	i.current, i.old = key, old
	publish := func() error {
		return key.trusted.change(noNode, true, func() error { i.Serve(set); return nil })
	}
	i.Take() // the recorded requests of the last period
	if old == nil {
		return publish()
	}
	return old.trusted.change(noNode, false, publish)
}

// keys returns the current key and the one before, which is nil at first.
func (i *issuer) keys() (current, old *issuerKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current, i.old
}

func (i *issuer) url() string { return "https://" + i.Listener.Addr().String() }

// token signs a token for a user.
func (i *issuer) token(key *issuerKey, kid, user string) string {
	now := time.Now().Unix()
	return signES256(key.private, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, kid), fmt.Sprintf(
		`{"iss":%q,"aud":"news","sub":%q,"iat":%d,"exp":%d}`, i.url(), user, now-1, now+3600))
}

// signES256 signs a token over a header and a payload.
func signES256(private *ecdsa.PrivateKey, header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		panic(err) // the system has no random numbers
	}
	return input + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}
