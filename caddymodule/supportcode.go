package caddymodule

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/accounts"
	"github.com/gatefold/gatefold/caddymodule/membership"
	"github.com/gatefold/gatefold/caddymodule/reasons"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/supportcode"
)

const (
	// maxKeptTarget bounds the path and query of a refusal that is explained, in bytes.
	maxKeptTarget = 4 << 10
	// maxKeptQuery bounds the names of parameters that are kept of a refusal.
	maxKeptQuery = 16
	// maxKeptName bounds such a name, in bytes.
	maxKeptName = 64
	// maxKeptFound bounds the grants, roles and subscriptions that are kept of a refusal, each.
	maxKeptFound = 20
)

// supportCode returns the support code of a refused request, and has what was refused kept. It
// does not block.
func (g *gateRequest) supportCode(decision *policy.Decision) string {
	codes := g.site.codes
	if codes == nil || decision.Reason == policy.ReasonStoreUnavailable {
		return supportcode.NotKept()
	}
	reader := &g.request.Reader
	subject := supportcode.Subject{
		Vendor: g.gate.Vendor, Site: g.gate.Site, UserID: reader.UserID, Method: g.r.Method, Host: g.r.Host,
		Target: g.request.EscapedPath + "\x00" + g.request.CurrentPath + "\x00" + g.request.Query, Reason: decision.Reason.String(),
	}
	if decision.Reason.OfLink() {
		subject.Link = decision.Link.ID // is set once the signature is verified
	}
	if reader.Failure != nil {
		subject.Detail = reader.Failure.Error()
	}
	return codes.Code(&subject, g.request.Now, func() supportcode.Entry { return g.keptRefusal(decision) })
}

// keptRefusal returns what is kept of a refused request. It has no part of the request, which
// ends before it is explained.
func (g *gateRequest) keptRefusal(decision *policy.Decision) supportcode.Entry {
	reader := g.request.Reader
	kept := store.Refusal{
		Site: g.gate.Site, Method: strings.Clone(g.r.Method), Host: cut(strings.Clone(g.r.Host), maxLogText), Path: strings.Clone(g.logPath(g.request.EscapedPath)),
		Reason: decision.Reason.String(), Status: reasons.Texts[decision.Reason].Status, UserID: strings.Clone(reader.UserID), Mailed: reader.Email != "",
		RequestID: g.outcome.requestID(), Query: parameterNames(g.request.Query),
	}
	if g.request.CurrentPath != "" {
		kept.Rewritten = strings.Clone(g.logPath(g.request.CurrentPath))
	}
	if decision.Rule != nil {
		kept.Rule = decision.Rule.Path
	}
	if decision.Link.ID != "" {
		kept.Issuer, kept.Link = strings.Clone(decision.Link.Issuer), strings.Clone(decision.Link.ID)
	}
	if len(g.request.EscapedPath)+len(g.request.Query)+len(g.request.CurrentPath) > maxKeptTarget {
		return supportcode.Entry{Refusal: kept}
	}
	target := strings.Clone(g.request.EscapedPath)
	if g.request.Query != "" {
		target += "?" + g.request.Query
	}
	evidence := g.request.Link
	evidence.Token, evidence.Redeemed = strings.Clone(evidence.Token), slices.Clone(evidence.Redeemed)
	if decision.Link.ID == "" {
		evidence.Token = "" // its signature is not verified again: a flood would have that done for nothing
	}
	e := &explainer{
		request: admin.ExplainRequest{Method: kept.Method, RewrittenPath: strings.Clone(g.request.CurrentPath)},
		gate:    g.gate, site: g.site, store: g.gate.app.shared.Store, host: strings.Clone(g.r.Host), target: target, address: g.ClientAddress(),
		past: &pastRequest{reader: policy.Reader{
			UserID: kept.UserID, PublisherUserID: strings.Clone(reader.PublisherUserID), Email: strings.Clone(reader.Email), ACR: reader.ACR, AMR: reader.AMR,
			ContentSpace: reader.ContentSpace, Rejected: reader.Rejected, Limited: reader.Limited, Unknown: reader.Unknown, NoKeys: reader.NoKeys, Failure: reader.Failure,
		}, evidence: evidence, required: g.request.Requirement},
		result: &admin.Explanation{
			Vendor: g.gate.Vendor, Site: g.gate.Site, Method: kept.Method, Grants: []admin.ExplainedGrant{}, Readings: []admin.ExplainedReading{},
		},
	}
	e.addDecision(decision)
	e.past.decision, e.past.hint = e.result.Decision, e.result.Hint
	return supportcode.Entry{Refusal: kept, Explain: e.explainPast}
}

// parameterNames returns the names of a query's parameters, without their values: these may
// be secrets of the origin.
func parameterNames(query string) (names []string) {
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		if name == "" || len(name) > maxKeptName || slices.Contains(names, name) {
			continue
		}
		if names = append(names, strings.Clone(name)); len(names) == maxKeptQuery {
			break
		}
	}
	return names
}

// pastRequest is a request that the gate refused: its reader, and the links that it carried.
type pastRequest struct {
	reader   policy.Reader
	evidence policy.LinkEvidence
	// decision and hint are what it was refused for.
	decision admin.ExplainedDecision
	hint     string
	required *policy.Requirement
}

// explainPast explains a request that was refused a moment ago. The explanation has no
// address and of the reader the id alone.
func (e *explainer) explainPast(ctx context.Context) ([]byte, error) {
	decision := e.decide(ctx)
	if err := e.addGrants(ctx); err != nil {
		return nil, err
	}
	if !e.reader.Anonymous() {
		if err := membership.Explain(ctx, e.store, &e.reader, &decision, e.site.policy.Now(), e.result); err != nil {
			return nil, err
		}
	}
	result := e.result
	result.Decision, result.Hint = e.past.decision, e.past.hint
	result.Path.Received, result.Path.Rewritten = accounts.Redact(result.Path.Received), accounts.Redact(result.Path.Rewritten)
	for i := range result.Readings {
		reading := &result.Readings[i]
		reading.Path = accounts.Redact(reading.Path)
		reading.PassedOver = reading.PassedOver[:min(len(reading.PassedOver), maxKeptFound)]
	}
	result.Grants = result.Grants[:min(len(result.Grants), maxKeptFound)]
	result.Roles = result.Roles[:min(len(result.Roles), maxKeptFound)]
	result.Subscriptions = result.Subscriptions[:min(len(result.Subscriptions), maxKeptFound)]
	return json.Marshal(result)
}

// identifyPast takes the reader of a request that was refused.
func (e *explainer) identifyPast() {
	e.reader = e.past.reader
	result := &e.result.Reader
	result.UserID, result.EmailVerified = e.reader.UserID, e.reader.Email != ""
	switch {
	case e.reader.Failure != nil:
		result.Source = "a credential that was refused"
		result.Error, result.FailedCheck = e.reader.Failure.Error(), keys.FailedCheck(e.reader.Failure)
	case e.reader.Anonymous():
		result.Source = "no credential"
	default:
		result.Source = "a credential of the request"
	}
}
