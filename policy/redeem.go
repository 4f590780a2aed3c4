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
	// MaxDevices is the number of devices that may open the link, and DeviceID the id of
	// this one. Zero means that they are not counted.
	MaxDevices int64
	DeviceID   string
	// Link is the link of a publisher, whose record is written with its first use. It
	// is nil for the vendor's own, which has a record.
	Link *Link
	// At is the time of the redemption, and ExpiresAt the end of the link.
	At, ExpiresAt time.Time
	// Visitor is the client.
	Visitor Visitor
}

// Uses are the uses of a link.
type Uses struct {
	Count   int64
	Revoked bool
	// IDs are those of the uses that were asked for.
	IDs []CountedID
	// Devices is the number of devices, and Device the one that was asked for.
	Devices int64
	Device  CountedID
}

// CountedID is an id under which a use or a device was counted.
type CountedID struct {
	// At is when it was counted; the zero time if it was not.
	At time.Time
	// Kept reports whether it is not taken back any more.
	Kept bool
}

// settled reports whether the id is counted for good.
func (c CountedID) settled(now time.Time) bool { return c.Kept || now.Sub(c.At) >= UseSettles }

// noDevice is an id that no device has: a browser without a cookie is asked for by it.
const noDevice = "none"

// A use whose redemption failed is taken back. That may be delayed while the store does not
// answer, by RefundsFor at most. A request that finds a use younger than UseSettles, which
// is longer by what clocks may differ, does not rely on it before it has kept it.
const (
	RefundsFor = time.Minute
	UseSettles = 2 * RefundsFor
)

// resumes reports whether a request may go on with the use of its device.
func (r *Request) resumes() bool {
	return r.Link.Device != "" && r.Link.Resumes && !r.Link.Early
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
	if decision.Meter != nil {
		return p.prepareMeter(ctx, r, decision)
	}
	if decision.Link.First && (!decision.Link.Spend || r.Link.Navigation) {
		decision.Link.First = false
		recorded := p.redemption(r, &decision.Link, "")
		recorded.MaxUses, recorded.MaxDevices = 0, 0
		if err := p.records.Redeem(ctx, r.Site.Vendor, recorded); err != nil {
			return notRedeemed(r, decision, err)
		}
	}
	if !decision.Link.Spend {
		return decision
	}
	link := &decision.Link
	ids, counts := r.useIDs(link), ""
	if link.Device = r.deviceID(link); link.MaxDevices > 0 {
		counts = cmp.Or(link.Device, noDevice)
	}
	uses, err := p.records.Uses(ctx, r.Site.Vendor, link.Issuer, link.ID, ids, counts)
	if err == nil && uses.Revoked {
		err = ErrLinkRevoked // by another node, a moment ago
	}
	if err != nil {
		return notRedeemed(r, decision, err)
	}
	used, known, settled := link.MaxUses == 0, link.MaxDevices == 0, true
	for i, use := range uses.IDs {
		if !use.At.IsZero() && (link.UseID != "" || r.Now.Sub(use.At) < r.Site.DeviceWindow) {
			link.UseID, used, settled = ids[i], true, use.settled(r.Now)
			break
		}
	}
	if link.MaxDevices > 0 && !uses.Device.At.IsZero() {
		known, settled = true, settled && uses.Device.settled(r.Now)
	}
	if link.UseID == "" && len(ids) > 0 {
		link.UseID = ids[0]
	}
	switch {
	case used && known && (settled || r.Method != http.MethodGet):
		link.Spend, link.First, link.Known = false, false, true
	case used && known: // Redeem keeps them
	case link.Resume && r.Method == http.MethodHead && (used || uses.Count < link.MaxUses) && (known || uses.Devices < link.MaxDevices):
		// HEAD shows what GET would get. Players ask with it first, and give up at a denial.
		link.Spend, link.First, link.Resume = false, false, false
	case link.Resume:
		r.Link.Token, r.Link.Ambiguous, r.Link.Redeemed = "", false, withoutPending(r.Link.Redeemed)
		again := p.Decide(ctx, r)
		again = p.prepareMeter(ctx, r, again)
		again.Link.Ignored = again.Link.Ignored || !again.Allow()
		return again
	case !used && uses.Count >= link.MaxUses:
		return notRedeemed(r, decision, ErrLinkUsedUp)
	case !known && uses.Devices >= link.MaxDevices:
		return notRedeemed(r, decision, ErrLinkDeviceLimit)
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
	if decision.Meter != nil {
		return p.spendView(ctx, r, decision)
	}
	redemption := p.redemption(r, &decision.Link, id)
	if err := p.records.Redeem(ctx, r.Site.Vendor, redemption); err != nil {
		return notRedeemed(r, decision, err)
	}
	decision.Link.UseID, decision.Link.Device, decision.Link.Spend, decision.Link.First = redemption.ID, redemption.DeviceID, false, false
	return decision
}

// Refund takes back the use and the device that Redeem counted for a request whose page was
// not delivered. Those older than RefundsFor stay counted: other requests may rely on them.
func (p *Policy) Refund(ctx context.Context, r *Request, decision *Decision, now time.Time) error {
	if now.Sub(r.Now) >= RefundsFor || decision.Meter != nil {
		return nil // the reader opens the content of a view again for nothing
	}
	return p.records.Refund(ctx, r.Site.Vendor, p.redemption(r, &decision.Link, ""))
}

func (p *Policy) redemption(r *Request, link *LinkUse, id string) Redemption {
	redemption := Redemption{
		Issuer: link.Issuer, LinkID: link.ID, ID: cmp.Or(link.UseID, id),
		MaxUses: link.MaxUses, At: r.Now, ExpiresAt: time.Unix(link.ExpiresAt, 0), Visitor: r.Visitor,
	}
	if redemption.MaxDevices = link.MaxDevices; link.MaxDevices > 0 {
		redemption.DeviceID = cmp.Or(r.deviceID(link), redemption.ID)
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
	case errors.Is(err, ErrLinkDeviceLimit):
		decision.Reason = ReasonLinkDeviceLimit
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
		decision.Reason, decision.Err = failed, r.Reader.Failure
	}
	return decision
}
