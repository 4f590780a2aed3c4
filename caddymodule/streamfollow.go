package caddymodule

import (
	"context"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/clientaddress"
	"github.com/gatefold/gatefold/policy"
)

// defaultStreamGrace is how long streams may go on when the process ends. Caddy waits for
// open responses, by default without end, and the store is closed after them.
const (
	defaultStreamGrace = 10 * time.Second
	minStreamGrace     = time.Second
	maxStreamGrace     = 5 * time.Minute
)

// What ends a stream other than a denial of its request.
const (
	cutSiteRemoved = "site_removed"
	cutShutdown    = "shutdown"
)

// exiting reports whether the process ends. Caddy stops apps in no fixed order, and may
// wait for open responses before it stops this one.
var exiting = caddy.Exiting

// follow lets the gates of the active configuration judge a stream whose own was unloaded.
// It returns why the stream is cut, or "". Where several gates of the site serve the host,
// the routes that lead to them are not known any more: each must allow.
func (s *stream) follow() string {
	if s.gate.app.ctx.Err() == nil {
		return ""
	}
	gates := activeGates(s.gate.Vendor, s.gate.Site, s.request.Host)
	if len(gates) == 0 {
		return cutSiteRemoved
	}
	for _, gate := range gates {
		s.judgeBy(gate)
		if reason := s.refusal(); reason != "" {
			return reason
		}
	}
	return ""
}

// activeGates returns the gates of a site in the active configuration that serve a host.
func activeGates(vendor, site, host string) (gates []*Handler) {
	app, err := caddy.ActiveContext().AppIfConfigured("gatefold")
	if err != nil {
		return nil
	}
	for _, gate := range app.(*App).gates.list() {
		if gate.Vendor != vendor || gate.Site != site {
			continue
		}
		if served, err := gate.hosts.get(); err == nil && served.Serves(host) {
			gates = append(gates, gate)
		}
	}
	return gates
}

// judgeBy makes another gate judge the stream from now on. The reader stays identified if
// the gate takes the same token from the same place. Others, such as one whom another
// handler authenticated, cannot be identified without a request: they are anonymous.
func (s *stream) judgeBy(gate *Handler) {
	s.gate, s.site, s.stamp = gate, gate.site(), nil
	before, reader := s.source, s.request.Reader.UserID
	s.request.Site, s.request.Reader = s.site.site, policy.Reader{}
	s.source = nil
	if before == nil && strings.HasPrefix(reader, clientaddress.ReaderPrefix) {
		s.request.Reader.UserID = gate.addressReaders.UserID(s.request.Client.ClientAddress())
		return
	}
	if before != nil && before.key != nil {
		if now := s.site.keySource(s.token); now != nil {
			s.source = &now.credentialSource
		}
		return
	}
	for i := range s.site.sources {
		now := &s.site.sources[i]
		if before != nil && now.verifier.Same(&before.verifier) && (s.bearer || now.cookie == before.cookie) {
			s.source = now
			return
		}
	}
}

// cancelable returns a context that ends when the stream is cut. Over HTTP/3 a handler that
// waits for its origin learns in no other way that its response cannot be written.
func (s *streaming) cancelable(ctx context.Context) context.Context {
	ctx, s.cancel = context.WithCancel(ctx)
	return ctx
}
