package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

// The memory of a gateRequest is reused. Access log, placeholders and upstream headers
// of concurrent requests never mix, although the log is written last.
func TestConcurrentRequestsDoNotMix(t *testing.T) {
	s := newTestSiteWith(t, "", standardRules, `
		log_append seen_user {http.gatefold.user.id}
		log_append seen_page {http.gatefold.param.publisherContentId}
		log_append seen_reason {http.gatefold.reason}
		header ?X-Seen "{http.gatefold.user.id} {http.gatefold.param.publisherContentId} {http.gatefold.reason}"`)
	const readers, pages = 6, 25
	var all sync.WaitGroup
	for i := range readers {
		user := fmt.Sprintf("reader%d", i)
		s.grant(store.Grant{UserID: user, SKU: "premium"})
		bearer := "Bearer " + s.reader(keys.ReaderClaims{UserID: user})
		all.Go(func() {
			for j := range pages {
				page := fmt.Sprintf("%s-page%d", user, j)
				reason, header := "entitled", http.Header{"Authorization": {bearer}}
				if j%5 == 4 {
					reason, header = "login_required", http.Header{}
				}
				request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.site+"/articles/"+page+"/more", nil)
				if err != nil {
					t.Error(err)
					return
				}
				request.Header = header
				response, err := browser.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				if want := wantFields(user, page, reason); response.Header.Get("X-Seen") != want {
					t.Errorf("%s: the response has %q, want %q", page, response.Header.Get("X-Seen"), want)
				}
			}
		})
	}
	all.Wait()

	count := 0
	s.waitFor("the access log", func() bool {
		entries := logged.entries(t, "http.log.access")
		count = len(entries)
		return count == readers*pages
	})
	for _, entry := range logged.entries(t, "http.log.access") {
		request, _ := entry["request"].(map[string]any)
		uri, _ := request["uri"].(string)
		page := strings.TrimSuffix(strings.TrimPrefix(uri, "/articles/"), "/more")
		user, _, _ := strings.Cut(page, "-")
		gate, _ := entry["gatefold"].(map[string]any)
		reason, _ := gate["reason"].(string)
		seen := fmt.Sprint(entry["seen_user"], " ", entry["seen_page"], " ", entry["seen_reason"])
		if strings.TrimSpace(seen) != wantFields(user, page, reason) || reason == "entitled" && gate["user"] != user {
			t.Fatalf("%s: the log has %v and %v", uri, seen, gate)
		}
	}
}

func wantFields(user, page, reason string) string {
	if reason != "entitled" {
		user = ""
	}
	return strings.TrimSpace(user + " " + page + " " + reason)
}
