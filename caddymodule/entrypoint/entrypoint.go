package entrypoint

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys/dialguard"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

func init() {
	caddy.RegisterModule(&EntryPoint{})
}

// EntryPoint sends allowed requests to the site's entry point, which is set with the
// management API. A change applies to the next request.
//
// It has a transport of its own, which checks the address when it connects: an entry
// point must not lead to an address that only this machine or its network can reach,
// whatever its host name resolves to at that time, unless the address is listed.
//
// The path of the entry point prefixes the request's path. The Host header is the
// reader's, unless `header_up Host` sets another.
type EntryPoint struct {
	// Allow lists addresses that are not public and may be entry points: an
	// address, a CIDR prefix, or an address with a port. An address of this
	// machine requires a port.
	Allow []string `json:"allow,omitempty"`

	// CA lists PEM files of certificate authorities to trust instead of the
	// system's.
	CA []string `json:"ca,omitempty"`

	guard     *dialguard.Guard
	transport *http.Transport
}

// CaddyModule returns the Caddy module information.
func (*EntryPoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.gatefold", New: func() caddy.Module { return new(EntryPoint) }}
}

// Provision prepares the source, and sets the transport of its reverse proxy.
func (e *EntryPoint) Provision(ctx caddy.Context) error {
	err := setting.Replace(e)
	if err != nil {
		return err
	}
	if e.guard, err = dialguard.Allow(e.Allow); err != nil {
		return err
	}
	var roots *x509.CertPool // nil for the system's
	for _, file := range e.CA {
		if roots == nil {
			roots = x509.NewCertPool()
		}
		if err := setting.AddAuthorities(roots, file); err != nil {
			return fmt.Errorf("ca: %w", err)
		}
	}
	proxy, err := proxyOf(ctx)
	if err != nil {
		return err
	}
	app, err := ctx.App("gatefold")
	if err != nil {
		return err
	}
	guards := app.(App).EntryPoints()
	guards.add(e.guard)
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Resolver: guards.Resolver, Control: e.guard.Control(fmt.Errorf("the entry point: %w", errAddress))}
	e.transport = &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // content encodings are negotiated by the reader and the origin
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     2 * time.Minute,
	}
	proxy.Transport = e
	return nil
}

// proxyOf returns the reverse proxy that the source of upstreams belongs to. It fails
// if the proxy has another transport or other upstreams.
func proxyOf(ctx caddy.Context) (*reverseproxy.Handler, error) {
	var proxy *reverseproxy.Handler
	if lineage := ctx.Modules(); len(lineage) > 1 {
		proxy, _ = lineage[len(lineage)-2].(*reverseproxy.Handler)
	}
	switch {
	case proxy == nil:
		return nil, errors.New("dynamic gatefold: put it directly into reverse_proxy, not into another source of upstreams")
	case proxy.TransportRaw != nil || proxy.Transport != nil:
		return nil, errors.New("dynamic gatefold: it has its own transport, which checks addresses: leave transport out")
	case len(proxy.Upstreams) > 0:
		return nil, errors.New("dynamic gatefold: the entry point is the only upstream: leave the others out")
	}
	return proxy, nil
}

// Cleanup closes idle connections.
func (e *EntryPoint) Cleanup() error {
	if e.transport != nil {
		e.transport.CloseIdleConnections()
	}
	return nil
}

// GetUpstreams implements reverseproxy.UpstreamSource.
func (*EntryPoint) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	entry, err := entryPoint(r)
	if err != nil {
		return nil, err
	}
	return []*reverseproxy.Upstream{{Dial: dialguard.HostPort(entry)}}, nil
}

// RoundTrip implements http.RoundTripper. It sends a copy of the request to the entry
// point.
func (e *EntryPoint) RoundTrip(r *http.Request) (*http.Response, error) {
	entry, err := entryPoint(r)
	if err != nil {
		return nil, err
	}
	address := *r.URL
	address.Scheme, address.Host = entry.Scheme, entry.Host
	if base := strings.TrimSuffix(entry.EscapedPath(), "/"); base != "" {
		// Join the escaped forms, which are the ones the rules matched.
		address.RawPath = base + r.URL.EscapedPath()
		if address.Path, err = url.PathUnescape(address.RawPath); err != nil {
			return nil, errors.New("the request's path cannot be appended to the entry point's")
		}
	}
	forwarded := *r
	forwarded.URL = &address
	return e.transport.RoundTrip(&forwarded)
}

// maxHops bounds the proxies that a request may have passed: an entry point that
// leads back to a gate would make it loop.
const maxHops = 10

// entryPoint returns the entry point of the site whose gate allowed the request.
func entryPoint(r *http.Request) (*url.URL, error) {
	forwarding, ok := forwardingOf(r)
	switch {
	case !ok:
		return nil, errors.New("no gate decided this request: add the gatefold directive to the site")
	case forwarding.EntryPoint == "":
		return nil, errors.New("the site has no entry point: set one with PUT /api/proxy")
	}
	hops := 0
	for _, via := range r.Header["Via"] {
		hops += 1 + strings.Count(via, ",")
	}
	if hops > maxHops {
		return nil, errors.New("the request passed too many proxies: the entry point may lead back to this server")
	}
	entry, err := store.ParseEntryPoint(forwarding.EntryPoint)
	if err != nil {
		return nil, fmt.Errorf("the site's entry point %w", err)
	}
	return entry, nil
}

// ForwardingKey is the placeholder in which the gate stores the forwarding settings of a
// request.
const ForwardingKey = "http.gatefold.entry_point"

// forwardingOf returns the forwarding settings that the gate stored with the request.
func forwardingOf(r *http.Request) (*policy.Forwarding, bool) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil, false
	}
	value, _ := repl.Get(ForwardingKey)
	forwarding, ok := value.(*policy.Forwarding)
	return forwarding, ok && forwarding != nil
}

// UnmarshalCaddyfile sets up the source. Syntax:
//
//	dynamic gatefold {
//		allow <address | prefix | address:port>…
//		ca    <file>…
//	}
func (e *EntryPoint) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the source's name
	return block.Parse(d, "dynamic gatefold",
		block.List("allow", &e.Allow, func(text string) error {
			_, err := dialguard.Parse(text)
			return err
		}).Repeated(),
		block.List("ca", &e.CA, nil).Repeated(),
	)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*EntryPoint)(nil)
	_ caddy.CleanerUpper          = (*EntryPoint)(nil)
	_ caddyfile.Unmarshaler       = (*EntryPoint)(nil)
	_ reverseproxy.UpstreamSource = (*EntryPoint)(nil)
	_ http.RoundTripper           = (*EntryPoint)(nil)
)
