package upstreamtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// initSite is a site of `gatefold init` that runs.
type initSite struct {
	*gate
	address string
}

// startInit writes a Caddyfile by `gatefold init`, which validate accepts without a
// warning, and runs it. Pairs are changes: old and new.
func startInit(t *testing.T, kind, origin string, pairs ...string) *initSite {
	t.Helper()
	ports := keystest.FreePorts(t, 2)
	g := &gate{t: t, dir: t.TempDir(), admin: "127.0.0.1:" + ports[0]}
	s := &initSite{gate: g, address: "http://127.0.0.1:" + ports[1]}
	g.config = filepath.Join(g.dir, "Caddyfile")
	environment := append(g.environment(), "CADDY_ADMIN="+g.admin)
	gatefold := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env, cmd.Dir = environment, g.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
		return string(out)
	}
	gatefold("init", "--yes", "--host", strings.TrimPrefix(s.address, "http://"), "--kind", kind, "--origin", origin, "--paid", "/articles/{publisherContentId},/account", "-o", g.config)
	written, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, g.dir, "Caddyfile", strings.NewReplacer(pairs...).Replace(string(written)))
	if said := gatefold("validate", "--config", g.config); strings.Contains(said, "WARNING") || !strings.Contains(said, "pass a gate, 0 pass none.") {
		t.Errorf("validate says\n%s", said)
	}
	g.process = run(t, g.dir, environment, binary, "run", "--config", g.config)
	g.process.waitFor(t, "the commands work", func() error {
		_, err := g.command("status")
		return err
	})
	return s
}

// get sends a GET as a client without a cookie jar, and follows no redirect.
func (s *initSite) get(address string, headers ...string) (int, string, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(body), response.Header.Get("Location")
}

// What init writes gates a real origin of each kind: paid pages are closed to strangers, a
// reader with a grant and the bearer of a link read them, and other pages are open.
func TestInitGatesEachKind(t *testing.T) {
	node, python, fpm := startNode(t), startPython(t), startFPM(t)
	upstream := func(o origin) string { return strings.TrimPrefix(o.handler, "reverse_proxy ") }
	phpFolder, socket, _ := strings.Cut(strings.TrimPrefix(fpm[0].handler, "root "), "\n\tphp_fastcgi ")
	files := pages(t)
	for _, site := range []struct{ kind, origin string }{
		{"express", upstream(node[0])},
		{"django", upstream(python[0])},
		{"other", upstream(startGo(t)[0])},
		{"php", phpFolder + " " + socket},
		{"wordpress", phpFolder + " " + socket},
		{"static", files},
	} {
		t.Run(site.kind, func(t *testing.T) {
			s := startInit(t, site.kind, site.origin)
			slash := "" // of pages that are folders
			if site.kind == "static" {
				slash = "/"
			}
			if status, body, _ := s.get(s.address + "/"); status != http.StatusOK || !strings.Contains(body, "PUBLIC-PAGE") {
				t.Errorf("the front page is %d %s", status, body)
			}
			article := s.address + "/articles/hello" + slash
			for _, closed := range []string{article, s.address + "/account" + slash, s.address + "/ARTICLES/hello" + slash} {
				status, body, _ := s.get(closed)
				var problem struct{ Code string }
				if err := json.Unmarshal([]byte(body), &problem); status != http.StatusUnauthorized || problem.Code != "login_required" || strings.Contains(body, "SECRET") {
					t.Errorf("%s is open to strangers: %d %s %v", closed, status, body, err)
				}
			}
			secret := "SECRET-ARTICLE:hello;"
			link := s.must("link", "create", article, "--max-uses", "1")
			if status, body, _ := s.get(link); status != http.StatusOK || !strings.Contains(body, secret) {
				t.Errorf("the link gives %d %s", status, body)
			}
			if status, body, _ := s.get(link, "User-Agent: another device"); status != http.StatusForbidden || strings.Contains(body, secret) {
				t.Errorf("the link gives once more %d %s", status, body)
			}
			if status, body, _ := s.get(article, s.reader("user-premium", "premium")); status != http.StatusOK || !strings.Contains(body, secret) {
				t.Errorf("the subscriber gets %d %s", status, body)
			}
			if status, body, _ := s.get(article, s.reader("user-hello", "hello")); status != http.StatusOK || !strings.Contains(body, secret) {
				t.Errorf("the buyer gets %d %s", status, body)
			}
		})
	}
}

// With WordPress a query selects another page, whatever the path. The Caddyfile of init
// drops it, except where a file or the back office takes it.
func TestInitForWordPressDropsQueries(t *testing.T) {
	fpm := startFPM(t)
	folder, socket, _ := strings.Cut(strings.TrimPrefix(fpm[0].handler, "root "), "\n\tphp_fastcgi ")
	for name, text := range map[string]string{
		"wp-login.php": "<?php echo 'LOGIN ' . $_SERVER['QUERY_STRING'];", "wp-admin/post.php": "<?php echo 'ADMIN ' . $_SERVER['QUERY_STRING'];",
		"wp-blog-header.php": "<?php echo 'SECRET ' . $_SERVER['QUERY_STRING'];", "wp-content/style.css": "body {}",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, folder, name, text)
	}
	s := startInit(t, "wordpress", folder+" "+socket)
	for target, want := range map[string]string{
		"/article?article_id=hello":            "302 /article",
		"/?p=5":                                "302 /",
		"/index.php?p=5":                       "302 /index.php",
		"/about/?rest_route=/wp/v2/posts":      "302 /about/",
		"/wp-blog-header.php?p=5":              "302 /wp-blog-header.php",
		"/wp-admin/none.php?p=5":               "302 /wp-admin/none.php",
		"/wp-content/none.css?p=5":             "302 /wp-content/none.css",
		"/articles/hello?token=ey.a&p=5":       "302 /articles/hello?token=ey.a",
		"/articles/hello?utm_source=a&token=b": "302 /articles/hello?token=b",
		"/wp-login.php?action=lostpassword":    "200 LOGIN action=lostpassword",
		"/wp-admin/post.php?post=5":            "200 ADMIN post=5",
		"/wp-content/style.css?ver=6":          "200 body {}",
		"/xmlrpc.php":                          "403 ",
		"/wp-json/wp/v2/posts":                 "401 ",
	} {
		status, body, location := s.get(s.address + target)
		got := fmt.Sprintf("%d %s", status, body)
		if status == http.StatusFound {
			got = fmt.Sprintf("%d %s", status, strings.TrimPrefix(location, s.address))
		}
		if !strings.HasPrefix(got, want) || strings.Contains(body, "SECRET") {
			t.Errorf("%s gives %q, want %q", target, got, want)
		}
	}
}
