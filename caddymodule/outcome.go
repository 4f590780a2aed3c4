package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/caddymodule/entrypoint"
	"github.com/gatefold/gatefold/policy"
)

// outcome holds what the access log, placeholders and the response writer read of a
// decision. It outlives the gateRequest: the access log is written after the handler
// returns, and a hijacked connection is used for longer.
type outcome struct {
	reason   policy.Reason
	licence  policy.LicenceBy
	passedOn bool // set before the request goes to the handlers after the gate
	// published is set once the placeholders are.
	published bool
	// refused marks a request whose error is a denial, see deniedVar.
	refused  bool
	rule     *policy.Rule
	captures policy.Captures
	// user is the reader; grant, crawler and link are those of the decision.
	user, grant, crawler, link string
	demand                     *policy.Demand // nil for none
	loss                       *policy.StoreLoss
	meter                      *policy.MeterUse
	err                        error
	denied                     *denialNote // nil unless the request was denied
	// forwarding is the site's setting; nil if it could not be loaded.
	forwarding *policy.Forwarding
	// origin is what the response of the origin says; nil unless it decides.
	origin *originAnswer
	// offer is the page that was offered to gatefold_cache, with what became of it; nil for
	// other pages.
	offer *pageOffer
	// request is of the id, which is made when it is first read: most requests need none.
	request *http.Request
	id      string
	// buf, private and last save allocations: for the captures of most rules, and for
	// the writers of a private page.
	buf     [2]string
	private privateWriter
	last    lastWord
}

// denialNote is what is kept of a denial alone.
type denialNote struct {
	// clock is what is wrong with a clock, of a refusal that may be due to it.
	clock string
	// code is the support code.
	code string
}

// take copies what is kept of a decision.
func (o *outcome) take(d *policy.Decision) {
	o.reason, o.licence, o.rule, o.captures = d.Reason, d.Licence, d.Rule, d.Captures(o.buf[:])
	o.grant, o.crawler, o.link = d.Grant, d.Crawler, d.Link.ID
	o.loss, o.meter, o.err = d.Loss, d.Meter, d.Err
	if o.demand = nil; d.Demand != (policy.Demand{}) {
		demand := d.Demand
		o.demand = &demand
	}
}

// requestIDHeader carries the id that a trusted proxy gave to a request.
const requestIDHeader = "X-Request-Id"

// requestID returns the id of a request for logs and pages: that of a trusted proxy, if
// it is an id, or {http.request.uuid}. passedOn forbids a write to the request.
func requestID(r *http.Request, passedOn bool) string {
	ctx := r.Context()
	if trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if ids := r.Header[requestIDHeader]; len(ids) == 1 && denial.IsRequestID(ids[0]) {
			return ids[0]
		}
	}
	// Caddy's placeholder writes to maps of the request, which a dial of the reverse proxy
	// reads in another goroutine, possibly after the response has ended. Once the request
	// is passed on, an id that Caddy has already is read, or another one is made.
	if id, ok := caddyhttp.GetVar(ctx, "uuid").(fmt.Stringer); ok {
		return id.String()
	}
	if passedOn {
		return uuid.NewString()
	}
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	if _, logs := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); !logs {
		return "" // Caddy's own placeholder needs them
	}
	id, _ := repl.GetString("http.request.uuid")
	return id
}

// requestID returns the id of the request. Another one is not made when the request is
// replaced for the page of its denial.
func (o *outcome) requestID() string {
	if o.id == "" && o.request != nil {
		o.id = requestID(o.request, o.passedOn)
	}
	return o.id
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (o *outcome) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("decision", o.verdict())
	enc.AddString("reason", o.reason.String())
	if id := o.requestID(); id != "" {
		enc.AddString("request_id", id)
	}
	if o.rule != nil {
		enc.AddString("rule", o.rule.Path)
	}
	if what := o.cached(); what != "" {
		enc.AddString("cache", what)
	}
	demand := o.demanded()
	for _, field := range [...][2]string{
		{"user", o.user},
		{"link", o.link},
		{"grant", o.grant},
		{"licence", o.licence.String()},
		{"crawler", o.crawler},
		{"profile", demand.Profile},
		{"role", demand.Role},
		{"plan", demand.Plan},
		{"agreement", demand.Agreement},
		{"clock", o.clock()},
		{policy.OptionStoreLoss, lossAnswer(o.loss, o.reason.Allows())},
		{"support_code", o.supportCode()},
		{"require", o.origin.text()},
	} {
		if field[1] != "" {
			enc.AddString(field[0], cut(field[1], maxLogText))
		}
	}
	return nil
}

// accessOutcome is an outcome in the access log. Of a credential that failed it has the
// failed check as well, which the line of a denial has beside the outcome.
type accessOutcome outcome

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (o *accessOutcome) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	if o.reason == policy.ReasonBadCredential || o.reason == policy.ReasonKeysUnavailable {
		errorField(o.err).AddTo(enc)
	}
	return (*outcome)(o).MarshalLogObject(enc)
}

// cached returns what became of a request at gatefold_cache; empty if it was not offered.
func (o *outcome) cached() string {
	if o.offer == nil {
		return ""
	}
	return o.offer.result.String()
}

// demanded is the demand of the decision, which may be the zero value.
func (o *outcome) demanded() policy.Demand {
	if o.demand == nil {
		return policy.Demand{}
	}
	return *o.demand
}

func (o *outcome) clock() string {
	if o.denied == nil {
		return ""
	}
	return o.denied.clock
}

func (o *outcome) supportCode() string {
	if o.denied == nil {
		return ""
	}
	return o.denied.code
}

func (o *outcome) verdict() string {
	if o.reason.Allows() {
		return "allow"
	}
	return "deny"
}

const (
	placeholders  = "http.gatefold."
	forwardingKey = entrypoint.ForwardingKey
)

// placeholder is a caddy.ReplacerFunc.
func (o *outcome) placeholder(key string) (any, bool) {
	if key == "http.auth.user.id" && o.user != "" {
		return o.user, true
	}
	name, ours := strings.CutPrefix(key, placeholders)
	if !ours {
		return nil, false
	}
	switch name {
	case "decision":
		return o.verdict(), true
	case "reason":
		return o.reason.String(), true
	case "rule":
		if o.rule == nil {
			return "", true
		}
		return o.rule.Path, true
	case "user.id":
		return o.user, true
	case "request_id":
		return o.requestID(), true
	case "crawler":
		return o.crawler, true
	case "support_code":
		return o.supportCode(), true
	case "cache":
		return o.cached(), true
	case "demand.profile":
		return o.demanded().Profile, true
	case "demand.role":
		return o.demanded().Role, true
	case "demand.plan":
		return o.demanded().Plan, true
	case "demand.agreement":
		return o.demanded().Agreement, true
	case "link.id":
		return o.link, true
	case "entry_point":
		return o.forwarding, true
	}
	if name, ok := strings.CutPrefix(name, "meter."); ok {
		if value, known := meterPlaceholder(o.meter, name); known {
			return value, true
		}
		return nil, false
	}
	if param, ok := strings.CutPrefix(name, "param."); ok {
		value, _ := o.captures.Param(param)
		return value, true
	}
	return nil, false
}
