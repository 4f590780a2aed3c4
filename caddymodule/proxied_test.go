//go:build !race

package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	goruntime "runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
)

// TestProxiedRequestAllocates bounds the allocations that the gate adds to a proxied
// request; unlike times they are reproducible. Two are the gate's own, see
// TestCachedRequestAllocates. The rest are caused in Caddy, and in this test's client,
// by these and by the two headers of a private page.
func TestProxiedRequestAllocates(t *testing.T) {
	s := newTestSite(t, standardRules)
	_, bearer := s.subscriber()
	link, _ := s.link(keys.LinkClaims{})
	cookie := s.get(link).page().linkCookie()
	plain := keystest.FreePort(t)
	text := s.config("", standardRules, "") + fmt.Sprintf("\nhttp://127.0.0.1:%s {\n\treverse_proxy %s\n}\n",
		plain, strings.TrimPrefix(s.origin.URL, "http://"))
	s.load(strings.Replace(text, "{\n\tlog\n", "{\n", 1)) // without an access log
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the page") })

	for _, test := range []struct {
		name, path, header string
		most               float64
	}{
		{"public", "/public/x", "Accept: */*", 3},
		{"reader", "/articles/hello", "Authorization: " + bearer, 6},
		{"cookie", "/articles/hello", "Cookie: theme=dark; " + cookie, 6},
	} {
		gated, bare := proxiedAllocs(t, s.site, s.port, test.path, test.header), proxiedAllocs(t, "http://127.0.0.1:"+plain, plain, test.path, test.header)
		// Other goroutines only ever add to either of the two.
		if added := gated - bare; added > test.most+0.5 {
			t.Errorf("%s: the gate adds %.2f allocations to the %.0f of a request, at most %v are needed", test.name, added, bare, test.most)
		}
	}
}

// proxiedAllocs returns the allocations of one request in this process, which runs
// client, proxy and origin.
func proxiedAllocs(t *testing.T, site, port, path, header string) float64 {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(site, "http://") + "\r\n" + header + "\r\n\r\n")
	from := bufio.NewReader(conn)
	ask := func() {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(from, nil)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response, err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	// A collection would empty the pools.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const requests = 300
	least := math.Inf(1)
	for range 4 { // the first is for warming up; what else runs only ever adds
		logged.Reset()
		var before, after goruntime.MemStats
		goruntime.ReadMemStats(&before)
		for range requests {
			ask()
		}
		goruntime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/requests)
	}
	return least
}
