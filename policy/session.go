package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Forwarding says how a site's allowed requests go on to its origin.
type Forwarding struct {
	// EntryPoint is the URL of the origin; empty where the configuration alone
	// says it.
	EntryPoint string `json:"entryPoint,omitempty"`
	// Backend is how the origin is told who asks.
	Backend SessionBackend `json:"sessionBackend"`
}

// String returns the entry point.
func (f *Forwarding) String() string {
	if f == nil {
		return ""
	}
	return f.EntryPoint
}

// SessionBackend is a way to tell an origin who asks. The numbers are DjaoApp's,
// and ours from SessionAssertion on.
type SessionBackend int

// The session backends.
const (
	// SessionNone tells nothing.
	SessionNone SessionBackend = iota
	// SessionCookie is DjaoApp's encrypted cookie. Legacy: see
	// keys.Session.SealShared.
	SessionCookie
	// SessionJWT is a token under a key that the origin shares, as the request's
	// Authorization.
	SessionJWT
	// SessionAssertion is a token under the vendor's own key, in a header that
	// only the gate can set.
	SessionAssertion

	sessionBackends
)

// Known says whether there is such a backend.
func (b SessionBackend) Known() bool { return SessionNone <= b && b < sessionBackends }

// Shared says whether the backend needs a key that the origin has too.
func (b SessionBackend) Shared() bool { return b == SessionCookie || b == SessionJWT }

// SessionSource gives what sessions are made of, besides the records. All methods
// are safe for concurrent use.
type SessionSource interface {
	// Forwarding returns the settings of a site; the zero value where there are
	// none.
	Forwarding(ctx context.Context, vendor, site string) (Forwarding, error)
	// SessionKey returns the key that a site shares with its origin, and the
	// moment at which another one takes its place: zero when none is to.
	SessionKey(ctx context.Context, vendor, site string) (keys.SessionKey, time.Time, error)
	// Ring returns the vendor's own keys.
	Ring(ctx context.Context, vendor string) (*keys.Ring, error)
	// FirstEngaged returns when a reader first had to do with each of the tags
	// that a site's rule names; tags that are new to her are absent.
	FirstEngaged(ctx context.Context, vendor, site, userID string, tags []string) (map[string]time.Time, error)
}

// forwardings is a site's settings in memory.
type forwardings struct {
	loaded atomic.Pointer[loadedForwarding]
}

type loadedForwarding struct {
	Forwarding
	stamp uint64
}

// Forwarding returns how a site's requests go on, from memory unless something
// changed. An error is ErrUnavailable.
func (p *Policy) Forwarding(ctx context.Context, source SessionSource, site *Site) (*Forwarding, error) {
	stamp := p.versions.Shared()
	if loaded := site.forwarding.loaded.Load(); loaded != nil && loaded.stamp == stamp {
		return &loaded.Forwarding, nil
	}
	settings, err := source.Forwarding(ctx, site.Vendor, site.Name)
	if err != nil {
		return nil, unavailable(err)
	}
	loaded := &loadedForwarding{Forwarding: settings, stamp: stamp}
	site.forwarding.loaded.Store(loaded)
	return &loaded.Forwarding, nil
}

// sessionKey is everything that makes one session differ from another, but for
// records and time.
type sessionKey struct {
	vendor, site                   string
	backend                        SessionBackend
	userID, publisherUserID, email string
	linkIssuer, linkID             string
	// linkNames are what a publisher's link names: it may sign one id twice.
	linkNames string
	tags      string
}

// Session returns what an origin is told of an allowed request: the value of a
// cookie or of a token, by the backend. It is empty when there is nothing to
// tell: nobody is identified, and no link let the request in. An error is
// ErrUnavailable.
//
// A session is made once and used until what it says changes, or until half of
// its time is over: an ordinary request costs a lookup.
func (p *Policy) Session(ctx context.Context, source SessionSource, r *Request, d *Decision, backend SessionBackend) (string, error) {
	link := d.Reason == ReasonSignedLink
	if backend == SessionNone || !link && r.Reader.Anonymous() {
		return "", nil
	}
	key := sessionKey{
		vendor: r.Site.Vendor, site: r.Site.Name, backend: backend,
		userID: r.Reader.UserID, publisherUserID: r.Reader.PublisherUserID, email: r.Reader.Email,
	}
	stamp := p.versions.Reader(key.vendor, &r.Reader)
	if link {
		key.linkIssuer, key.linkID = d.Link.Issuer, d.Link.ID
		if len(d.ContentNames)+len(d.Scopes) > 0 {
			key.linkNames = strings.Join(d.ContentNames, "\x00") + "\x01" + strings.Join(d.Scopes, "\x00")
		}
		stamp += p.versions.Link(key.vendor, key.linkIssuer, key.linkID)
	}
	if d.Rule != nil && !r.Reader.Anonymous() {
		key.tags = strings.Join(d.Rule.Engaged, ",") // of one tag, no copy
	}
	now := r.Now.UnixMilli()
	if session, ok := p.sessions.Get(key, stamp, now); ok {
		return session, nil
	}
	session, until, err := p.makeSession(ctx, source, r, d, &key)
	if err != nil {
		return "", unavailable(err)
	}
	size := len(key.vendor) + len(key.site) + len(key.userID) + len(key.publisherUserID) + len(key.email) +
		len(key.linkIssuer) + len(key.linkID) + len(key.linkNames) + len(key.tags) + len(session)
	// Her texts may share the memory of many readers, which is not to be kept.
	key.userID, key.publisherUserID, key.email = strings.Clone(key.userID), strings.Clone(key.publisherUserID), strings.Clone(key.email)
	p.sessions.Set(key, session, stamp, until, int64(size))
	return session, nil
}

func (p *Policy) makeSession(
	ctx context.Context, source SessionSource, r *Request, d *Decision, key *sessionKey,
) (session string, until int64, err error) {
	content, until, err := p.sessionContent(ctx, source, r, d, key)
	if err != nil {
		return "", 0, err
	}
	return encodeSession(ctx, source, content, key.vendor, key.backend, r.Now, until)
}

// encodeSession writes a session as its backend has it, and says until when it
// may be used, in Unix milliseconds.
func encodeSession(
	ctx context.Context, source SessionSource, content *keys.Session, vendor string, backend SessionBackend, now time.Time, until int64,
) (string, int64, error) {
	if backend == SessionAssertion {
		ring, err := source.Ring(ctx, vendor)
		if err != nil {
			return "", 0, err
		}
		session, err := content.Sign(ring, vendor, now)
		return session, min(until, now.Add(keys.AssertionLifetime/2).UnixMilli()), err
	}
	key, replaced, err := source.SessionKey(ctx, vendor, content.Site)
	if err != nil {
		return "", 0, err
	}
	until = min(until, now.Add(keys.SharedSessionLifetime/2).UnixMilli())
	if !replaced.IsZero() {
		until = min(until, replaced.UnixMilli())
	}
	var session string
	switch backend {
	case SessionCookie:
		session, err = content.SealShared(key)
	case SessionJWT:
		session, err = content.SignShared(key, now)
	default:
		err = fmt.Errorf("there is no session backend %d", backend)
	}
	return session, until, err
}

// maxSessionBytes bounds how much of a session are entitlements, as they are
// written: servers take 8 KiB of headers, and less in places.
const maxSessionBytes = 1536

// sessionContent collects what a session says, and until when that holds.
func (p *Policy) sessionContent(
	ctx context.Context, source SessionSource, r *Request, d *Decision, key *sessionKey,
) (*keys.Session, int64, error) {
	content := &keys.Session{
		Site: key.site, UserID: key.userID, Email: key.email, PublisherUserID: key.publisherUserID,
	}
	until := int64(never)
	if !r.Reader.Anonymous() {
		entitlements, err := p.Entitlements(ctx, key.vendor, r.Reader, r.Now)
		if err != nil {
			return nil, 0, err
		}
		until = addEntitlements(content, entitlements, r.Now)
	}
	if key.tags != "" {
		first, err := source.FirstEngaged(ctx, key.vendor, key.site, key.userID, d.Rule.Engaged)
		if err != nil {
			return nil, 0, err
		}
		content.LastVisited = lastVisited(first, d.Rule.Engaged)
	}
	if key.linkID != "" {
		// A link that its publisher signed has no record before it is kept; its
		// token was judged a moment ago.
		claims := &r.verdict.claims
		if !d.Link.Token {
			link, err := p.records.Link(ctx, key.vendor, key.linkIssuer, key.linkID)
			if err != nil {
				return nil, 0, err
			}
			claims = &link.Claims
		}
		content.Link = sessionLink(claims)
		until = min(until, claims.ExpiresAt*1000)
	}
	return content, until, nil
}

// addEntitlements tells in a session what counts now, each sku once, and returns
// the moment at which that changes, in Unix milliseconds.
func addEntitlements(session *keys.Session, entitlements *Entitlements, now time.Time) int64 {
	room := maxSessionBytes
	last := ""
	entitlements.Each(now.UnixMilli(), func(sku, _ string, _, to int64) bool {
		if sku == last { // the grant that ends last came first
			return true
		}
		last = sku
		const around = len(`{"sku":"","ends_at":"2006-01-02T15:04:05.999Z"},`)
		if room -= len(sku) + around; room < 0 {
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

// lastVisited is when the reader knew the last of the tags; zero while one of them
// is new to her.
func lastVisited(first map[string]time.Time, tags []string) (last time.Time) {
	for _, tag := range tags {
		at, known := first[tag]
		if !known {
			return time.Time{}
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// sessionLink is what an origin is told of a link.
func sessionLink(claims *keys.LinkClaims) *keys.SessionLink {
	return &keys.SessionLink{
		Issuer: claims.Issuer, ID: claims.ID, SKU: claims.SKU, PurchaseOption: claims.PurchaseOption,
		PublisherContentID: claims.PublisherContentID, ContentNames: claims.ContentNames, Scopes: claims.Scopes, Meta: claims.Meta,
	}
}

// SampleSession is a session as an origin would get it of a reader's next visit to
// a page whose rule has no tags.
type SampleSession struct {
	// JSON is what the session says, and Value how it goes to the origin; both
	// empty where the site's origin is told nothing.
	JSON  []byte
	Value string
	Forwarding
}

// Sample returns the session of a reader, for whoever looks after the origin. It
// is made anew, and not kept. An error is ErrUnavailable.
func (p *Policy) Sample(ctx context.Context, source SessionSource, vendor, site, userID string) (*SampleSession, error) {
	if userID == "" {
		return nil, errors.New("a sample of a session needs a user")
	}
	settings, err := source.Forwarding(ctx, vendor, site)
	if err != nil {
		return nil, unavailable(err)
	}
	sample := &SampleSession{Forwarding: settings}
	if settings.Backend == SessionNone {
		return sample, nil
	}
	r := &Request{Site: &Site{Vendor: vendor, Name: site}, Reader: Reader{UserID: userID}, Now: p.now()}
	key := sessionKey{vendor: vendor, site: site, backend: settings.Backend, userID: userID}
	content, until, err := p.sessionContent(ctx, source, r, &Decision{}, &key)
	if err != nil {
		return nil, unavailable(err)
	}
	if settings.Backend == SessionAssertion {
		sample.JSON, err = content.AssertionJSON(vendor, r.Now)
	} else {
		sample.JSON, err = content.SharedJSON()
	}
	if err != nil {
		return nil, err
	}
	if sample.Value, _, err = encodeSession(ctx, source, content, vendor, settings.Backend, r.Now, until); err != nil {
		return nil, unavailable(err)
	}
	return sample, nil
}
