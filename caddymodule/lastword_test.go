package caddymodule

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// publicWords are what the origin or a directive of the site tells shared caches.
const publicWords = `Cache-Control "public, max-age=300"
	X-Accel-Expires 300
	Surrogate-Control max-age=300
	Surrogate-Key all
	Edge-Control max-age=300
	CDN-Cache-Control max-age=300
	X-LiteSpeed-Cache-Control "public,max-age=300"
	Pragma public
	Expires "Thu, 01 Dec 2044 16:00:00 GMT"
`

// keptFromCaches fails the test if a shared cache could store a response.
func (a answer) keptFromCaches(want string) {
	a.t.Helper()
	control := strings.Join(a.Header.Values("Cache-Control"), ", ")
	if want == "no-store" && control != want || !strings.Contains(control, want) || strings.Contains(control, "public") || strings.Contains(control, "s-maxage") {
		a.t.Errorf("%d: Cache-Control is %q, want %s", a.StatusCode, control, want)
	}
	for name := range a.Header {
		switch lower := strings.ToLower(name); {
		case lower == "expires", lower == "pragma", strings.HasPrefix(lower, "surrogate"), strings.HasPrefix(lower, "x-accel"),
			strings.HasPrefix(lower, "edge-"), strings.HasSuffix(lower, "-cache-control"):
			a.t.Errorf("%d: %s is %q", a.StatusCode, name, a.Header.Get(name))
		}
	}
}

// A site sets Cache-Control for all its pages. Caddy applies such a directive after the
// gate, because it deletes another header too; then a cache before Caddy gave one
// reader's page, and a 401, to others. Whatever directive, order and nesting there is,
// private and no-store remain.
func TestNoDirectiveOverridesTheGateOnCaching(t *testing.T) {
	deferred := "header {\n-Server\n" + publicWords + "}\n"
	intercepted := "intercept {\n@any status 2xx 4xx\nhandle_response @any {\nheader {\n-Content-Length\n" + publicWords + "}\nrespond \"intercepted\"\n}\n}\n"
	for name, test := range map[string]struct{ before, after string }{
		"deferred header":           {deferred, ""},
		"header at once":            {"header {\n" + publicWords + "}\n", ""},
		"header by status":          {"header {\n" + publicWords + "match status 2xx 3xx 4xx\n}\n", ""},
		"replaced words":            {"header {\nCache-Control private public\nCache-Control no-store public\n}\n", ""},
		"all headers deleted":       {"header {\n-*\n" + publicWords + "}\n", ""},
		"two of them":               {deferred + deferred, ""},
		"header behind the gate":    {"", deferred},
		"intercept":                 {intercepted, ""},
		"intercept behind the gate": {"", intercepted},
		"encode":                    {deferred + "encode gzip {\nminimum_length 1\n}\n", ""},
		"templates":                 {deferred + "templates {\nmime text/plain\n}\n", ""},
		"deeply nested":             {"handle {\nroute {\n" + deferred + "\nroute {\n", "\n"},
		"an earlier word":           {"vars x y\nheader +Cache-Control s-maxage=300\n", "header +Cache-Control s-maxage=60\n"},
		"nothing":                   {"", ""},
		"another gate":              {"gatefold {\nrule / any\n}\n" + deferred, ""},
	} {
		for _, logs := range []bool{true, false} { // the access log puts a writer between the gate's two
			t.Run(fmt.Sprint(name, ", access log ", logs), func(t *testing.T) {
				s := newTestSite(t, standardRules)
				closing := strings.Repeat("}\n", strings.Count(test.before, "{\n")-strings.Count(test.before, "}\n"))
				config := s.siteOf("route {\n" + test.before + "gatefold {\n" + standardRules + "\n}\n" + test.after +
					"reverse_proxy " + strings.TrimPrefix(s.origin.URL, "http://") + "\n" + closing + "}\nhandle_errors {\n" + deferred + "respond \"an error\"\n}")
				if !logs {
					config = withoutLog(config)
				}
				s.load(config)
				s.origin.Handle(speaksToCaches)
				reader, bearer := s.subscriber()
				s.get("/articles/hello", reader, bearer, "Accept-Encoding", "gzip").keptFromCaches("private")
				s.get("/articles/hello", reader, bearer, "If-None-Match", `"x"`).keptFromCaches("private")
				s.get("/articles/broken", reader, bearer).keptFromCaches("private")
				s.do(http.MethodHead, "/articles/hello", reader, bearer).keptFromCaches("private")
				s.get("/articles/hello").keptFromCaches("no-store")
				s.get("/articles/hello", "Accept", "text/html").keptFromCaches("no-store")
				s.rawPath("//articles").keptFromCaches("no-store")
				link, _ := s.link(linkForAnything)
				s.get(link, "Accept", "text/html", "Sec-Fetch-Mode", "navigate").keptFromCaches("no-store")
				s.origin.Close()
				s.get("/articles/hello", reader, bearer).keptFromCaches("private")
			})
		}
	}
}

// withoutLog returns a configuration whose site has no access log.
func withoutLog(config string) string { return strings.Replace(config, " {\n\tlog\n", " {\n", 1) }

// What a directive of the site makes of the gate's Vary stays, beside what the gate needs.
func TestSiteExtendsVary(t *testing.T) {
	for _, logs := range []bool{true, false} {
		s := newTestSite(t, standardRules)
		config := s.siteOf("header {\ndefer\nVary Authorization \"Authorization, X-Country\"\n}\ngatefold {\n" + standardRules + "\n}\nreverse_proxy " + strings.TrimPrefix(s.origin.URL, "http://"))
		if !logs {
			config = withoutLog(config)
		}
		s.load(config)
		name, bearer := s.subscriber()
		vary := strings.Join(s.get("/articles/hello", name, bearer).Header.Values("Vary"), ", ")
		if !strings.Contains(vary, "X-Country") || !strings.Contains(vary, "Cookie, Authorization") {
			t.Errorf("with an access log %v, Vary is %q", logs, vary)
		}
	}
}

// speaksToCaches is an origin whose answers any shared cache may store.
func speaksToCaches(w http.ResponseWriter, r *http.Request) {
	for line := range strings.Lines(publicWords) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		w.Header().Set(name, strings.Trim(value, `"`))
	}
	w.Header().Set("Content-Type", "text/plain")
	switch {
	case r.Header.Get("If-None-Match") != "":
		w.WriteHeader(http.StatusNotModified)
	case strings.HasSuffix(r.URL.Path, "broken"):
		w.WriteHeader(http.StatusInternalServerError)
	default:
		fmt.Fprint(w, "origin saw it")
	}
}

// The denials that the site renders itself, and the redirects to a login page, are held
// as well.
func TestNoDirectiveOverridesTheGateOnDenials(t *testing.T) {
	header := "header {\n-Server\n" + publicWords + "}\n"
	for name, deny := range map[string]string{"errors": "errors", "login": "login /login", "page": "page {page}", "forward": "forward /paywall"} {
		s := newTestSite(t, standardRules)
		deny = strings.ReplaceAll(deny, "{page}", s.write("page.html", "<p>{{.Title}}"))
		s.load(s.config("", standardRules+"\ndeny {\n"+deny+"\n}\n", header+"handle_errors {\n"+header+"respond x\n}"))
		s.origin.Handle(speaksToCaches)
		got := s.get("/articles/hello", "Accept", "text/html")
		got.keptFromCaches("no-store")
		if got.StatusCode != http.StatusUnauthorized && got.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
	}
}

// The body still arrives whole through the lowest writer, compressed and not.
func TestLastWordKeepsTheBody(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules, "header -Server\nencode gzip {\nminimum_length 1\n}")
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "origin saw "+strings.Repeat("a word ", 100_000))
	})
	name, bearer := s.subscriber()
	s.get("/articles/hello", name, bearer).page()
	got := s.get("/articles/hello", name, bearer, "Accept-Encoding", "gzip")
	reader, err := gzip.NewReader(strings.NewReader(got.body))
	if err != nil {
		t.Fatal(err)
	}
	plain := new(bytes.Buffer)
	if _, err := plain.ReadFrom(reader); err != nil || plain.Len() < 700_000 {
		t.Errorf("%d bytes, %v", plain.Len(), err)
	}
}

// Without the writer that the gate needs for its last word the load fails, with the
// remedy.
func TestServerWithoutTheLastWordIsRefused(t *testing.T) {
	s := newTestSite(t, standardRules)
	err := load(s.config("servers {\ntimeouts {\nwrite_idle -1s\n}\n}", standardRules, ""))
	if err == nil || !strings.Contains(err.Error(), "write_idle 24h") {
		t.Errorf("the error is %v", err)
	}
	s.load(s.config("servers {\ntimeouts {\nwrite_idle 24h\n}\n}", standardRules, ""))
}
