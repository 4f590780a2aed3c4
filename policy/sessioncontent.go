package policy

import (
	"context"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// maxSessionBytes bounds the entitlements in a session, in bytes of their JSON:
// servers limit headers to 8 KiB, and some to less.
const maxSessionBytes = 1536

// sessionContent returns the content of a session, and until when it holds, in Unix
// milliseconds.
func (p *Policy) sessionContent(
	ctx context.Context, source SessionSource, r *Request, d *Decision, key *sessionKey,
) (*keys.Session, int64, error) {
	content := &keys.Session{
		Site: key.site, UserID: key.userID, Email: key.email, PublisherUserID: key.publisherUserID,
	}
	until := int64(never)
	var roles packedReader
	if !r.Reader.Anonymous() {
		// Read after the versions of the stamp, unlike those of the decision.
		if err := p.readerRecords(ctx, key.vendor, &r.Reader, r.Now, &roles); err != nil {
			return nil, 0, err
		}
		until = addEntitlements(content, &roles.Entitlements, r.Now)
	}
	if key.tags != "" {
		first, err := source.FirstEngaged(ctx, key.vendor, key.site, key.userID, d.Rule.Engaged)
		if err != nil {
			return nil, 0, err
		}
		content.LastVisited = lastVisited(first, d.Rule.Engaged)
	}
	if key.linkID != "" {
		// A publisher's link may have no record yet, but then its token was judged
		// with this request.
		claims := &r.verdict.claims
		if !d.Link.Token {
			link, err := p.records.Link(ctx, key.vendor, key.linkIssuer, key.linkID)
			if err != nil {
				return nil, 0, err
			}
			claims = &link.Claims
		}
		content.Link = &keys.SessionLink{
			Issuer: claims.Issuer, ID: claims.ID, SKU: claims.SKU, PurchaseOption: claims.PurchaseOption,
			PublisherContentID: claims.PublisherContentID, ContentNames: claims.ContentNames, Scopes: claims.Scopes, Meta: claims.Meta,
		}
		until = min(until, claims.ExpiresAt*1000)
	}
	changes, err := addRoles(ctx, source, content, &roles, key, r.Now)
	return content, min(until, changes), err
}

// addEntitlements adds the current entitlements to a session, each sku once. It
// returns the moment at which they change, in Unix milliseconds.
func addEntitlements(session *keys.Session, entitlements *Entitlements, now time.Time) int64 {
	left, last := maxSessionBytes, ""
	entitlements.Each(now.UnixMilli(), func(sku, _ string, _, to int64) bool {
		if sku == last { // the grant that ends last comes first
			return true
		}
		last = sku
		const rest = len(`{"sku":"","ends_at":"2006-01-02T15:04:05.999Z"},`)
		if left -= len(sku) + rest; left < 0 {
			session.More = true
			return false
		}
		entitlement := keys.SessionEntitlement{SKU: sku}
		if to != never {
			ends := time.UnixMilli(to).UTC()
			entitlement.EndsAt = &ends
		}
		session.Entitlements = append(session.Entitlements, entitlement)
		return true
	})
	return entitlements.NextChange(now.UnixMilli())
}

// lastVisited returns when the reader had engaged with all of the tags, or zero if
// one of them is new.
func lastVisited(first map[string]time.Time, tags []string) (last time.Time) {
	for _, tag := range tags {
		at, ok := first[tag]
		if !ok {
			return time.Time{}
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}
