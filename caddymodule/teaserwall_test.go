package caddymodule

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/gatefold/gatefold/keys"
)

// The section in the place of the gated part has the paywall of the rule, or of the reason,
// in the reader's language, and the page's own policy admits its style and nothing else.
func TestTeaserHasTheOffers(t *testing.T) {
	s := newTestSite(t, strings.Replace(paywallSite, "entitled premium {publisherContentId}", "entitled premium {publisherContentId} {\n\t\tteaser cut {\n\t\t\tstructured_data\n\t\t}\n\t}", 1))
	s.paywall("main", "Läs vidare")
	s.paywall("gift", "A gift for you")
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'self'")
		_, _ = io.WriteString(w, articlePage)
	})
	got := s.get("/articles/hello", "Accept", browserAccept, "Accept-Language", "sv")
	assert.Equal(t, http.StatusOK, got.StatusCode)
	assert.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	assert.Contains(t, got.body, `<p>The lead.</p><section id="gatefold-wall" class="gatefold-wall" lang="sv"`)
	assert.Contains(t, got.body, "L&#228;s vidare", "in a page of another charset")
	assert.Contains(t, got.body, "https://pay.example.com/subscription?sku=premium&amp;po=po-1&amp;wall=main&amp;v=1&amp;back="+url.QueryEscape(s.site+"/articles/hello"))
	assert.Less(t, strings.Index(got.body, "https://id.example.com/login"), strings.Index(got.body, "https://pay.example.com/"), "the login is first")
	assert.NotContains(t, got.body, "SECRET")
	assert.Regexp(t, `^default-src 'self'; script-src 'self'; style-src 'self' 'sha256-[^']+'$`, got.Header.Get("Content-Security-Policy"))
	assert.Equal(t, 1, strings.Count(got.body, `"isAccessibleForFree":false,"hasPart":{"@type":"WebPageElement","isAccessibleForFree":false,"cssSelector":".gatefold-wall"}}</script></body>`))

	used := s.get("/articles/hello?token="+cutLink, "Accept", browserAccept)
	assert.Contains(t, used.body, "A gift for you")
	assert.Contains(t, used.body, "This link is not valid")
	assert.NotContains(t, used.body, cutLink)

	known := s.get("/articles/hello", "Accept", browserAccept, "Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "u"}))
	assert.Contains(t, known.body, "Your subscription does not include this page")
	assert.NotContains(t, known.body, "Already a subscriber?")

	// The paywall is gone: the reason and the login are left.
	s.load(s.config("", strings.ReplaceAll(strings.Replace(paywallSite, "entitled premium {publisherContentId}", "entitled premium {publisherContentId} {\n\t\tteaser cut\n\t}", 1), "paywall main", "paywall none"), ""))
	plain := s.get("/articles/hello", "Accept", browserAccept)
	assert.Contains(t, plain.body, ">Log in to read this page</h2>")
	assert.Contains(t, plain.body, "https://id.example.com/login")
	assert.Equal(t, "default-src 'self'; script-src 'self'", plain.Header.Get("Content-Security-Policy"))
	assert.NotContains(t, plain.body, "isAccessibleForFree")
}

// Where the gate cuts a page for a reader whose views are used up, the section says how much was
// read and when there is more, to a reader and to a stranger, with and without a paywall.
func TestTeaserShowsTheMeter(t *testing.T) {
	for name, deny := range map[string]string{"with a paywall": "deny {\npaywall main\n}", "without one": ""} {
		s := newTestSite(t, "identify jwt {\nissuer self\n}\nrule /articles/{publisherContentId} {\nentitled premium\nmetered registered 1 per month\nteaser cut\n}\nrule / any\n"+deny)
		s.paywall("main", "Read on with Acme")
		s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, articlePage)
		})
		begun := s.get("/articles/a1", navigation...)
		stranger := s.get("/articles/a1", "Cookie", begun.Cookies()[0].Name+"="+begun.Cookies()[0].Value)
		assert.Contains(t, stranger.body, "SECRET", name)
		for who, headers := range map[string][]string{"ann": s.bearer("ann"), "a stranger": {"Cookie", stranger.Cookies()[0].Name + "=" + stranger.Cookies()[0].Value}} {
			headers = append(headers, "Accept", browserAccept)
			assert.Contains(t, s.get("/articles/a1", headers...).body, "SECRET", who)
			got := s.get("/articles/a2", headers...)
			assert.Equal(t, http.StatusOK, got.StatusCode, who)
			assert.NotContains(t, got.body, "SECRET", who)
			assert.Regexp(t, `<p>The lead.</p><section id="gatefold-wall".*data-reason="meter_used_up"(?s:.*)<p class="meter">You have read 1 of 1 free articles\.(?s:.*)20\d\d-\d\d-01(?s:.*)</section>`, got.body, name+", "+who)
			assert.Equal(t, name == "with a paywall", strings.Contains(got.body, "Read on with Acme"), who)
		}
	}
}
