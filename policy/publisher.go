package policy

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// publisher is a trusted domain with its counts. Publisher is nil if the domain's
// record is invalid.
type publisher struct {
	*keys.Publisher
	counts *verifications
}

// publisher returns a publisher that a vendor trusts. The error is keys.ErrUntrusted
// or ErrUnavailable.
func (p *Policy) publisher(ctx context.Context, vendor, domain string) (*publisher, error) {
	trusted, err := p.publishers(ctx, vendor)
	if err != nil {
		return nil, err
	}
	return trusted.find(domain)
}

// find returns the publisher of a domain, or keys.ErrUntrusted.
func (p *publishers) find(domain string) (*publisher, error) {
	if entry := p.byDomain[domain]; entry != nil {
		if found := entry.open(); found.Publisher != nil {
			return found, nil
		}
	}
	return nil, keys.ErrUntrusted
}

var (
	errOtherSite  = errors.New("the publisher's domain is neither the requested host nor a share_domain of the site")
	errNotAllowed = errors.New("the publisher's domain may not speak for this resource: see its allowedResourceIds")
)

// scopeError returns why a publisher's domain may not speak for a page, or
// ReasonSignedLink if it may. It does not depend on the rest of the link.
func (p *publisher) scopeError(r *Request, content string) (Reason, error) {
	switch {
	case !r.acceptsDomain(p.Domain()):
		return ReasonLinkOtherSite, errOtherSite
	case !p.Allows(content):
		return ReasonLinkNotAllowed, errNotAllowed
	default:
		return ReasonSignedLink, nil
	}
}

// acceptsDomain reports whether a domain may speak for the host of a request: the
// domain's own host, or any host of a site that names the domain.
func (r *Request) acceptsDomain(domain string) bool {
	if slices.Contains(r.Site.ShareDomains, domain) {
		return true
	}
	name, err := NormalHost(r.Host)
	if err != nil || r.Link.HostUnknown {
		return false
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	return name == domain
}

// publisherStillOpens reports whether a publisher's link that was redeemed still
// opens the page: its domain must still be trusted with it, and so must the key that
// signed it. The error is ErrUnavailable.
func (p *Policy) publisherStillOpens(ctx context.Context, r *Request, link *RedeemedLink, state *linkState) (bool, error) {
	publisher, err := p.publisher(ctx, r.Site.Vendor, link.Issuer)
	if errors.Is(err, keys.ErrUntrusted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if reason, _ := publisher.scopeError(r, state.target.content); !reason.Allows() {
		return false, nil
	}
	err = orUnavailable(publisher.Trusts(ctx, state.keyID))
	if errors.Is(err, ErrUnavailable) {
		return false, err
	}
	return err == nil, nil
}
