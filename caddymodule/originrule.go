package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/reasons"
	"github.com/gatefold/gatefold/caddymodule/ruleconfig"
	"github.com/gatefold/gatefold/policy"
)

func init() {
	ruleconfig.Options.Register(func(c *ruleconfig.Rule) []block.Option {
		return []block.Option{{Name: policy.ArgumentDefault, Parse: func(d *caddyfile.Dispenser) error { return parseDefault(c, d) }}}
	})
}

// parseDefault parses `default <operator> [<arguments>…]` in the block of a rule with the
// operator origin.
func parseDefault(c *ruleconfig.Rule, d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("default: write the step that decides where the origin says nothing, such as `default entitled premium`")
	}
	if c.Operator != policy.OperatorOrigin {
		return d.Errf("default: it is for rules whose operator is origin: write `rule %s origin { default … }`", c.Path)
	}
	step, err := policy.StandardOperators().Words(args[0], args[1:])
	if err != nil {
		return d.Errf("default: %v", err)
	}
	encoded, err := json.Marshal(step.String())
	c.Arguments = policy.Arguments{policy.ArgumentDefault: encoded}
	return err
}

// requireHeader is the header of a response in which an origin says what a page requires. It
// is never passed on.
const requireHeader = "Gatefold-Require"

// maxRequireText bounds the text of a requirement in the log, in bytes.
const maxRequireText = 256

// conditionHeaders are the request headers by which an answer would be no whole page, or none: such
// an answer does not say what the page requires.
var conditionHeaders = [...]string{"If-None-Match", "If-Modified-Since", "If-Range", "Range", "If-Match", "If-Unmodified-Since"}

// asksOrigin reports whether the response of the origin decides about a request. A request that
// is refused whatever a page requires does not reach the origin, nor does one that asks for
// another protocol, or a denied one with a token.
func (g *gateRequest) asksOrigin(decision *policy.Decision) bool {
	if !g.request.AsksOrigin() || g.r.Header.Get("Upgrade") != "" {
		return false
	}
	if decision.Allow() {
		return !g.leavesToken()
	}
	switch status := reasons.Texts[decision.Reason].Status; {
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return false
	case decision.Reason == policy.ReasonNoRule, decision.Link.Login, g.stripsTokens, g.pathToken != "":
		return false
	}
	return true
}

// originAnswer is what the response of the origin says about one request.
type originAnswer struct {
	g *gateRequest
	// before is the decision without the response.
	before policy.Decision
	// said is the requirement for the log: the header, or why it does not count.
	said    string
	teases  bool
	decided bool
}

// text returns what the origin says, for the log. The answer may be nil.
func (a *originAnswer) text() string {
	if a == nil {
		return ""
	}
	return a.said
}

// serveAsOriginSays sends a request to the origin, and decides by its response before a byte
// of it is sent.
func (h *Handler) serveAsOriginSays(w http.ResponseWriter, g *gateRequest, identity upstreamIdentity, next caddyhttp.Handler) error {
	decision := &g.decision
	if !decision.Allow() && !g.request.Reader.Anonymous() {
		// The reader is known to the origin, although the default of the rule denies.
		known := *decision
		known.Reason = policy.ReasonAuthenticated
		var err error
		if identity, err = h.upstreamIdentity(g, &known); err != nil {
			decision.Reason, decision.Err = policy.ReasonStoreUnavailable, err
			return h.denyLate(w, g, next)
		}
	}
	g.prepareUpstream(identity, true)
	for _, name := range conditionHeaders {
		delete(g.r.Header, name)
	}
	h.publish(g)
	answer := &originAnswer{g: g, before: *decision, teases: true}
	g.outcome.origin = answer
	g.expectDenial()
	g.offerPage(decision)
	asked := g.r
	ctx, cancel := context.WithCancel(asked.Context())
	defer cancel()
	g.r = asked.WithContext(ctx)
	var held *originWriter
	err := h.allow(w, g, decision, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		held = newOriginWriter(w, answer.allows, cancel)
		return held.serve(r, next)
	}))
	g.r = asked
	if held != nil && held.refused() {
		g.outcome.last.undelivered = false
		return h.denyLate(w, g, next)
	}
	if !answer.decided && err != nil {
		answer.allows(http.StatusBadGateway, nil)
		if !answer.before.Allow() {
			// Error routes could ask another origin for the page: they can only say that
			// there is none.
			g.outcome.last.undelivered = true
		}
	}
	return err
}

// allows decides by the header of a response, whose requirement it removes.
func (a *originAnswer) allows(status int, header http.Header) bool {
	g := a.g
	var values []string
	for name, lines := range header {
		if strings.EqualFold(name, requireHeader) {
			values = append(values, lines...)
			delete(header, name)
		}
	}
	a.decided = true
	if status >= http.StatusMultipleChoices && status != http.StatusNotModified {
		a.said = "none: the answer is no page"
		g.request.Requirement = policy.NoRequirement
	} else {
		required, err := policy.ParseRequirement(values)
		if err != nil {
			a.said = "the default: " + err.Error()
		} else {
			a.said = required.Text
		}
		a.said = cut(a.said, maxRequireText)
		g.request.Requirement, a.teases = required, required.Teases()
	}
	decision := a.decide()
	if status < http.StatusOK && decision.Allow() {
		decision = policy.Decision{Reason: policy.ReasonStoreUnavailable, Rule: decision.Rule, Err: errors.New("the origin changed the protocol without being asked")}
	}
	g.redecide(decision)
	if !decision.Allow() {
		return false
	}
	g.gate.metrics.Decided(decision.Reason, since(g.request.Now))
	g.gate.report(g)
	g.recordUse()
	g.recordVisit()
	return true
}

// decide decides the request by the requirement. Where the default of the rule was opened by a
// link whose use is to be counted, that use is counted with the page.
func (a *originAnswer) decide() policy.Decision {
	g := a.g
	request := &newStream(g, nil).request
	request.Now = g.request.Now
	decision := g.site.policy.Decide(g.r.Context(), request)
	switch {
	case decision.Allow() && a.before.Pending():
		return a.before
	case decision.Allow() && decision.Pending():
		// Its use was not prepared.
		decision = a.before
		if decision.Allow() {
			decision.Reason = policy.ReasonLinkOtherResource
		}
	}
	return decision
}
