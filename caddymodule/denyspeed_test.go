//go:build !race

package caddymodule

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// A refused page, with a paywall of offers and a support code, is answered at least as fast as
// an allowed one goes through the proxy. Both are timed in turns over one connection, so that
// a slow machine slows both; the lower quartiles are compared. The race detector slows templates
// more than sockets.
func TestRefusedPageIsAsFastAsAnAllowedOne(t *testing.T) {
	s := newTestSite(t, paywallSite)
	s.paywall("main", "Read on with Acme")
	_, bearer := s.subscriber()
	page := strings.Repeat("<p>An article of a newspaper.</p>\n", 1000)
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	})
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	ask := func(want int, header, value string) time.Duration {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.site+"/articles/hello", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", browserAccept)
		r.Header.Set(header, value)
		began := time.Now()
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		took := time.Since(began)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != want {
			t.Fatalf("%d, %v, want %d", response.StatusCode, err, want)
		}
		return took
	}
	none := "Bearer " + s.reader(keys.ReaderClaims{UserID: "none"})
	var allowed, refused []time.Duration
	for range 400 {
		allowed = append(allowed, ask(http.StatusOK, "Authorization", bearer))
		refused = append(refused, ask(http.StatusForbidden, "Authorization", none))
	}
	quartile := func(times []time.Duration) time.Duration {
		times = times[len(times)/4:] // the first ones fill caches
		slices.Sort(times)
		return times[len(times)/4]
	}
	through, page403 := quartile(allowed), quartile(refused)
	t.Logf("an allowed page takes %v through the proxy, a refused one %v", through, page403)
	if page403 > through {
		t.Errorf("a refused page takes %v, an allowed one %v", page403, through)
	}
}
