package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// spellings are ways to write /premium/a, or to reach it from /free: some that real
// servers behind real gates took for the same page, and some that none does.
func spellings() []string {
	separators := []string{
		"/", "//", "///", "/./", "/%2e/", "/%2E/", "%2f", "%2F", "/%2f", "%2f/", "\\", "/\\", "%5c", "%5C", "/%5c/", "/;/", "/.;/", "/;x=1/",
		"/x/../", "/x/%2e%2e/", "/x/.%2e/", "/x/%2e./", "/x/..%2f", "/x/%2e%2e%2f", "/x/..;/", "/x/..;v=1/", "/x/..%3b/", "/x/..%5c", "/x/..\\",
		"%252f", "/x/%252e%252e/", "/x/..%252f", "/x/%252e%252e%252f", "%c0%af", "%e0%80%af", "%ef%bc%8f", "/x/%c0%ae%c0%ae/", "/%00/", "/x/..%00/", "/%20/", "/%09/", "/x/..%20/",
	}
	names := []string{
		"premium", "%70remium", "prem%69um", "premiu%6d", "%70%72%65%6d%69%75%6d", "Premium", "PREMIUM", "premium%2e", "premium.",
		"premium%20", "premium;v=1", "premium%3bv=1", "premium%00", "premium%0a", "%2570remium", "premium%25", "premium%e2%80%8b", "%u0070remium", "prem%2fium", ".premium",
	}
	seen := map[string]bool{}
	var all []string
	add := func(spelling string) {
		if !seen[spelling] {
			seen[spelling] = true
			all = append(all, spelling)
		}
	}
	for _, name := range names {
		for _, separator := range separators {
			lead := ""
			if !strings.HasPrefix(separator, "/") {
				lead = "/"
			}
			add(lead + separator + name + "/a")
			add("/" + name + separator + "a")
			add("/free" + separator + name + "/a")
		}
		for _, end := range []string{"", "/", "/a/", "/a/.", "/a/..", "/a/%2e%2e", "/a?x=/free/", "/a?/../../free", "/a;.css", "/a%00.css", "/a/../a", "/a%2f", "/a%23/free"} {
			add("/" + name + end)
		}
	}
	return all
}

// premiumOrigin answers PREMIUM to requests that it routes to /premium, and FREE to
// all others.
func premiumOrigin(route func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		word := "FREE"
		if place := route(r); place == "/premium" || strings.HasPrefix(place, "/premium/") {
			word = "PREMIUM"
		}
		fmt.Fprint(w, word)
	})
}

// careless routes like the worst server: it decodes repeatedly, and treats as a
// slash, a parameter or an end whatever some server ever did.
func careless(r *http.Request) string {
	place, _, _ := strings.Cut(r.RequestURI, "?")
	for range 4 {
		decoded, err := url.PathUnescape(place)
		if err != nil {
			break
		}
		place = decoded
	}
	place = strings.NewReplacer("\\", "/", "\xc0\xaf", "/", "\xe0\x80\xaf", "/", "\xc0\xae", ".").Replace(place)
	place, _, _ = strings.Cut(place, "\x00")
	segments := strings.Split(place, "/")
	for i, segment := range segments {
		if segment, _, _ = strings.Cut(segment, ";"); strings.Trim(segment, ". ") == "" {
			segment = strings.Trim(segment, " ") // Windows drops blanks at the end
		}
		segments[i] = segment
	}
	return path.Clean("/" + strings.Join(segments, "/"))
}

// nginx runs Debian's nginx as an origin.
func nginx(t *testing.T) string {
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
	server {
		listen 127.0.0.1:%s;
		location = /premium { return 200 PREMIUM; }
		location /premium/ { return 200 PREMIUM; }
		location / { return 200 FREE; }
	}
}
`, filepath.Join(dir, "pid"), temporary.String(), port)
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
	for end := time.Now().Add(deadline); ; time.Sleep(10 * time.Millisecond) {
		if got, err := fetch("http://127.0.0.1:" + port + "/premium/a"); err == nil && got.body == "PREMIUM" {
			return "127.0.0.1:" + port
		}
		if time.Now().After(end) {
			t.Fatalf("nginx does not answer: %s", said)
		}
	}
}

// fileOrigin serves files, as Go does.
func fileOrigin(t *testing.T) http.Handler {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"premium/a", "free/a", "a"} {
		word := "FREE"
		if strings.HasPrefix(name, "premium") {
			word = "PREMIUM"
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(word), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return http.FileServer(http.Dir(dir))
}

// rawGet sends a request target unchanged.
func rawGet(address, target string) (status int, body string, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		return 0, "", err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: news.example\r\nConnection: close\r\n\r\n", target); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// However the address of a premium page is spelled, the gate either reads it like the
// server behind it, or refuses it: no spelling opens the page.
func TestEverySpellingIsJudgedAsTheOriginReadsIt(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/premium/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "PREMIUM") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "FREE") })
	host := func(handler http.Handler) string {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
	origins := []struct {
		name, address string
		least         int // spellings of the corpus that open the page on it without a gate
	}{
		{"Go's mux", host(mux), 50},
		{"Go's files", host(fileOrigin(t)), 50},
		{"nginx", nginx(t), 100},
		{"decoded path", host(premiumOrigin(func(r *http.Request) string { return r.URL.Path })), 30},
		{"careless server", host(premiumOrigin(careless)), 400},
	}
	corpus := spellings()
	if len(corpus) < 500 {
		t.Fatalf("the corpus has only %d spellings", len(corpus))
	}

	s := newServer(t)
	ports := keystest.FreePorts(t, len(origins))
	config := withoutTokens + fmt.Sprintf("{\n\tadmin %s\n\tauto_https off\n\tlog {\n\t\tlevel ERROR\n\t}\n\tgatefold {\n\t\tstore bolt %s\n\t}\n}\n", s.admin, s.database())
	for i, origin := range origins {
		config += fmt.Sprintf("\nhttp://:%s {\n\tbind 127.0.0.1\n\tgatefold {\n\t\trule /premium entitled premium\n\t\trule / any\n\t}\n\treverse_proxy %s\n}\n", ports[i], origin.address)
	}
	s.writeConfig(config)
	s.site = "http://127.0.0.1:" + ports[0]
	s.start()
	for i, origin := range origins {
		t.Run(origin.name, func(t *testing.T) {
			open, statuses := 0, map[int]int{}
			for _, target := range corpus {
				// Without the gate: does this spelling open the page?
				if status, body, err := rawGet(origin.address, target); err == nil && status == http.StatusOK && body == "PREMIUM" {
					open++
				}
				for _, form := range []string{target, "http://news.example" + target} {
					status, body, err := rawGet("127.0.0.1:"+ports[i], form)
					if err != nil {
						t.Errorf("%q: %v", form, err)
						continue
					}
					statuses[status]++
					if strings.Contains(body, "PREMIUM") {
						t.Errorf("%q opens the premium page", form)
					}
				}
			}
			t.Logf("of %d spellings %d open the page without a gate; the gate answers %v", len(corpus), open, statuses)
			if open < origin.least {
				t.Errorf("only %d spellings of the corpus open the page without a gate: they show little", open)
			}
			if statuses[http.StatusUnauthorized] < 20 || statuses[http.StatusBadRequest] < 500 || statuses[http.StatusOK]+statuses[http.StatusNotFound] < 20 {
				t.Errorf("the answers are %v: not all three kinds are there", statuses)
			}
		})
	}
}
