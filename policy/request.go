package policy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// Site is what one gated site block protects. NewSite makes it; it must not be changed
// once requests use it.
type Site struct {
	Vendor, Name string
	// Rules are the rules of the site's configuration; nil if they are in the store.
	Rules *Ruleset
	// Paths are the settings of how paths are judged.
	Paths PathOptions
	// Keys verify the vendor's own links.
	Keys KeySource
	// ShareDomains are the trusted domains whose links may open pages of this site,
	// besides its own hosts; in normal form, see keys.NormalDomain.
	ShareDomains []string
	// DeviceWindow is how long the requests of a device are one use.
	DeviceWindow time.Duration
	// StoreLoss is for rules without the option on_store_loss of their own; nil for none. It
	// must not open pages: only a rule can.
	StoreLoss *StoreLoss
	// ReaderKey is the key of the hashes under which the uses of readers are counted. All
	// sites of a store have the same.
	ReaderKey [sha256.Size]byte
	// Zone is the time zone of calendar periods; nil for UTC.
	Zone *time.Location
	// Crawlers recognizes crawlers; nil for none.
	Crawlers Crawlers

	issuer      string
	shareTokens string // names the verifier of share tokens in the cache
	forwarding  *atomic.Pointer[stampedForwarding]
}

// NewSite returns a site of a vendor. It is safe for concurrent use if its key
// source is.
func NewSite(vendor, name string, rules *Ruleset, paths PathOptions, source KeySource) *Site {
	return &Site{
		Vendor: vendor, Name: name, Rules: rules, Paths: paths, Keys: source,
		issuer: keys.VendorIssuer(vendor), shareTokens: "share:" + vendor, forwarding: new(atomic.Pointer[stampedForwarding]),
	}
}

// Issuer returns the name under which the vendor signs its own links.
func (s *Site) Issuer() string { return s.issuer }

// Request holds the input of a decision. The caller sets the exported fields to the
// values as received, and passes the request to Policy.Decide. A Request is used for
// one request at a time; Reset prepares it for the next.
type Request struct {
	Site *Site
	// Method is the method as received.
	Method string
	// WebSocket reports whether the request is an extended CONNECT for a WebSocket
	// (RFC 8441, RFC 9220).
	WebSocket bool
	// BadTrailer reports whether the request announces a trailer whose name is no token
	// (RFC 9110, section 5.1).
	BadTrailer bool
	// Body reports whether the request has a body, or may have one.
	Body bool
	// Preflight reports whether the request is a CORS preflight (Fetch standard,
	// section 4.8).
	Preflight bool
	// Target is the request target as received (RFC 9112, section 3.2).
	Target string
	// EscapedPath is the path as received, with its percent-escapes and without the
	// query.
	EscapedPath string
	// CurrentPath is the escaped path as it is when the request reaches the gate, if a
	// handler before it has changed it. Otherwise it may be empty.
	CurrentPath string
	// Host and Query are the host and the raw query as received.
	Host, Query string
	// Reader is the reader whom the request's credentials identify.
	Reader Reader
	// Links supplies the links of the request. Decide calls it at most once, and only
	// if a link may open the page: elsewhere a link's parameter belongs to the origin.
	// If it is nil, Link is used.
	Links LinkSource
	// Link holds the links of the request.
	Link LinkEvidence
	// Client supplies the address of the client. Decide calls it only for a step that asks for
	// it, for a link of a network, and if no step of the rule allows and the vendor has site
	// licences with ranges. If it is nil, the address is unknown.
	Client AddressSource
	// Agent is the User-Agent of the client.
	Agent string
	// Meters supplies what the request says of meters. Decide calls it at most once, and only if
	// a meter may open the page. If it is nil, Meter is used.
	Meters MeterSource
	// Meter is what the request says of meters.
	Meter MeterEvidence
	// Visitor is what is recorded of the client with the use of a link. It decides
	// nothing.
	Visitor Visitor
	// Requirement is what the origin requires for the page, if it was asked, see AsksOrigin.
	// Nil: the default of the rule decides. It counts for rules with the operator origin only.
	Requirement *Requirement
	// Now is the moment of the decision.
	Now time.Time

	method        string // as judged
	path          Path
	current       *Path // that of CurrentPath; nil if it is not judged
	rules         *Ruleset
	matches       []match      // the first is that of the path as received, read literally
	few           [2]match     // the memory behind matches
	question      Question     // reused by every step
	records       packedReader // those of the reader, once they are loaded
	recordsLoaded bool
	licensed      licensed
	verdict       linkVerdict
	judged        bool
	defaultSpace  string // see loadDefaultSpace
	// metersTried are the meters that do not open the page, of which meterRefused is the last
	// that is used up; see prepareMeter.
	metersTried  []string
	meterRefused *MeterUse
}

// Reset sets the request to the zero value, for use with another request.
func (r *Request) Reset() { *r = Request{} }

// readPath reads the forms of the path that are judged, and the form as received also
// for links.
func (r *Request) readPath() error {
	allow := r.Site.Paths
	r.current = nil
	received := r.path.Read(r.EscapedPath, allow)
	if r.CurrentPath == "" || r.CurrentPath == r.EscapedPath {
		return received
	}
	if errors.Is(received, ErrReservedPath) || isReserved(r.CurrentPath) { // whichever form is judged
		return ErrReservedPath
	}
	if allow.Judge == ReceivedForm {
		return received
	}
	if received != nil && allow.Judge != CurrentForm {
		return fmt.Errorf("the path as received: %w", received)
	}
	r.current = new(Path)
	if err := r.current.Read(r.CurrentPath, allow); err != nil {
		return fmt.Errorf("the path as rewritten before the gate: %w", err)
	}
	return nil
}

// receivedAs reports whether the path as received is one of these segments, read
// literally.
func (r *Request) receivedAs(segments []string) bool {
	readings := r.path.Readings()
	return len(readings) > 0 && slices.Equal(readings[0], segments)
}

// rebinds reports whether an origin could read other values in the body than in the query
// for parameters by which a link opens a page. The body of a GET has no meaning (RFC 9110,
// section 9.3.1): where a link opens the page, the origin gets none.
func (r *Request) rebinds() bool { return r.Body && r.method != http.MethodGet }

// LinkSource supplies the links of a request.
type LinkSource interface {
	LinkEvidence() LinkEvidence
}

// LinkEvidence holds the links of a request.
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
	// Spendable reports whether the request can be a reader's own page view, so that
	// a counted link may be spent on it. Confirms is the same for a redeemed link, whose
	// cookie came back.
	Spendable, Confirms bool
	// Navigation reports whether the request is the navigation of a browser, which is
	// redirected to the clean URL, where the use is counted.
	Navigation bool
	// Device identifies the program that sent the request, if it keeps no cookies: its
	// requests within Site.DeviceWindow are one use. Resumes reports whether the request
	// may go on with that use although it cannot begin one: a HEAD, or a subresource.
	Device  string
	Resumes bool
	// HostUnknown reports whether no configuration names the host of the request, so that
	// it is what the client says. Then neither a link with a url opens a page, nor one that
	// a publisher signed for its own host.
	HostUnknown bool
	// Early reports whether the request came in TLS early data, which can be
	// replayed (RFC 8470).
	Early bool
}
