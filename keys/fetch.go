package keys

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gatefold/gatefold/keys/dialguard"
)

// FetchTimeout is the time limit of one fetch, from resolving the name to the end
// of the body.
const FetchTimeout = 3 * time.Second

// FetchResult is the result of a fetch, one of a closed list.
type FetchResult string

// Results of a fetch.
const (
	FetchOK          FetchResult = "ok"
	FetchNotModified FetchResult = "not_modified"
	FetchAddress     FetchResult = "address"   // the host resolves to an address that is not public
	FetchUnreachable FetchResult = "connect"   // no address, no connection or no TLS session
	FetchTimedOut    FetchResult = "timeout"   // not complete within FetchTimeout
	FetchStatus      FetchResult = "status"    // neither 200 nor 304
	FetchRedirect    FetchResult = "redirect"  // a redirect, which is not followed
	FetchTooLarge    FetchResult = "too_large" // more than MaxJWKSSize
	FetchMalformed   FetchResult = "malformed" // not a key set, or not an issuer's configuration
)

// FetchResults returns all results.
func FetchResults() []FetchResult {
	return []FetchResult{
		FetchOK, FetchNotModified, FetchAddress, FetchUnreachable, FetchTimedOut, FetchStatus, FetchRedirect, FetchTooLarge, FetchMalformed,
	}
}

// FetchError says why keys could not be fetched. It contains no data from the
// response other than the status code.
type FetchError struct {
	Result FetchResult
	Detail string
}

func (e *FetchError) Error() string { return e.Detail }

// fetcher fetches small documents over https from hosts that it does not trust:
// without redirects, proxy or compression, and with limits on size and time.
type fetcher struct {
	any    *http.Client // any address, for locations from the configuration
	public *http.Client // public addresses, for locations from the API
}

// newFetcher returns a fetcher that takes addresses within allowed for public
// ones. Hosts maps a host:port to another one, and roots are the trusted
// certificate authorities; both may be nil.
func newFetcher(resolver *net.Resolver, hosts map[string]string, allowed []netip.Prefix, roots *x509.CertPool) *fetcher {
	client := func(dialer net.Dialer) *http.Client {
		return &http.Client{
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					if mapped, ok := hosts[address]; ok {
						address = mapped
					}
					return dialer.DialContext(ctx, network, address)
				},
				Proxy:                  nil, // a proxy would resolve the name, without the check of the address
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
				ForceAttemptHTTP2:      true,
				DisableKeepAlives:      true,
				DisableCompression:     true,
				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &fetcher{
		any:    client(net.Dialer{KeepAlive: -1, Resolver: resolver}),
		public: client(net.Dialer{KeepAlive: -1, Resolver: resolver, Control: publicGuard(allowed)}),
	}
}

// errAddress says that a connection was refused because of its address, see dialguard.
var errAddress = errors.New("the host resolves to an address that is not public")

// publicGuard returns a net.Dialer.Control for hosts that clients of the API name: it
// admits public addresses and the given prefixes.
func publicGuard(allowed []netip.Prefix) func(network, address string, c syscall.RawConn) error {
	listed := make([]dialguard.Listed, len(allowed))
	for i, prefix := range allowed {
		listed[i].Prefix = prefix
	}
	return dialguard.New(listed...).Control(errAddress)
}

// document is the result of a successful fetch.
type document struct {
	body        []byte
	notModified bool
	etag        string
	maxAge      time.Duration // negative when the response states none
}

// get fetches a document. With an etag the request is conditional (RFC 9110,
// section 13.1.2). It returns a *FetchError.
func (f *fetcher) get(ctx context.Context, address, etag string, allowPrivate bool) (document, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return document{}, &FetchError{FetchMalformed, "the URL cannot be parsed"}
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", "gatefold")
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	client := f.public
	if allowPrivate {
		client = f.any
	}
	response, err := client.Do(request) //nolint:gosec // the address is checked when dialling
	if err != nil {
		return document{}, requestError(ctx, request.URL, err)
	}
	defer response.Body.Close()
	failed := func(result FetchResult, format string, args ...any) (document, error) {
		return document{}, &FetchError{result, request.URL.Hostname() + " answers with " + fmt.Sprintf(format, args...)}
	}
	doc := document{etag: response.Header.Get("ETag"), maxAge: maxAge(response.Header.Values("Cache-Control"))}
	if len(doc.etag) > maxETag {
		doc.etag = ""
	}
	switch {
	case response.StatusCode == http.StatusNotModified && etag != "":
		doc.notModified = true
		return doc, nil
	case response.StatusCode == http.StatusOK:
	case response.StatusCode >= 300 && response.StatusCode < 400 && response.Header.Get("Location") != "":
		return failed(FetchRedirect, "a redirect, which is not followed")
	default:
		return failed(FetchStatus, "status %d", response.StatusCode)
	}
	if response.ContentLength <= MaxJWKSSize {
		doc.body, err = io.ReadAll(io.LimitReader(response.Body, MaxJWKSSize+1))
		if err == nil {
			// A body cut off by the deadline can look complete.
			err = ctx.Err()
		}
		if err != nil {
			return document{}, requestError(ctx, request.URL, err)
		}
	}
	if max(response.ContentLength, int64(len(doc.body))) > MaxJWKSSize {
		return failed(FetchTooLarge, "more than %d bytes", MaxJWKSSize)
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err == nil && kind == "text/html" {
		return failed(FetchMalformed, "an HTML page")
	}
	return doc, nil
}

// maxETag is the maximum length of an entity tag that is kept, in bytes.
const maxETag = 256

// requestError describes why a request got no complete response, without the
// addresses in the errors of package net.
func requestError(ctx context.Context, address *url.URL, err error) error {
	host := address.Hostname()
	netError, isNetError := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errAddress):
		return &FetchError{FetchAddress, host + ": " + errAddress.Error()}
	case ctx.Err() != nil, isNetError && netError.Timeout():
		return &FetchError{FetchTimedOut, fmt.Sprintf("%s did not send a complete response within %v", host, FetchTimeout)}
	}
	problem := "the connection failed"
	switch {
	case isError[*net.DNSError](err):
		problem = "the name does not resolve"
	case isError[x509.UnknownAuthorityError](err), isError[x509.HostnameError](err), isError[x509.CertificateInvalidError](err):
		problem = "its TLS certificate is not valid for it"
	case isError[tls.AlertError](err), isError[tls.RecordHeaderError](err):
		problem = "the TLS handshake failed"
	}
	return &FetchError{FetchUnreachable, host + " cannot be reached: " + problem}
}

func isError[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// maxAge returns the least `max-age` of the Cache-Control fields (RFC 9111,
// section 5.2.2.1), or a negative duration when there is no valid one.
func maxAge(values []string) time.Duration {
	least := time.Duration(-1)
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, argument, _ := strings.Cut(strings.TrimSpace(part), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "max-age") {
				continue
			}
			argument = strings.Trim(strings.TrimSpace(argument), `"`)
			if argument == "" || strings.Trim(argument, "0123456789") != "" {
				continue
			}
			seconds, err := strconv.ParseInt(argument, 10, 64)
			if err != nil || seconds > math.MaxInt32 {
				seconds = math.MaxInt32
			}
			if age := time.Duration(seconds) * time.Second; least < 0 || age < least {
				least = age
			}
		}
	}
	return least
}
