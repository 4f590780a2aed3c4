package caddymodule

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// The attacks on shared caches, each against a gate with a page cache.

// page answers with a page that is fresh for a minute, and with further headers, which are
// pairs of name and value.
func page(body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", clock.Now().UTC().Format(http.TimeFormat)) // by another clock it could be stale at once
		w.Header().Set("Cache-Control", "max-age=60")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		_, _ = io.WriteString(w, body)
	}
}

// An attacker sends a logged-in victim to /account/x.css, or another spelling of it that the
// origin takes for /account, in the hope that the account page is stored as a style sheet
// (web cache deception). The rule of /account decides all of them, and what is stored was
// made for no reader.
func TestAttackCacheDeception(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "account of %q%q", r.Header.Get("Cookie"), r.Header.Get("Authorization"))
	})
	victim := "Bearer " + s.token("victim")
	for _, path := range []string{"/account/x.css", "/account%2Fx.css", "/account;x.css", "/account/..%2fstatic/x.css", "/account/%2e%2e/static/x.css", "/account%00.css", "/Account/x.css"} {
		if got := s.fetch(path, "Authorization", victim, "Cookie", "session=victim"); strings.Contains(got.body, "victim") {
			t.Errorf("%s: the page of the victim: %q", path, got.body)
		}
		if got := s.rawPath(path); got.StatusCode == http.StatusOK {
			t.Errorf("%s: a stranger got %d %q", path, got.StatusCode, got.body)
		}
	}
}

// An attacker asks for a page with headers that select another response at many origins, so
// that everybody gets that. They do not reach the origin.
func TestAttackCacheUnkeyedHeaders(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), "evil") {
				fmt.Fprintf(w, "poisoned by %s", name)
			}
		}
		_, _ = io.WriteString(w, "page")
	})
	for i, name := range []string{
		"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-For", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Host", "Forwarded", "Origin",
		"Accept-Language", "Next-Action", "Rsc", "Next-Router-State-Tree", "X-Now-Route-Matches", "X-Middleware-Prefetch", "User-Agent", "Referer", "Cookie", "X-Requested-With", "Accept",
		"Accept-Encoding", "Cache-Control", "Pragma", "Te", "Expect", "X-Http-Method", "X-Real-Ip", "True-Client-Ip", "Via",
	} {
		path := fmt.Sprint("/page", i)
		value := "evil"
		if name == "Expect" {
			value = "evil-continue"
		}
		if got := s.raw("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\n" + name + ": " + value + "\r\nConnection: close\r\n\r\n"); strings.Contains(got.body, "poisoned") {
			t.Errorf("%s: %s", name, got.body)
		}
		s.settle()
		s.get(path).says(200, "page")
	}
}

// An attacker sends a GET with a body, of which some origins read parameters. It is not
// answered from memory, and not stored.
func TestAttackCacheFatGET(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		page("page"+string(body))(w, r)
	})
	s.doBody("GET", "/", "evil").is("fwd=bypass").says(200, "pageevil")
	s.settle()
	s.get("/").is("fwd=uri-miss").says(200, "page")
}

// An attacker hides a parameter from the cache that the origin reads: the raw query is the
// key, and a query with a semicolon keeps its ignored parameters.
func TestAttackCacheParameterCloaking(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) { page(r.URL.RawQuery)(w, r) }, "ignore_query utm_*")
	for _, query := range []string{"a=1", "a=1&a=2", "a=2&a=1", "a=1&b=2", "a=1%26b=2", "a=1;b=2", "a=1%00", "a=1&utm_x=1;a=2", "a=1&UTM_x=2", "a=1&%75tm_x=2", "a=1&b=?utm_x"} {
		s.fetch("/?"+query).is("fwd=uri-miss").says(200, query)
		s.get("/?"+query).is("hit").says(200, query)
	}
	s.get("/?utm_source=evil&a=1&utm_x").is("hit").says(200, "a=1")
}

// An attacker provokes an error with a malformed request, in the hope that the error is
// stored for everybody. Nothing of the request reaches the fetch, and errors without
// explicit freshness are not stored.
func TestAttackCachePoisonedDenialOfService(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header) > 9 || r.Header.Get("X-Meta") != "" || r.Method != http.MethodGet {
			http.Error(w, "refused", http.StatusBadRequest)
			return
		}
		page("page")(w, r)
	})
	s.fetch("/", "X-Meta", "\t;", "X-Oversized", strings.Repeat("a", 4000), "X-Http-Method-Override", "DELETE").says(200, "page")
	s.get("/").is("hit").says(200, "page")
	for _, status := range []int{400, 403, 405, 413, 414, 431, 404, 500} {
		s.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		s.fetch(fmt.Sprint("/", status))
		s.answerWith(page("page"))
		clock.Advance(2 * time.Minute) // the mark of a page that was not storable
		s.get(fmt.Sprint("/", status)).says(200, "page")
	}
}

// An attacker names another host, in some spelling. Hosts are parts of the key as they are
// forwarded.
func TestAttackCacheHosts(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) { page("link to "+r.Host)(w, r) })
	ask := func(target, host string) answer {
		got := s.raw("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		s.settle()
		return got
	}
	own := "127.0.0.1:" + s.port
	for _, host := range []string{own, "127.0.0.1", "127.0.0.1:443"} {
		for range 2 {
			if got := ask("/", host); got.StatusCode == 200 && got.body != "link to "+host && got.body != "" {
				t.Errorf("host %s got %q", host, got.body)
			}
		}
	}
	ask("http://evil.example/", own)
	s.get("/").says(200, "link to "+own)
	if got := ask("/", "evil.example"); strings.Contains(got.body, "link") {
		t.Errorf("an unknown host reached the site: %q", got.body)
	}
}

// Two spellings of a path are two pages and one decision.
func TestAttackCachePathSpellings(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) { page(r.URL.EscapedPath())(w, r) })
	name, value := s.subscriber()
	for _, path := range []string{"/articles/a", "/articles/%61", "/Articles/a", "/articles/a/"} {
		s.fetch(path, name, value).is("fwd=uri-miss").says(200, path)
		s.get(path, name, value).is("hit").says(200, path)
		if got := s.get(path); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a credential is %d", path, got.StatusCode)
		}
	}
}

// A response varies by what is not in the key: it is not stored, and readers get their own.
func TestAttackCacheVary(t *testing.T) {
	for _, vary := range []string{"*", "Cookie", "Authorization", "User-Agent", "Accept-Language", "X-Device", "Accept-Encoding, Cookie", "accept, *"} {
		s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) { page("for "+r.Header.Get("Cookie"), "Vary", vary)(w, r) })
		s.fetch("/", "Cookie", "a=1").is("fwd=uri-miss; detail=vary").says(200, "for a=1")
		s.get("/", "Cookie", "a=2").is("fwd=bypass; detail=marked").says(200, "for a=2")
	}
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		page(r.Header.Get("Accept-Encoding")+r.Header.Get("Accept-Language"), "Vary", "Accept-Encoding, Accept-Language")(w, r)
	}, "headers Accept-Language")
	for _, want := range [][3]string{{"", "de", "identityde"}, {"gzip", "de", "gzipde"}, {"gzip, br;q=0", "en", "gzipen"}, {"br, gzip, zstd", "en", "zstd, br, gzipen"}} {
		s.fetch("/", "Accept-Encoding", want[0], "Accept-Language", want[1]).is("fwd=uri-miss").says(200, want[2])
		s.get("/", "Accept-Encoding", want[0], "Accept-Language", want[1]).is("hit").says(200, want[2])
	}
}

// A compressed page does not reach a client that cannot read it, even if the origin does
// not say that it varies.
func TestAttackCacheEncodingConfusion(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			_, _ = io.WriteString(w, "plain")
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		_, _ = io.WriteString(zip, "plain")
		_ = zip.Close()
	})
	packed := s.fetch("/", "Accept-Encoding", "gzip")
	s.get("/", "Accept-Encoding", "gzip").is("hit").says(200, packed.body)
	s.fetch("/").says(200, "plain")
	s.get("/", "Accept-Encoding", "gzip").is("hit").says(200, packed.body)
	s.get("/").is("hit").says(200, "plain")
	if reader, err := gzip.NewReader(bytes.NewReader([]byte(packed.body))); err != nil {
		t.Error(err)
	} else if text, err := io.ReadAll(reader); err != nil || string(text) != "plain" {
		t.Errorf("the stored page is %q, %v", text, err)
	}
}

// A response that sets a cookie, in its header or in a trailer, clears a site's data, or is
// marked as one reader's is not stored.
func TestAttackCacheCookies(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"set_cookie":   page("x", "Set-Cookie", "session=1"),
		"no_store":     page("x", "Clear-Site-Data", `"*"`),
		"private":      page("x", "Cache-Control", "private"),
		"no_freshness": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") },
		"trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Set-Cookie")
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "x")
			w.Header().Set("Set-Cookie", "session=1")
		},
	} {
		s := newCacheSite(t, serve)
		s.fetch("/").is("fwd=uri-miss; detail="+name).says(200, "x")
		s.get("/").is("fwd=bypass; detail=marked")
		if pages := s.cacheOf().Stats().Pages; pages != 0 {
			t.Errorf("%s: %d pages are stored", name, pages)
		}
	}
}

// A part of a page is not stored as the page. Ranges of a stored page are cut from it.
func TestAttackCacheRanges(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		http.ServeContent(w, r, "x.txt", time.Unix(1, 0), strings.NewReader("0123456789"))
	})
	s.fetch("/", "Range", "bytes=0-3").is("fwd=uri-miss; detail=request").says(206, "0123")
	s.fetch("/").is("fwd=uri-miss").says(200, "0123456789")
	s.get("/", "Range", "bytes=2-3").is("hit").says(206, "23")
	s.get("/", "Range", "bytes=20-").is("hit").says(416, "invalid range: failed to overlap\n")
	s.get("/", "Range", "bytes=0-1", "If-Range", `W/"x"`).is("hit").says(200, "0123456789")
	s.get("/", "Range", "bytes="+strings.Repeat("0-9,", 50)+"0-9").is("hit").says(200, "0123456789")
	s.get("/", "Range", "bytes=0-,0-,0-,0-").is("hit").says(200, "0123456789")
	s.answerWith(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Range", "bytes 0-3/10")
		w.WriteHeader(206)
		_, _ = io.WriteString(w, "0123")
	})
	s.fetch("/part").is("fwd=uri-miss; detail=partial")
	s.get("/part").is("fwd=bypass; detail=marked")
}

// A response that breaks off is not stored, whether its length was declared or not, and the
// client does not take it for complete.
func TestAttackCacheTruncatedBody(t *testing.T) {
	for name, begin := range map[string]string{
		"declared": "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nhalf",
		"chunked":  "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		s := newCacheSite(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, begin)
				_ = conn.Close()
			}
		})
		response, err := browser.Get(s.site + "/")
		if err == nil {
			_, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client takes the half page for complete", name)
		}
		s.settle()
		s.answerWith(page("whole"))
		s.get("/").is("fwd=uri-miss").says(200, "whole")
	}
}

// A link's token is neither in the key nor at the origin, and the redirect that redeems it
// is not stored.
func TestAttackCacheLinkToken(t *testing.T) {
	s := newCacheSite(t, nil)
	link, id := s.link(keys.LinkClaims{MaxUses: 2})
	path := strings.TrimPrefix(link, s.site)
	s.fetch(path).says(200, "page 1 of /articles/hello")
	if query := s.last().URL.RawQuery; query != "" {
		t.Errorf("the origin was asked with %q", query)
	}
	got := s.get(path).is("hit").says(200, "page 1 of /articles/hello")
	if used := s.uses(id); used != 2 || got.linkCookie() == "" {
		t.Errorf("%d uses are counted, want 2", used)
	}
	s.get(path).denied(403, "link_used_up")
	s.get("/articles/hello").denied(401, "login_required")
	redirect := s.get(path, "User-Agent", "Mozilla/5.0 (X11)", "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
	if redirect.StatusCode == 200 {
		t.Errorf("a used-up link opens the page from memory: %q", redirect.body)
	}
}

// A reader waits for a page, and their subscription ends meanwhile: the decision is made once
// more before the first byte.
func TestAttackCacheRevokedDuringFetch(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-answer
		page("secret")(w, r)
	})
	name, value := s.subscriber()
	got := make(chan answerOrError, 1)
	go func() { got <- s.try("/articles/1", name, value) }()
	<-asked
	s.revokeAll()
	close(answer)
	if result := <-got; result.status != 403 || !strings.Contains(result.body, "not_entitled") {
		t.Errorf("a reader whose subscription ended got %d %q", result.status, result.body)
	}
}

// Denials and login redirects are not stored: the reader who may have the page gets it.
func TestAttackCacheDenialsAreNotStored(t *testing.T) {
	s := newCacheSite(t, nil)
	for range 3 {
		s.fetch("/articles/1").denied(401, "login_required")
	}
	name, value := s.subscriber()
	s.fetch("/articles/1", name, value).says(200, "page 1 of /articles/1")
	s.get("/articles/1").denied(401, "login_required")
}

// HEAD before GET stores nothing; it is answered from a stored page. A POST makes the stored
// page of its URL, and those that its response names, unusable; OPTIONS does not.
func TestAttackCacheMethods(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		page(r.Method)(w, r)
	})
	s.do("HEAD", "/").is("fwd=uri-miss; detail=method")
	s.settle()
	s.fetch("/").is("fwd=uri-miss").says(200, "GET")
	s.fetch("/elsewhere").is("fwd=uri-miss")
	if got := s.do("HEAD", "/").is("hit"); got.ContentLength != 3 || got.body != "" {
		t.Errorf("HEAD has %d bytes and %q", got.ContentLength, got.body)
	}
	s.do("OPTIONS", "/")
	s.get("/").is("hit")
	s.do("POST", "/").says(200, "POST")
	s.fetch("/").is("fwd=uri-miss")
	s.get("/elsewhere").is("fwd=uri-miss")
	for _, method := range []string{"PURGE", "BAN", "PURGEKEYS"} { // the site has no verb for purges
		if got := s.do(method, "/"); got.StatusCode == http.StatusOK {
			t.Errorf("%s is %d", method, got.StatusCode)
		}
		s.get("/").is("hit")
	}
}

// The error page of an origin with status 200 is used no longer than its freshness.
func TestAttackCacheErrorPageWithStatus200(t *testing.T) {
	s := newCacheSite(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "database error") })
	s.fetch("/short").says(200, "database error")
	s.answerWith(page("page"))
	s.get("/short").is("hit").says(200, "database error")
	clock.Advance(6 * time.Second)
	s.get("/short").says(200, "page")
}

// A site without a gate before gatefold_cache: nothing is stored.
func TestAttackCacheWithoutGate(t *testing.T) {
	origin := httptest.NewServer(page("page"))
	defer origin.Close()
	s := newTestSite(t, "rule / any")
	s.load(s.siteOf("\tvars gatefold.page 1\n\tgatefold_cache\n\treverse_proxy " + strings.TrimPrefix(origin.URL, "http://")))
	for range 2 {
		if got := s.get("/").says(200, "page"); got.Header.Get("Cache-Status") != "" || got.Header.Get("Age") != "" {
			t.Errorf("the page is from memory: %v", got.Header)
		}
	}
	if entries := logged.entries(t, "http.handlers.gatefold_cache"); len(entries) != 1 {
		t.Errorf("%d warnings, want 1", len(entries))
	}
}
