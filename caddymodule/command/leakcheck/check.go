package leakcheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Entitled is how the reader asks who may have the page. One of its fields is set.
type Entitled struct {
	// Cookie is a Cookie header, Bearer a token, and Link a URL that opens the page. A link
	// may lose a use.
	Cookie, Bearer, Link string
}

// Report is what a check found.
type Report struct {
	URL string `json:"url"`
	// Words is the number of words that the entitled reader sees, and Gated of those that are
	// meant for them alone.
	Words int `json:"words"`
	Gated int `json:"gated"`
	// Places are all that was compared.
	Places []Place `json:"places"`
	// Leaks counts the places with text of the gated part.
	Leaks int `json:"leaks"`
}

// Place is something that a refused reader gets.
type Place struct {
	What   string `json:"what"`
	URL    string `json:"url"`
	Status int    `json:"status,omitempty"`
	// Leaked is the number of words of the gated part, in sequences of at least eight, and
	// Excerpt the first of them.
	Leaked  int    `json:"leaked"`
	Excerpt string `json:"excerpt,omitempty"`
	// Error is why a place could not be read.
	Error string `json:"error,omitempty"`
}

// Errors of a check.
var (
	// ErrNotEntitled is that the credential does not open the page.
	ErrNotEntitled = errors.New("the entitled reader does not get the page")
	// ErrNothingGated is that both readers get the same text.
	ErrNothingGated = errors.New("the refused reader's page has all of the entitled reader's text: nothing is gated, or it is hidden by style or script only")
)

// Check fetches a page as an entitled and as a refused reader, and all places where its text
// could be as the refused one. Transport may be nil. Its requests are GETs of the page's host.
//
// The gated part is what the markers of docs/teaser.md enclose in the entitled reader's page,
// or if it has none, what the refused reader's page does not show.
func Check(ctx context.Context, transport http.RoundTripper, target string, as Entitled) (*Report, error) {
	address, err := url.Parse(target)
	if err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http" {
		return nil, fmt.Errorf("%q is not an http or https URL of a page", target)
	}
	address.Fragment = ""
	whole, err := entitledPage(ctx, transport, address, as)
	if err != nil {
		return nil, err
	}
	// Each refused request is that of another reader, who has no cookies.
	refused := func(address *url.URL, agent string) (*answer, error) {
		client, err := newClient(transport)
		if err != nil {
			return nil, err
		}
		return fetch(ctx, client, address, http.Header{"Accept": {htmlAccept}, "User-Agent": {agent}})
	}
	cut, err := refused(address, browserAgent)
	if err != nil {
		return nil, fmt.Errorf("as a refused reader: %w", err)
	}
	full, teaser := read(whole.body, address, whole.header), read(cut.body, address, cut.header)
	all := words(full.visible)
	gated := sequencesOf(all)
	if full.marked {
		gated = sequencesOf(words(full.gated))
	} else {
		gated.without(sequencesOf(words(teaser.visible)))
	}
	report := &Report{URL: address.String(), Words: len(all)}
	if len(gated) == 0 {
		return report, fmt.Errorf("%w (%d words)", ErrNothingGated, len(all))
	}
	report.Gated, _ = gated.in(all)
	add := func(what string, address *url.URL, status int, text string) {
		found := Place{What: what, URL: address.String(), Status: status}
		if found.Leaked, found.Excerpt = gated.in(words(text)); found.Leaked > 0 {
			report.Leaks++
		}
		report.Places = append(report.Places, found)
	}
	add("page", address, cut.status, teaser.visible)
	for _, hidden := range teaser.hidden {
		add(hidden.what, address, cut.status, plain(hidden.text))
	}
	other := func(what string, address *url.URL, agent string) {
		got, err := refused(address, agent)
		switch {
		case errors.Is(err, errElsewhere): // what is on another host is not this site's
		case err == nil && withoutWall(got.body) == withoutWall(cut.body): // the page, which was compared
		case err != nil:
			report.Places = append(report.Places, Place{What: what, URL: address.String(), Error: err.Error()})
		default:
			add(what, address, got.status, plain(got.body))
		}
	}
	other("page for Googlebot", address, crawlerAgent)
	for _, found := range places(address, full, teaser) {
		other(found.what, found.address, browserAgent)
	}
	return report, ctx.Err()
}

// wall is what the gate puts in the place of a gated part. It has a support code, and links that
// lead back to the URL: the same page has others under another URL.
var wall = regexp.MustCompile(`(?s)<section id="gatefold-wall".*?</section>`)

func withoutWall(body string) string { return wall.ReplaceAllLiteralString(body, "") }

// entitledPage fetches the page as the reader who may have it.
func entitledPage(ctx context.Context, transport http.RoundTripper, address *url.URL, as Entitled) (*answer, error) {
	client, err := newClient(transport)
	if err != nil {
		return nil, err
	}
	headers := http.Header{"Accept": {htmlAccept}, "User-Agent": {entitledAgent}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}}
	target := address
	switch {
	case as.Link != "":
		if target, err = address.Parse(as.Link); err != nil || target.Host != address.Host {
			return nil, errors.New("the link is not one of the page's host")
		}
	case as.Cookie != "":
		headers.Set("Cookie", as.Cookie)
	default:
		headers.Set("Authorization", "Bearer "+strings.TrimSpace(as.Bearer))
	}
	got, err := fetch(ctx, client, target, headers)
	switch {
	case err != nil:
		return nil, fmt.Errorf("as the entitled reader: %w", withoutURL(err))
	case got.status != http.StatusOK:
		return nil, fmt.Errorf("%w: status %d", ErrNotEntitled, got.status)
	case !strings.Contains(got.header.Get("Content-Type"), "html"):
		return nil, fmt.Errorf("the page is %q, not HTML", got.header.Get("Content-Type"))
	}
	return got, nil
}

// withoutURL returns an error without the URL of its request, which may have a link's token.
func withoutURL(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return err
}
