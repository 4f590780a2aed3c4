package caddymodule

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func init() {
	caddy.RegisterModule(&EntryPoint{})
}

// EntryPoint sends what a gate allowed to the site's entry point, as it was set at
// the management API. The next request after a change goes to the new one.
//
// It brings its own transport, which looks at the address at the moment when it
// connects: an entry point must not lead to what only this machine or its network
// can reach, whatever a name resolves to, and whenever it does. Of such addresses
// those work that are listed.
//
// The path of the entry point is put before that of the request. The Host is the
// one that the reader asked for, unless `header_up Host` says another.
type EntryPoint struct {
	// Allow lists addresses that are not public and may be an entry point all the
	// same: an address, a CIDR prefix, or an address with a port. An address
	// of this machine needs a port.
	Allow []string `json:"allow,omitempty"`

	// CA lists PEM files with certificate authorities that are trusted instead of
	// the system's.
	CA []string `json:"ca,omitempty"`

	guard     *addressGuard
	transport *http.Transport
	last      atomic.Pointer[parsedEntry]
}

// parsedEntry is an entry point that was read.
type parsedEntry struct {
	text string
	url  *url.URL
}

// CaddyModule returns the Caddy module information.
func (*EntryPoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.gatefold", New: func() caddy.Module { return new(EntryPoint) }}
}

// resolver finds the addresses of entry points; tests have their own.
var resolver = new(net.Resolver)

// Provision prepares the source, and gives its reverse proxy the transport.
func (e *EntryPoint) Provision(ctx caddy.Context) error {
	var err error
	if e.guard, err = newAddressGuard(e.Allow); err != nil {
		return err
	}
	roots, err := readAuthorities(e.CA)
	if err != nil {
		return err
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Resolver: resolver, Control: e.guard.control}
	e.transport = &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // what the reader accepts is between her and the origin
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     2 * time.Minute,
	}
	proxy, err := proxyOf(ctx)
	if err != nil {
		return err
	}
	proxy.Transport = e
	app, err := ctx.App("gatefold")
	if err != nil {
		return err
	}
	app.(*App).addEntryGuard(e.guard)
	return nil
}

// proxyOf returns the reverse proxy that a source of upstreams is part of.
func proxyOf(ctx caddy.Context) (*reverseproxy.Handler, error) {
	lineage := ctx.Modules()
	if len(lineage) < 2 {
		return nil, errors.New("dynamic gatefold: it belongs into reverse_proxy")
	}
	proxy, ok := lineage[len(lineage)-2].(*reverseproxy.Handler)
	switch {
	case !ok:
		return nil, errors.New("dynamic gatefold: it belongs into reverse_proxy itself, not into another source of upstreams")
	case proxy.TransportRaw != nil || proxy.Transport != nil:
		return nil, errors.New("dynamic gatefold: it brings its own transport, which looks at addresses when it connects: leave transport out")
	case len(proxy.Upstreams) > 0:
		return nil, errors.New("dynamic gatefold: the entry point is the only upstream: leave the others out")
	}
	return proxy, nil
}

func readAuthorities(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	roots := x509.NewCertPool()
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no certificate in PEM", file)
		}
	}
	return roots, nil
}

// Cleanup closes the connections that wait for requests.
func (e *EntryPoint) Cleanup() error {
	if e.transport != nil {
		e.transport.CloseIdleConnections()
	}
	return nil
}

// GetUpstreams implements reverseproxy.UpstreamSource.
func (e *EntryPoint) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	entry, err := e.of(r)
	if err != nil {
		return nil, err
	}
	return []*reverseproxy.Upstream{{Dial: hostPort(entry)}}, nil
}

// RoundTrip implements http.RoundTripper.
func (e *EntryPoint) RoundTrip(r *http.Request) (*http.Response, error) {
	entry, err := e.of(r)
	if err != nil {
		return nil, err
	}
	address := *r.URL
	address.Scheme, address.Host = entry.Scheme, entry.Host
	if base := strings.TrimSuffix(entry.EscapedPath(), "/"); base != "" {
		// Both are in the one form in which they were judged.
		address.RawPath = base + r.URL.EscapedPath()
		if address.Path, err = url.PathUnescape(address.RawPath); err != nil {
			return nil, errors.New("the path of the request cannot be put behind that of the entry point")
		}
	}
	// Whoever called keeps the request; it is copied as far as it is changed.
	forwarded := *r
	forwarded.URL = &address
	return e.transport.RoundTrip(&forwarded)
}

// maxHops bounds through how many proxies a request may have come: an entry point
// that leads back to a gate would send it round for ever.
const maxHops = 10

// of returns the entry point of the site whose gate allowed the request.
func (e *EntryPoint) of(r *http.Request) (*url.URL, error) {
	forwarding, ok := forwardingOf(r)
	switch {
	case !ok:
		return nil, errors.New("no gate decided this request: put the gatefold directive into the same site")
	case forwarding.EntryPoint == "":
		return nil, errors.New("the site has no entry point: set one with PUT /api/proxy")
	}
	hops := 0
	for _, via := range r.Header["Via"] {
		hops += 1 + strings.Count(via, ",")
	}
	if hops > maxHops {
		return nil, errors.New("the request came through too many proxies: does the entry point lead back here?")
	}
	if last := e.last.Load(); last != nil && last.text == forwarding.EntryPoint {
		return last.url, nil
	}
	entry, err := store.ParseEntryPoint(forwarding.EntryPoint)
	if err != nil {
		return nil, fmt.Errorf("the site's entry point %w", err)
	}
	e.last.Store(&parsedEntry{forwarding.EntryPoint, entry})
	return entry, nil
}

// forwardingOf returns how the gate says that a request goes on.
func forwardingOf(r *http.Request) (*policy.Forwarding, bool) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil, false
	}
	value, _ := repl.Get(forwardingKey)
	forwarding, ok := value.(*policy.Forwarding)
	return forwarding, ok && forwarding != nil
}

// hostPort returns the host and port of a URL.
func hostPort(address *url.URL) string {
	port := address.Port()
	switch {
	case port != "":
	case address.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(address.Hostname(), port)
}

// UnmarshalCaddyfile sets up the source. Syntax:
//
//	dynamic gatefold {
//		allow <address | prefix | address:port>…
//		ca    <file>…
//	}
func (e *EntryPoint) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the source's name
	allow, ca := listOption("allow", &e.Allow, nil), listOption("ca", &e.CA, nil)
	allow.repeatable, ca.repeatable = true, true
	if err := parseBlock(d, "dynamic gatefold", allow, ca); err != nil {
		return err
	}
	if _, err := newAddressGuard(e.Allow); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// checkEntryPoint says what is wrong with an entry point that is being set, as far
// as that can be known now: a name may resolve to something else when the gate
// connects, or to nothing yet.
func (a *App) checkEntryPoint(ctx context.Context, entry *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addresses, err := resolver.LookupNetIP(ctx, "ip", entry.Hostname())
	if err != nil {
		return nil //nolint:nilerr // what does not resolve leads nowhere
	}
	_, text, _ := net.SplitHostPort(hostPort(entry))
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("its port is not one")
	}
	guards := a.entryGuards()
	for _, address := range addresses {
		if !guards.admits(address, uint16(port)) {
			return errAddress
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*EntryPoint)(nil)
	_ caddy.CleanerUpper          = (*EntryPoint)(nil)
	_ caddyfile.Unmarshaler       = (*EntryPoint)(nil)
	_ reverseproxy.UpstreamSource = (*EntryPoint)(nil)
	_ http.RoundTripper           = (*EntryPoint)(nil)
)
