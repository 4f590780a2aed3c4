package upstreamtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// secret sends a protected page, which names itself in the body, in a header and in
// a cookie.
func secret(w http.ResponseWriter, page string) {
	w.Header().Set("X-Origin-Page", "SECRET-HEADER")
	http.SetCookie(w, &http.Cookie{Name: "page", Value: "SECRET-COOKIE"})
	fmt.Fprint(w, page)
}

func article(name string) string { return "SECRET-ARTICLE:" + url.PathEscape(name) + ";" }

// startGo starts a server with the patterns of Go's own mux.
func startGo(t *testing.T) []origin {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, frontPage) })
	mux.HandleFunc("/articles/{name}", func(w http.ResponseWriter, r *http.Request) { secret(w, article(r.PathValue("name"))) })
	mux.HandleFunc("GET /article", func(w http.ResponseWriter, r *http.Request) {
		if name := r.URL.Query().Get("article_id"); name != "" {
			secret(w, article(name))
			return
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("/account", func(w http.ResponseWriter, _ *http.Request) { secret(w, accountPage) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return []origin{proxied("Go", server.URL[strings.LastIndex(server.URL, ":")+1:], 100)}
}

// pages is a folder with the site as files.
func pages(t *testing.T) string {
	t.Helper()
	dir := folder(t)
	write(t, dir, "index.html", frontPage)
	write(t, dir, "account/index.html", accountPage)
	write(t, dir, "static/style.css", "body {}\n")
	for _, name := range []string{"hello", "other"} {
		write(t, dir, "articles/"+name+"/index.html", fmt.Sprintf(articlePage, name))
	}
	return dir
}

// startFiles is Caddy's own file server, behind the gate in the same site block.
func startFiles(t *testing.T) []origin {
	t.Helper()
	return []origin{{
		name:    "Caddy's files",
		handler: "root " + pages(t) + "\n\ttry_files {path} {path}/index.html\n\tfile_server",
		static:  true, least: 70,
	}}
}

// nginxConfig is what every configuration of nginx here begins with. It contains the
// defaults of Debian's configuration that concern paths.
func nginxConfig(dir, server string) string {
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "\t%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	return fmt.Sprintf("daemon off;\nmaster_process off;\npid %s;\nerror_log stderr crit;\nevents {}\nhttp {\n\taccess_log off;\n\ttypes { text/html html; text/css css; }\n%s%s}\n",
		filepath.Join(dir, "pid"), temporary.String(), server)
}

func runNginx(t *testing.T, port, server string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("%v: run `make test`, or `.ci/nginx <folder>` and put the folder on the path", err)
	}
	dir := folder(t)
	config := write(t, dir, "nginx.conf", nginxConfig(dir, server))
	run(t, dir, nil, program, "-e", "stderr", "-p", dir, "-c", config).waitForPort(t, "tcp", "127.0.0.1:"+port)
}

// startNginx starts nginx with static files, a location that tells no case apart,
// and an alias.
func startNginx(t *testing.T) []origin {
	t.Helper()
	files, port := pages(t), keystest.FreePort(t)
	runNginx(t, port, fmt.Sprintf(`	server {
		listen 127.0.0.1:%s;
		root %s;
		location / { try_files $uri $uri/ =404; }
		location ~* ^/account/?$ { default_type text/html; add_header X-Origin-Page SECRET-HEADER; return 200 "%s"; }
		location /assets/ { alias %s/static/; }
	}
`, port, files, strings.TrimSpace(accountPage)+"\n", files))
	nginx := proxied("nginx", port, 70)
	nginx.static = true
	return []origin{nginx}
}

// apacheConfig is Debian's configuration as far as it concerns paths, with the
// modules that a2enmod has enabled for a site with PHP.
func apacheConfig(t *testing.T, dir, port, site string) string {
	t.Helper()
	var config strings.Builder
	modules := filepath.Dir(debian(t, "usr/lib/apache2/modules/mod_mpm_event.so"))
	for _, name := range []string{
		"mpm_event", "authz_core", "authz_host", "alias", "dir", "env", "headers", "mime", "negotiation", "proxy", "proxy_fcgi", "rewrite", "setenvif",
	} {
		fmt.Fprintf(&config, "LoadModule %s_module %s/mod_%s.so\n", name, modules, name)
	}
	types := write(t, dir, "mime.types", "text/html html\ntext/css css\n")
	fmt.Fprintf(&config, `ServerRoot %s
PidFile %s/pid
ServerName news.example.com
Listen 127.0.0.1:%s
ErrorLog /dev/stderr
LogLevel crit
User www-data
Group www-data
KeepAlive On
MaxKeepAliveRequests 0
DefaultRuntimeDir %s
Mutex file:%s default
TypesConfig %s
DirectoryIndex index.html index.php
%s`, dir, dir, port, dir, dir, types, site)
	return write(t, dir, "apache2.conf", config.String())
}

func runApache(t *testing.T, port, site string) {
	t.Helper()
	dir := folder(t)
	config := apacheConfig(t, dir, port, site)
	run(t, dir, withDebian(t), debian(t, "usr/sbin/apache2"), "-DFOREGROUND", "-f", config).waitForPort(t, "tcp", "127.0.0.1:"+port)
}

// startApache starts Apache with static files and MultiViews.
func startApache(t *testing.T) []origin {
	t.Helper()
	files, port := pages(t), keystest.FreePort(t)
	runApache(t, port, fmt.Sprintf(`DocumentRoot %[1]s
<Directory %[1]s>
	Options FollowSymLinks MultiViews
	Require all granted
</Directory>
Alias /assets/ %[1]s/static/
`, files))
	apache := proxied("Apache", port, 10)
	apache.static = true
	return []origin{apache}
}
