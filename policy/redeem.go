package policy

import (
	"context"
	"errors"
	"time"
)

// Redemption is one use of a link.
type Redemption struct {
	Issuer, LinkID string
	// ID makes the redemption idempotent: two with one id count once.
	ID string
	// MaxUses is the number of uses that the link allows. Zero means that they are
	// not counted.
	MaxUses int64
	// Link is the link of a publisher, whose record is written with its first use. It
	// is nil for the vendor's own, which has a record.
	Link *Link
	// At is the time of the redemption, and ExpiresAt the end of the link.
	At, ExpiresAt time.Time
}

// Redeem counts the use and writes the record on which a pending decision depends. It
// returns the decision that holds: the same one, or a denial whose reason says why
// the link cannot be redeemed. The id makes it idempotent: a retry with the same id
// does not count again.
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
		return decision
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
	// A failed credential is reported rather than the link, as in decideByLink.
	if failed := anonymousReason(&r.Reader); failed != ReasonLoginRequired {
		decision.Reason = failed
	}
	return decision
}
