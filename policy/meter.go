package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A meter gives a reader a number of pages in a period. A view of it is a content that the
// reader opened: opening that again in the period is free. As a use of a counted link, a view
// is counted when the first byte of its page is there to be sent, so that a page that failed
// has spent nothing.
//
// The views of an identified reader are in one record of the store, and exact. Those of an
// anonymous one are in a cookie, so that they cost no write: a browser that drops it, or sends
// an old one, gets views back, as a private window does.

// MeterView is a content that a reader opened by a meter.
type MeterView struct {
	// Content is a hash of the content.
	Content uint64
	// At is when the reader opened it first in its period, in Unix seconds.
	At int64
}

// MeterReader names the views of an identified reader by a meter of a site.
type MeterReader struct{ Site, Meter, UserID string }

// MeterSpend is a view that is to be counted.
type MeterSpend struct {
	MeterReader
	MeterView
	// Since is the beginning of the period, in Unix seconds: earlier views do not count any
	// more. Limit is the number of views that the period may have.
	Since int64
	Limit int
	// Expires is when the record is of no use any more.
	Expires time.Time
}

// MeterSource supplies what a request says of meters.
type MeterSource interface {
	MeterEvidence() MeterEvidence
}

// MeterEvidence is what a request says of meters.
type MeterEvidence struct {
	// Cookies are the verified cookies of meters.
	Cookies []MeterCookie
	// NewReader decides as if the request had a cookie of every meter, without a view.
	NewReader bool
	// Spendable reports whether the request can be a reader's own page view.
	Spendable bool
}

// MeterCookie has the views of an anonymous reader by one meter.
type MeterCookie struct {
	Meter string
	Views []MeterView
}

// MeterUse describes the meter on which a decision depends.
type MeterUse struct {
	Name  string
	Limit int
	// Views are those of the period before the request, of a reader who is anonymous or whom
	// Policy.Prepare has looked up.
	Views []MeterView
	// View is the content of the request. Opened reports whether it is one of Views.
	View   MeterView
	Opened bool
	// Spend reports whether the view must be counted before the page is delivered.
	Spend bool
	// Unconfirmed reports whether an anonymous reader would get the page if the browser kept
	// the cookie of the meter, which it has not sent yet.
	Unconfirmed bool
	// Resets is when a reader without a view left gets the next one, and Expires when View
	// does not count any more.
	Resets, Expires time.Time

	reader  MeterReader // UserID is empty for an anonymous reader
	since   int64
	pending bool // the record is not read yet
}

// Anonymous reports whether the views are in a cookie.
func (u *MeterUse) Anonymous() bool { return u.reader.UserID == "" }

// Used returns the number of views in the period, with that of the request if it opens the page.
func (u *MeterUse) Used() int {
	if u.Spend {
		return len(u.Views) + 1
	}
	return len(u.Views)
}

// After returns the views once that of the request is counted.
func (u *MeterUse) After() []MeterView {
	if !u.Spend {
		return u.Views
	}
	return append(slices.Clone(u.Views), u.View)
}

// setViews sets the views of the period from all that are known.
func (u *MeterUse) setViews(all []MeterView, per string) {
	u.Views = nil
	first := int64(never)
	for _, view := range all {
		if view.At < u.since || len(u.Views) == MaxMeterViews {
			continue
		}
		u.Views, first = append(u.Views, view), min(first, view.At)
		u.Opened = u.Opened || view.Content == u.View.Content
	}
	if per == per30d && len(u.Views) > 0 {
		u.Resets = time.Unix(first, 0).Add(rollingPeriod)
	}
}

// left reports whether the reader has a view left.
func (u *MeterUse) left() bool { return len(u.Views) < u.Limit }

// meterEvidence returns what the request says of meters, which is asked for once.
func (r *Request) meterEvidence() *MeterEvidence {
	if r.Meters != nil {
		r.Meter, r.Meters = r.Meters.MeterEvidence(), nil
	}
	return &r.Meter
}

// meterUse returns the use of a meter by a request, without the views before it.
func (r *Request) meterUse(meter *meterTest, rule *compiledRule, segments []string) *MeterUse {
	begin, end := meterPeriod(meter.Per, r.Now, r.Site.Zone)
	return &MeterUse{
		Name: meter.Name, Limit: meter.Limit, View: MeterView{r.meteredContent(rule, segments), r.Now.Unix()}, Resets: end, Expires: end,
		reader: MeterReader{r.Site.Name, meter.Name, r.Reader.UserID}, since: begin.Unix(),
	}
}

// meteredContent returns the hash of the content of a page: of its content id in its space or
// else of its path as received, without the query.
func (r *Request) meteredContent(rule *compiledRule, segments []string) uint64 {
	page := rule.contentOf(template{text: contentParam, param: true}, segments, r.Query)
	kind := "id"
	if page.id == "" {
		kind, page.space = "path", "/"+strings.Join(segments, "/")
		if readings := r.path.Readings(); len(readings) > 0 {
			page.space = "/" + strings.Join(readings[0], "/")
		}
		if source := rule.contentID(); source != nil && source.Query != "" {
			page.id = r.Query // each query without one id is a page of its own
		}
	}
	sum := sha256.Sum256([]byte(kind + "\x00" + page.space + "\x00" + page.id))
	return binary.BigEndian.Uint64(sum[:])
}

// decideByMeter decides by the meters of the rule, after every step, the site licences and the
// links have denied.
func (p *Policy) decideByMeter(r *Request, rule *compiledRule, decision *Decision) {
	reader := &r.Reader
	if len(rule.meters()) == 0 || r.method != http.MethodGet || decision.Link.Login || reader.Unknown || reader.Limited || reader.ContentSpace != "" || decision.Reason == ReasonStoreUnavailable {
		return
	}
	refused := r.meterRefused
	for _, meter := range rule.meters() {
		if !meter.counts(reader) || slices.Contains(r.metersTried, meter.Name) {
			continue
		}
		use := r.meterUse(meter, rule, decision.segments)
		if !reader.Anonymous() {
			use.pending = true
			decision.byMeter(use)
			return
		}
		came := use.readCookie(r.meterEvidence(), meter.Per)
		switch {
		case came && (use.Opened || use.opens(r)):
			decision.byMeter(use)
			return
		case came && !use.left():
			refused = use
		case !came && refused == nil && r.meterEvidence().Spendable:
			use.Unconfirmed = true
			refused = use
		}
	}
	decision.Meter = refused
	if refused == nil || refused.Unconfirmed {
		return
	}
	decision.Until = min(decision.Until, refused.Resets.UnixMilli())
	if slices.Contains([]Reason{ReasonLoginRequired, ReasonNotEntitled, ReasonNotSubscribed}, decision.Reason) {
		decision.Reason = ReasonMeterUsedUp
	}
}

// readCookie sets the views of an anonymous reader. It reports whether the request has the
// cookie of the meter.
func (u *MeterUse) readCookie(evidence *MeterEvidence, per string) bool {
	for i := range evidence.Cookies {
		if cookie := &evidence.Cookies[i]; cookie.Meter == u.Name {
			u.setViews(cookie.Views, per)
			return true
		}
	}
	return evidence.NewReader
}

// opens reports whether a view that is left opens the page to the request, which spends it
// unless the request is a HEAD: that shows no content.
func (u *MeterUse) opens(r *Request) bool {
	switch {
	case !u.left():
		return false
	case r.Method == http.MethodHead:
		return true
	}
	u.Spend = r.meterEvidence().Spendable
	return u.Spend
}

func (d *Decision) byMeter(use *MeterUse) {
	d.Reason, d.Err, d.Meter, d.Demand = ReasonMetered, nil, use, Demand{}
	d.Until = min(d.Until, use.Expires.UnixMilli())
}

// prepareMeter reads the views of an identified reader on which a decision depends. If the
// meter does not open the page, the request is decided again without it.
func (p *Policy) prepareMeter(ctx context.Context, r *Request, decision Decision) Decision {
	for decision.Allow() && decision.Meter != nil && decision.Meter.pending {
		use := *decision.Meter
		views, err := p.records.MeterViews(ctx, r.Site.Vendor, use.reader)
		if err != nil {
			return notMetered(r, decision, err)
		}
		use.pending = false
		use.setViews(views, decision.rule.periodOf(use.Name))
		if use.Opened || use.opens(r) {
			decision.Meter = &use
			return decision
		}
		r.metersTried = append(r.metersTried, use.Name)
		if !use.left() {
			r.meterRefused = &use
		}
		decision = p.Decide(ctx, r)
	}
	return decision
}

// periodOf returns the period of a meter of the rule.
func (s *compiledSteps) periodOf(name string) string {
	for _, meter := range s.meters() {
		if meter.Name == name {
			return meter.Per
		}
	}
	return ""
}

// spendView counts the view on which a decision depends, see Redeem. That of an anonymous
// reader is counted by the cookie alone.
func (p *Policy) spendView(ctx context.Context, r *Request, decision Decision) Decision {
	use := *decision.Meter
	if !use.Anonymous() {
		err := p.records.CountView(ctx, r.Site.Vendor, MeterSpend{
			MeterReader: use.reader, MeterView: use.View, Since: use.since, Limit: use.Limit, Expires: use.Expires,
		})
		if err != nil {
			return notMetered(r, decision, err)
		}
	}
	use.Views, use.Spend = use.After(), false
	decision.Meter = &use
	return decision
}

// notMetered returns the denial for a view that cannot be counted.
func notMetered(r *Request, decision Decision, err error) Decision {
	use := *decision.Meter
	use.Spend, use.pending = false, false
	decision.Meter = &use
	if errors.Is(err, ErrMeterUsedUp) {
		decision.Reason = ReasonMeterUsedUp
		use.Views = make([]MeterView, use.Limit)
		return decision
	}
	decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, unavailable(err), r.Now.UnixMilli()
	return decision
}

// errTwoMeters is the error of a path whose readings are pages of two meters, or of two contents:
// one request counts one view.
var errTwoMeters = errors.New("the path can be read as two metered pages, each of which would be a view: name the page by a content id, or leave out what makes the path ambiguous")

// sameView reports whether two uses of meters are the same view.
func sameView(a, b *MeterUse) bool { return a.Name == b.Name && a.View == b.View }
