package policy

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/keys"
)

// Link is the record of a signed link.
type Link struct {
	Claims  keys.LinkClaims
	Revoked bool
	// KeyID is the id of the key that signed a publisher's link; empty for the
	// vendor's own.
	KeyID string
}

// RedeemedLink is a link that a verified link cookie names.
type RedeemedLink struct {
	Issuer, ID string
	// ExpiresAt is the end of the cookie, in Unix seconds.
	ExpiresAt int64
	// UseID is the id of the use of a counted link. Pending reports whether the use may
	// not be counted yet: the cookie was set before any page was delivered.
	UseID   string
	Pending bool
}

// target is what a link opens, parsed for comparison.
type target struct {
	sku     string
	content string
	space   string // of the content; empty if the link names none
	// host, path and query are those of the link's url, if hasURL is set.
	hasURL   bool
	host     string
	path     []string
	query    []boundPair
	rawQuery string
}

type pair struct{ name, value string }

// boundPair is a parameter of a link's url.
type boundPair struct {
	pair
	read queryName
}

// newTarget parses what a link's claims open. It returns an error for a link that
// could never open a page.
func newTarget(claims *keys.LinkClaims) (*target, error) {
	t := &target{sku: claims.SKU, content: claims.PublisherContentID, space: claims.ContentSpace}
	if claims.URL == "" {
		if t.sku == "" && t.content == "" {
			return nil, errors.New("the link has no url, sku or publisherContentId")
		}
		return t, nil
	}
	parsed, err := url.Parse(claims.URL)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, errors.New("the link's url is not an absolute http or https URL")
	}
	if parsed.User != nil {
		return nil, errors.New("the link's url contains a user name")
	}
	t.hasURL = true
	if t.host, err = NormalHost(parsed.Host); err != nil {
		return nil, err
	}
	escaped := parsed.EscapedPath()
	if escaped == "" {
		escaped = "/"
	}
	var path Path
	if err := path.Read(escaped, PathOptions{PathInfo: true}); err != nil {
		return nil, err
	}
	t.path, t.rawQuery = slices.Clone(path.Readings()[0]), parsed.RawQuery
	t.query, err = bindQuery(parsed.RawQuery)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// bindQuery parses the query of a link's url.
func bindQuery(query string) ([]boundPair, error) {
	pairs, err := queryPairs(query)
	if err != nil {
		return nil, err
	}
	var bound []boundPair
	for _, parameter := range pairs {
		read := readQueryName(parameter.name)
		for i := range bound {
			switch {
			case bound[i].name == parameter.name:
				return nil, errors.New("the link's url contains a query parameter twice")
			case bound[i].read.conflicts(&read):
				return nil, errors.New("the link's url contains query parameters that some servers read as one, such as a_b and a.b, or a and a[b]: leave one of them out")
			}
		}
		bound = append(bound, boundPair{parameter, read})
	}
	return bound, nil
}

// size estimates the memory of the target, in bytes.
func (t *target) size() int64 {
	if t == nil {
		return 0
	}
	const header, perSegment, perPair = 176, 16, 160
	size := header + len(t.sku) + len(t.content) + len(t.space) + len(t.host) + len(t.rawQuery) + perSegment*len(t.path) + perPair*len(t.query)
	for _, segment := range t.path {
		size += len(segment)
	}
	for _, parameter := range t.query {
		size += len(parameter.name) + len(parameter.value)
		for _, name := range parameter.read.all {
			size += perSegment + len(name)
		}
	}
	return int64(size)
}

// CheckLinkTarget returns an error if a link with these claims could never open a
// page.
func CheckLinkTarget(claims *keys.LinkClaims) error {
	_, err := newTarget(claims)
	return err
}

// opens reports whether the link opens the page that a rule matched. The url says where
// the link lands, and the content says what it opens: the content of the landing page,
// or the one that the link names; without either the url alone. A sku restricts that.
func (t *target) opens(r *Request, rule *compiledRule, segments []string) bool {
	return t.misfit(r, rule, segments) == ""
}

// misfit names the claim that keeps the link from opening the page that a rule
// matched, or `operator` if no step of the rule accepts links. It is empty if the link
// opens the page.
func (t *target) misfit(r *Request, rule *compiledRule, segments []string) string {
	if rule.linkTest == nil {
		return "operator"
	}
	return rule.linkTest.misfit(t, r, rule, segments)
}

// onHost reports whether the host as received is that of the link's url. The host must be
// known.
func (t *target) onHost(r *Request) bool {
	host, err := NormalHost(r.Host)
	return err == nil && host == t.host
}

// opensURL reports whether the URL as received is the link's, whatever the origin makes
// of it. The host must be that of the link.
func (t *target) opensURL(r *Request) bool {
	return r.receivedAs(t.path) && t.opensQuery(r.Query) && (len(t.query) == 0 || !r.rebinds())
}

// opensQuery reports whether the query contains every parameter of the link's url
// exactly once, with the same value, and no other that a framework could take for one
// of them.
func (t *target) opensQuery(query string) bool {
	if len(t.query) == 0 {
		return true
	}
	pairs, err := queryPairs(query)
	if err != nil {
		return false
	}
	found := 0
	for _, have := range pairs {
		read := readQueryName(have.name)
		for i := range t.query {
			want := &t.query[i]
			if !want.read.conflicts(&read) {
				continue
			}
			if have != want.pair {
				return false
			}
			found++
		}
	}
	return found == len(t.query) && t.distinct(pairs)
}

// distinct reports whether no two parameters of a query are the same parameter of the
// link's url.
func (t *target) distinct(pairs []pair) bool {
	for i := range t.query {
		count := 0
		for _, have := range pairs {
			if have == t.query[i].pair {
				count++
			}
		}
		if count != 1 {
			return false
		}
	}
	return true
}

// maxQueryPairs bounds the parameters of a query, empty ones included: servers ignore
// those beyond a number of their own, commonly 1,000.
const maxQueryPairs = 250

var errQuery = errors.New("the query has an invalid escape, a semicolon or too many parameters")

// queryPairs parses a query strictly: an invalid escape is an error, and so is a
// semicolon, which some servers read as a separator.
func queryPairs(query string) ([]pair, error) {
	var pairs []pair
	parts := 0
	for part := range strings.SplitSeq(query, "&") {
		if parts++; parts > maxQueryPairs || strings.Contains(part, ";") {
			return nil, errQuery
		}
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, errQuery
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, errQuery
		}
		pairs = append(pairs, pair{name, value})
	}
	return pairs, nil
}
