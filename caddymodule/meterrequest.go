package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/meter"
	"github.com/gatefold/gatefold/caddymodule/reasons"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy"
)

func init() {
	gateOptions.Register(func(h *Handler) []block.Option {
		return []block.Option{block.Value("time_zone", func(name string) error {
			h.TimeZone = name
			if setting.Has(name) {
				return nil
			}
			_, err := timeZone(name)
			return err
		})}
	})
}

// timeZone returns a time zone by its name; UTC for none. The zone of the machine is none of
// a site's: nodes may differ in it.
func timeZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("time_zone: %q is no time zone: write its name, such as Europe/Stockholm", name)
	}
	return zone, nil
}

// meterPath is where a browser is sent that has no cookie of a meter yet: it leads back to the
// page if the browser kept the cookie, so that none is redirected in a circle.
const meterPath = login.Prefix + "meter"

// maxMeterCookies bounds the cookies of meters of a request.
const maxMeterCookies = 16

// meterCookieName returns the name of a meter's cookie.
func meterCookieName(name string, secure bool) string {
	if secure {
		return securePrefix + meter.CookiePrefix + name
	}
	return meter.CookiePrefix + name
}

// MeterEvidence implements policy.MeterSource. The policy calls it only for a page that a
// meter may open.
func (g *gateRequest) MeterEvidence() policy.MeterEvidence {
	evidence := policy.MeterEvidence{Spendable: isPageView(g.r)}
	if g.consents() {
		evidence.Cookies = g.meterCookies()
	}
	return evidence
}

// meterCookies returns the verified cookies of meters of the request.
func (g *gateRequest) meterCookies() (verified []policy.MeterCookie) {
	if g.site.meters == nil {
		return nil
	}
	for _, cookie := range g.cookies {
		name, ours := strings.CutPrefix(cookie.name, meterCookieName("", g.secure))
		if !ours || len(verified) == maxMeterCookies {
			continue
		}
		if views, err := g.site.meters.Open(name, cookie.value); err == nil {
			verified = append(verified, policy.MeterCookie{Meter: strings.Clone(name), Views: views})
		}
	}
	return verified
}

// setMeterCookie sets the cookie of a meter with the views of an anonymous reader.
func (g *gateRequest) setMeterCookie(header http.Header, use *policy.MeterUse) {
	cookie := http.Cookie{ //nolint:gosec // a Secure cookie is not sent over plain http
		Name: meterCookieName(use.Name, g.secure), Value: g.site.meters.Seal(use.Name, use.Views), Path: "/",
		MaxAge:   int(use.Expires.Sub(g.request.Now)/time.Second) + 1,
		HttpOnly: true, Secure: g.secure, SameSite: http.SameSiteLaxMode,
	}
	header.Add("Set-Cookie", cookie.String())
}

// beginMeter sets the cookie of a meter, without which an anonymous reader gets no page of it:
// a program that keeps no cookies would be a new reader with every request. It sends a browser
// to where it is seen whether it kept the cookie, and reports whether it has answered.
func (h *Handler) beginMeter(w http.ResponseWriter, g *gateRequest, decision *policy.Decision) bool {
	use := decision.Meter
	if use == nil || !use.Unconfirmed || g.site.meters == nil {
		return false
	}
	if !g.consents() {
		g.dropMeterCookies(w.Header())
		return false
	}
	g.setMeterCookie(w.Header(), use)
	if !isNavigation(g.r) {
		return false
	}
	g.outcome.last.hold(w, g.r, wordNoStore)
	header := w.Header()
	header.Set("Location", meterPath+"?"+url.Values{"meter": {use.Name}, "next": {cleanURI(g)}}.Encode())
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusSeeOther)
	return true
}

// confirmMeter answers at meterPath: it leads a browser that kept the cookie of the meter back
// to the page, and explains to others why they do not get it.
func (h *Handler) confirmMeter(w http.ResponseWriter, g *gateRequest) error {
	query := g.original.Query()
	next := login.SafeNext(query.Get("next"))
	g.outcome.last.hold(w, g.r, wordNoStore)
	for _, cookie := range g.MeterEvidence().Cookies {
		if cookie.Meter == query.Get("meter") && (g.r.Method == http.MethodGet || g.r.Method == http.MethodHead) {
			w.Header().Set("Location", next)
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusSeeOther)
			return nil
		}
	}
	// The denial is that of the page, and a login leads back to it.
	if page, err := url.ParseRequestURI(next); err == nil {
		g.original = page
	}
	decision := &g.decision
	decision.Reason = policy.ReasonMeterCookieMissing
	h.metrics.Decided(decision.Reason, since(g.request.Now))
	h.report(g)
	reason := reasons.Texts[decision.Reason]
	return h.refuse(w, g.r, refusal{
		Denial: reason.Denial, code: decision.Reason.String(), uri: h.deniedURI(g.original), login: h.loginURL(g, &decision.Demand), next: h.stepOf(g, decision),
		id: g.outcome.requestID(), user: g.request.Reader.UserID,
	})
}

// countView counts the view of a page whose first byte is there.
func (d *delivery) countView(header http.Header, decision *policy.Decision) {
	d.g.gate.metrics.Viewed(decision.Reason)
	if use := decision.Meter; decision.Allow() && use.Anonymous() {
		d.g.setMeterCookie(header, use)
	}
}

// showsNoPage reports whether a response is none of a page for whose view a reader would pay:
// a redirect leads to it.
func (d *delivery) showsNoPage(status int) bool {
	return status >= http.StatusBadRequest ||
		d.g.decision.Meter != nil && status >= http.StatusMultipleChoices && status != http.StatusNotModified
}

// meterPlaceholder returns the value of a placeholder of the meter that decided.
func meterPlaceholder(use *policy.MeterUse, name string) (string, bool) {
	if use == nil {
		use = new(policy.MeterUse)
	}
	used := use.Used()
	switch name {
	case "name":
		return use.Name, true
	case "limit", "used", "left":
		number := map[string]int{"limit": use.Limit, "used": used, "left": max(0, use.Limit-used)}[name]
		if use.Name == "" {
			return "", true
		}
		return strconv.Itoa(number), true
	case "resets":
		if use.Resets.IsZero() {
			return "", true
		}
		return use.Resets.UTC().Format(time.RFC3339), true
	}
	return "", false
}

// provisionZone reads the site's time zone.
func (h *Handler) provisionZone() (err error) {
	if h.zone, err = timeZone(h.TimeZone); err != nil {
		return setting.In("time_zone", err)
	}
	return nil
}

// Interface guard
var _ policy.MeterSource = (*gateRequest)(nil)
