package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// cachingNginx runs Debian's nginx as a cache before an address, set as sites set it: it
// obeys the headers, keeps what has none for five minutes, and its key is the URL.
func cachingNginx(t *testing.T, upstream string) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("%v: run `make test`, or `.ci/nginx <folder>` and put the folder on the path", err)
	}
	dir, port := t.TempDir(), keystest.FreePorts(t, 1)[0]
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off;
master_process off;
pid %s;
error_log stderr crit;
events {}
http {
	access_log off;
	%s
	proxy_cache_path %s keys_zone=pages:1m;
	server {
		listen 127.0.0.1:%s;
		location / {
			proxy_pass http://%s;
			proxy_set_header Host %s;
			proxy_cache pages;
			proxy_cache_key $request_uri;
			proxy_cache_valid any 5m;
			add_header X-Cache $upstream_cache_status always;
		}
	}
}
`, filepath.Join(dir, "pid"), temporary.String(), filepath.Join(dir, "cache"), port, upstream, upstream)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said := new(keystest.Log)
	process := exec.Command(program, "-e", "stderr", "-p", dir, "-c", config)
	process.Stderr = said
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	address := "http://127.0.0.1:" + port
	for end := time.Now().Add(deadline); !answersOK(address + "/ready"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("nginx does not answer: %s", said)
		}
	}
	return address
}

// The site tells caches to keep everything, by its origin and by a directive, and nginx
// before it caches. One reader's page and the 401 of another came out of the cache for
// all others.
func TestSharedCacheKeepsNoGatedPage(t *testing.T) {
	s := newServer(t)
	ports := keystest.FreePorts(t, 2)
	s.writeConfig(withoutTokens + fmt.Sprintf(`{
	admin %s
	auto_https off
	gatefold {
		store bolt %s
	}
}

http://127.0.0.1:%s {
	header {
		-Server
		-Vary
		Cache-Control "public, max-age=300"
		X-Accel-Expires 300
		Surrogate-Control "max-age=300"
		Expires "Thu, 01 Dec 2044 16:00:00 GMT"
	}
	gatefold {
		identify jwt {
			issuer self
		}
		rule /account authenticated
		rule / any
		deny {
			errors
		}
	}
	reverse_proxy 127.0.0.1:%s
	handle_errors {
		header X-Accel-Expires 300
		header Cache-Control "public, max-age=300"
		respond "denied"
	}
}

http://127.0.0.1:%s {
	header {
		X-Accel-Expires 300
		Cache-Control "public, max-age=300"
	}
	respond "the page {http.request.uri} of {http.request.header.X-Name}"
}
`, s.admin, s.database(), ports[0], ports[1], ports[1]))
	s.site = "http://127.0.0.1:" + ports[0]
	s.start()
	cache := cachingNginx(t, "127.0.0.1:"+ports[0])
	bearer := "Bearer " + strings.TrimSpace(s.must("token", "reader", "--user", "alice"))

	// The cache works: a public page comes from it.
	s.get(cache + "/public")
	if got := s.get(cache + "/public"); got.Header.Get("X-Cache") != "HIT" {
		t.Fatalf("nginx does not cache: %d %v", got.StatusCode, got.Header)
	}
	for range 2 {
		if got := s.get(cache+"/account/1", "Authorization", bearer, "X-Name", "alice"); got.StatusCode != http.StatusOK || got.body != "the page /account/1 of alice" {
			t.Errorf("alice: %d %s", got.StatusCode, got.body)
		}
		if got := s.get(cache + "/account/1"); got.StatusCode != http.StatusUnauthorized || strings.Contains(got.body, "alice") {
			t.Errorf("a stranger: %d %s", got.StatusCode, got.body)
		}
		if got := s.get(cache + "/account/2"); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("a stranger: %d %s", got.StatusCode, got.body)
		}
		if got := s.get(cache+"/account/2", "Authorization", bearer, "X-Name", "alice"); got.StatusCode != http.StatusOK {
			t.Errorf("alice after a stranger: %d %s", got.StatusCode, got.body)
		}
	}
}
