package leakcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"
)

// Bounds of a request.
const (
	maxBody      = 8 << 20
	fetchTimeout = 20 * time.Second
	maxRedirects = 10
)

const (
	htmlAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	// The agents are those of the browsers of two readers, and of a crawler that some sites show
	// everything. The entitled reader's is another one: who comes without cookies after a link was
	// opened from the same address by the same agent is told to keep cookies, and gets no teaser.
	browserAgent  = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
	entitledAgent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36"
	crawlerAgent  = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
)

// errElsewhere is a redirect to another host, to which no credential is sent.
var errElsewhere = errors.New("it redirects to another host")

// answer is a response.
type answer struct {
	status  int
	header  http.Header
	body    string
	address *url.URL // after redirects
}

// newClient returns a client that keeps cookies and stays on one host.
func newClient(transport http.RoundTripper) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: transport, Jar: jar, Timeout: fetchTimeout, CheckRedirect: func(r *http.Request, before []*http.Request) error {
		if r.URL.Host != before[0].URL.Host {
			return errElsewhere
		}
		if len(before) > maxRedirects {
			return fmt.Errorf("it redirects more than %d times", maxRedirects)
		}
		return nil
	}}, nil
}

// fetch reads a URL with some headers. Of a larger body it reads the first 8 MiB.
func fetch(ctx context.Context, client *http.Client, address *url.URL, headers http.Header) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header = headers
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", address.Redacted(), err)
	}
	return &answer{response.StatusCode, response.Header, string(body), response.Request.URL}, nil
}
