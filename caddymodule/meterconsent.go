package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/caddymodule/setting"
)

func init() {
	gateOptions.Register(func(h *Handler) []block.Option {
		return []block.Option{{Name: "meter_consent", Parse: h.parseMeterConsent}}
	})
}

// MeterConsent names the cookie by which a reader agrees to the cookies of meters, which the
// site's own consent dialog sets.
type MeterConsent struct {
	// Cookie is its name.
	Cookie string `json:"cookie"`

	// Contains is a part of its value that says yes. Default: any value does.
	Contains string `json:"contains,omitempty"`
}

// parseMeterConsent parses `meter_consent <cookie> [<part of its value>]`.
func (h *Handler) parseMeterConsent(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 && len(args) != 2 {
		return d.Err("write `meter_consent <cookie> [<part of its value>]`")
	}
	h.MeterConsent = &MeterConsent{Cookie: args[0]}
	if len(args) == 2 {
		h.MeterConsent.Contains = args[1]
	}
	if setting.Has(args[0]) {
		return nil
	}
	return h.MeterConsent.check()
}

// check returns an error for a cookie that no request can have when the gate looks for it.
func (c *MeterConsent) check() error {
	switch {
	case c == nil:
		return nil
	case !httpguts.ValidHeaderFieldName(c.Cookie): // a cookie's name is a token, too (RFC 6265, section 4.1.1)
		return fmt.Errorf("meter_consent: %q is no name of a cookie", c.Cookie)
	case strings.Contains(strings.ToLower(c.Cookie), "gatefold-"):
		return errors.New("meter_consent: the cookie must be one of the site's own: the gate's are set without its readers' word")
	}
	return nil
}

// consents reports whether the cookies of meters may be set and read.
func (g *gateRequest) consents() bool {
	consent := g.gate.MeterConsent
	if consent == nil {
		return true
	}
	value := headers.CookieValue(g.r.Header, consent.Cookie)
	return value != "" && strings.Contains(value, consent.Contains)
}

// dropMeterCookies removes the cookies of meters from a browser whose reader does not agree to
// them any more.
func (g *gateRequest) dropMeterCookies(header http.Header) {
	for _, cookie := range g.meterCookies() {
		gone := http.Cookie{ //nolint:gosec // a Secure cookie is not sent over plain http
			Name: meterCookieName(cookie.Meter, g.secure), Path: "/", MaxAge: -1, HttpOnly: true, Secure: g.secure, SameSite: http.SameSiteLaxMode,
		}
		header.Add("Set-Cookie", gone.String())
	}
}
