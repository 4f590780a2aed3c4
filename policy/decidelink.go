package policy

import (
	"context"
	"errors"
	"time"

	"github.com/gatefold/gatefold/keys"
)

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
				decision.Reason, decision.Err, decision.Until = unavailableReason(err), err, r.Now.UnixMilli()
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
		verdict.reason, verdict.until = unavailableReason(err), r.Now.UnixMilli()
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
