package caddymodule

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/denial"
)

// fullText answers with the full text to every request that names the denied page in any
// way: in its path, its URI, a header or its body.
func fullText(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	named := fmt.Sprint(r.Method, r.RequestURI, r.URL, r.Header, r.Form, string(body))
	if strings.Contains(named, "hello") || r.Method == http.MethodPost {
		fmt.Fprintf(w, "FULL TEXT for %s", named)
		return
	}
	fmt.Fprint(w, "no such page")
}

// phpOrigin runs a FastCGI origin that routes by REQUEST_URI, as the front controllers of
// WordPress and Laravel do, and returns its address.
func phpOrigin(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go fcgi.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		env := fcgi.ProcessEnv(r)
		r.Header.Set("X-Env", fmt.Sprint(env))
		fullText(w, r)
	}))
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// hostile are headers that name the denied page, its state or its reader to an origin.
var hostile = []string{
	"Authorization", "Basic hello", "Cookie", "reader=hello; session=hello", "X-Original-Url", "/articles/hello", "X-Rewrite-Url", "/articles/hello",
	"If-None-Match", `"hello"`, "Range", "bytes=0-1, 5-8", "X-Http-Method-Override", "POST", "Referer", "http://x/articles/hello", "X-Forwarded-Uri", "/articles/hello",
}

// A reader without a subscription asks for an article. The site's error routes proxy to
// the origin, as they do to have its error pages: the origin must not be asked for the
// article, whatever the route takes the address from.
func TestErrorRoutesCannotServeTheDeniedPage(t *testing.T) {
	php := phpOrigin(t)
	for name, route := range map[string]string{
		"proxy":                  "reverse_proxy {origin}",
		"rewritten URI":          "reverse_proxy {origin} {\n rewrite {http.request.orig_uri}\n method {http.request.orig_method}\n}",
		"URI in a header":        "reverse_proxy {origin} {\n header_up X-Original-Uri {http.request.orig_uri}\n header_up X-Uri {uri}\n header_up X-Path {http.request.orig_uri.path}\n header_up X-Segment {http.request.orig_uri.path.1}\n header_up X-Query {query}\n header_up X-Body {http.request.body}\n}",
		"rewrite before PHP":     "rewrite * /index.php\nphp_fastcgi {php} {\n try_files /index.php\n root /\n}",
		"PHP with try_files":     "php_fastcgi {php} {\n try_files {path} /index.php\n}",
		"prefix before a proxy":  "rewrite * /error{uri}\nreverse_proxy {origin}",
		"handle_response":        "reverse_proxy {origin} {\n @any status 2xx 4xx\n handle_response @any {\n  reverse_proxy {origin}\n }\n}",
		"intercept":              "intercept {\n @any status 2xx 4xx\n handle_response @any {\n  reverse_proxy {origin}\n }\n}\nreverse_proxy {origin}",
		"an error in the routes": "route {\n reverse_proxy {origin}\n error 500\n}",
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, standardRules)
			s.origin.Handle(fullText)
			route = strings.NewReplacer("{origin}", strings.TrimPrefix(s.origin.URL, "http://"), "{php}", php).Replace(route)
			s.load(s.config("", standardRules+"\n\t\tdeny {\n\t\t\terrors\n\t\t}\n", "handle_errors {\n"+route+"\n}"))
			s.origin.Take()
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodHead} {
				got := s.doBody(method, "/articles/hello?q=hello&token=hello", "body of hello", hostile...)
				if strings.Contains(got.body, "FULL TEXT") || got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %d %s\n%v", method, got.StatusCode, got.body, got.Header)
				}
			}
			for _, r := range s.origin.Take() {
				if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, denial.NeutralPath) || r.URL.RawQuery != "" || r.ContentLength != 0 {
					t.Errorf("the origin got %s %s with %d bytes", r.Method, r.RequestURI, r.ContentLength)
				}
			}
		})
	}
}

// The same where the gate is nested: behind a stripped prefix, in routes, in a subroute
// that has error routes of its own.
func TestNestedErrorRoutesCannotServeTheDeniedPage(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.origin.Handle(fullText)
	origin := strings.TrimPrefix(s.origin.URL, "http://")
	gate := "gatefold {\n" + standardRules + "\ndeny {\n errors\n}\n}"
	for name, site := range map[string]string{
		"handle_path": "handle_path /articles/* {\n" + gate + "\nreverse_proxy " + origin + "\n}",
		"route":       "route {\n tracing\n route {\n" + gate + "\n}\n reverse_proxy " + origin + "\n}",
	} {
		s.load(s.siteOf(site + "\nhandle_errors {\n reverse_proxy " + origin + "\n}"))
		s.origin.Take()
		got := s.doBody(http.MethodPost, "/articles/hello?a=hello", "hello", hostile...)
		if strings.Contains(got.body, "FULL TEXT") || s.origin.Count() != 1 {
			t.Errorf("%s: %d %s after %d requests", name, got.StatusCode, got.body, s.origin.Count())
		}
	}
	proxy := `{"handler": "reverse_proxy", "upstreams": [{"dial": "` + origin + `"}]}`
	config := fmt.Sprintf(`{"admin": {"disabled": true}, "storage": {"module": "file_system", "root": %q},
		"logging": {"logs": {"default": {"writer": {"output": "test"}}}},
		"apps": {"gatefold": {"store": {"engine": "bolt", "file": %q}}, "http": {"servers": {"s": {"listen": ["127.0.0.1:%s"], "automatic_https": {"disable": true},
		"routes": [{"handle": [{"handler": "subroute",
			"routes": [{"handle": [{"handler": "gatefold", "rules": [{"path": "/", "operator": "authenticated"}], "deny": {"errors": true}}, %s]}],
			"errors": {"routes": [{"handle": [%s]}]}}]}]}}}}}`, s.dir, s.database(), s.port, proxy, proxy)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	s.origin.Take()
	got := s.doBody(http.MethodPost, "/articles/hello?a=hello", "hello", hostile...)
	if strings.Contains(got.body, "FULL TEXT") || s.origin.Count() != 1 {
		t.Errorf("subroute: %d %s after %d requests", got.StatusCode, got.body, s.origin.Count())
	}
}

// What error routes are for still works: pages by placeholders, files, templates and
// matchers, and a link back to the page after login. The log has the request as received.
func TestPagesOfErrorRoutes(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.write("denied.html", "the file of {{placeholder \"http.gatefold.reason\"}} at {{placeholder \"http.gatefold.denied_uri\"}}")
	s.load(s.config("", standardRules+"\n\t\tdeny {\n\t\t\terrors\n\t\t}\n", `handle_errors {
		@login expression {err.status_code} == 401
		handle @login {
			root * `+s.dir+`
			rewrite * /denied.html
			templates
			file_server
		}
		handle {
			respond "{err.status_code} {http.gatefold.reason} {http.gatefold.denied_uri} {http.gatefold.denied_uri_escaped}"
		}
	}`))
	got := s.get("/articles/hello?a=1&token=" + cutLink + "&b=%22")
	if got.StatusCode != http.StatusForbidden || got.body != "403 link_invalid /articles/hello?a=1&b=%22 %2Farticles%2Fhello%3Fa%3D1%26b%3D%2522" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	got = s.rawPath(`/articles/hello?<script>'{env.HOME}"`)
	if want := "the file of login_required at /articles/hello?%3Cscript%3E%27%7Benv.HOME%7D%22"; got.StatusCode != http.StatusUnauthorized || got.body != want {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := s.do(http.MethodPost, "/articles/hello?a=1"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("POST: %d %s", got.StatusCode, got.body)
	}
	entries := logged.entries(t, "http.log.access")
	request, _ := entries[len(entries)-1]["request"].(map[string]any)
	if request["uri"] != "/articles/hello?a=1" || request["method"] != http.MethodPost {
		t.Errorf("the access log has %v", request)
	}
	// An error of an allowed request keeps its address.
	name, bearer := s.subscriber()
	s.load(s.config("", standardRules+"\n\t\tdeny {\n\t\t\terrors\n\t\t}\n", "error /articles/broken 418\nhandle_errors {\n respond \"{uri} {http.gatefold.denied_uri}\"\n}"))
	if got := s.get("/articles/broken", name, bearer); got.body != "/articles/broken {http.gatefold.denied_uri}" && got.body != "/articles/broken " {
		t.Errorf("an error of the site: %s", got.body)
	}
	s.origin.WantNone(t)
}

// A gate in a named route is set up after the error routes, where their requests can no
// longer be replaced: the load fails.
func TestErrorsInANamedRouteAreRefused(t *testing.T) {
	s := newTestSite(t, standardRules)
	config := s.siteOf("invoke gated\nhandle_errors {\n respond x\n}")
	named := "&(gated) {\n gatefold {\n rule / authenticated\n deny {\n errors\n }\n }\n}\n"
	err := load(strings.Replace(config, "\nhttp://", "\n"+named+"\nhttp://", 1))
	if err == nil || !strings.Contains(err.Error(), "named route") {
		t.Errorf("the error is %v", err)
	}
}
