package upstreamtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// withTestHosts lets a browser find the hosts of the domain test on this machine: those are of
// other sites than localhost.
func withTestHosts() chromedp.ExecAllocatorOption {
	return chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1")
}

// thirdParties lets a browser block the cookies of third parties or not, as its settings do.
func thirdParties(t *testing.T, block bool) chromedp.ExecAllocatorOption {
	t.Helper()
	mode := 0
	if block {
		mode = 1
	}
	profile := folder(t)
	write(t, profile, "Default/Preferences", fmt.Sprintf(`{"profile": {"cookie_controls_mode": %d, "block_third_party_cookies": %v}}`, mode, block))
	return chromedp.UserDataDir(profile)
}

// sendsThirdPartyCookies reports whether the browser sends a cookie of another site in a frame of
// a page. It fails the test if it does not even send it to a page of that site itself.
func (b *browser) sendsThirdPartyCookies(page string) bool {
	b.t.Helper()
	var requests, cookies atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		if _, err := r.Cookie("seen"); err == nil {
			cookies.Add(1)
		}
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1", Path: "/", MaxAge: 3600, Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode})
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<title>another site</title>"))
		requests.Add(1)
	}))
	b.t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	other := "https://ads.other.test:" + address.Port() + "/"
	for range 2 {
		b.open(other)
	}
	if requests.Load() != 2 || cookies.Load() != 1 {
		b.t.Fatalf("of %d requests for a page of the other site %d have its cookie", requests.Load(), cookies.Load())
	}
	b.open(page)
	b.evaluate(`(() => { const frame = document.createElement("iframe"); frame.src = "` + other + `"; document.body.append(frame); return "added" })()`)
	for end := time.Now().Add(deadline / 2); requests.Load() < 3; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatal("the frame is not loaded")
		}
	}
	return cookies.Load() > 1
}
