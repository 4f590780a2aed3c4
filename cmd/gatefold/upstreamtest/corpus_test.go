package upstreamtest

import (
	"fmt"
	"regexp"
	"strings"
)

// host is the site's host, as the README has it.
const host = "news.example.com"

// request is what a client sends, byte for byte.
type request struct {
	kind           string
	method, target string
	host           string
	headers        []string // lines
	body           string
}

// tokens matches tokens of links, which make reports hard to read.
var tokens = regexp.MustCompile(`eyJ[A-Za-z0-9_.-]{40,}`)

func (r *request) String() string {
	text := r.method + " " + r.target
	if r.host != host {
		text += " Host: " + r.host
	}
	if len(r.headers) > 0 {
		text += " {" + strings.Join(r.headers, ", ") + "}"
	}
	if r.body != "" {
		text += " body " + r.body
	}
	return fmt.Sprintf("%.300q", tokens.ReplaceAllString(text, "TOKEN"))
}

// corpus is the list of requests for the site. It is the same in every run. prefix
// is put before each path.
func corpus(prefix string) []*request {
	var all []*request
	seen := map[string]bool{}
	add := func(r *request) {
		if r.host == "" {
			r.host = host
		}
		if r.target != "*" && !strings.Contains(r.kind, "form") {
			r.target = prefix + r.target
		}
		if key := fmt.Sprintf("%q", *r); !seen[key] {
			seen[key] = true
			all = append(all, r)
		}
	}
	paths(func(kind, path string) { add(&request{kind: kind, method: "GET", target: path}) })
	forms(prefix, add)
	methods(add)
	headers(add)
	return all
}

// forms are targets other than a path, and other hosts.
func forms(prefix string, add func(*request)) {
	for _, page := range []string{"/articles/hello", "/account", "/ARTICLES/hello", "//articles/hello", "/index.php/articles/hello", "/x/../account", "/articles/hello?x", ""} {
		page = prefix + page
		for _, form := range []string{
			"http://news.example.com", "HTTP://NEWS.EXAMPLE.COM", "https://news.example.com", "http://news.example.com:80", "http://other.example", "http://user@news.example.com", "http://",
			"http:", "http:/", "http:///", "ftp://news.example.com", "file://", "//news.example.com", "news.example.com", "*", "", "/http://news.example.com", "http://news.example.com/x/..", "http://news.example.com//localhost",
			"http://news.example.com\\", "http://news.example.com;", "http://news.example.com%2f", "http://[::1]", "gopher:", "javascript:", "\\", ".", "..", "?", "#",
		} {
			add(&request{kind: "form", method: "GET", target: form + page})
		}
		for _, other := range []string{
			"NEWS.example.com", "news.example.com.", "news.example.com:80", "news.example.com:", "localhost", "other.example", "news.example.com/account", "news.example.com#", "news.example.com?x", "news.example.com\\x", "user@news.example.com", "[::1]", "news.example.com,other.example", "",
		} {
			add(&request{kind: "host form", method: "GET", target: page, host: other})
		}
	}
	for _, method := range []string{"OPTIONS", "GET", "TRACE", "CONNECT"} {
		for _, target := range []string{"*", "/articles/hello", "news.example.com:80", "news.example.com/articles/hello", "/account"} {
			add(&request{kind: "form", method: method, target: target})
		}
	}
}

// protected are paths of protected pages, as a browser, a proxy and an attacker
// write them.
var protected = []string{"/articles/hello", "/articles/hello/", "/account", "/ACCOUNT/", "/Articles/hello", "/index.php/account"}

// methods are all methods that servers know, and some that none does.
func methods(add func(*request)) {
	for _, method := range []string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "Get", "gET", "head", "post", "options", "GETX", "XGET", "FOO", "SEARCH", "QUERY", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK",
		"REPORT", "MKCALENDAR", "PURGE", "LINK", "UNLINK", "VIEW", "SOURCE", "SUBSCRIBE", "M-SEARCH", "NOTIFY", "ACL", "BIND", "DEBUG", "TRACK", "INDEX", "PRI", "BREW", "G", "GET.", "_GET", "GET-", "ARBITRARY", "UPDATE", "BASELINE-CONTROL",
	} {
		for _, path := range protected {
			add(&request{kind: "method", method: method, target: path})
		}
	}
	for _, path := range protected {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
			for _, allowed := range []string{"", "Access-Control-Request-Headers: authorization", "Access-Control-Request-Private-Network: true"} {
				lines := []string{"Origin: https://app.example.com", "Access-Control-Request-Method: " + method}
				if allowed != "" {
					lines = append(lines, allowed)
				}
				add(&request{kind: "preflight", method: "OPTIONS", target: path, headers: lines})
			}
		}
		add(&request{kind: "preflight", method: "OPTIONS", target: path, headers: []string{"Origin: null", "Access-Control-Request-Method: GET", "X-HTTP-Method-Override: GET"}})
		add(&request{kind: "preflight", method: "OPTIONS", target: path, headers: []string{"Origin: https://app.example.com"}})
		add(&request{kind: "preflight", method: "GET", target: path, headers: []string{"Origin: https://app.example.com", "Access-Control-Request-Method: GET"}})
		add(&request{kind: "preflight", method: "options", target: path, headers: []string{"Origin: https://app.example.com", "Access-Control-Request-Method: GET"}})
		for _, method := range []string{"POST", "PUT", "OPTIONS", "HEAD", "FOO", "GET"} {
			for _, override := range []string{"X-HTTP-Method-Override: GET", "X-HTTP-Method: GET", "X-Method-Override: GET", "X-HTTP-Method-Override: FOO", "_method: GET"} {
				add(&request{kind: "override", method: method, target: path, headers: []string{override}})
			}
			add(&request{kind: "override", method: method, target: path + "?_method=GET"})
			add(&request{kind: "override", method: method, target: path, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, body: "_method=GET"})
		}
	}
}

// headers are requests for another page with a header that names a protected one,
// and requests for a protected page with headers that could change the decision.
func headers(add func(*request)) {
	names := []string{
		"X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Accel-Redirect", "X-Sendfile", "X-Forwarded-URI", "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Forwarded-Url", "X-Script-Name", "Script-Name", "SCRIPT_NAME", "SCRIPT-NAME", "PATH_INFO", "Path-Info",
		"REQUEST_URI", "Request-Uri", "X-Request-Uri", "X-Envoy-Original-Path", "X-Replaced-Path", "Destination", "Location", "Content-Location", "Referer", "X-Host", "X-Forwarded-Host", "X-Forwarded-Server", "Forwarded", "X-HTTP-Host-Override", "X-Original-Host", "X-Wap-Profile",
		"Unmapped-Uri", "Uri", "Url", "Redirect-Url", "Orig-Path-Info", "ORIG_PATH_INFO", "HTTP_X_ORIGINAL_URL", "X_ORIGINAL_URL", "X_Rewrite_Url", "X-MS-Proxy", "IIS-WasUrlRewritten", "X-ProxyUser-Ip", "Proxy", "X-Custom-IP-Authorization",
	}
	for _, page := range []string{"/articles/hello", "/account"} {
		for _, name := range names {
			for _, target := range []string{"/", "/public", "/index.php", "/index.html", "/static/style.css"} {
				add(&request{kind: "header", method: "GET", target: target, headers: []string{name + ": " + page}})
			}
		}
		for _, lead := range []string{"/public", "/x", "/index.php"} {
			for _, name := range []string{"SCRIPT_NAME", "Script-Name", "X-Script-Name", "X-Forwarded-Prefix", "script_name", "SCRIPT_Name"} {
				add(&request{kind: "prefix header", method: "GET", target: lead + page, headers: []string{name + ": " + lead}})
				add(&request{kind: "prefix header", method: "GET", target: lead + page, headers: []string{name + ": " + lead + "/"}})
			}
			for _, prefix := range []string{"PATH_INFO", "PATH-INFO", "Path_Info"} {
				add(&request{kind: "prefix header", method: "GET", target: lead, headers: []string{prefix + ": " + page}})
			}
		}
	}
	for _, page := range protected {
		for _, line := range []string{
			"Range: bytes=0-10", "Range: bytes=0-0,-1", "If-None-Match: *", "If-None-Match: \"x\"", "If-Match: *", "If-Modified-Since: Sat, 28 Nov 2037 11:00:00 GMT", "If-Unmodified-Since: Sat, 28 Nov 2037 11:00:00 GMT", "If-Range: \"x\"",
			"Accept: text/html", "Accept: application/json", "Accept-Language: de", "Accept-Encoding: gzip", "X-Requested-With: XMLHttpRequest", "User-Agent: Googlebot/2.1", "User-Agent: ELB-HealthChecker/2.0", "User-Agent: kube-probe/1.30",
			"X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "Forwarded: for=127.0.0.1;host=localhost", "X-Forwarded-Proto: https", "Via: 1.1 gatefold", "Connection: close, X-Gatefold-Session", "Connection: Cookie", "Upgrade: h2c", "Upgrade: websocket", "Expect: 100-continue",
			"X-Gatefold-User: user-1", "X-Gatefold-Session: x", "Remote-User: admin", "REMOTE_USER: admin", "X-Remote-User: admin", "Authorization: Basic YWRtaW46YWRtaW4=", "Authorization: Bearer x", "Authorization: Bearer", "Cookie: reader=x", "Cookie: reader=", "Purpose: prefetch", "Service-Worker: script",
		} {
			add(&request{kind: "condition", method: "GET", target: page, headers: []string{line}})
			if strings.HasPrefix(line, "If-") || strings.HasPrefix(line, "Range") {
				add(&request{kind: "condition", method: "HEAD", target: page, headers: []string{line}})
			}
		}
		for _, query := range []string{
			"?share=x", "?token=x", "?token=", "?token=a.b.c", "?token=x&token=y", "?share=..", "?access_token=x", "?reader=x", "?x=/public", "?url=/", "?next=/", "?_url=/", "?q=/public/", "?s=/", "?p=1", "?publisherContentId=x", "?gatefold=1", "?amp=1", "?format=json", "?_format=json", "?preview=true", "?debug=1",
		} {
			add(&request{kind: "query", method: "GET", target: page + query})
		}
	}
}
