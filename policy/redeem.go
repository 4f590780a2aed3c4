package policy

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// A use of a counted link is a reader who got the page. Nothing is counted before that:
// Prepare checks that a use is left, and Redeem counts it when the first byte of the page
// is there to be sent. So a use needs no reservation that could be lost: an origin that
// fails, a browser that keeps no cookies and a node that dies have spent nothing. Several
// readers may wait for the page of the last use; the first whose page arrives gets it.

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

// Uses are the uses of a link.
type Uses struct {
	Count   int64
	Revoked bool
	// At has for each use that was asked for when it was counted, the zero time if it
	// was not, and Kept whether it is not taken back any more.
	At   []time.Time
	Kept []bool
}

// A use whose redemption failed is taken back. That may be delayed while the store does not
// answer, by RefundsFor at most. A request that finds a use younger than UseSettles, which
// is longer by what clocks may differ, does not rely on it before it has kept it.
const (
	RefundsFor = time.Minute
	UseSettles = 2 * RefundsFor
)

// resumes reports whether a request may go on with the use of its device.
func (r *Request) resumes() bool {
	return r.Link.Device != "" && r.Method == http.MethodHead && !r.Link.Early
}

// useIDs returns the ids under which the use of a request may have been counted, the one
// under which it is counted now first. Those of a device have the number of a window: a
// use is found again for as long as one window after it was counted.
func (r *Request) useIDs(link *LinkUse) []string {
	switch {
	case link.UseID != "":
		return []string{link.UseID}
	case r.Link.Device == "" || r.Site.DeviceWindow <= 0:
		return nil
	}
	window := r.Now.UnixNano() / int64(r.Site.DeviceWindow)
	id := func(window int64) string { return "device:" + r.Link.Device + ":" + strconv.FormatInt(window, 36) }
	return []string{id(window), id(window - 1)}
}

// Prepare checks a pending decision against the store. It returns the decision that holds:
// the same one, which is no longer pending if its use was counted before, or a denial. It
// writes the record of a publisher's link that is used for the first time, unless Redeem
// does. A request that may only go on with a use, and has none, is decided again as if it
// had no link.
func (p *Policy) Prepare(ctx context.Context, r *Request, decision Decision) Decision {
	if decision.Link.First && (!decision.Link.Spend || r.Link.Navigation) {
		decision.Link.First = false
		recorded := p.redemption(r, &decision.Link, "")
		recorded.MaxUses = 0
		if err := p.records.Redeem(ctx, r.Site.Vendor, recorded); err != nil {
			return notRedeemed(r, decision, err)
		}
	}
	if !decision.Link.Spend {
		return decision
	}
	ids := r.useIDs(&decision.Link)
	uses, err := p.records.Uses(ctx, r.Site.Vendor, decision.Link.Issuer, decision.Link.ID, ids)
	if err == nil && uses.Revoked {
		err = ErrLinkRevoked // by another node, a moment ago
	}
	if err != nil {
		return notRedeemed(r, decision, err)
	}
	for i, at := range uses.At {
		age := r.Now.Sub(at)
		switch {
		case at.IsZero() || decision.Link.UseID == "" && age >= r.Site.DeviceWindow:
			continue
		case age < UseSettles && !uses.Kept[i] && r.Method == http.MethodGet:
			decision.Link.UseID = ids[i] // Redeem keeps it
			return decision
		}
		decision.Link.UseID, decision.Link.Spend, decision.Link.First, decision.Link.Known = ids[i], false, false, true
		return decision
	}
	switch {
	case decision.Link.Resume:
		r.Link.Token, r.Link.Ambiguous, r.Link.Redeemed = "", false, withoutPending(r.Link.Redeemed)
		return p.Decide(ctx, r)
	case uses.Count >= decision.Link.MaxUses:
		return notRedeemed(r, decision, ErrLinkUsedUp)
	case len(ids) > 0:
		decision.Link.UseID = ids[0]
	}
	return decision
}

// withoutPending returns the redeemed links whose use is counted.
func withoutPending(redeemed []RedeemedLink) []RedeemedLink {
	var counted []RedeemedLink
	for _, link := range redeemed {
		if !link.Pending {
			counted = append(counted, link)
		}
	}
	return counted
}

// Redeem counts the use on which a prepared decision depends, when its page is about to be
// delivered. It returns the decision that holds: the same one, or a denial whose reason
// says why the link cannot be redeemed. The id, for a decision without one, makes it
// idempotent: a retry with the same id does not count again.
func (p *Policy) Redeem(ctx context.Context, r *Request, decision Decision, id string) Decision {
	redemption := p.redemption(r, &decision.Link, id)
	if err := p.records.Redeem(ctx, r.Site.Vendor, redemption); err != nil {
		return notRedeemed(r, decision, err)
	}
	decision.Link.UseID, decision.Link.Spend, decision.Link.First = redemption.ID, false, false
	return decision
}

// Refund takes back the use that Redeem counted for a request whose page was not
// delivered.
func (p *Policy) Refund(ctx context.Context, r *Request, decision *Decision) error {
	return p.records.Refund(ctx, r.Site.Vendor, p.redemption(r, &decision.Link, ""))
}

func (p *Policy) redemption(r *Request, link *LinkUse, id string) Redemption {
	redemption := Redemption{
		Issuer: link.Issuer, LinkID: link.ID, ID: cmp.Or(link.UseID, id),
		MaxUses: link.MaxUses, At: r.Now, ExpiresAt: time.Unix(link.ExpiresAt, 0),
	}
	if link.Issuer != r.Site.issuer && link.Token {
		redemption.Link = &Link{Claims: r.verdict.claims, KeyID: r.verdict.keyID}
	}
	return redemption
}

// notRedeemed returns the denial for a link that cannot be redeemed.
func notRedeemed(r *Request, decision Decision, err error) Decision {
	decision.Link.Spend, decision.Link.First, decision.Link.Resume = false, false, false
	switch {
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
