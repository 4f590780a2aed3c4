package caddymodule

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/memory"
)

// linkPass is what a link cookie says: that this browser redeemed this link.
type linkCookiePayload struct {
	policy.RedeemedLink
	// Redemption is the use that was counted for it.
	Redemption string
	// IssuedAt is in Unix seconds.
	IssuedAt int64
}

// cookieSealer makes and reads the values of link cookies for one site of one
// vendor. It is safe for concurrent use.
//
// A value is a bearer secret: base64url of the pass, a dot, and base64url of an
// HMAC-SHA256 over vendor, site and pass. What the link opens is not in it, but
// in the link's record, where a revocation reaches it.
type cookieSealer struct {
	site []byte
	macs sync.Pool // of hash.Hash, keyed
	// recent holds what was verified a moment ago, by its value.
	recent *memory.Recent[redeemedCookie]
}

// recentCookies is how many link cookies are remembered for a site.
const recentCookies = 512

func newCookieSealer(key [sha256.Size]byte, vendor, site string) *cookieSealer {
	s := &cookieSealer{
		site:   appendText(appendText(nil, vendor), site),
		recent: memory.NewRecent[redeemedCookie](recentCookies),
	}
	s.macs.New = func() any { return hmac.New(sha256.New, key[:]) }
	return s
}

const cookieFormat = 1

var errCookie = errors.New("not a link cookie of this site")

// appendText appends a text behind its length, so that no two sequences of
// texts give the same bytes.
func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// Seal returns the cookie value of a pass.
func (s *cookieSealer) Seal(payload linkCookiePayload) string {
	b := []byte{cookieFormat}
	b = appendText(b, payload.Issuer)
	b = appendText(b, payload.ID)
	b = appendText(b, payload.Redemption)
	b = binary.AppendVarint(b, payload.IssuedAt)
	b = binary.AppendVarint(b, payload.ExpiresAt)
	encoding := base64.RawURLEncoding
	return encoding.EncodeToString(b) + "." + encoding.EncodeToString(s.appendMAC(nil, b))
}

// maxCookieValue bounds the value of a link cookie.
const maxCookieValue = 1024

// Open returns the pass of a cookie value, if this site made it.
func (s *cookieSealer) Open(value string) (linkCookiePayload, error) {
	const macLen = 43 // base64url of 32 bytes
	if len(value) > maxCookieValue || len(value) <= macLen+1 || value[len(value)-macLen-1] != '.' {
		return linkCookiePayload{}, errCookie
	}
	// The texts of the pass are parts of one string: decoding costs one
	// allocation.
	var decoded [maxCookieValue]byte
	b, err := strictBase64.AppendDecode(decoded[:0], []byte(value[:len(value)-macLen-1]))
	if err != nil {
		return linkCookiePayload{}, errCookie
	}
	var macs [3 * sha256.Size]byte
	mac, err := strictBase64.AppendDecode(macs[:0], []byte(value[len(value)-macLen:]))
	if err != nil || !hmac.Equal(mac, s.appendMAC(macs[2*sha256.Size:2*sha256.Size], b)) {
		return linkCookiePayload{}, errCookie
	}
	return readCookiePayload(string(b))
}

// strictBase64 reads what has one spelling only.
var strictBase64 = base64.RawURLEncoding.Strict()

func (s *cookieSealer) appendMAC(to, pass []byte) []byte {
	h, _ := s.macs.Get().(hash.Hash)
	defer s.macs.Put(h)
	h.Reset()
	h.Write(s.site)
	h.Write(pass)
	return h.Sum(to)
}

// readPass reads what Seal wrote.
func readCookiePayload(b string) (linkCookiePayload, error) {
	if len(b) == 0 || b[0] != cookieFormat {
		return linkCookiePayload{}, errCookie
	}
	b = b[1:]
	var payload linkCookiePayload
	for _, text := range []*string{&payload.Issuer, &payload.ID, &payload.Redemption} {
		n, size := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
		if size <= 0 || n > uint64(len(b)-size) {
			return linkCookiePayload{}, errCookie
		}
		*text, b = b[size:size+int(n)], b[size+int(n):]
	}
	for _, number := range []*int64{&payload.IssuedAt, &payload.ExpiresAt} {
		n, size := binary.Varint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
		if size <= 0 {
			return linkCookiePayload{}, errCookie
		}
		*number, b = n, b[size:]
	}
	if len(b) != 0 {
		return linkCookiePayload{}, errCookie
	}
	return payload, nil
}

// linkCookieName returns the name of a link's cookie: one for each link, so
// that several links live beside one another.
func linkCookieName(issuer, id string, secure bool) string {
	prefix := linkCookiePrefix
	if secure {
		prefix = securePrefix + linkCookiePrefix
	}
	hash := linkCookieHash(issuer, id)
	return prefix + string(hash[:])
}

// linkCookieHash returns what tells the cookie of a link from that of another.
func linkCookieHash(issuer, id string) (hash [12]byte) {
	var texts [512]byte
	sum := sha256.Sum256(appendText(appendText(texts[:0], issuer), id))
	base64.RawURLEncoding.Encode(hash[:], sum[:9])
	return hash
}

// isLinkCookieOf says whether a cookie's name is the one of a link.
func isLinkCookieOf(name, issuer, id string) bool {
	hash := linkCookieHash(issuer, id)
	return strings.TrimPrefix(strings.TrimPrefix(name, securePrefix), linkCookiePrefix) == string(hash[:])
}

// maxLinkCookies is how many link cookies a browser keeps for a site.
const maxLinkCookies = 8

// setLinkCookie gives the reader the cookie of a redeemed link, and expires the
// oldest of those that the request carried when there would be too many.
func setLinkCookie(header http.Header, sealer *cookieSealer, payload linkCookiePayload, redeemed []redeemedCookie, secure bool) {
	name := linkCookieName(payload.Issuer, payload.ID, secure)
	others := redeemed[:0:0]
	for _, other := range redeemed {
		if other.name != name {
			others = append(others, other)
		}
	}
	for len(others) >= maxLinkCookies {
		oldest := 0
		for i := range others {
			if others[i].link.IssuedAt < others[oldest].link.IssuedAt {
				oldest = i
			}
		}
		header.Add("Set-Cookie", linkSetCookie(others[oldest].name, "", -1, secure))
		others = append(others[:oldest:oldest], others[oldest+1:]...)
	}
	header.Add("Set-Cookie", linkSetCookie(name, sealer.Seal(payload), payload.ExpiresAt-payload.IssuedAt, secure))
}

// linkSetCookie renders a Set-Cookie header. A negative age expires the cookie.
func linkSetCookie(name, value string, age int64, secure bool) string {
	cookie := http.Cookie{ //nolint:gosec // Secure follows the scheme: on plain http the cookie would not come back
		Name: name, Value: value, Path: "/", MaxAge: int(age),
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	}
	return cookie.String()
}

// carriedPass is a link cookie of a request that was verified.
type redeemedCookie struct {
	name string
	link linkCookiePayload
}

// openLinkCookies appends the verified link cookies of a request to carried. One
// that fails is none: it was made for another site, or forged, or cut.
func openLinkCookies(sealer *cookieSealer, cookies []linkCookie, now time.Time, redeemed []redeemedCookie) []redeemedCookie {
	for i := range cookies {
		if len(redeemed) == 2*maxLinkCookies {
			break
		}
		if known, ok := sealer.open(&cookies[i]); ok && now.Unix() < known.link.ExpiresAt {
			redeemed = append(redeemed, known)
		}
	}
	return redeemed
}

// open verifies a cookie, from memory where it was verified a moment ago. Only
// what was verified is remembered.
func (s *cookieSealer) open(cookie *linkCookie) (redeemedCookie, bool) {
	if known := s.recent.Get(cookie.value); known != nil && known.name == cookie.name {
		return *known, true
	}
	payload, err := s.Open(cookie.value)
	if err != nil || !isLinkCookieOf(cookie.name, payload.Issuer, payload.ID) {
		return redeemedCookie{}, false
	}
	// The name is copied: it is a part of the request.
	known := redeemedCookie{strings.Clone(cookie.name), payload}
	s.recent.Put(cookie.value, known)
	return known, true
}
