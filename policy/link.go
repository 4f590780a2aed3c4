package policy

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/gatefold/gatefold/keys"
)

// Link is what the store knows of a signed link.
type Link struct {
	Claims  keys.LinkClaims
	Revoked bool
	// KeyID is the key that signed it, where a publisher did.
	KeyID string
}

// Pass is a redeemed link, as a verified link cookie tells it.
type RedeemedLink struct {
	Issuer, ID string
	// ExpiresAt is the end of the cookie, in Unix seconds.
	ExpiresAt int64
}

// target is what a link opens, made ready for comparing.
type target struct {
	sku     string
	content string
	// host, path and query come from the link's url; hasURL says that it has one.
	hasURL bool
	host   string
	path   []string
	query  []pair
}

type pair struct{ name, value string }

// newTarget reads what a link's claims open. A link whose url cannot be read
// opens nothing: that is an error.
func newTarget(claims *keys.LinkClaims) (*target, error) {
	t := &target{sku: claims.SKU, content: claims.PublisherContentID}
	if claims.URL == "" {
		if t.sku == "" && t.content == "" {
			return nil, errors.New("the link names nothing that it opens")
		}
		return t, nil
	}
	parsed, err := url.Parse(claims.URL)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, errors.New("the link's url is not an absolute http or https URL")
	}
	if parsed.User != nil {
		return nil, errors.New("the link's url holds a user name")
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
	if err := path.Read(escaped, PathOptions{}); err != nil {
		return nil, err
	}
	t.path = slices.Clone(path.Readings()[0])
	if t.query, err = queryPairs(parsed.RawQuery); err != nil {
		return nil, err
	}
	for i, parameter := range t.query {
		if slices.ContainsFunc(t.query[:i], func(p pair) bool { return p.name == parameter.name }) {
			return nil, errors.New("the link's url holds a query parameter twice")
		}
	}
	return t, nil
}

// size estimates the bytes that the target takes in memory.
func (t *target) size() int64 {
	if t == nil {
		return 0
	}
	const header, perSegment, perPair = 144, 16, 32
	size := header + len(t.sku) + len(t.content) + len(t.host) + perSegment*len(t.path) + perPair*len(t.query)
	for _, segment := range t.path {
		size += len(segment)
	}
	for _, parameter := range t.query {
		size += len(parameter.name) + len(parameter.value)
	}
	return int64(size)
}

// CheckLinkTarget says whether a link with these claims would open anything: it
// returns an error that names what cannot be read.
func CheckLinkTarget(claims *keys.LinkClaims) error {
	_, err := newTarget(claims)
	return err
}

// opens says whether the link opens the page that a rule matched: everything
// that the link names must fit.
func (t *target) opens(r *Request, rule *compiledRule, segments []string) bool {
	return t.misfit(r, rule, segments) == ""
}

// misfit names what keeps the link from opening the page that a rule matched: one
// of its claims, or `operator` where links open nothing. It is empty when the link
// opens the page.
func (t *target) misfit(r *Request, rule *compiledRule, segments []string) string {
	if rule.linkTest == nil {
		return "operator"
	}
	return rule.linkTest.misfit(t, r, rule, segments)
}

func (t *target) opensURL(r *Request, segments []string) bool {
	host, err := NormalHost(r.Host)
	return err == nil && host == t.host && slices.Equal(segments, t.path) && t.opensQuery(r.Query)
}

// opensQuery says whether every parameter of the link's url is in the query
// once, with the same value.
func (t *target) opensQuery(query string) bool {
	if len(t.query) == 0 {
		return true
	}
	pairs, err := queryPairs(query)
	if err != nil {
		return false
	}
	for _, want := range t.query {
		found := 0
		for _, have := range pairs {
			if have.name != want.name {
				continue
			}
			if have.value != want.value {
				return false
			}
			found++
		}
		if found != 1 {
			return false
		}
	}
	return true
}

// maxQueryPairs bounds how many parameters of a query are read.
const maxQueryPairs = 1000

// queryPairs reads a query strictly: an escape that is not valid, or a bare
// semicolon, which servers read differently, is an error.
func queryPairs(query string) ([]pair, error) {
	var pairs []pair
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		if len(pairs) == maxQueryPairs || strings.Contains(part, ";") {
			return nil, errors.New("the query cannot be read")
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, errors.New("the query cannot be read")
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, errors.New("the query cannot be read")
		}
		pairs = append(pairs, pair{name, value})
	}
	return pairs, nil
}

// NormalHost returns the host of a request or a URL in the one form that is
// compared: ASCII (IDNA2008 as UTS #46 maps it, for looking up), lower case,
// without trailing dot and default port. Which of 80 and 443 is the default is
// not known of a request behind a TLS terminator, so both are left out. The
// error says that there is no host, or none with a valid name; it holds nothing
// of the host.
func NormalHost(host string) (string, error) {
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:i], host[i+1:]
	}
	if port == "80" || port == "443" {
		port = ""
	}
	if isPlainHost(name) {
		if name != "" && port != "" && name[len(name)-1] != '.' {
			return host, nil // as it stands
		}
	} else {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil && !strings.HasPrefix(name, "[") {
			return "", errors.New("the host is not a valid name")
		}
		if err == nil {
			name = ascii
		}
		name = strings.ToLower(name)
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", errors.New("there is no host")
	}
	if port == "" {
		return name, nil
	}
	return name + ":" + port, nil
}

// isPlainHost says whether a name is in its normal form already.
func isPlainHost(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return !strings.Contains(name, "xn--")
}
