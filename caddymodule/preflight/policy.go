package preflight

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// DefaultMaxAge is how long browsers may keep an answer that names no other time. It is
// their own default.
const DefaultMaxAge = 5 * time.Second

// maxMaxAge is the longest time for which a browser keeps an answer: Firefox's.
const maxMaxAge = 24 * time.Hour

// Policy answers preflights without the origin. The responses to the requests that
// follow need Access-Control-Allow-Origin as well, which the origin sets.
type Policy struct {
	// Origins are the origins whose scripts may read the site, as browsers spell them
	// in Origin: `https://app.example.com`. `*` alone is every origin.
	Origins []string
	// Methods are the allowed methods. Default: GET, HEAD and POST.
	Methods []string
	// Headers are the allowed request headers, besides those that browsers always allow.
	Headers []string
	// MaxAge is how long browsers may keep the answer. Default: 5 seconds.
	MaxAge time.Duration
	// Credentials allows requests with cookies.
	Credentials bool
}

// Validate returns an error for what can only be a mistake.
func (p *Policy) Validate() error {
	if len(p.Origins) == 0 {
		return errors.New("origins: name at least one, such as https://app.example.com")
	}
	for i, origin := range p.Origins {
		if slices.Contains(p.Origins[:i], origin) {
			return fmt.Errorf("origins: %q is given twice", origin)
		}
		if err := p.checkOrigin(origin); err != nil {
			return fmt.Errorf("origins: %q %w", origin, err)
		}
	}
	for _, method := range p.Methods {
		if err := checkMethod(method); err != nil {
			return fmt.Errorf("methods: %q %w", method, err)
		}
	}
	for _, header := range p.Headers {
		if err := checkHeader(header); err != nil {
			return fmt.Errorf("headers: %q %w", header, err)
		}
	}
	if p.MaxAge < 0 || p.MaxAge > maxMaxAge || p.MaxAge%time.Second != 0 {
		return fmt.Errorf("max_age: %v must be whole seconds, at most %v: browsers keep no answer for longer", p.MaxAge, maxMaxAge)
	}
	return nil
}

func (p *Policy) checkOrigin(origin string) error {
	if origin == "*" {
		if len(p.Origins) > 1 {
			return errors.New("is every origin: name it alone")
		}
		if p.Credentials {
			return errors.New("excludes credentials: name the origins (Fetch standard, section 3.3.5)")
		}
		return nil
	}
	if origin == "null" {
		return errors.New("is the origin of every sandboxed document: give the scripts an origin of their own")
	}
	parsed, err := url.Parse(origin)
	if err != nil || parsed.Host == "" || parsed.Scheme == "" || origin != parsed.Scheme+"://"+parsed.Host {
		return errors.New("must be a scheme and a host, with a port if it is not the scheme's own, and nothing behind them")
	}
	if strings.Contains(origin, "*") {
		return errors.New("is compared as a whole: name each origin")
	}
	if origin != strings.ToLower(origin) || strings.ContainsFunc(origin, func(c rune) bool { return c > '~' }) {
		return errors.New("must be in lower case and in ASCII, as browsers send it")
	}
	if port := parsed.Port(); parsed.Scheme == "https" && port == "443" || parsed.Scheme == "http" && port == "80" || strings.HasSuffix(origin, ":") {
		return errors.New("names the scheme's own port, which browsers leave out")
	}
	return nil
}

func checkMethod(method string) error {
	switch strings.ToUpper(method) {
	case "CONNECT", "TRACE", "TRACK":
		return errors.New("is forbidden to scripts")
	}
	if !httpguts.ValidHeaderFieldName(method) || method == "*" {
		return errors.New("is no method: name each one")
	}
	if method != strings.ToUpper(method) {
		return errors.New("must be in upper case: methods are compared exactly")
	}
	return nil
}

func checkHeader(header string) error {
	if !httpguts.ValidHeaderFieldName(header) || header == "*" {
		return errors.New("is no header's name: name each one")
	}
	switch lower := strings.ToLower(header); {
	case strings.HasPrefix(lower, "proxy-"), strings.HasPrefix(lower, "sec-"),
		slices.Contains([]string{"cookie", "host", "origin", "referer", "content-length", "connection", "expect", "upgrade", "via", "te", "trailer", "transfer-encoding", "date", "dnt", "keep-alive", "accept-charset", "accept-encoding"}, lower),
		strings.HasPrefix(lower, "access-control-"):
		return errors.New("is set by browsers only, never by scripts (Fetch standard, section 2.2.2)")
	}
	return nil
}

// Answer answers a preflight. A script of another origin gets no permission.
func (p *Policy) Answer(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	origins, every := r.Header["Origin"], p.Origins[0] == "*"
	if len(origins) == 1 && (every || slices.Contains(p.Origins, origins[0])) {
		p.permit(header, origins[0], every)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (p *Policy) permit(header http.Header, origin string, every bool) {
	if every {
		origin = "*"
	}
	header.Set("Access-Control-Allow-Origin", origin)
	methods := p.Methods
	if len(methods) == 0 {
		methods = []string{http.MethodGet, http.MethodHead, http.MethodPost}
	}
	header.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	if len(p.Headers) > 0 {
		header.Set("Access-Control-Allow-Headers", strings.Join(p.Headers, ", "))
	}
	if p.Credentials {
		header.Set("Access-Control-Allow-Credentials", "true")
	}
	age := p.MaxAge
	if age == 0 {
		age = DefaultMaxAge
	}
	header.Set("Access-Control-Max-Age", strconv.Itoa(int(age/time.Second)))
}
