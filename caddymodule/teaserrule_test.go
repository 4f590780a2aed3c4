package caddymodule

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const identifyReaders = "identify jwt {\n issuer self\n cookie reader\n}\n"

const articlePage = `<html><head><title>News</title></head><body><p>The lead.</p><!-- gatefold:premium --><p>SECRET</p><!-- /gatefold:premium --><footer>End</footer></body></html>`

func compressed(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.Bytes()
}

// A reader who may not have the article gets its lead with the wall, whatever they ask
// with; no byte of the rest, of its length or of its validators leaves.
func TestTeaserOfAnArticle(t *testing.T) {
	s := newTestSite(t, identifyReaders+"rule /articles/{publisherContentId} entitled premium {\n teaser cut\n}\nrule / any")
	var got *http.Request
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		got = r
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Etag", `"v1"`)
		header.Set("Link", "</articles/hello.json>; rel=preload")
		header.Set("Accept-Ranges", "bytes")
		header.Set("Cache-Control", "public, max-age=600")
		header.Set("Content-Digest", "sha-256=:AAAA:")
		w.WriteHeader(http.StatusEarlyHints)
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			header.Set("Content-Encoding", "gzip")
			_, _ = w.Write(compressed(articlePage))
			return
		}
		_, _ = io.WriteString(w, articlePage)
	})
	for name, headers := range map[string][]string{
		"plain":       {"Accept", browserAccept},
		"range":       {"Accept", browserAccept, "Range", "bytes=60-200"},
		"conditional": {"Accept", browserAccept, "If-None-Match", `"v1"`},
		"gzip":        {"Accept", browserAccept, "Accept-Encoding", "gzip"},
		"brotli":      {"Accept", browserAccept, "Accept-Encoding", "br"},
		"asked whole": {"Accept", browserAccept, "Gatefold-View", "full"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := s.get("/articles/hello?a=b", headers...)
			assert.Equal(t, http.StatusOK, answer.StatusCode)
			assert.Contains(t, answer.body, `<p>The lead.</p><section id="gatefold-wall" class="gatefold-wall" lang="en" dir="ltr" data-reason="login_required"`)
			assert.Contains(t, answer.body, `>Log in to read this page</h2>`)
			assert.True(t, strings.HasSuffix(answer.body, "</section>\n<footer>End</footer></body></html>"), answer.body)
			assert.NotContains(t, answer.body, "SECRET")
			assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
			assert.Equal(t, `W/"t-v1"`, answer.Header.Get("Etag"))
			assert.Equal(t, "text/html; charset=utf-8", answer.Header.Get("Content-Type"))
			for _, gone := range []string{"Accept-Ranges", "Content-Digest", "Content-Range", "Content-Encoding"} {
				assert.Empty(t, answer.Header.Get(gone), gone)
			}
			for _, name := range []string{"Range", "If-None-Match", "Gatefold-View"} {
				assert.Empty(t, got.Header.Get(name), name)
			}
			assert.Equal(t, "/articles/hello?a=b", got.URL.RequestURI())
		})
	}
	head := s.do(http.MethodHead, "/articles/hello", "Accept", browserAccept)
	assert.Equal(t, http.StatusOK, head.StatusCode)
	assert.Empty(t, head.body)
	assert.Empty(t, head.Header.Get("Content-Length"))

	// Who may have the page gets all of it, as the origin sends it.
	name, value := s.subscriber()
	whole := s.get("/articles/hello", "Accept", browserAccept, name, value)
	assert.Equal(t, http.StatusOK, whole.StatusCode)
	assert.Equal(t, articlePage, whole.body)
	assert.Equal(t, `"v1"`, whole.Header.Get("Etag"))

	// A link that is used up still leads to the lead, and its token stays with the gate.
	s.get("/articles/hello?token="+cutLink, "Accept", browserAccept)
	assert.Equal(t, "/articles/hello", got.URL.RequestURI())
}

// What cannot be cut for certain is not sent: the denial is the answer.
func TestNoTeaserOfOtherResponses(t *testing.T) {
	s := newTestSite(t, identifyReaders+"rule /articles/{publisherContentId} entitled premium {\n teaser cut .paywall\n}\nrule / any")
	const html = "text/html; charset=utf-8"
	for name, c := range map[string]struct {
		status                   int
		kind, encoding, document string
	}{
		"no region":      {200, html, "", "<p>SECRET</p>"},
		"empty":          {200, html, "", ""},
		"JSON":           {200, "application/json", "", `{"html":"<div class=paywall>SECRET</div>"}`},
		"XHTML":          {200, "application/xhtml+xml", "", `<div class="paywall">SECRET</div>`},
		"no type":        {200, "", "", `x<div class="paywall">SECRET</div>`},
		"no charset":     {200, "text/html", "", `x<div class="paywall">SECRET</div>`},
		"UTF-16":         {200, "text/html; charset=utf-16", "", `x<div class="paywall">SECRET</div>`},
		"UTF-16 by mark": {200, html, "", "\xfe\xffx<div class=\"paywall\">SECRET</div>"},
		"ISO-2022-JP":    {200, "text/html", "", `<meta charset=iso-2022-jp>x<div class="paywall">SECRET</div>`},
		"brotli":         {200, html, "br", `x<div class="paywall">SECRET</div>`},
		"two codings":    {200, html, "gzip, gzip", `x<div class="paywall">SECRET</div>`},
		"bad gzip":       {200, html, "gzip", `x<div class="paywall">SECRET</div>`},
		"error page":     {500, html, "", `x<div class="paywall">SECRET</div>`},
		"not found":      {404, html, "", `x<div class="paywall">SECRET</div>`},
		"part":           {206, html, "", `x<div class="paywall">SECRET</div>`},
		"not modified":   {304, html, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
				header := w.Header()
				header["Content-Type"] = nil
				if c.kind != "" {
					header.Set("Content-Type", c.kind)
				}
				if c.encoding != "" {
					header.Set("Content-Encoding", c.encoding)
				}
				header.Set("Set-Cookie", "origin=1")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.document)
			})
			answer := s.get("/articles/hello", "Accept", browserAccept)
			assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
			assert.NotContains(t, answer.body, "SECRET")
			assert.Empty(t, answer.Header.Get("Set-Cookie"))
			assert.NotEmpty(t, answer.Header.Get("Www-Authenticate"))
		})
	}
	for _, charset := range []string{"<meta charset=iso-8859-2>", `<meta http-equiv=content-type content="text/html; charset=windows-1252">`, "\xef\xbb\xbf"} {
		s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, charset+`<div class=paywall>SECRET</div>x`)
		})
		answer := s.get("/articles/hello", "Accept", browserAccept)
		assert.Equal(t, http.StatusOK, answer.StatusCode, charset)
		assert.True(t, strings.HasPrefix(answer.body, charset+"<section"), answer.body)
		assert.Contains(t, answer.Header.Get("Content-Type"), "; charset=")
	}
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/articles/hello-2")
		w.WriteHeader(http.StatusMovedPermanently)
		_, _ = io.WriteString(w, "SECRET")
	})
	moved := s.get("/articles/hello", "Accept", browserAccept)
	assert.Equal(t, http.StatusMovedPermanently, moved.StatusCode)
	assert.Equal(t, "/articles/hello-2", moved.Header.Get("Location"))
	assert.Empty(t, moved.body)

	// An origin that sends those who may have the page to a signed URL elsewhere gives it
	// away by that.
	for _, location := range []string{"https://files.example/issue.pdf?signature=SECRET", "//files.example/SECRET", `/\files.example/SECRET`, "mailto:SECRET", "https:SECRET", "https://127.0.0.1@files.example/SECRET"} {
		s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
		})
		answer := s.get("/articles/hello", "Accept", browserAccept)
		assert.Equal(t, http.StatusUnauthorized, answer.StatusCode, location)
		assert.Empty(t, answer.Header.Get("Location"), location)
		assert.NotContains(t, answer.body, "SECRET", location)
	}
}

// Requests that are more than a look at the page never reach the origin.
func TestTeaserIsForLookingOnly(t *testing.T) {
	s := newTestSite(t, identifyReaders+"rule /articles/{publisherContentId} GET,HEAD,POST entitled premium {\n teaser cut\n}\nrule / any")
	assert.Equal(t, http.StatusUnauthorized, s.do(http.MethodPost, "/articles/hello", "Accept", browserAccept).StatusCode)
	s.get("/articles/hello", "Accept", "application/json").denied(http.StatusUnauthorized, "login_required")
	s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
	for path, headers := range map[string][]string{"/articles/hello": {"Connection", "Upgrade", "Upgrade", "websocket"}, "/articles//hello": nil} {
		assert.GreaterOrEqual(t, s.get(path, append(headers, "Accept", browserAccept)...).StatusCode, http.StatusBadRequest, path)
	}
	s.origin.WantNone(t)
}

// An origin that cuts its pages is asked to, and must say that it did. One that does not
// know the header sends the whole page: nothing of it passes.
func TestOriginCutsTheTeaser(t *testing.T) {
	s := newTestSite(t, identifyReaders+"rule /articles/{publisherContentId} entitled premium {\n teaser origin\n}\nrule / any")
	echoes := true
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Gatefold-View") == "teaser" && echoes {
			w.Header().Set("Gatefold-View", "teaser")
			_, _ = io.WriteString(w, `{"lead":"The lead."}`)
			return
		}
		_, _ = io.WriteString(w, `{"lead":"The lead.","text":"SECRET"}`)
	})
	answer := s.get("/articles/hello")
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	assert.JSONEq(t, `{"lead":"The lead."}`, answer.body)
	assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
	assert.Empty(t, answer.Header.Get("Gatefold-View"))

	name, value := s.subscriber()
	assert.Contains(t, s.get("/articles/hello", name, value, "Gatefold-View", "teaser").body, "SECRET", "the client's own header does not reach the origin")

	echoes = false
	answer = s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
	assert.NotContains(t, answer.body, "SECRET")
}

func TestTeaserGrammar(t *testing.T) {
	for text, want := range map[string]string{
		"teaser":                               "write `teaser cut [<element>]`",
		"teaser cut .a .b":                     "write `teaser cut [<element>]`",
		"teaser gate":                          "write `teaser cut [<element>]`",
		"teaser origin .a":                     "write `teaser cut [<element>]`",
		"teaser cut p.paywall":                 "browsers end <p>",
		"teaser cut main":                      "write .class or [attribute=value]",
		"teaser origin {\n structured_data\n}": "is for a page that the gate cuts",
		"teaser cut {\n structured_data on\n}": "wrong argument count",
		"teaser cut {\n jsonld\n}":             `teaser: unknown option "jsonld"; known are structured_data`,
	} {
		err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser("gatefold {\nrule /x entitled a {\n" + text + "\n}\n}"))
		require.ErrorContains(t, err, want, text)
	}
	for stored, want := range map[string]string{
		`"gate"`: "must be an object", `{}`: "by is neither", `{"by":"origin","element":".a"}`: "element is for", `{"by":"gate","x":1}`: "must be an object",
		`{"by":"origin","structuredData":true}`: "is for a page that the gate cuts",
		`{"by":"gate","element":"li.a"}`:        "browsers end <li>",
	} {
		_, err := compileTeaser([]byte(stored))
		require.ErrorContains(t, err, want, stored)
	}
}

// An origin that breaks off before the region leaves the denial; behind it the reader's
// response breaks off as well, so that no cache and no reader takes it for the whole.
func TestOriginBreaksOffATeaser(t *testing.T) {
	s := newTestSite(t, identifyReaders+"rule /articles/{publisherContentId} entitled premium {\n teaser cut\n}\nrule / any")
	document := ""
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, document)
		panic(http.ErrAbortHandler)
	})
	document = strings.Repeat("<p>lead</p>", 500)
	answer := s.get("/articles/hello", "Accept", browserAccept)
	assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	assert.NotContains(t, answer.body, "lead")

	document += "<!-- gatefold:premium -->SECRET<!-- /gatefold:premium -->" + document
	sent, err := s.brokenOff("/articles/hello")
	require.Error(t, err, sent)
	assert.Contains(t, sent, "lead")
	assert.NotContains(t, sent, "SECRET")
}

// brokenOff returns what a browser receives of a page until the connection ends.
func (s *testSite) brokenOff(path string) (string, error) {
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "http://127.0.0.1:"+s.port+path, http.NoBody)
	require.NoError(s, err)
	r.Header.Set("Accept", browserAccept)
	response, err := http.DefaultClient.Do(r)
	require.NoError(s, err)
	defer response.Body.Close()
	sent, err := io.ReadAll(response.Body)
	return string(sent), err
}

// The rest of a page is not fetched once it is certain that none of it is sent.
func TestRestOfATeaserIsNotFetched(t *testing.T) {
	s := newTestSite(t, identifyReaders+"rule /articles/{publisherContentId} entitled premium {\n teaser cut\n}\nrule / any")
	left := make(chan struct{})
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<p>lead</p><!-- gatefold:premium -->"+strings.Repeat("SECRET", 500)+"<!-- /gatefold:premum -->")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("SECRET", 5000)); err != nil {
				break
			}
		}
		close(left)
	})
	answer := s.get("/articles/hello", "Accept", browserAccept)
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	assert.True(t, strings.HasPrefix(answer.body, "<p>lead</p><section"))
	assert.NotContains(t, answer.body, "SECRET")
	<-left
}

// A small response that becomes a large one costs neither memory nor time without end.
func TestTeaserOfAZipBomb(t *testing.T) {
	s := newTestSite(t, identifyReaders+"rule /articles/{publisherContentId} entitled premium {\n teaser cut\n}\nrule / any")
	bomb := compressed("<p>lead</p><!-- gatefold:premium -->x<!-- /gatefold:premium -->" + strings.Repeat("<p>more</p>", 8<<20))
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb)
	})
	sent, err := s.brokenOff("/articles/hello")
	require.Error(t, err)
	assert.Less(t, len(sent), 65<<20)
}
