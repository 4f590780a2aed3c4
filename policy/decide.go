package policy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Site is what one gated site block protects. It is made by NewSite, and
// immutable from then on.
type Site struct {
	Vendor, Name string
	// Rules are the site's own rules, from its configuration; nil when the
	// store has them.
	Rules *Ruleset
	// Paths admits traits of paths that are refused by default.
	Paths PathOptions
	// Keys verify the vendor's own links.
	Keys KeySource
	// ShareDomains are the trusted domains that may speak for this site,
	// besides its own hosts; in normal form, see keys.NormalDomain.
	ShareDomains []string

	issuer      string
	shareTokens string // names the verifying of share tokens in the cache
	forwarding  *forwardings
}

// NewSite returns a site of a vendor; safe for concurrent use if its key source
// is.
func NewSite(vendor, name string, rules *Ruleset, paths PathOptions, source KeySource) *Site {
	return &Site{
		Vendor: vendor, Name: name, Rules: rules, Paths: paths, Keys: source,
		issuer: keys.VendorIssuer(vendor), shareTokens: "share:" + vendor, forwarding: new(forwardings),
	}
}

// Issuer returns the name under which the vendor signs its own links.
func (s *Site) Issuer() string { return s.issuer }

// Request is a request as far as it decides. It serves one request at a time,
// and may be used again after Reset.
type Request struct {
	Site *Site
	// Method is the method as it is judged: GET for HEAD.
	Method string
	// Host is the host as received; Query the query as received, raw.
	Host, Query string
	Path        Path
	Reader      Reader
	// Link is filled in after Match, and only where LinkMayOpen says so.
	Link LinkEvidence
	Now  time.Time

	rules        *Ruleset
	matches      []*compiledRule
	one          [1]*compiledRule
	question     Question // here, so that asking it takes no memory
	entitlements *Entitlements
	granted      Entitlements // here, so that reading them takes no memory
	loaded       bool
	verdict      linkVerdict
	judged       bool
}

// Reset makes the request ready for another one, keeping its memory.
func (r *Request) Reset() { *r = Request{} }

// LinkEvidence is what a request carries of links.
type LinkEvidence struct {
	// Passes are the redeemed links, from cookies that were verified.
	Redeemed []RedeemedLink
	// Token is the token in the query; empty when there is none.
	Token string
	// Share: it came in the parameter for what publishers sign, not in the one
	// for links in our own format.
	Share bool
	// Ambiguous: the query carries more than one token.
	Ambiguous bool
	// Readable: the request is a GET or HEAD, so that a token counts at all.
	Readable bool
	// Spendable: the request can be a reader's own visit, so that a counted
	// link may be spent on it.
	Spendable bool
	// Early: the request came in TLS early data, which can be replayed.
	Early bool
}

// Match finds the rule of each reading of the path. It returns an error that is
// ErrUnavailable when the site's rules cannot be read or compiled. It is safe
// for concurrent use, each call with a request of its own; so are Decide and
// Redeem.
func (p *Policy) Match(ctx context.Context, r *Request) error {
	rules := r.Site.Rules
	if rules == nil {
		var err error
		if rules, err = p.Ruleset(ctx, r.Site.Vendor, r.Site.Name); err != nil {
			return unavailable(err)
		}
	}
	r.rules = rules
	r.matches = r.one[:0]
	for _, segments := range r.Path.Readings() {
		r.matches = append(r.matches, rules.match(r.Method, segments))
	}
	return nil
}

// LinkMayOpen says whether a signed link could open the page: whether a rule
// that matched is of a kind that links satisfy.
func (r *Request) LinkMayOpen() bool {
	for _, rule := range r.matches {
		if rule != nil && rule.entitled() {
			return true
		}
	}
	return false
}

// Decide decides a request that was matched. It spends nothing: a decision
// whose Link.Spend or Link.First is set holds only once Redeem has written it.
//
// A path with several readings is allowed only if it is allowed under each;
// the decision is then that of the reading which asked for the most. What went
// wrong is in the decision: with a store that cannot be read it is a denial,
// store_unavailable.
func (p *Policy) Decide(ctx context.Context, r *Request) (decision Decision) {
	p.decide(ctx, r, &decision)
	if p.checkDue() {
		p.selfCheck(ctx, r)
	}
	return decision
}

// decide writes the decision where it is wanted, which holds the zero value: a
// decision is large, and nearly always the only one.
func (p *Policy) decide(ctx context.Context, r *Request, strictest *Decision) {
	readings := r.Path.Readings()
	if len(readings) == 1 {
		p.decideReading(ctx, r, r.matches[0], readings[0], strictest)
		return
	}
	until := int64(never)
	for i, segments := range readings {
		var decision Decision
		p.decideReading(ctx, r, r.matches[i], segments, &decision)
		until = min(until, decision.Until)
		if i == 0 || strictness(&decision) > strictness(strictest) {
			*strictest = decision
		}
	}
	strictest.Until = until
}

// strictness orders decisions by how much they ask for; a denial asks for more
// than anything, and a use that must be spent for more than a link that was
// redeemed before: one reading must not let another's use go uncounted.
func strictness(d *Decision) int {
	switch {
	case !d.Allow():
		return 5
	case d.Link.Spend:
		return 4
	case d.Reason == ReasonSignedLink:
		return 3
	case d.Reason == ReasonEntitled:
		return 2
	case d.Reason == ReasonAuthenticated:
		return 1
	default:
		return 0
	}
}

// decideReading decides one reading of the path. The decision is the zero value
// before.
func (p *Policy) decideReading(ctx context.Context, r *Request, rule *compiledRule, segments []string, decision *Decision) {
	decision.Until = never
	if rule == nil {
		decision.Reason = ReasonNoRule
		return
	}
	decision.Rule, decision.rule, decision.segments = &rule.Rule, rule, segments
	question := &r.question
	question.ask(ctx, p, r, rule, segments)
	if rule.entitlements && !r.Reader.Anonymous() {
		if err := p.loadEntitlements(ctx, r); err != nil {
			decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, err, question.Now
			return
		}
		question.Entitlements = r.entitlements
	}
	decision.Reason = rule.test.Test(question)
	if question.err != nil && !decision.Allow() {
		decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, question.err, question.Now
		return
	}
	decision.SKU, decision.Grant = question.answer.sku, question.answer.grant
	decision.Until = earliest(question.answer.until, never)
	if decision.Reason == ReasonLoginRequired {
		decision.Reason = whyAnonymous(&r.Reader)
	}
	if !decision.Allow() && rule.entitled() {
		p.decideByLink(ctx, r, decision)
	}
}

// whyAnonymous tells a reader who must log in from one whose credential failed,
// and from one whose credential cannot be judged.
func whyAnonymous(reader *Reader) Reason {
	switch {
	case reader.NoKeys:
		return ReasonKeysUnavailable
	case reader.Unknown:
		return ReasonStoreUnavailable
	case reader.Rejected:
		return ReasonBadCredential
	default:
		return ReasonLoginRequired
	}
}

// decideByLink decides by the links that the request carries, where nothing
// else let the reader in.
func (p *Policy) decideByLink(ctx context.Context, r *Request, decision *Decision) {
	if p.redeemedLinkOpens(ctx, r, decision) {
		return
	}
	if r.Link.Ambiguous {
		decision.Reason = ReasonBadQuery
		return
	}
	if r.Link.Token == "" || !r.Link.Readable {
		return
	}
	verdict := p.judgeLink(ctx, r)
	decision.Until = min(decision.Until, verdict.until)
	use := LinkUse{
		Issuer: verdict.claims.Issuer, ID: verdict.claims.ID, Token: true,
		MaxUses: verdict.claims.MaxUses, ExpiresAt: verdict.claims.ExpiresAt,
	}
	reason := verdict.reason
	unknown := reason == ReasonStoreUnavailable || reason == ReasonKeysUnavailable
	if reason == ReasonSignedLink && !verdict.target.opens(r, decision.rule, decision.segments) {
		reason = ReasonLinkOtherResource
	}
	switch {
	case verdict.claims.MaxUses > 0 && !r.Link.Spendable:
		// Whatever the link is worth, even if that cannot be read.
		use.Ignored = true
		decision.Link = use
	case unknown:
		decision.Reason, decision.Err = reason, verdict.err
	case reason == ReasonSignedLink && verdict.claims.MaxUses > 0 && r.Link.Early:
		decision.Reason, decision.Link = ReasonTooEarly, use
	case reason == ReasonSignedLink:
		use.Spend, use.First = verdict.claims.MaxUses > 0, verdict.first
		decision.Reason, decision.Link = reason, use
		decision.ContentNames, decision.Scopes = verdict.claims.ContentNames, verdict.claims.Scopes
	case decision.Reason == ReasonBadCredential, decision.Reason == ReasonStoreUnavailable, decision.Reason == ReasonKeysUnavailable:
		// The credential is what the reader, or the operator, can do something
		// about.
	default:
		decision.Reason, decision.Link, decision.Err = reason, use, verdict.err
	}
}

// passOpens decides by the first link cookie that opens the page.
func (p *Policy) redeemedLinkOpens(ctx context.Context, r *Request, decision *Decision) bool {
	now := r.Now.Unix()
	for _, pass := range r.Link.Redeemed {
		if now >= pass.ExpiresAt {
			continue
		}
		state, err := p.link(ctx, r.Site.Vendor, pass.Issuer, pass.ID, r.Now)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, unavailable(err), r.Now.UnixMilli()
			return true
		}
		if state.revoked || now >= state.expiresAt || state.target == nil || !state.target.opens(r, decision.rule, decision.segments) {
			continue
		}
		if state.keyID != "" { // a publisher's
			opens, err := p.stillOpens(ctx, r, &pass, &state)
			if err != nil {
				decision.Reason, decision.Err, decision.Until = whyUnavailable(err), err, r.Now.UnixMilli()
				return true
			}
			if !opens {
				continue
			}
		}
		decision.Reason = ReasonSignedLink
		decision.ContentNames, decision.Scopes = state.contentNames, state.scopes
		decision.Link = LinkUse{Issuer: pass.Issuer, ID: pass.ID, MaxUses: state.maxUses, ExpiresAt: state.expiresAt}
		decision.Until = min(decision.Until, pass.ExpiresAt*1000, state.expiresAt*1000)
		return true
	}
	return false
}

// linkVerdict is what the token of a request is worth, whatever page it is
// shown for.
type linkVerdict struct {
	reason Reason // signed_link when it is good
	claims keys.LinkClaims
	target *target
	// keyID is the publisher's key that signed it; first says that no record of
	// his link is kept yet.
	keyID string
	first bool
	// until is when the verdict may change by itself, in Unix milliseconds.
	until int64
	err   error
}

// judgeLink verifies the token of a request, once for all its readings.
func (p *Policy) judgeLink(ctx context.Context, r *Request) *linkVerdict {
	if !r.judged {
		r.judged = true
		r.verdict = p.verifyLink(ctx, r)
	}
	return &r.verdict
}

func (p *Policy) verifyLink(ctx context.Context, r *Request) linkVerdict {
	token, err := p.linkToken(ctx, r)
	if err != nil {
		return failedLink(r, err)
	}
	verdict := linkVerdict{reason: ReasonSignedLink, claims: token.claims, keyID: token.keyID, until: token.claims.ExpiresAt * 1000}
	if token.publisher != nil {
		if verdict.reason, verdict.err = token.publisher.scopeError(r, token.claims.PublisherContentID); verdict.err != nil {
			verdict.until = never
			return verdict
		}
	}
	state, err := p.link(ctx, r.Site.Vendor, token.claims.Issuer, token.claims.ID, r.Now)
	switch {
	case errors.Is(err, ErrNotFound) && token.publisher != nil:
		// Its record is written with its first use.
		verdict.first = true
		if verdict.target, verdict.err = newTarget(&token.claims); verdict.err != nil {
			verdict.reason = ReasonLinkInvalid
		}
	case errors.Is(err, ErrNotFound):
		// Signed by us and yet unknown: the store is not the one that it was
		// signed with. Its uses and its revocation are lost, so it is too.
		verdict.reason, verdict.err = ReasonLinkInvalid, err
	case err != nil:
		verdict.reason, verdict.err, verdict.until = ReasonStoreUnavailable, unavailable(err), r.Now.UnixMilli()
	case state.revoked:
		verdict.reason = ReasonLinkRevoked
	case token.publisher != nil && state.fingerprint != token.fingerprint:
		// Whoever holds the one link would get the cookie of the other.
		verdict.reason, verdict.err = ReasonLinkInvalid, ErrLinkReused
	case state.target == nil:
		verdict.reason, verdict.err = ReasonLinkInvalid, state.err
	default:
		verdict.target = state.target
	}
	return verdict
}

// failedLink is the verdict on a token that does not verify.
func failedLink(r *Request, err error) linkVerdict {
	verdict := linkVerdict{reason: ReasonLinkInvalid, until: never, err: err}
	switch {
	case errors.Is(err, ErrUnavailable):
		verdict.reason, verdict.until = whyUnavailable(err), r.Now.UnixMilli()
	case errors.Is(err, keys.ErrNotYetValid):
		// When its time comes is not known of a token that was not verified.
		verdict.reason, verdict.until = ReasonLinkExpired, r.Now.UnixMilli()
	case errors.Is(err, keys.ErrExpired):
		verdict.reason = ReasonLinkExpired
	case errors.Is(err, keys.ErrUntrusted):
		verdict.reason = ReasonLinkUntrusted
	}
	return verdict
}

// whyUnavailable tells keys that cannot be had, which are somebody else's, from
// records that cannot be read.
func whyUnavailable(err error) Reason {
	if errors.Is(err, keys.ErrKeysUnavailable) {
		return ReasonKeysUnavailable
	}
	return ReasonStoreUnavailable
}

// Redeem counts the use, and writes the record, that a decision with Link.Spend or
// Link.First depends on, and returns the decision that holds: the same one, or a
// denial whose reason says what the link lacks. The id makes it idempotent: a
// retry with the same id is not a second use.
func (p *Policy) Redeem(ctx context.Context, r *Request, decision Decision, id string) Decision {
	redemption := Redemption{
		Issuer: decision.Link.Issuer, LinkID: decision.Link.ID, ID: id,
		MaxUses: decision.Link.MaxUses, At: r.Now, ExpiresAt: time.Unix(decision.Link.ExpiresAt, 0),
	}
	if decision.Link.Issuer != r.Site.issuer {
		redemption.Link = &Link{Claims: r.verdict.claims, KeyID: r.verdict.keyID}
	}
	err := p.records.Redeem(ctx, r.Site.Vendor, redemption)
	decision.Link.Spend, decision.Link.First = false, false
	switch {
	case err == nil:
	case errors.Is(err, ErrLinkUsedUp):
		decision.Reason = ReasonLinkUsedUp
	case errors.Is(err, ErrLinkRevoked):
		decision.Reason = ReasonLinkRevoked
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrLinkReused):
		decision.Reason, decision.Err = ReasonLinkInvalid, err
	default:
		decision.Reason, decision.Err = ReasonStoreUnavailable, unavailable(err)
		decision.Until = r.Now.UnixMilli()
	}
	if failed := whyAnonymous(&r.Reader); !decision.Allow() && failed != ReasonLoginRequired {
		// As in decideByLink.
		decision.Reason = failed
	}
	return decision
}

// JudgedMethod returns the method that a request is judged as: HEAD is a GET
// whose answer has no body. It returns false for a method that is not served.
// Extended CONNECT (RFC 8441) opens a WebSocket, which elsewhere is a GET.
func JudgedMethod(method string, extendedWebSocket bool) (string, bool) {
	switch method {
	case http.MethodHead:
		return http.MethodGet, true
	case http.MethodTrace:
		return "", false
	case http.MethodConnect:
		return http.MethodGet, extendedWebSocket
	default:
		return method, true
	}
}
