package policy

import "context"

// Forwarding holds the settings by which a site's allowed requests go to its origin.
type Forwarding struct {
	// EntryPoint is the URL of the origin; empty if only the configuration names it.
	EntryPoint string `json:"entryPoint,omitempty"`
	// Backend is how the origin learns who the reader is.
	Backend SessionBackend `json:"sessionBackend"`
}

// String returns the entry point.
func (f *Forwarding) String() string {
	if f == nil {
		return ""
	}
	return f.EntryPoint
}

// SessionBackend is a form of the upstream session, which describes the reader to an
// origin. The numbers below SessionAssertion are DjaoApp's.
type SessionBackend int

// The session backends.
const (
	// SessionNone sends no session.
	SessionNone SessionBackend = iota
	// SessionCookie is DjaoApp's encrypted cookie, for existing origins: see
	// keys.Session.SealShared.
	SessionCookie
	// SessionJWT is a token under a key that the origin shares, in the Authorization
	// header.
	SessionJWT
	// SessionAssertion is a token under the vendor's own key, in a header that only
	// the gate can set.
	SessionAssertion

	sessionBackends
)

// Valid reports whether b is one of the session backends.
func (b SessionBackend) Valid() bool { return SessionNone <= b && b < sessionBackends }

// Shared reports whether the backend needs a key that the origin shares.
func (b SessionBackend) Shared() bool { return b == SessionCookie || b == SessionJWT }

// stampedForwarding are cached settings.
type stampedForwarding struct {
	Forwarding
	stamp uint64
}

// Forwarding returns a site's settings, from memory if no shared record changed. The
// error is ErrUnavailable.
func (p *Policy) Forwarding(ctx context.Context, source SessionSource, site *Site) (*Forwarding, error) {
	stamp := p.versions.Shared()
	if cached := site.forwarding.Load(); cached != nil && cached.stamp == stamp {
		return &cached.Forwarding, nil
	}
	settings, err := source.Forwarding(ctx, site.Vendor, site.Name)
	if err != nil {
		return nil, unavailable(err)
	}
	cached := &stampedForwarding{Forwarding: settings, stamp: stamp}
	site.forwarding.Store(cached)
	return &cached.Forwarding, nil
}
