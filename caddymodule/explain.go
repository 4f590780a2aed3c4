package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/linkpath"
	"github.com/gatefold/gatefold/caddymodule/membership"
	"github.com/gatefold/gatefold/caddymodule/readerkey"
	"github.com/gatefold/gatefold/caddymodule/reasons"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// explain explains how a gate of a vendor would decide a request. It uses the gate's
// own decision path, and spends nothing.
func (a *App) explain(ctx context.Context, vendor string, request admin.ExplainRequest) (*admin.Explanation, error) {
	_, host, _, err := splitURL(request.URL)
	if err != nil {
		return nil, err
	}
	if request.AnyHost {
		host = ""
	}
	gate, err := a.gateOf(vendor, request.Site, host)
	if err != nil {
		return nil, err
	}
	site, err := gate.runtime.get()
	if err != nil {
		return nil, err
	}
	if site, err = site.withOverrides(ctx, &request); err != nil {
		return nil, err
	}
	e, err := newExplainer(request, gate, site)
	if err != nil {
		return nil, err
	}
	e.store = a.shared.Store
	decision := e.decide(ctx)
	if doubt := a.shared.ClockDoubt(decision.Reason, cmp.Or(decision.Err, e.reader.Failure)); doubt != "" {
		e.result.Hint += " The clock may be why: " + doubt + " See the condition clock_off."
	}
	if request.SKUs == nil { // a rule test asks for very many pages
		if err := e.addCache(ctx, a, &decision); err != nil {
			return nil, err
		}
	}
	if err := e.addGrants(ctx); err != nil {
		return nil, err
	}
	if request.SKUs == nil && !e.reader.Anonymous() {
		err = membership.Explain(ctx, e.store, &e.reader, &decision, e.site.policy.Now(), e.result)
	}
	return e.result, err
}

// newExplainer returns an explainer of one request at a gate. The caller sets its store
// if there is one.
func newExplainer(request admin.ExplainRequest, gate *Handler, site *siteRuntime) (*explainer, error) {
	host, _, target, err := splitURL(request.URL)
	if err != nil {
		return nil, err
	}
	if target[0] != '/' {
		target = "/" + target // as a client sends it
	}
	if request.Method == "" {
		request.Method = http.MethodGet
	}
	var address netip.Addr
	if request.ClientIP != "" {
		if address, err = netip.ParseAddr(request.ClientIP); err != nil {
			return nil, &admin.RefusedError{Status: http.StatusUnprocessableEntity, Detail: "The clientIp must be an IP address, such as 203.0.113.9."}
		}
	}
	if request.SKUs != nil && request.UserID == "" && request.Email == "" && request.ReaderToken == "" {
		request.UserID = hypotheticalReader
	}
	return &explainer{
		request: request, gate: gate, site: site, host: host, target: target, address: address,
		result: &admin.Explanation{
			Vendor: gate.Vendor, Site: gate.Site, Method: request.Method,
			Grants: []admin.ExplainedGrant{}, Readings: []admin.ExplainedReading{},
		},
	}, nil
}

// splitURL returns the host of an absolute URL with and without its port, and what a client
// sends of the rest, which need not be a valid path.
func splitURL(text string) (host, name, target string, err error) {
	scheme, rest, _ := strings.Cut(text, "://")
	authority, target := rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, target = rest[:i], rest[i:]
	}
	page, err := url.Parse(scheme + "://" + authority)
	if err != nil || page.Host == "" || scheme != "http" && scheme != "https" {
		return "", "", "", &admin.RefusedError{Status: http.StatusUnprocessableEntity, Detail: "The url must be an absolute http or https URL."}
	}
	return page.Host, page.Hostname(), target, nil
}

// explainer explains one request.
type explainer struct {
	request      admin.ExplainRequest
	gate         *Handler
	site         *siteRuntime
	store        *store.Store // nil without a server
	host, target string       // as a client sends them
	address      netip.Addr
	query        string // of the target
	pathToken    string // of a link in the path-borne form
	reader       policy.Reader
	skus         []string // required by the rules
	result       *admin.Explanation
	past         *pastRequest // nil for a hypothetical request
}

// decide decides the request, explains the decision, and returns it.
func (e *explainer) decide(ctx context.Context) policy.Decision {
	received, err := url.ParseRequestURI(e.target)
	if err != nil {
		// net/http refuses such a target before it calls a handler.
		e.result.Path.Received, e.result.Path.Error = e.target, err.Error()
		refused := policy.Decision{Reason: policy.ReasonBadPath, Err: err}
		e.addDecision(&refused)
		return refused
	}
	if e.request.RewrittenPath == "" {
		e.pathToken = linkpath.Take(received, received)
	}
	e.query = received.RawQuery
	clean, _, _ := e.gate.takeTokens(e.query)
	r := &policy.Request{
		Site: e.site.site, Method: e.result.Method, Target: e.target, EscapedPath: received.EscapedPath(),
		CurrentPath: e.request.RewrittenPath, Host: e.host, Query: clean, Links: e, Requirement: e.requirement(), Meter: policy.MeterEvidence{NewReader: true, Spendable: e.result.Method == http.MethodGet},
		Client: policy.FixedAddress(e.address), Agent: e.request.UserAgent, Now: e.site.policy.Now(),
	}
	e.result.Path.Received, e.result.Path.Rewritten = r.EscapedPath, r.CurrentPath
	e.identify(ctx, r.Now)
	r.Reader = e.reader
	explained := e.site.policy.Explain(ctx, r)
	if explained.Decision.Reason == policy.ReasonBadPath {
		e.result.Path.Received, e.result.Path.Rewritten = linkpath.Redact(r.EscapedPath), linkpath.Redact(r.CurrentPath)
		e.result.Path.Error = explained.Decision.Err.Error()
	}
	for i := range explained.Readings {
		e.addReading(&explained.Readings[i])
	}
	if explained.Token != nil {
		e.addLink(ctx, &explained)
	}
	e.addDecision(&explained.Decision)
	return explained.Decision
}

// requirement returns what the origin requires; nil for the default of the rule.
func (e *explainer) requirement() *policy.Requirement {
	if e.past != nil {
		return e.past.required
	}
	required, _ := policy.ParseRequirement([]string{e.request.Require}) // one that cannot be read is the default
	return required
}

// identify identifies the reader whom the request names.
func (e *explainer) identify(ctx context.Context, now time.Time) {
	if e.past != nil {
		e.identifyPast()
		return
	}
	result := &e.result.Reader
	switch result.Source = "no credential"; {
	case e.request.UserID != "" || e.request.Email != "":
		e.reader, result.Source = policy.Reader{UserID: cmp.Or(e.request.UserID, unknownUser), Email: policy.LowerEmail(e.request.Email)}, "given"
		result.Email = e.reader.Email
		if e.request.SKUs != nil {
			result.Source = "hypothetical, with exactly the given skus"
		}
	case readerkey.Is(e.pathToken):
		e.verifyKey(ctx, e.pathToken, now)
	case readerkey.Is(e.request.ReaderToken):
		e.verifyKey(ctx, e.request.ReaderToken, now)
	case e.request.ReaderToken != "":
		e.verify(ctx, now)
	default:
		if e.reader = e.addressReader(); !e.reader.Anonymous() {
			result.Source = "the address of the client"
		}
	}
	result.UserID, result.PublisherUserID, result.EmailVerified = strings.TrimPrefix(e.reader.UserID, unknownUser), e.reader.PublisherUserID, e.reader.Email != ""
}

// verify verifies the reader's token by the source of its issuer, as the gate does.
func (e *explainer) verify(ctx context.Context, now time.Time) {
	if _, err := keys.Scan(e.request.ReaderToken); errors.Is(err, keys.ErrTooLarge) {
		e.fail("a token whose issuer is not read", err)
		return
	}
	for i := range e.site.sources {
		source := &e.site.sources[i]
		if source.httpAuth || !source.issued(e.request.ReaderToken) {
			continue
		}
		name := "jwt of issuer " + source.verifier.Issuer.Issuer
		reader, err := e.site.policy.Reader(ctx, &source.verifier, e.request.ReaderToken, now)
		if e.reader, e.result.Reader.Source = reader, name; err != nil {
			e.fail(name, err)
		}
		return
	}
	e.result.Reader.Source = "the token is not by an issuer of this site: " + e.foreignIssuer()
}

// fail explains why a token of a source could not be verified.
func (e *explainer) fail(source string, err error) {
	e.reader = failedReader(err)
	e.result.Reader.Source, e.result.Reader.Error, e.result.Reader.FailedCheck = source, err.Error(), keys.FailedCheck(err)
}

// foreignIssuer says by which issuer a token is that no source accepts: often the two
// differ in a slash.
func (e *explainer) foreignIssuer() string {
	token, err := keys.Scan(e.request.ReaderToken)
	if err != nil {
		return "it is no signed token: " + err.Error()
	}
	var known []string
	for _, source := range e.site.sources {
		known = append(known, source.verifier.Issuer.Issuer)
	}
	known = slices.DeleteFunc(known, func(issuer string) bool { return issuer == "" }) // http_auth
	return fmt.Sprintf("its iss is %q, and those of identify are %s", cut(token.Issuer(), maxLogText), cmp.Or(strings.Join(known, ", "), "none"))
}

// LinkEvidence implements policy.LinkSource.
func (e *explainer) LinkEvidence() policy.LinkEvidence {
	if e.past != nil {
		return e.past.evidence
	}
	_, tokens, share := e.gate.takeTokens(e.query)
	if e.request.LinkToken != "" {
		share = len(tokens) == 0 && isShareToken(e.request.LinkToken)
		tokens = append(tokens, e.request.LinkToken)
	}
	if e.pathToken != "" && !readerkey.Is(e.pathToken) && !slices.Contains(tokens, e.pathToken) {
		tokens, share = append([]string{e.pathToken}, tokens...), false
	}
	var evidence policy.LinkEvidence
	if e.request.HoldsLink {
		evidence.Redeemed = []policy.RedeemedLink{policy.HypotheticalLink()}
	}
	if len(tokens) == 0 {
		return evidence
	}
	evidence.HostUnknown = e.gate.hostUnknown(e.host)
	evidence.Token, evidence.Share, evidence.Ambiguous = tokens[0], share, len(tokens) > 1
	evidence.Spendable = e.result.Method == http.MethodGet
	return evidence
}

func (e *explainer) addReading(reading *policy.Reading) {
	result := admin.ExplainedReading{
		Path: reading.Path, Rewritten: reading.Rewritten, AnyCase: reading.Folded, PassedOver: []admin.ExplainedRule{}, OtherRules: reading.OtherRules,
		SKUs: reading.SKUs, ContentID: reading.ContentID, Space: reading.ContentSpace, Reason: reading.Decision.Reason.String(),
	}
	if reading.Decision.Rule != nil {
		rule := explainedRule(reading.Decision.Rule)
		result.Rule, result.OnStoreLoss = &rule, e.gate.explainedLoss(reading.Decision.Rule)
	}
	for i := range reading.PassedOver {
		result.PassedOver = append(result.PassedOver, explainedRule(&reading.PassedOver[i]))
	}
	e.skus = append(e.skus, reading.SKUs...)
	e.result.Readings = append(e.result.Readings, result)
}

func explainedRule(rule *policy.Rule) admin.ExplainedRule {
	explained := admin.ExplainedRule{Rank: rule.Rank, Path: rule.Path, Methods: rule.Methods, Allow: rule.Allow.String(), Origin: rule.Origin}
	for _, step := range rule.Then {
		explained.Then = append(explained.Then, step.String())
	}
	return explained
}

// addGrants adds the reader's grants of the skus that the rules require.
func (e *explainer) addGrants(ctx context.Context) error {
	if e.reader.Anonymous() || len(e.skus) == 0 {
		return nil
	}
	if e.request.SKUs != nil {
		e.addHypotheticalGrants(*e.request.SKUs)
		return nil
	}
	found, err := e.store.GrantsOf(ctx, e.result.Vendor, e.reader)
	if err != nil {
		return err
	}
	moment := e.site.policy.Now()
	for i := range found {
		grant := &found[i].Grant
		if !slices.Contains(e.skus, grant.SKU) {
			e.result.OtherGrants++
			continue
		}
		result := admin.ExplainedGrant{
			ID: grant.ID, SKU: grant.SKU, List: grant.Source, StartsAt: grant.StartsAt, EndsAt: grant.EndsAt, Counts: found[i].Counts(moment),
		}
		if !result.Counts {
			result.Why = whyNot(&found[i], moment)
		}
		e.result.Grants = append(e.result.Grants, result)
	}
	return nil
}

// whyNot returns why a grant does not count.
func whyNot(found *store.FoundGrant, moment time.Time) string {
	switch {
	case found.List.Status != store.StatusActive:
		return "its access list is not ACTIVE"
	case found.Grant.Status != store.StatusActive:
		return "it is not ACTIVE"
	case found.Grant.StartsAt != nil && moment.Before(*found.Grant.StartsAt):
		return "it has not started"
	default:
		return "it has ended"
	}
}

func (e *explainer) addDecision(decision *policy.Decision) {
	result := &e.result.Decision
	result.Allow, result.Reason, result.Status = decision.Allow(), decision.Reason.String(), http.StatusOK
	if !result.Allow {
		result.Status = reasons.Texts[decision.Reason].Status
	}
	result.Crawler = decision.Crawler
	result.Spends, result.Grant, result.Licence = decision.Link.Spend && decision.Allow(), decision.Grant, decision.Licence.String()
	if demand := admin.ExplainedDemand(decision.Demand); demand != (admin.ExplainedDemand{}) {
		result.Demand = &demand
	}
	result.StoreLoss = lossAnswer(decision.Loss, decision.Allow())
	if use := decision.Meter; use != nil {
		result.Meter = &admin.ExplainedMeter{Name: use.Name, Limit: use.Limit, Used: len(use.Views), Counts: use.Spend, Cookie: use.Anonymous(), Resets: use.Resets.UTC()}
	}
	if decision.Err != nil {
		result.Error = decision.Err.Error()
	}
	// Until is math.MaxInt64 if the decision does not depend on time.
	if until := time.UnixMilli(decision.Until).UTC(); decision.Until > 0 && until.Year() < 9999 {
		result.Until = &until
	}
	e.result.Hint = reasons.Texts[decision.Reason].Hint
	if e.request.RewrittenPath == "" && e.gate.rewritten.Load() && e.gate.Paths.Judge != "received" {
		e.result.Hint += " The gate has also judged paths that handlers before it rewrote: if this one is rewritten, give the rewritten path."
	}
}

// User ids of readers of whom only the e-mail address is given, which no grant has as it is
// a control character, and of whom only the skus are.
const (
	unknownUser        = "\x7f"
	hypotheticalReader = "supposed"
)

// addHypotheticalGrants adds the grants of the overrides.
func (e *explainer) addHypotheticalGrants(skus []string) {
	for _, sku := range skus {
		if !slices.Contains(e.skus, sku) {
			e.result.OtherGrants++
			continue
		}
		e.result.Grants = append(e.result.Grants, admin.ExplainedGrant{ID: "supposed", SKU: sku, List: "no list", Counts: true})
	}
}
