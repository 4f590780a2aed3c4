package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// SessionSource supplies what upstream sessions contain besides grants and links. All
// methods are safe for concurrent use.
type SessionSource interface {
	// Forwarding returns the settings of a site, or the zero value if it has none.
	Forwarding(ctx context.Context, vendor, site string) (Forwarding, error)
	// SessionKey returns the key that a site shares with its origin, and the moment
	// at which another key replaces it: zero if none does.
	SessionKey(ctx context.Context, vendor, site string) (keys.SessionKey, time.Time, error)
	// Ring returns the vendor's own keys.
	Ring(ctx context.Context, vendor string) (*keys.Ring, error)
	// FirstEngaged returns when a reader first engaged with each of the tags on a
	// site. Tags that the reader has not engaged with are absent.
	FirstEngaged(ctx context.Context, vendor, site, userID string, tags []string) (map[string]time.Time, error)
	// Profiles returns how profiles are called, by their slugs. Those that do not exist
	// are absent. The subscriptions are not set.
	Profiles(ctx context.Context, vendor string, slugs []string) (map[string]keys.SessionProfile, error)
}

// sessionKey is the cache key of a session: everything that distinguishes it from
// others, except for records and time.
type sessionKey struct {
	vendor, site                   string
	backend                        SessionBackend
	userID, publisherUserID, email string
	linkIssuer, linkID             string
	// linkNames are the content names and scopes of a publisher's link: a publisher
	// may sign one id twice.
	linkNames string
	tags      string
	// profiles is a hash of the stripes of the reader's profiles, on which the stamp
	// depends: sums of versions are comparable for one set of them. About are the profiles
	// that the decision is about, which are the first in the session.
	profiles uint64
	about    [2]string
}

// size is the memory of the key, in bytes.
func (k *sessionKey) size() int {
	return len(k.vendor) + len(k.site) + len(k.userID) + len(k.publisherUserID) + len(k.email) +
		len(k.linkIssuer) + len(k.linkID) + len(k.linkNames) + len(k.tags) + len(k.about[0]) + len(k.about[1])
}

// Session returns the upstream session of an allowed request, in the form of the
// backend: the value of a cookie or a token. It is empty if the reader is anonymous
// and no link opened the page. The error is ErrUnavailable.
//
// A session is cached until its content changes, or until half of its lifetime is
// over.
func (p *Policy) Session(ctx context.Context, source SessionSource, r *Request, d *Decision, backend SessionBackend) (string, error) {
	link := d.Reason == ReasonSignedLink
	if backend == SessionNone || !link && r.Reader.Anonymous() {
		return "", nil
	}
	key := sessionKey{
		vendor: r.Site.Vendor, site: r.Site.Name, backend: backend,
		userID: r.Reader.UserID, publisherUserID: r.Reader.PublisherUserID, email: r.Reader.Email,
	}
	if !r.Reader.Anonymous() {
		if err := p.loadRecords(ctx, r); err != nil {
			return "", err
		}
	}
	stripes, _ := packedStripes(r.records.text)
	stamp := p.versions.Reader(key.vendor, &r.Reader) + p.versions.sumPacked(stripes)
	if stripes != "" {
		key.profiles, key.about = mixText(0, stripes), aboutProfiles(r, d)
	}
	if link {
		key.linkIssuer, key.linkID = d.Link.Issuer, d.Link.ID
		if len(d.ContentNames)+len(d.Scopes) > 0 {
			key.linkNames = strings.Join(d.ContentNames, "\x00") + "\x01" + strings.Join(d.Scopes, "\x00")
		}
		stamp += p.versions.Link(key.vendor, key.linkIssuer, key.linkID)
	}
	if d.Rule != nil && !r.Reader.Anonymous() {
		key.tags = strings.Join(d.Rule.Engaged, ",") // does not copy a single tag
	}
	if session, ok := p.sessions.Get(key, stamp, r.Now.UnixMilli()); ok {
		return session, nil
	}
	content, until, err := p.sessionContent(ctx, source, r, d, &key)
	if err != nil {
		return "", unavailable(err)
	}
	session, until, err := encodeSession(ctx, source, content, key.vendor, backend, r.Now, until)
	if err != nil {
		return "", unavailable(err)
	}
	// The reader's texts may share a block of memory with other readers', which the
	// cache must not keep alive.
	key.userID, key.publisherUserID, key.email = strings.Clone(key.userID), strings.Clone(key.publisherUserID), strings.Clone(key.email)
	key.about = [2]string{strings.Clone(key.about[0]), strings.Clone(key.about[1])}
	p.sessions.Set(key, session, stamp, until, int64(key.size()+len(session)))
	return session, nil
}

// encodeSession returns a session in the form of its backend, and until when it may
// be used, in Unix milliseconds.
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
		err = fmt.Errorf("unknown session backend %d", backend)
	}
	return session, until, err
}

// SampleSession is the session that an origin would get with a reader's next request
// to a page whose rule has no tags.
type SampleSession struct {
	// JSON is the content of the session, and Value its form for the origin. Both are
	// empty if the site sends no session.
	JSON  []byte
	Value string
	Forwarding
}

// Sample returns the session of a reader, for the developer of an origin. It is not
// cached. The error is ErrUnavailable unless userID is empty.
func (p *Policy) Sample(ctx context.Context, source SessionSource, vendor, site, userID string) (*SampleSession, error) {
	if userID == "" {
		return nil, errors.New("a sample session needs a user id")
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
