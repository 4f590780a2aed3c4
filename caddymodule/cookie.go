package caddymodule

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/memory"
)

// linkCookiePayload is the content of a link cookie: this browser redeemed this link.
type linkCookiePayload struct {
	policy.RedeemedLink
	// IssuedAt is in Unix seconds.
	IssuedAt int64
}

// cookieSealer seals and verifies the values of link cookies for one site. It is safe
// for concurrent use.
//
// A value is a bearer secret: base64url of the payload and of the first macSize bytes of
// an HMAC-SHA256 over vendor, site and payload. What the link opens is in the link's
// record only, so that a revocation applies to its cookies.
//
// Every link has a cookie of its own. One cookie for all of them would lose a use: of two
// tabs that open a link each at the same time, the response that comes last would replace
// the value of the other. So values are short: maxLinkCookies of them, with their names,
// are less than 4 KiB of a request.
type cookieSealer struct {
	site   []byte
	issuer string    // of the vendor's own links, which values leave out
	macs   sync.Pool // of keyed hash.Hash
	// recent caches verified cookies by value.
	recent *memory.Recent[redeemedCookie]
}

// recentCookies is the number of verified link cookies cached for a site.
const recentCookies = 512

// macSize is the size of a value's authentication code, in bytes (NIST SP 800-107,
// section 5.3.3, allows HMAC to be truncated so).
const macSize = 16

func newCookieSealer(key [sha256.Size]byte, vendor, site string) *cookieSealer {
	s := &cookieSealer{
		site:   appendText(appendText(nil, vendor), site),
		issuer: keys.VendorIssuer(vendor),
		recent: memory.NewRecent[redeemedCookie](recentCookies),
	}
	s.macs.New = func() any { return hmac.New(sha256.New, key[:]) }
	return s
}

// The first byte of a payload: its format, with flags of what follows.
const (
	cookieFormat = 0x10
	pendingFlag  = 0x01 // no page was delivered for the use yet
	ownFlag      = 0x02 // the issuer is the vendor, and is left out
	linkIDFlag   = 0x04 // the id of the link is packed
	useIDFlag    = 0x08 // the id of the use is packed
	allFlags     = pendingFlag | ownFlag | linkIDFlag | useIDFlag

	// deviceFormat begins what the same key authenticates of a device.
	deviceFormat = 0xd0
	// redirectFormat begins what it authenticates of a redirected browser.
	redirectFormat = 0xd1
)

var errCookie = errors.New("not a link cookie of this site")

// appendText appends a text with its length, so that different sequences of texts never
// encode to the same bytes.
func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// seal returns the cookie value of a payload.
func (s *cookieSealer) seal(payload linkCookiePayload) string {
	b := []byte{cookieFormat}
	if payload.Pending {
		b[0] |= pendingFlag
	}
	if payload.Issuer == s.issuer {
		b[0] |= ownFlag
	} else {
		b = appendText(b, payload.Issuer)
	}
	if id, ok := packLinkID(payload.ID); ok {
		b[0] |= linkIDFlag
		b = append(b, id[:]...)
	} else {
		b = appendText(b, payload.ID)
	}
	if id, ok := packUseID(payload.UseID); ok {
		b[0] |= useIDFlag
		b = append(b, id[:]...)
	} else {
		b = appendText(b, payload.UseID)
	}
	b = binary.AppendVarint(b, payload.IssuedAt)
	b = binary.AppendVarint(b, payload.ExpiresAt-payload.IssuedAt)
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)[:macSize]...))
}

// maxCookieValue bounds the value of a link cookie, in bytes.
const maxCookieValue = 1024

// open returns the payload of a cookie value. It returns errCookie if this site did not
// seal it.
func (s *cookieSealer) open(value string) (linkCookiePayload, error) {
	if len(value) > maxCookieValue {
		return linkCookiePayload{}, errCookie
	}
	b, err := strictBase64.DecodeString(value)
	if err != nil || len(b) < macSize {
		return linkCookiePayload{}, errCookie
	}
	b, mac := b[:len(b)-macSize], b[len(b)-macSize:]
	if !hmac.Equal(mac, s.mac(b)[:macSize]) {
		return linkCookiePayload{}, errCookie
	}
	return s.readPayload(b)
}

// strictBase64 accepts one spelling of every value.
var strictBase64 = base64.RawURLEncoding.Strict()

func (s *cookieSealer) mac(payload []byte) []byte {
	h, _ := s.macs.Get().(hash.Hash)
	defer s.macs.Put(h)
	h.Reset()
	h.Write(s.site)
	h.Write(payload)
	return h.Sum(nil)
}

// readPayload decodes what seal encoded.
func (s *cookieSealer) readPayload(b []byte) (linkCookiePayload, error) {
	if len(b) == 0 || b[0]&^allFlags != cookieFormat {
		return linkCookiePayload{}, errCookie
	}
	flags, r := b[0], payloadReader{b: b[1:]}
	payload := linkCookiePayload{RedeemedLink: policy.RedeemedLink{Issuer: s.issuer, Pending: flags&pendingFlag != 0}}
	if flags&ownFlag == 0 {
		payload.Issuer = r.text()
	}
	if flags&linkIDFlag != 0 {
		payload.ID = unpackLinkID(r.bytes(packedLinkID))
	} else {
		payload.ID = r.text()
	}
	if flags&useIDFlag != 0 {
		payload.UseID = base64.RawURLEncoding.EncodeToString(r.bytes(useIDSize))
	} else {
		payload.UseID = r.text()
	}
	payload.IssuedAt = r.number()
	payload.ExpiresAt = payload.IssuedAt + r.number()
	if r.failed || len(r.b) != 0 {
		return linkCookiePayload{}, errCookie
	}
	return payload, nil
}

// payloadReader reads the fields of a payload. After a failure it returns zero values.
type payloadReader struct {
	b      []byte
	failed bool
}

func (r *payloadReader) bytes(n uint64) []byte {
	if r.failed = r.failed || n > uint64(len(r.b)); r.failed {
		return nil
	}
	read := r.b[:n]
	r.b = r.b[n:]
	return read
}

func (r *payloadReader) text() string {
	n, size := binary.Uvarint(r.b)
	if r.failed = r.failed || size <= 0; r.failed {
		return ""
	}
	r.b = r.b[size:]
	return string(r.bytes(n))
}

func (r *payloadReader) number() int64 {
	n, size := binary.Varint(r.b)
	if r.failed = r.failed || size <= 0; r.failed {
		return 0
	}
	r.b = r.b[size:]
	return n
}

const (
	ownLinkPrefix = "link_"
	// linkIDDigits is the number of digits of the store's link ids, of which the first is
	// below 8, and packedLinkID their size in bytes.
	linkIDDigits = 26
	packedLinkID = 16
	// digitsBefore complete the digits of an id to whole bytes.
	digitsBefore = "000000"
)

// linkDigits reads the digits of the store's link ids, of 5 bits each.
var linkDigits = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// packLinkID packs a link id in the form that the store makes. Others, such as those of
// publishers, are not packed.
func packLinkID(id string) (packed [packedLinkID]byte, ok bool) {
	digits, ours := strings.CutPrefix(id, ownLinkPrefix)
	if !ours || len(digits) != linkIDDigits {
		return packed, false
	}
	b, err := linkDigits.DecodeString(digitsBefore + digits)
	if err != nil || len(b) < packedLinkID {
		return packed, false
	}
	copy(packed[:], b[len(b)-packedLinkID:])
	return packed, unpackLinkID(packed[:]) == id
}

func unpackLinkID(packed []byte) string {
	var b [4 + packedLinkID]byte
	copy(b[4:], packed)
	return ownLinkPrefix + linkDigits.EncodeToString(b[:])[len(digitsBefore):]
}

// packUseID packs an id in the form that newUseID makes.
func packUseID(id string) (packed [useIDSize]byte, ok bool) {
	if len(id) != base64.RawURLEncoding.EncodedLen(useIDSize) {
		return packed, false
	}
	n, err := strictBase64.Decode(packed[:], []byte(id))
	return packed, err == nil && n == useIDSize
}

// linkCookieName returns the name of a link's cookie.
func linkCookieName(issuer, id string, secure bool) string {
	hash := linkCookieHash(issuer, id)
	return namePrefix(secure) + string(hash[:])
}

// linkCookieHash returns the part of a link cookie's name that identifies the link.
func linkCookieHash(issuer, id string) (hash [12]byte) {
	var texts [512]byte
	sum := sha256.Sum256(appendText(appendText(texts[:0], issuer), id))
	base64.RawURLEncoding.Encode(hash[:], sum[:9])
	return hash
}

// isLinkCookieOf reports whether a name is that of a link's cookie.
func isLinkCookieOf(name, issuer, id string) bool {
	hash := linkCookieHash(issuer, id)
	return strings.TrimPrefix(strings.TrimPrefix(name, securePrefix), linkCookiePrefix) == string(hash[:])
}

// maxLinkCookies is the number of link cookies that a browser keeps for a site.
const maxLinkCookies = 32

// pendingFor is how long a browser has to come back with the cookie of a link whose use
// is not counted yet.
const pendingFor = 10 * time.Minute

// setLinkCookie sets the cookie of the link by which a decision opens the page, and expires
// the oldest of the request's link cookies if there would be more than maxLinkCookies.
func (g *gateRequest) setLinkCookie(header http.Header, link *policy.LinkUse) {
	issuedAt, lifetime := g.request.Now.Unix(), g.gate.LinkCookieTTL.V
	pending := link.Spend || link.Login
	if pending {
		lifetime = min(lifetime, pendingFor)
	}
	expiresAt := min(issuedAt+int64(lifetime/time.Second), link.ExpiresAt)
	if link.Counted() && !pending {
		expiresAt = link.ExpiresAt // its use is spent: without the cookie the reader could not come back
	}
	value := g.site.cookies.seal(linkCookiePayload{
		RedeemedLink: policy.RedeemedLink{
			Issuer: link.Issuer, ID: link.ID, ExpiresAt: expiresAt, UseID: link.CookieID(newUseID()), Pending: pending,
		},
		IssuedAt: issuedAt,
	})
	name := linkCookieName(link.Issuer, link.ID, g.secure)
	others := slices.DeleteFunc(slices.Clone(g.redeemed), func(other redeemedCookie) bool { return other.name == name })
	slices.SortStableFunc(others, func(a, b redeemedCookie) int { return cmp.Compare(a.link.IssuedAt, b.link.IssuedAt) })
	for _, oldest := range others[:max(0, len(others)+1-maxLinkCookies)] {
		header.Add("Set-Cookie", linkSetCookie(oldest.name, "", -1, g.secure))
	}
	header.Add("Set-Cookie", linkSetCookie(name, value, expiresAt-issuedAt, g.secure))
}

// cookieDueFor is how long a browser that was redirected with a link cookie is expected at
// the clean URL.
const cookieDueFor = time.Minute

// redirectedBrowser returns a keyed hash of a browser and of the clean URL that it was
// redirected to; empty if the browser's address is unknown.
func (g *gateRequest) redirectedBrowser() string {
	device := g.device()
	if device == "" {
		return ""
	}
	text := appendText(appendText(appendText([]byte{redirectFormat}, device), g.r.Host), cleanURI(g))
	return string(g.site.cookies.mac(text)[:macSize])
}

// explainMissingCookie gives a browser that was just redirected from a link, and comes
// without any link cookie, its own reason instead of the login: this node remembers its
// redirects for cookieDueFor.
func (g *gateRequest) explainMissingCookie(decision *policy.Decision) {
	if decision.Reason != policy.ReasonLoginRequired || g.site.redirected == nil || g.stripsTokens || len(g.cookies) > 0 || !isNavigation(g.r) {
		return
	}
	browser := g.redirectedBrowser()
	if browser == "" {
		return
	}
	if at := g.site.redirected.Get(browser); at != nil && g.request.Now.Sub(*at) < cookieDueFor {
		decision.Reason = policy.ReasonLinkCookieMissing
	}
}

// linkSetCookie returns a Set-Cookie header. The age is in seconds; a negative one
// expires the cookie.
func linkSetCookie(name, value string, age int64, secure bool) string {
	cookie := http.Cookie{ //nolint:gosec // a Secure cookie is not sent over plain http
		Name: name, Value: value, Path: "/", MaxAge: int(age),
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	}
	return cookie.String()
}

// redeemedCookie is a verified link cookie.
type redeemedCookie struct {
	name string
	link linkCookiePayload
}

// verifyLinkCookies appends the request's valid link cookies to redeemed. It ignores
// cookies that are expired or do not verify.
func verifyLinkCookies(sealer *cookieSealer, cookies []linkCookie, now time.Time, redeemed []redeemedCookie) []redeemedCookie {
	for i := range cookies {
		if len(redeemed) == 2*maxLinkCookies {
			break
		}
		if cookie, ok := sealer.verify(&cookies[i]); ok && now.Unix() < cookie.link.ExpiresAt {
			redeemed = append(redeemed, cookie)
		}
	}
	return redeemed
}

// verify verifies a cookie, and caches it if it is valid.
func (s *cookieSealer) verify(cookie *linkCookie) (redeemedCookie, bool) {
	if cached := s.recent.Get(cookie.value); cached != nil && cached.name == cookie.name {
		return *cached, true
	}
	payload, err := s.open(cookie.value)
	if err != nil || !isLinkCookieOf(cookie.name, payload.Issuer, payload.ID) {
		return redeemedCookie{}, false
	}
	verified := redeemedCookie{strings.Clone(cookie.name), payload} // the name is a part of the request's header
	s.recent.Put(cookie.value, verified)
	return verified, true
}

// On https, securePrefix precedes linkCookiePrefix in the name of a link cookie.
const (
	linkCookiePrefix = "gatefold-"
	securePrefix     = "__Host-"
)

// linkCookie is a link cookie as received.
type linkCookie struct {
	name, value string
	duplicate   bool // another cookie has the same name
}

const (
	// maxCookieBytes bounds the size of a request's Cookie headers. Larger ones count
	// as without link cookies.
	maxCookieBytes = 32 << 10
	// maxTakenCookies bounds how many link cookies are compared with one another. A
	// browser keeps at most maxLinkCookies.
	maxTakenCookies = 4 * maxLinkCookies
)

// takeLinkCookies removes all link cookies from a request, and appends to taken, which
// must be empty, those that count. On https only names with the __Host- prefix count,
// which no sibling domain can set. Of several cookies with one name none counts
// (cookie tossing). The argument lines holds the request's Cookie headers.
func takeLinkCookies(header http.Header, lines []string, secure bool, taken []linkCookie) []linkCookie {
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	headers.DropCookies(header, lines, linkCookiePrefix, func(cookie string) bool {
		name, value, _ := strings.Cut(cookie, "=")
		if !isLinkCookie(name) {
			return false
		}
		taken = append(taken, linkCookie{name: strings.Trim(name, " \t"), value: strings.Trim(value, " \t")})
		return true
	})
	if size > maxCookieBytes || len(taken) > maxTakenCookies {
		return taken[:0]
	}
	return countable(taken, secure)
}

// isLinkCookie reports whether a cookie's name is that of a link cookie, or could be
// for a server that trims more or ignores case.
func isLinkCookie(name string) bool {
	name = strings.TrimSpace(name)
	if headers.HasPrefixFold(name, securePrefix) {
		name = name[len(securePrefix):]
	}
	return headers.HasPrefixFold(name, linkCookiePrefix)
}

// namePrefix returns the beginning of the names of link cookies.
func namePrefix(secure bool) string {
	if secure {
		return securePrefix + linkCookiePrefix
	}
	return linkCookiePrefix
}

// countable filters cookies in place: it keeps those that the gate may have set.
func countable(cookies []linkCookie, secure bool) []linkCookie {
	for i := range cookies {
		for j := range cookies[:i] {
			if cookies[i].name == cookies[j].name {
				cookies[i].duplicate, cookies[j].duplicate = true, true
			}
		}
	}
	prefix, kept := namePrefix(secure), cookies[:0]
	for _, cookie := range cookies {
		if !cookie.duplicate && strings.HasPrefix(cookie.name, prefix) {
			kept = append(kept, cookie)
		}
	}
	return kept
}
