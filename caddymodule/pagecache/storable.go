package pagecache

import (
	"net/http"
	"strings"
	"time"
)

// Why says why a page was not stored or not answered from memory, from a closed list.
type Why string

// The reasons.
const (
	WhyNone        Why = ""
	WhyStatus      Why = "status"            // the status is not stored
	WhyNoStore     Why = "no_store"          // the origin forbids it
	WhyPrivate     Why = "private"           // the origin says that the response is for one reader
	WhySetCookie   Why = "set_cookie"        // the response sets a cookie
	WhyVary        Why = "vary"              // the response varies by what is not in the key
	WhyFreshness   Why = "no_freshness"      // neither origin nor rule say how long it is fresh
	WhyTooLarge    Why = "too_large"         // the body is larger than max_size
	WhyTrailer     Why = "trailer"           // the response has trailers
	WhyPartial     Why = "partial"           // the response is a part
	WhyIncomplete  Why = "incomplete"        // the body broke off
	WhyTags        Why = "too_many_tags"     // more tags than maxTags
	WhyMethod      Why = "method"            // neither GET nor HEAD
	WhyBody        Why = "request_body"      // a GET with a body
	WhyRequest     Why = "request"           // a range that is not stored, an upgrade, a precondition
	WhyMarked      Why = "marked"            // it was found not storable a moment ago
	WhyBusy        Why = "busy"              // too many fetches, or one that takes too long
	WhyStore       Why = "store_unreachable" // the feed of purges is not followed
	WhyOriginError Why = "origin_error"      // the origin failed
)

// whys are those for which a response is not stored. A mark has an index in them.
var whys = [1 << whyBits]Why{
	WhyMarked, WhyStatus, WhyNoStore, WhyPrivate, WhySetCookie, WhyVary, WhyFreshness, WhyTooLarge, WhyTrailer, WhyPartial, WhyTags,
}

// lifetime is how long a response may be used, from its generation on.
type lifetime struct {
	fresh, whileRevalid, ifError time.Duration
	noCache                      bool // revalidate before each use
	explicit                     bool // the origin says how long
}

// storable reports how long a response of an anonymous GET may be stored, or why it must
// not be (RFC 9111, section 3). RuleTTL is the lifetime that the rule gives to responses
// without one; ifError is the default of stale-if-error.
func storable(status int, header http.Header, ruleTTL, ifError time.Duration) (lifetime, Why) {
	c := controlOf(header)
	switch {
	case status == http.StatusPartialContent || header["Content-Range"] != nil:
		return lifetime{}, WhyPartial
	case !knownStatus(status):
		return lifetime{}, WhyStatus
	case c.noStore || header["Clear-Site-Data"] != nil:
		return lifetime{}, WhyNoStore
	case c.private:
		return lifetime{}, WhyPrivate
	case header["Set-Cookie"] != nil || header["Set-Cookie2"] != nil:
		return lifetime{}, WhySetCookie
	case header["Trailer"] != nil:
		return lifetime{}, WhyTrailer
	}
	life := lifetime{noCache: c.noCache}
	switch {
	case c.sharedMaxAge >= 0:
		life.fresh, life.explicit = seconds(c.sharedMaxAge), true
	case c.maxAge >= 0:
		life.fresh, life.explicit = seconds(c.maxAge), true
	case header["Expires"] != nil && !targeted(header):
		life.fresh, life.explicit = untilExpires(header), true
	default:
		life.fresh = ruleTTL
	}
	if status != http.StatusOK {
		if !life.explicit || life.fresh <= 0 {
			return lifetime{}, WhyStatus
		}
		life.fresh = min(life.fresh, maxErrorLife)
		return life, WhyNone // never stale: an error is asked for again
	}
	if c.noCache {
		life.fresh = 0
	}
	if life.fresh <= 0 && !validator(header) {
		return lifetime{}, WhyFreshness
	}
	if !life.explicit && ruleTTL <= 0 && !c.noCache {
		return lifetime{}, WhyFreshness
	}
	// Section 4.2.4: s-maxage forbids stale responses like proxy-revalidate.
	if !c.mustRevalidate && !c.noCache && c.sharedMaxAge < 0 {
		life.whileRevalid = seconds(max(c.whileRevalid, 0))
		if life.ifError = ifError; c.ifError >= 0 {
			life.ifError = seconds(c.ifError)
		}
	}
	return life, WhyNone
}

// maxErrorLife bounds how long an error or a redirect is stored.
const maxErrorLife = 60 * time.Second

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func knownStatus(status int) bool {
	switch status {
	case http.StatusOK, http.StatusNotFound, http.StatusGone, http.StatusMovedPermanently, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func targeted(header http.Header) bool {
	for _, name := range targetedFields {
		if _, ok := parseTargeted(header[name]); ok {
			return true
		}
	}
	return false
}

func validator(header http.Header) bool {
	return header["Etag"] != nil || header["Last-Modified"] != nil
}

// untilExpires returns the lifetime of Expires: 0 for a date that cannot be read
// (section 5.3), and for more than one.
func untilExpires(header http.Header) time.Duration {
	values := header["Expires"]
	if len(values) != 1 {
		return 0
	}
	expires, err := http.ParseTime(values[0])
	date, dateErr := http.ParseTime(header.Get("Date"))
	if err != nil || dateErr != nil {
		return 0
	}
	return min(max(expires.Sub(date), 0), seconds(maxSeconds))
}

// initialAge returns the age of a response when it was received (RFC 9111, section 4.2.3).
func initialAge(header http.Header, asked, received time.Time) time.Duration {
	var apparent time.Duration
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		apparent = max(received.Sub(date), 0).Truncate(time.Second)
	}
	var aged time.Duration
	if values := header["Age"]; len(values) > 0 {
		first, _, _ := strings.Cut(values[0], ",")
		aged = seconds(parseSeconds(strings.TrimSpace(first)))
	}
	return max(apparent, aged+max(received.Sub(asked), 0))
}
