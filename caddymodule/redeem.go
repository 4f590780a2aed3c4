package caddymodule

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/linkreport"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/linkwatch"
)

// useIDSize is the size of a random id of a use, in bytes.
const useIDSize = 12

// newUseID returns a random id of a use. The store counts a use once for each id, so that
// a retry does not spend another use.
func newUseID() string {
	var id [useIDSize]byte
	_, _ = rand.Read(id[:]) // never returns an error
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// delivery counts the use of a link, or the view of a meter, before the first byte of its page is sent. Until then
// the response is held back, so that a reader whose use cannot be counted gets a denial.
type delivery struct {
	g       *gateRequest
	header  http.Header // of the response, before the next handler
	status  int         // that is held back; zero for none
	counted bool
	refused bool
	cancel  context.CancelFunc // of the request that the next handler serves
}

// errRefused is the error of the next handler's writes once a denial takes the place of
// its response.
var errRefused = errors.New("the use of the link cannot be counted")

// deliver serves a page that a use of a link opens.
func (h *Handler) deliver(w http.ResponseWriter, g *gateRequest, writer *privateWriter, next caddyhttp.Handler) error {
	ctx, cancel := context.WithCancel(g.r.Context())
	defer cancel()
	g.expectDenial()
	d := &delivery{g: g, header: maps.Clone(w.Header()), cancel: cancel}
	writer.delivery = d
	err := d.serve(writer, g.r.WithContext(ctx), next)
	if err == nil && writer.delivery != nil {
		err = writer.deliver() // a page without a body
	}
	if !d.refused {
		g.outcome.last.undelivered = err != nil && !d.counted
		return err
	}
	writer.streaming.end()
	clear(w.Header())
	maps.Copy(w.Header(), d.header)
	h.metrics.Decided(g.decision.Reason, since(g.request.Now))
	h.report(g)
	return h.deny(w, g, &g.decision, next)
}

// serve calls the next handler, which may abort once it is refused.
func (d *delivery) serve(writer *privateWriter, r *http.Request, next caddyhttp.Handler) error {
	defer func() {
		if thrown := recover(); thrown != nil && (!d.refused || thrown != http.ErrAbortHandler) { //nolint:errorlint // a panic's value
			panic(thrown)
		}
	}()
	return next.ServeHTTP(writer, r)
}

// count counts the use or the view, and sets its cookie.
func (d *delivery) count(header http.Header) bool {
	g := d.g
	g.request.Visitor = g.visitor()
	decision := g.site.policy.Redeem(g.r.Context(), &g.request, g.decision, newUseID())
	g.redecide(decision)
	if decision.Meter == nil {
		g.gate.metrics.Redeemed(decision.Reason)
	}
	if d.refused = !decision.Allow(); d.refused {
		d.cancel()
	}
	d.counted = !d.refused
	switch {
	case decision.Meter != nil:
		d.countView(header, &g.decision)
	case d.counted:
		g.setLinkCookie(header, &g.decision.Link)
	}
	return d.counted
}

// takeBack takes the counted use back, because no byte of its page could be sent. If that
// fails, the use is still that of its device or cookie, which gets the page without another.
func (d *delivery) takeBack() {
	g := d.g
	ctx, stop := context.WithTimeout(context.WithoutCancel(g.r.Context()), policy.RefundsFor)
	defer stop()
	_ = g.site.policy.Refund(ctx, &g.request, &g.decision, now())
}

// visitor returns what is recorded of the client.
func (g *gateRequest) visitor() policy.Visitor {
	return linkreport.Visitor(g.r, g.gate.LinkCountryHeader, isPreviewAgent(g.r.UserAgent()))
}

// watchLink records beside the decision that a link was refused, or from which network a
// reader opened a page with its token. It does not block.
func (g *gateRequest) watchLink(decision *policy.Decision) {
	use, watch, vendor := &decision.Link, g.site.watch, g.gate.Vendor
	switch {
	case watch == nil:
	case decision.Allow():
		limit, limited := g.gate.LinkNetworks.For(use.MaxNetworks)
		if !limited || !use.Token || decision.Reason != policy.ReasonSignedLink || !g.request.Link.Spendable {
			return
		}
		if network, ok := linkreport.Network(g.r); ok {
			watch.Opened(&linkwatch.Opening{
				Link: linkwatch.Link{Vendor: vendor, Issuer: use.Issuer, ID: use.ID}, Network: network, Limit: limit,
				At: g.request.Now, Leaked: g.gate.leaked,
			}, g.site.networkHash)
		}
	case decision.Reason == policy.ReasonLinkExpired && !g.request.Link.Share && use.ID == "":
		watch.Expired(vendor, g.site.site.Issuer(), g.request.Link.Token, g.site.site.Keys, g.visitor(), g.request.Now)
	case use.ID != "" && decision.Reason.OfLink() && use.Issuer == g.site.site.Issuer():
		watch.Refused(linkwatch.Link{Vendor: vendor, Issuer: use.Issuer, ID: use.ID}, decision.Reason.String(), g.visitor(), g.request.Now)
	}
}

// hold holds a status back until the first byte of the body. It reports false for a
// response that delivers no page, which spends nothing.
func (p *privateWriter) hold(status int) bool {
	d := p.delivery
	switch {
	case d.status != 0:
		return true
	case d.showsNoPage(status):
		p.delivery = nil
		return false
	case status < http.StatusOK && status != http.StatusSwitchingProtocols:
		return false
	}
	d.status = status
	return true
}

// deliver counts the use, and sends the header that was held back.
func (p *privateWriter) deliver() error {
	d := p.delivery
	if d.refused {
		return errRefused
	}
	if d.status == 0 {
		d.status = http.StatusOK
	}
	if err := d.g.r.Context().Err(); err != nil {
		return err // the client is gone, and nothing is counted
	}
	if !d.count(p.Header()) {
		return errRefused
	}
	p.delivery = nil
	p.WriteHeader(d.status)
	return nil
}

// copyFrom is ReadFrom before anything is delivered: a body that breaks off before its
// first byte spends nothing.
func (p *privateWriter) copyFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{p}, r)
}
