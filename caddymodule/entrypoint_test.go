package caddymodule

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// newEntrySite returns a site with an entry point that the API sets.
func newEntrySite(t *testing.T, options string) (s *testSite, admin string) {
	t.Helper()
	s, admin = newAdminSite(t)
	config := strings.Replace(s.config("", standardRules, ""), "admin off", "admin "+strings.TrimPrefix(admin, "http://"), 1)
	host := strings.TrimPrefix(s.origin.URL, "http://")
	s.load(strings.Replace(config, "reverse_proxy "+host, "reverse_proxy {\n\t\tdynamic gatefold {\n\t\t\t"+options+"\n\t\t}\n\t}", 1))
	return s, admin
}

// setEntry sets the site's entry point with the API.
func (s *testSite) setEntry(admin, entry string) answer {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), http.MethodPut, admin+"/gatefold/api/proxy", strings.NewReader(fmt.Sprintf(`{"entry_point":%q}`, entry)))
	if err != nil {
		s.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := browser.Do(request)
	if err != nil {
		s.Fatal(err)
	}
	return s.read(response)
}

// forceEntry sets the entry point in the store, without the API's check of the
// address.
func (s *testSite) forceEntry(entry string) {
	s.Helper()
	_, err := s.running().Store.As(store.Actor{}).ChangeForwarding(s.Context(), defaultVendor, defaultVendor, func(f *policy.Forwarding) error {
		f.EntryPoint = entry
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
}

// A change of the entry point applies to the next request, with the path of its URL.
func TestEntryPointAppliesAtOnce(t *testing.T) {
	second := keystest.NewOrigin(t)
	first := keystest.NewOrigin(t)
	hostOf := func(o *keystest.Server) string { return strings.TrimPrefix(o.URL, "http://") }
	s, admin := newEntrySite(t, "allow "+hostOf(first)+" "+hostOf(second))
	if got := s.get("/public/x"); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without an entry point: %d", got.StatusCode)
	}
	for _, entry := range []struct{ url, want string }{
		{first.URL, "/public/a%20b?x=1&x=2&flag"},
		{first.URL + "/", "/public/a%20b?x=1&x=2&flag"},
		{second.URL + "/base/", "/base/public/a%20b?x=1&x=2&flag"},
		{second.URL + "/b%20ase", "/b%20ase/public/a%20b?x=1&x=2&flag"},
	} {
		if got := s.setEntry(admin, entry.url); got.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", entry.url, got.StatusCode, got.body)
		}
		got := s.get("/public/a%20b?x=1&x=2&flag").page()
		if got.body != "origin saw "+entry.want {
			t.Errorf("%s: %s", entry.url, got.body)
		}
	}
	if seen := second.Last(t); seen.Host != strings.TrimPrefix(s.site, "http://") || !strings.HasPrefix(seen.RemoteAddr, "127.0.0.1:") {
		t.Errorf("the origin saw %s", seen.Host)
	}
	s.get("/account").denied(http.StatusUnauthorized, "login_required")
	second.WantNone(t)
}

// An entry point at an address that is not public is refused in every spelling, when
// it is set and when the gate connects.
func TestUnsafeEntryPointsAreRefused(t *testing.T) {
	inside := keystest.NewOrigin(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(inside.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	s, admin := newEntrySite(t, "allow 10.99.0.0/16")
	for _, host := range []string{"127.0.0.1", "localhost", "127.8.9.10", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"} {
		entry := "http://" + host + ":" + port
		if got := s.setEntry(admin, entry); got.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(got.body, "Unsafe URLs are not allowed") {
			t.Errorf("%s is taken: %d %s", entry, got.StatusCode, got.body)
		}
		s.forceEntry(entry)
		if got := s.get("/public/x"); got.StatusCode != http.StatusBadGateway || strings.Contains(got.body, "127.0.0.1") {
			t.Errorf("%s: %d %s", entry, got.StatusCode, got.body)
		}
	}
	inside.WantNone(t)
	for _, entry := range []string{"http://169.254.169.254/latest", "http://10.0.0.1", "http://192.168.1.1:8080", "http://[fe80::1]/", "http://[fd00::1]/", "http://168.63.129.16/", "http://100.64.0.1/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/"} {
		if got := s.setEntry(admin, entry); got.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s is taken: %d %s", entry, got.StatusCode, got.body)
		}
	}
	for _, entry := range []string{"http://10.99.1.2", "https://93.184.216.34", "http://no-such-name.invalid"} {
		if got := s.setEntry(admin, entry); got.StatusCode != http.StatusOK {
			t.Errorf("%s is refused: %d %s", entry, got.StatusCode, got.body)
		}
	}
}

// A host name that resolves to a public address when it is set, and to this machine
// later, is refused when the gate connects (DNS rebinding).
func TestReboundEntryPointIsRefused(t *testing.T) {
	inside := keystest.NewOrigin(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(inside.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	names := newNameServer(t)
	s, admin := newEntrySite(t, "allow 10.99.0.0/16")
	names.resolveTo("93.184.216.34")
	if got := s.setEntry(admin, "http://rebound.example:"+port+"/"); got.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	names.resolveTo("127.0.0.1")
	asked := names.count()
	if got := s.get("/public/x"); got.StatusCode != http.StatusBadGateway {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if names.count() == asked {
		t.Error("the name was not resolved: the test proves nothing")
	}
	inside.WantNone(t)
	// A listed address may be reached by a name.
	s, admin = newEntrySite(t, "allow 127.0.0.1:"+port)
	if got := s.setEntry(admin, "http://rebound.example:"+port+"/"); got.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	s.get("/public/x").page()
	inside.Last(t)
}

// Over https the certificate must be valid for the entry point's host name.
func TestEntryPointOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "origin saw %s over %s", r.RequestURI, r.TLS.ServerName)
	}))
	defer server.Close()
	names := newNameServer(t)
	names.resolveTo("127.0.0.1")
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	s, admin := newEntrySite(t, fmt.Sprintf("allow %s\n\t\t\tca %s", at, authority))
	s.setEntry(admin, fmt.Sprintf("https://example.com:%d", at.Port())) // httptest's certificate is for example.com
	if got := s.get("/public/x"); got.body != "origin saw /public/x over example.com" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	s.setEntry(admin, fmt.Sprintf("https://other.example:%d", at.Port()))
	if got := s.get("/public/x"); got.StatusCode != http.StatusBadGateway {
		t.Errorf("a certificate for another name: %d %s", got.StatusCode, got.body)
	}
}

// An entry point that leads back to the gate ends in 503.
func TestEntryPointLoop(t *testing.T) {
	s, admin := newEntrySite(t, "allow 127.0.0.1:1")
	config := strings.Replace(s.config("", standardRules, ""), "admin off", "admin "+strings.TrimPrefix(admin, "http://"), 1)
	host := strings.TrimPrefix(s.origin.URL, "http://")
	s.load(strings.Replace(config, "reverse_proxy "+host, "reverse_proxy {\n\t\tdynamic gatefold {\n\t\t\tallow 127.0.0.1:"+s.port+"\n\t\t}\n\t}", 1))
	s.forceEntry(s.site)
	if got := s.get("/public/x"); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

func TestEntryPointConfiguration(t *testing.T) {
	s := newTestSite(t, standardRules)
	host := strings.TrimPrefix(s.origin.URL, "http://")
	with := func(proxy string) string {
		return strings.Replace(s.config("", standardRules, ""), "reverse_proxy "+host, "reverse_proxy "+proxy, 1)
	}
	for proxy, want := range map[string]string{
		"{\ndynamic gatefold {\nallow localhost:80\n}\n}":              "is not an address",
		"{\ndynamic gatefold {\nallow 127.0.0.1\n}\n}":                 "add the port",
		"{\ndynamic gatefold {\nallow 0.0.0.0/0\n}\n}":                 "add the port",
		"{\ndynamic gatefold {\nallow ::/0\n}\n}":                      "add the port",
		"{\ndynamic gatefold {\nallow\n}\n}":                           "wrong argument count",
		"{\ndynamic gatefold everywhere\n}":                            "wrong argument count",
		"{\ndynamic gatefold {\ntrust x\n}\n}":                         "unknown option",
		"{\ndynamic gatefold {\nca /no/such/file\n}\n}":                "no such file",
		"{\ndynamic gatefold\ntransport http {\ndial_timeout 3s\n}\n}": "leave transport out",
		host + " {\ndynamic gatefold\n}":                               "leave the others out",
		"{\ndynamic multi {\ngatefold\n}\n}":                           "not into another source",
	} {
		err := load(with(proxy))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", proxy, err, want)
		}
	}
	s.get("/public/x").page()
	if err := load(with("{\ndynamic gatefold {\nallow 10.0.0.0/8 192.168.7.7 127.0.0.1:3000 [::1]:3000\n}\n}")); err != nil {
		t.Error(err)
	}
}

// nameServer is a DNS server that resolves every name to one address.
type nameServer struct {
	mu      sync.Mutex
	address netip.Addr
	asked   int
}

// newNameServer starts a name server and resolves entry points with it.
func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := new(nameServer)
	go s.serve(conn)
	before := resolver
	resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		resolver = before
		conn.Close()
	})
	return s
}

func (s *nameServer) resolveTo(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = netip.MustParseAddr(address)
}

func (s *nameServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *nameServer) serve(conn net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var question dnsmessage.Message
		if question.Unpack(buffer[:n]) != nil || len(question.Questions) != 1 {
			continue
		}
		answer := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: question.ID, Response: true, Authoritative: true, RecursionAvailable: true},
			Questions: question.Questions,
		}
		s.mu.Lock()
		s.asked++
		if asked := question.Questions[0]; asked.Type == dnsmessage.TypeA {
			answer.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class},
				Body:   &dnsmessage.AResource{A: s.address.As4()},
			}}
		}
		s.mu.Unlock()
		if packed, err := answer.Pack(); err == nil {
			_, _ = conn.WriteTo(packed, from)
		}
	}
}
