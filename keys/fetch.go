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
	"net/url"
	"strconv"
	"strings"
	"time"
)

// FetchResult is what came out of a fetch, one of a closed list.
type FetchResult string

// The results of a fetch.
const (
	FetchOK          FetchResult = "ok"
	FetchNotModified FetchResult = "not_modified"
	FetchAddress     FetchResult = "address"   // the host resolves to an address that must not be reached
	FetchUnreachable FetchResult = "connect"   // no name, no connection, no TLS
	FetchTimedOut    FetchResult = "timeout"   // not done within FetchTimeout
	FetchStatus      FetchResult = "status"    // neither 200 nor 304
	FetchRedirect    FetchResult = "redirect"  // a redirect, which is not followed
	FetchTooLarge    FetchResult = "too_large" // more than MaxJWKSSize
	FetchMalformed   FetchResult = "malformed" // not a key set, or not an issuer's configuration
)

// FetchResults lists every result that there is.
func FetchResults() []FetchResult {
	return []FetchResult{
		FetchOK, FetchNotModified, FetchAddress, FetchUnreachable, FetchTimedOut, FetchStatus, FetchRedirect, FetchTooLarge, FetchMalformed,
	}
}

// FetchError says why keys could not be fetched. It holds nothing that the other
// side sent.
type FetchError struct {
	Result FetchResult
	Detail string
}

func (e *FetchError) Error() string { return e.Detail }

// fetcher fetches small documents over https, as somebody who trusts neither
// the other side nor what resolves its name: no redirects, no proxy, no
// compression, a bounded size, and a bounded time for all of it.
type fetcher struct {
	any, public *http.Client
}

func newFetcher(d *dialer, roots *x509.CertPool) *fetcher {
	return &fetcher{any: newFetchClient(d, roots, true), public: newFetchClient(d, roots, false)}
}

func newFetchClient(d *dialer, roots *x509.CertPool, anywhere bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return d.dial(ctx, network, address, anywhere)
			},
			// A proxy would resolve the name itself, where nobody checks.
			Proxy:                  nil,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// document is what a fetch brought.
type document struct {
	body        []byte
	notModified bool
	etag        string
	maxAge      time.Duration // negative when the answer states none
}

// get fetches a document. An etag asks for it only if it changed.
func (f *fetcher) get(ctx context.Context, address, etag string, anywhere bool) (document, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return document{}, &FetchError{FetchMalformed, "the URL cannot be read"}
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", "gatefold")
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	client := f.public
	if anywhere {
		client = f.any
	}
	response, err := client.Do(request) //nolint:gosec // the address is checked when dialling
	if err != nil {
		return document{}, fetchFailed(ctx, request.URL, err)
	}
	defer response.Body.Close()
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
		return document{}, &FetchError{FetchRedirect, fmt.Sprintf("%s answers with a redirect, which is not followed", request.URL.Hostname())}
	default:
		return document{}, &FetchError{FetchStatus, fmt.Sprintf("%s answers with status %d", request.URL.Hostname(), response.StatusCode)}
	}
	tooLarge := &FetchError{FetchTooLarge, fmt.Sprintf("%s answers with more than %d bytes", request.URL.Hostname(), MaxJWKSSize)}
	if response.ContentLength > MaxJWKSSize {
		return document{}, tooLarge
	}
	doc.body, err = io.ReadAll(io.LimitReader(response.Body, MaxJWKSSize+1))
	if err == nil {
		// A connection that is given up while its body is read can look like
		// one that ended.
		err = ctx.Err()
	}
	if err != nil {
		return document{}, fetchFailed(ctx, request.URL, err)
	}
	if len(doc.body) > MaxJWKSSize {
		return document{}, tooLarge
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err == nil && kind == "text/html" {
		return document{}, &FetchError{FetchMalformed, fmt.Sprintf("%s answers with an HTML page", request.URL.Hostname())}
	}
	return doc, nil
}

// maxETag bounds the entity tags that are kept.
const maxETag = 256

// fetchFailed tells why a request got no answer, without the addresses that
// the errors of package net hold.
func fetchFailed(ctx context.Context, address *url.URL, err error) error {
	host := address.Hostname()
	var netError net.Error
	switch {
	case errors.Is(err, errAddress):
		return &FetchError{FetchAddress, host + ": " + errAddress.Error()}
	case ctx.Err() != nil, errors.As(err, &netError) && netError.Timeout():
		return &FetchError{FetchTimedOut, fmt.Sprintf("%s did not answer in full within %v", host, FetchTimeout)}
	}
	what := "the connection failed"
	var (
		dnsError         *net.DNSError
		unknownAuthority x509.UnknownAuthorityError
		otherHost        x509.HostnameError
		invalid          x509.CertificateInvalidError
		alert            tls.AlertError
		notTLS           tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &dnsError):
		what = "the name does not resolve"
	case errors.As(err, &unknownAuthority), errors.As(err, &otherHost), errors.As(err, &invalid):
		what = "its TLS certificate is not valid for it"
	case errors.As(err, &alert), errors.As(err, &notTLS):
		what = "it does not speak TLS as it should"
	}
	return &FetchError{FetchUnreachable, host + " cannot be reached: " + what}
}

// maxAge reads the `max-age` of Cache-Control (RFC 9111, section 5.2.2.1). It
// is negative where there is none that can be read; of several the least
// counts.
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
