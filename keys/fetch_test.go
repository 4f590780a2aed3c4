package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Each misbehavior of a host has its own result. Keys that were fetched before stay
// usable, and no request waits longer than a fetch may take.
func TestMisbehavingHosts(t *testing.T) {
	key := mustGenerate()
	var inside atomic.Int64
	internal := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	t.Cleanup(internal.Close)
	endless := strings.Repeat(" ", 64<<10)
	for name, test := range map[string]struct {
		want   FetchResult
		answer http.HandlerFunc
	}{
		"html": {FetchMalformed, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<!DOCTYPE html><title>Log in to the captive portal</title>")
		}},
		"html without content type": {FetchMalformed, serveText("<html></html>")},
		"no keys array":             {FetchMalformed, serveText(`{"keys":{}}`)},
		"too many keys":             {FetchMalformed, serveText(`{"keys":[` + strings.Repeat(`{},`, 100) + `{}]}`)},
		"500":                       {FetchStatus, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
		"304 to an unconditional request": {FetchStatus, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotModified)
		}},
		"redirect to an internal address": {FetchRedirect, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, internal.URL+"/latest/meta-data/", http.StatusFound)
		}},
		"10 GiB with Content-Length": {FetchTooLarge, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(10<<30))
			w.WriteHeader(http.StatusOK)
			for range 10 << 30 / len(endless) {
				if _, err := io.WriteString(w, endless); err != nil {
					return
				}
			}
		}},
		"10 GiB without Content-Length": {FetchTooLarge, func(w http.ResponseWriter, _ *http.Request) {
			for range 10 << 30 / len(endless) {
				if _, err := io.WriteString(w, endless); err != nil {
					return
				}
			}
		}},
		"cut": {FetchUnreachable, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"keys":[`)
			panic(http.ErrAbortHandler)
		}},
		"hanging": {FetchTimedOut, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"slow body": {FetchTimedOut, func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := io.WriteString(w, " "); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newJWKSHost(t, key)
			remote := h.fetched()
			if test.want == FetchTimedOut {
				h.sets.Configure(h.settings(Settings{timeout: 300 * time.Millisecond}))
			}
			h.Handle(test.answer)
			began := time.Now()
			wantTry(t, remote, "unknown", ErrUnknownKey)
			if took := time.Since(began); took > 10*FetchTimeout {
				t.Errorf("the request took %v", took)
			}
			failure, ok := errors.AsType[*FetchError](remote.Status().Err)
			if !ok || failure.Result != test.want {
				t.Fatalf("the fetch gave %v, want %s", remote.Status().Err, test.want)
			}
			if h.sets.Stats().Fetches[test.want] != 1 || inside.Load() != 0 {
				t.Errorf("the counters are %v; the internal server received %d requests", h.sets.Stats().Fetches, inside.Load())
			}
			// During the cooldown there is no other fetch.
			before := h.Count()
			wantTry(t, remote, "unknown", ErrUnknownKey)
			wantTry(t, remote, key.ID(), nil)
			if h.Count() != before {
				t.Error("the host was asked again during the cooldown")
			}
			// After the host recovers, the background refresh succeeds.
			h.sets.Configure(h.settings(Settings{}))
			h.serve(key)
			h.advance(6 * time.Second)
			if status := remote.Status(); status.Err != nil || status.Stale {
				t.Errorf("after recovery: %+v", status)
			}
		})
	}
}

// A certificate of an untrusted authority is refused before the request is sent.
func TestHostWithAnotherCertificate(t *testing.T) {
	h := newJWKSHost(t)
	remote := watch(t, h.newSets(Settings{Roots: x509.NewCertPool()}), publisherLocation)
	err := remote.Refresh(t.Context())
	if failure, ok := errors.AsType[*FetchError](err); !ok || failure.Result != FetchUnreachable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the fetch gave %v", err)
	}
	if h.Count() != 0 {
		t.Error("the request was sent")
	}
}

// A name that resolved to a public address resolves to a private one later (DNS
// rebinding).
func TestDNSRebinding(t *testing.T) {
	key := mustGenerate()
	h := newJWKSHost(t, key)
	names := newNames(t)
	sets := NewSets(SetsOptions{Now: h.clock.Now, Settings: h.settings(Settings{}), Interval: time.Hour, Timeout: patience, Resolver: names.resolver()})
	t.Cleanup(sets.Close)
	_, port, _ := net.SplitHostPort(h.Listener.Addr().String())
	location := KeySetLocation{URL: "https://" + publisherHost + ":" + port + "/jwks.json"}
	remote := watch(t, sets, location)
	names.set("127.0.0.1") // in Settings.Addresses, so it counts as public
	if err := remote.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTry(t, remote, key.ID(), nil)
	for _, address := range []string{"10.0.0.1", "169.254.169.254", "127.0.0.2", "192.168.1.1", "100.100.100.200", "168.63.129.16", "0.0.0.0", "224.0.0.1"} {
		names.set(address)
		err := remote.Refresh(t.Context())
		failure, ok := errors.AsType[*FetchError](err)
		if !ok || failure.Result != FetchAddress {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if strings.Contains(err.Error(), address) {
			t.Errorf("the error contains the address: %v", err)
		}
	}
	wantTry(t, remote, key.ID(), nil) // the keys fetched before stay usable
	if h.Count() != 1 {
		t.Errorf("the host was asked %d times", h.Count())
	}
}

// Literal addresses in the URL are checked too.
func TestAddressesThatAreRefused(t *testing.T) {
	h := newJWKSHost(t)
	sets := h.newSets(Settings{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	for _, host := range []string{"127.0.0.1", "10.1.2.3", "169.254.169.254", "[::ffff:10.0.0.1]", "localhost"} {
		remote := watch(t, sets, KeySetLocation{URL: "https://" + host + ":1/jwks.json"})
		failure, ok := errors.AsType[*FetchError](remote.Refresh(t.Context()))
		if !ok || failure.Result != FetchAddress {
			t.Errorf("%s: %v", host, failure)
		}
	}
	// IPv6 is tested without dialling: the machine may not have it.
	control := publicGuard(nil)
	for _, address := range []string{
		"[::1]:1", "[::]:1", "[fd00:ec2::254]:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1", "[64:ff9b::7f00:1]:1", "[2002:7f00:1::]:1", "[ff02::1]:1",
	} {
		if err := control("tcp6", address, nil); !errors.Is(err, errAddress) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := control("tcp6", "[2606:4700::1111]:443", nil); err != nil {
		t.Errorf("a public address: %v", err)
	}
	// A trusted location is dialled; nothing listens at this address.
	remote := watch(t, sets, KeySetLocation{URL: "https://127.0.0.1:1/jwks.json", Trusted: true})
	if failure, ok := errors.AsType[*FetchError](remote.Refresh(t.Context())); !ok || failure.Result != FetchUnreachable {
		t.Errorf("a trusted location: %v", failure)
	}
}

// The key set of an issuer is found by its OpenID configuration.
func TestDiscovery(t *testing.T) {
	key := mustGenerate()
	h := newJWKSHost(t, key)
	issuer := "https://" + publisherHost
	elsewhere := "https://127.0.0.1:1/jwks"
	configuration := `{"issuer":"` + issuer + `","jwks_uri":"` + issuer + `/keys"}`
	h.Handle(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/openid-configuration" {
			_, _ = io.WriteString(w, configuration)
			return
		}
		_, _ = io.WriteString(w, jwksOf(key))
	})
	remote := watch(t, h.newSets(Settings{Addresses: []netip.Prefix{}}), KeySetLocation{Issuer: issuer, Trusted: true})
	wantTry(t, remote, key.ID(), nil)
	for text, want := range map[string]FetchResult{
		`{"issuer":"https://evil.example","jwks_uri":"` + issuer + `/keys"}`:         FetchMalformed,
		`{"issuer":"` + issuer + `"}`:                                                FetchMalformed,
		`{"issuer":"` + issuer + `","jwks_uri":"http://` + publisherHost + `/keys"}`: FetchMalformed,
		`<html>`: FetchMalformed,
		// A private address on another host than the trusted issuer's.
		`{"issuer":"` + issuer + `","jwks_uri":"` + elsewhere + `"}`: FetchAddress,
	} {
		configuration = text
		failure, ok := errors.AsType[*FetchError](remote.Refresh(t.Context()))
		if !ok || failure.Result != want {
			t.Errorf("%s: %v, want %s", text, failure, want)
		}
	}
	wantTry(t, remote, key.ID(), nil)
}

func TestRefusedLocations(t *testing.T) {
	sets := newJWKSHost(t).sets
	for _, location := range []KeySetLocation{
		{},
		{URL: "https://a.example/", Issuer: "https://a.example"},
		{URL: "http://a.example/"},
		{URL: "file:///etc/passwd"},
		{URL: "https://"},
		{URL: "https://user:secret@a.example/"},
		{URL: "https://a.example/#x"},
		{URL: "https:a.example"},
		{URL: "https://a.example/" + strings.Repeat("x", MaxKeySetURL)},
		{Issuer: "https://a.example/?x=1"},
		{URL: "https://a.example/%zz"},
	} {
		_, err := sets.Watch(location)
		if err == nil {
			t.Errorf("%+v is watched", location)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error contains the password: %v", err)
		}
	}
}

func TestMaxAge(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"":                                  DefaultFresh,
		"no-store":                          DefaultFresh,
		"s-maxage=7200":                     DefaultFresh,
		"max-age=-1":                        DefaultFresh,
		"max-age=":                          DefaultFresh,
		"max-age=0":                         MinFresh,
		"public, max-age=59":                MinFresh,
		"Max-Age = 300":                     5 * time.Minute,
		`max-age="300"`:                     5 * time.Minute,
		"max-age=600, max-age=300":          5 * time.Minute,
		"max-age=86401":                     MaxFresh,
		"max-age=99999999999999999999999":   MaxFresh,
		"x-max-age=5, max-age=7200, public": 2 * time.Hour,
	} {
		if got := freshness(maxAge([]string{text})); got != want {
			t.Errorf("%q is fresh for %v, want %v", text, got, want)
		}
	}
}

// names is a DNS server that answers every question with the same address.
type names struct {
	conn    net.PacketConn
	address atomic.Pointer[netip.Addr]
}

func newNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{conn: conn}
	t.Cleanup(func() { conn.Close() })
	go n.run()
	return n
}

func (n *names) set(address string) {
	parsed := netip.MustParseAddr(address)
	n.address.Store(&parsed)
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

func (n *names) run() {
	buffer := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(buffer[:size]) != nil || len(message.Questions) != 1 {
			continue
		}
		question := message.Questions[0]
		message.Response, message.Additionals = true, nil
		if question.Type == dnsmessage.TypeA {
			message.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: n.address.Load().As4()},
			}}
		}
		answer, err := message.Pack()
		if err == nil {
			_, _ = n.conn.WriteTo(answer, from)
		}
	}
}
