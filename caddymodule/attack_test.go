package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/keys"
)

// The session header reaches the origin once, and from the gate only: no trailer,
// announced or not, and no repeated header adds another.
func TestSessionHeaderIsSetByTheGateOnly(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		// The trailers are complete once the body is read.
		buffer := make([]byte, 64)
		for {
			if _, err := r.Body.Read(buffer); err != nil {
				break
			}
		}
		for _, header := range []http.Header{r.Header, r.Trailer} {
			for name := range header {
				if headers.Reserved(name) {
					fmt.Fprintf(w, "[%s]", name)
				}
			}
		}
		fmt.Fprintf(w, "origin saw %d trailers", len(r.Trailer))
	})
	head := "POST /public/x HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
	body := "\r\n3\r\nabc\r\n0\r\n"
	for name, request := range map[string]string{
		"announced":           head + "Trailer: Gatefold-Session, X-Checksum\r\n" + body + "Gatefold-Session: evil\r\nX-Checksum: 1\r\n\r\n",
		"by surprise":         head + body + "Gatefold-Session: evil\r\nX-Gatefold-User: evil\r\n\r\n",
		"in other spellings":  head + "Trailer: gatefold_session, X.Gatefold.User\r\n" + body + "gatefold_session: evil\r\nX.Gatefold.User: evil\r\n\r\n",
		"doubled header":      head + "Gatefold-Session: a\r\nGatefold-Session: b\r\ngatefold_session: c\r\n" + body + "\r\n",
		"beside a connection": head[:strings.Index(head, "Connection")] + "Connection: close, Gatefold-Session, x_gatefold_user\r\nTransfer-Encoding: chunked\r\nGatefold-Session: a\r\n" + body + "\r\n",
	} {
		got := s.raw(request)
		if got.StatusCode != http.StatusOK || strings.Contains(got.body, "[") {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
}

// Headers that claim another path, query, method or host do not change the decision.
func TestForwardedHeadersDoNotDecide(t *testing.T) {
	s := newTestSite(t, standardRules)
	name, bearer := s.subscriber()
	link, _ := s.link(keys.LinkClaims{})
	words := []string{
		"X-Original-Url", "/public/x", "X-Original-Uri", "/public/x", "X-Rewrite-Url", "/public/x", "X-Forwarded-Uri", "/public/x", "X-Forwarded-Path", "/public/x",
		"X-Forwarded-Prefix", "/public", "X-Forwarded-Host", "other.example", "X-Forwarded-Port", "1", "X-Forwarded-Proto", "https", "Forwarded", "host=other.example;proto=https",
		"X-Real-Ip", "127.0.0.1", "X-Forwarded-For", "127.0.0.1", "X-Http-Method-Override", "OPTIONS", "X-Http-Method", "OPTIONS", "X-Method-Override", "OPTIONS",
		"X-Forwarded-User", "subscriber", "X-Remote-User", "subscriber", "Remote-User", "subscriber", "X-Auth-Request-User", "subscriber",
		"User-Agent", "GoogleHC/1.0", "X-Forwarded-Method", "OPTIONS",
	}
	all := make([]string, 0, len(words))
	for i := 0; i+1 < len(words); i += 2 {
		all = append(all, words[i:i+2]...)
		s.get("/articles/hello", words[i], words[i+1]).denied(http.StatusUnauthorized, "login_required")
		s.get("/account", words[i], words[i+1]).denied(http.StatusUnauthorized, "login_required")
		s.do(http.MethodPost, "/articles/hello", words[i], words[i+1]).denied(http.StatusUnauthorized, "login_required")
	}
	s.get("/articles/hello", all...).denied(http.StatusUnauthorized, "login_required")
	s.origin.WantNone(t)
	// They do not deny a request either.
	s.get("/articles/hello", append(all, name, bearer)...).page()
	s.get(link, all...).page()
	s.get("/public/x", all...).page()
}

// Parsers stop at 10,000 parameters or at malformed ones. The gate finds or refuses a
// token behind them, and never forwards it.
func TestTokenBehindManyParameters(t *testing.T) {
	s := newTestSiteWith(t, "servers {\n\t\tmax_header_size 2MiB\n\t}", standardRules, "")
	link, id := s.link(keys.LinkClaims{MaxUses: 6})
	page, token, _ := strings.Cut(link, "?token=")
	many := strings.Repeat("a&", 10_001)
	for name, query := range map[string]string{
		"behind ten thousand":  many + "token=" + token,
		"before ten thousand":  "token=" + token + "&" + many,
		"beside a bad escape":  "x=%zz&token=" + token + "&y=%",
		"beside a semicolon":   "x;y=1&token=" + token,
		"with an encoded name": "%74oken=" + token,
		"behind an empty name": "=&=x&&token=" + token,
	} {
		s.get(page + "?" + query).page()
		got := s.origin.Last(t)
		if strings.Contains(got.RequestURI, "eyJ") {
			t.Errorf("%s: the origin got the token", name)
		}
		if left := strings.Count(got.RequestURI, "&"); strings.Contains(query, many) && left < 10_000 {
			t.Errorf("%s: the origin got only %d of its own parameters", name, left)
		}
	}
	s.get(page+"?"+many+"token="+token+"&"+many+"token="+token+"x").denied(http.StatusBadRequest, "bad_query")
	s.get(page+"?token="+token+"&%74oken="+token+"x").denied(http.StatusBadRequest, "bad_query")
	s.get(page+"?Token="+token).denied(http.StatusUnauthorized, "login_required") // another name: the origin's
	if got := s.uses(id); got != 6 {
		t.Errorf("%d uses", got)
	}
}

// A request with 16,000 cookies, in one header or many, is answered in bounded time.
func TestManyCookies(t *testing.T) {
	s := newTestSiteWith(t, "servers {\n\t\tmax_header_size 2MiB\n\t}", standardRules, "")
	token := s.reader(keys.ReaderClaims{UserID: "u"})
	const n = 16_000
	one := strings.Repeat("a=b; ", n)
	ours := strings.Repeat("gatefold-AAAAAAAAAAAA=x; ", n)
	var distinct strings.Builder
	for i := range n {
		fmt.Fprintf(&distinct, "gatefold-%012d=x; ", i)
	}
	lines := make([]string, 0, 2*n)
	for range n / 8 {
		lines = append(lines, "Cookie", "gatefold-AAAAAAAAAAAA=x", "Cookie", "a=b")
	}
	began := time.Now()
	s.get("/account", "Cookie", one+"reader="+token).page()
	s.get("/account", "Cookie", ours+"reader="+token).page()
	s.get("/articles/hello", "Cookie", ours).denied(http.StatusUnauthorized, "login_required")
	s.get("/articles/hello", "Cookie", distinct.String()).denied(http.StatusUnauthorized, "login_required")
	s.get("/articles/hello", lines...).denied(http.StatusUnauthorized, "login_required")
	s.get("/public/x", "Cookie", distinct.String()).page()
	for _, line := range s.origin.Last(t).Header["Cookie"] {
		if strings.Contains(line, linkCookiePrefix) {
			t.Error("the gate's cookies reached the origin")
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("six requests took %v", took)
	}
}

// withoutID removes the id of the request from a problem.
func withoutID(problem string) string {
	before, _, _ := strings.Cut(problem, `,"requestId":`)
	return before
}

// A denial is no oracle: conditional, range and HEAD requests get the same response,
// and neither a fragment nor a second path in the request line opens a page.
func TestDenialsAreNoOracle(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"secret"`)
		w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 12:00:00 GMT")
		http.ServeContent(w, r, "x", time.Time{}, strings.NewReader("origin saw the page"))
	})
	plain := s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
	for _, headers := range [][]string{
		{"If-None-Match", `"secret"`},
		{"If-None-Match", "*"},
		{"If-Match", `"other"`},
		{"If-Modified-Since", "Mon, 23 Nov 2026 12:00:00 GMT"},
		{"If-Unmodified-Since", "Mon, 23 Nov 2020 12:00:00 GMT"},
		{"Range", "bytes=0-0"},
		{"Range", "bytes=0-0", "If-Range", `"secret"`},
		{"Expect", "100-continue"},
	} {
		got := s.get("/articles/hello", headers...).denied(http.StatusUnauthorized, "login_required")
		if withoutID(got.body) != withoutID(plain.body) || got.Header.Get("Etag")+got.Header.Get("Last-Modified")+got.Header.Get("Content-Range") != "" {
			t.Errorf("%v: %v %s", headers, got.Header, got.body)
		}
	}
	// Some servers end the path at a raw fragment.
	for _, target := range []string{"/public/x#/articles/hello", "/articles/hello#/public/x", "/public/x?y#/articles/hello", "/#", s.site + "/public#"} {
		if got := s.rawPath(target); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", target, got.StatusCode, got.body)
		}
	}
	// The query does not select the page.
	s.get("/articles/hello?x=/public/y").denied(http.StatusUnauthorized, "login_required")
	s.get("/public/x?/articles/hello").page()
}

// On a public page a client asks to upgrade the connection to HTTP/2 (h2c smuggling). An
// origin that did would serve every page within it, to the reader whom the client names.
func TestNoTunnelPastTheGate(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		protocol := r.Header.Get("Upgrade")
		if protocol == "" {
			_, _ = io.WriteString(w, "the page")
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\nFULL TEXT")
		_ = conn.Close()
	})
	for _, headers := range []string{
		"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
		"Connection: upgrade\r\nUpgrade: H2C, websocket\r\n",
		"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n",
	} {
		for _, path := range []string{"/", "/public/x", "/closed/x"} {
			got := s.raw("POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + s.port + "\r\nContent-Length: 0\r\n" + headers + "\r\n")
			if got.StatusCode != http.StatusOK || got.body != "the page" {
				t.Errorf("%q: %d %q", headers, got.StatusCode, got.body)
			}
		}
	}
}

// Headers that name another page or method than the one that was judged do not reach the
// origin, which might read them.
func TestOriginGetsTheJudgedRequestOnly(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.get("/public/x", "X-Original-Url", "/articles/hello", "X-Rewrite-Url", "/articles/hello", "X-Script-Name", "/public", "X-Http-Method-Override", "DELETE").page()
	s.do(http.MethodOptions, "/articles/hello", append([]string{"X-Http-Method-Override", "DELETE", "X-Original-Url", "/account"}, preflightOf...)...)
	for _, seen := range s.origin.Take() {
		for _, name := range []string{"X-Original-Url", "X-Rewrite-Url", "X-Script-Name", "X-Http-Method-Override"} {
			if value := seen.Header.Get(name); value != "" {
				t.Errorf("%s %s carries %s: %s", seen.Method, seen.URL, name, value)
			}
		}
	}
}
