package policy

import (
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Site is what one gated site block protects. NewSite makes it, and it is immutable
// from then on.
type Site struct {
	Vendor, Name string
	// Rules are the site's own rules, from its configuration; nil when the store has
	// them.
	Rules *Ruleset
	// Paths admits traits of paths that are refused by default.
	Paths PathOptions
	// Keys verify the vendor's own links.
	Keys KeySource
	// ShareDomains are the trusted domains whose links may open pages of this site,
	// besides its own hosts; in normal form, see keys.NormalDomain.
	ShareDomains []string

	issuer      string
	shareTokens string // names the verifier of share tokens in the cache
	forwarding  *forwardings
}

// NewSite returns a site of a vendor. It is safe for concurrent use if its key
// source is.
func NewSite(vendor, name string, rules *Ruleset, paths PathOptions, source KeySource) *Site {
	return &Site{
		Vendor: vendor, Name: name, Rules: rules, Paths: paths, Keys: source,
		issuer: keys.VendorIssuer(vendor), shareTokens: "share:" + vendor, forwarding: new(forwardings),
	}
}

// Issuer returns the name under which the vendor signs its own links.
func (s *Site) Issuer() string { return s.issuer }

// Request is what arrived at the gate, as far as it decides. The caller fills in
// the exported fields with the values as received, and passes the request to
// Policy.Decide. A Request serves one request at a time; Reset prepares it for the
// next.
type Request struct {
	Site *Site
	// Method is the method as received.
	Method string
	// WebSocket reports whether the request is an extended CONNECT for a WebSocket
	// (RFC 8441, RFC 9220).
	WebSocket bool
	// Preflight reports whether the request is a CORS preflight (Fetch standard,
	// section 4.8).
	Preflight bool
	// Target is the request target as received (RFC 9112, section 3.2).
	Target string
	// EscapedPath is the path as received, with its percent-escapes and without the
	// query.
	EscapedPath string
	// Host and Query are the host and the raw query as received.
	Host, Query string
	// Reader is the reader whom the request's credentials identify.
	Reader Reader
	// Links supplies the links that the request carries. Decide asks it once, and
	// only where a link may open the page: elsewhere a link's parameter belongs to
	// the origin. If it is nil, Link is used as it is.
	Links LinkSource
	// Link is the evidence of links.
	Link LinkEvidence
	// Now is the moment of the decision.
	Now time.Time

	method       string // as judged
	path         Path
	rules        *Ruleset
	matches      []*compiledRule // one per reading of the path
	one          [1]*compiledRule
	question     Question // reused by every step
	entitlements *Entitlements
	granted      Entitlements // the memory behind entitlements
	loaded       bool
	verdict      linkVerdict
	judged       bool
}

// Reset prepares the request for another one, and keeps its memory.
func (r *Request) Reset() { *r = Request{} }

// LinkSource supplies the links that a request carries.
type LinkSource interface {
	LinkEvidence() LinkEvidence
}

// LinkEvidence is what a request carries of links.
type LinkEvidence struct {
	// Redeemed are the redeemed links, from verified link cookies.
	Redeemed []RedeemedLink
	// Token is the token in the query; empty when there is none.
	Token string
	// Share reports whether the token came in the parameter for publishers' tokens,
	// not in the one for the vendor's links.
	Share bool
	// Ambiguous reports whether the query carries more than one token.
	Ambiguous bool
	// Readable reports whether the request is a GET or HEAD, so that a token counts
	// at all.
	Readable bool
	// Spendable reports whether the request can be a reader's own page view, so that
	// a counted link may be spent on it.
	Spendable bool
	// Early reports whether the request came in TLS early data, which can be
	// replayed (RFC 8470).
	Early bool
}
