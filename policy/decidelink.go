package policy

import (
	"context"
	"errors"

	"github.com/gatefold/gatefold/keys"
)

// decideByLink decides by the links that the request carries, after every step of the
// rule has denied.
func (p *Policy) decideByLink(ctx context.Context, r *Request, decision *Decision) {
	readable := decision.rule.opensByLink(r.method)
	if readable && p.redeemedLinkOpens(ctx, r, decision) {
		return
	}
	if r.Link.Ambiguous {
		decision.Reason = ReasonBadQuery
		return
	}
	if r.Link.Token == "" || !readable {
		return
	}
	verdict := p.judgeLink(ctx, r)
	decision.Until = min(decision.Until, verdict.until)
	limits := limitsOf(&verdict.claims)
	use := newLinkUse(verdict.claims.Issuer, verdict.claims.ID, verdict.claims.ExpiresAt, &limits)
	use.Token = true
	counted := limits.counted()
	reason := verdict.reason
	unknown := reason == ReasonStoreUnavailable || reason == ReasonKeysUnavailable
	if reason == ReasonSignedLink && !verdict.target.opens(r, decision.rule, decision.segments) {
		reason = ReasonLinkOtherResource
	}
	if reason == ReasonSignedLink && !limits.admits(r.Client) {
		reason = ReasonLinkOtherNetwork
	}
	switch {
	case counted && !r.Link.Spendable && (reason != ReasonSignedLink || !r.resumes()):
		// Even if the link could not be judged: a preview is decided as if it had
		// no link.
		use.Ignored, use.Previews = true, reason == ReasonSignedLink
		decision.Link = use
	case unknown:
		decision.Reason, decision.Err = reason, verdict.err
	case reason == ReasonSignedLink && limits.perReader && r.Reader.Anonymous():
		use.Login, use.First = true, verdict.first && r.Link.Navigation
		decision.Reason, decision.Err, decision.Link = anonymousReason(&r.Reader), r.Reader.Failure, use
	case reason == ReasonSignedLink && counted && r.Link.Early:
		decision.Reason, decision.Link = ReasonTooEarly, use
	case reason == ReasonSignedLink:
		use.Spend, use.First, use.Resume = counted, verdict.first, counted && !r.Link.Spendable
		if use.PerReader {
			use.UseID = r.readerUse(use.Issuer, use.ID)
		}
		decision.Reason, decision.Link, decision.target = reason, use, verdict.target
		decision.ContentNames, decision.Scopes = verdict.claims.ContentNames, verdict.claims.Scopes
	case decision.Reason == ReasonBadCredential, decision.Reason == ReasonStoreUnavailable, decision.Reason == ReasonKeysUnavailable:
		// Keep the credential's failure: it is what the reader or the operator can
		// act on.
	default:
		decision.Reason, decision.Link, decision.Err = reason, use, verdict.err
	}
}

// newLinkUse returns a use of a link that is not counted yet.
func newLinkUse(issuer, id string, expiresAt int64, limits *linkLimits) LinkUse {
	return LinkUse{
		Issuer: issuer, ID: id, ExpiresAt: expiresAt, MaxUses: limits.maxUses, MaxDevices: limits.maxDevices, MaxNetworks: limits.maxNetworks, PerReader: limits.perReader,
	}
}

// redeemedLinkOpens decides by the first redeemed link that opens the page. It
// reports whether it has decided.
func (p *Policy) redeemedLinkOpens(ctx context.Context, r *Request, decision *Decision) bool {
	now := r.Now.Unix()
	for _, link := range r.Link.Redeemed {
		if now >= link.ExpiresAt {
			continue
		}
		state, err := p.link(ctx, r.Site.Vendor, link.Issuer, link.ID, r.Now)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, unavailable(err), r.Now.UnixMilli()
			return true
		}
		if state.revoked || now >= state.expiresAt || state.target == nil {
			continue
		}
		if err := p.prepareTarget(ctx, r, state.target); err != nil {
			decision.Reason, decision.Err, decision.Until = ReasonStoreUnavailable, err, r.Now.UnixMilli()
			return true
		}
		use := newLinkUse(link.Issuer, link.ID, state.expiresAt, &state.limits)
		if !state.target.opens(r, decision.rule, decision.segments) || !state.limits.admits(r.Client) || !use.readCookie(r, &link) {
			continue
		}
		if use.Spend = link.Pending && use.Counted(); use.Spend {
			use.Resume = !r.Link.Confirms
		}
		if state.keyID != "" { // a publisher's
			opens, err := p.publisherStillOpens(ctx, r, &link, &state)
			if err != nil {
				decision.Reason, decision.Err, decision.Until = unavailableReason(err), err, r.Now.UnixMilli()
				return true
			}
			if !opens {
				continue
			}
		}
		decision.Reason = ReasonSignedLink
		decision.ContentNames, decision.Scopes = state.contentNames, state.scopes
		decision.Link, decision.target = use, state.target
		decision.Until = min(decision.Until, link.ExpiresAt*1000, state.expiresAt*1000)
		return true
	}
	return false
}

// linkVerdict is the validity of a request's link token, whatever page it is for.
type linkVerdict struct {
	reason Reason // signed_link if the token is valid
	claims keys.LinkClaims
	target *target
	// keyID is the publisher's key that signed the token. First reports whether the
	// publisher's link has no record yet.
	keyID string
	first bool
	// until is when the verdict may change without a write, in Unix milliseconds.
	until int64
	err   error
}

// judgeLink judges the link token of a request, once for all readings of its path.
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
	// The vendor's own nodes agree on the time: no clock difference is accepted, as that of
	// a publisher's is.
	if token.publisher == nil && r.Now.Unix() < token.claims.NotBefore {
		verdict.reason, verdict.err, verdict.until = ReasonLinkNotYetValid, keys.ErrNotYetValid, token.claims.NotBefore*1000
		return verdict
	}
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
		// Signed with the vendor's key, but by another store: its uses and its
		// revocation are unknown.
		verdict.reason, verdict.err = ReasonLinkInvalid, err
	case err != nil:
		verdict.reason, verdict.err, verdict.until = ReasonStoreUnavailable, unavailable(err), r.Now.UnixMilli()
	case state.revoked:
		verdict.reason = ReasonLinkRevoked
	case token.publisher != nil && state.claimsSum != token.claimsSum:
		// The redeemed link of one would open what the other names.
		verdict.reason, verdict.err = ReasonLinkInvalid, ErrLinkReused
	case state.target == nil:
		verdict.reason, verdict.err = ReasonLinkInvalid, state.err
	default:
		verdict.target = state.target
	}
	if err := p.prepareTarget(ctx, r, verdict.target); err != nil {
		verdict.reason, verdict.err, verdict.until = ReasonStoreUnavailable, err, r.Now.UnixMilli()
	}
	return verdict
}

// prepareTarget loads what decides which pages a link opens. The error is ErrUnavailable.
func (p *Policy) prepareTarget(ctx context.Context, r *Request, t *target) error {
	if t == nil || t.content == "" || t.space != "" {
		return nil
	}
	return p.loadDefaultSpace(ctx, r)
}

// failedLink returns the verdict for a token that failed verification.
func failedLink(r *Request, err error) linkVerdict {
	verdict := linkVerdict{reason: ReasonLinkInvalid, until: never, err: err}
	switch {
	case errors.Is(err, ErrUnavailable):
		verdict.reason, verdict.until = unavailableReason(err), r.Now.UnixMilli()
	case errors.Is(err, keys.ErrNotYetValid):
		// The claims of an unverified token do not say when it becomes valid.
		verdict.reason, verdict.until = ReasonLinkNotYetValid, r.Now.UnixMilli()
	case errors.Is(err, keys.ErrTooLong):
		verdict.reason, verdict.until = ReasonLinkTooLong, r.Now.UnixMilli() // it ends less far ahead later
	case errors.Is(err, keys.ErrExpired):
		verdict.reason = ReasonLinkExpired
	case errors.Is(err, keys.ErrUntrusted):
		verdict.reason = ReasonLinkUntrusted
	}
	return verdict
}
