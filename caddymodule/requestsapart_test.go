package caddymodule

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// The memory of a request in the gate is that of another one before. Of many at once, allowed,
// denied, from memory and not, each has its own reader, rule, parameters and outcome: in
// placeholders, and in the access log, which is written when the memory may be another's.
func TestRequestsAreApart(t *testing.T) {
	const readers, rounds = 6, 25
	s := newCacheSite(t, nil)
	s.load(s.siteOf("log_append appended {http.gatefold.cache}\nheader {\ndefer\n" +
		"X-Out \"{http.gatefold.decision} {http.gatefold.rule} {http.gatefold.user.id} {http.gatefold.param.name} {http.gatefold.cache}.\"\n}\n" +
		"gatefold {\nidentify jwt {\nissuer self\ncookie reader\n}\nrule /kept/{name}/{round} authenticated {\ncache\n}\nrule /self/{name} self {name}\n" +
		"rule /closed/{name} entitled other\nrule / any {\ncache\n}\n}\ngatefold_cache {\nmemory 8MiB\nmax_size 64KiB\ncache_status\n}\nreverse_proxy " +
		strings.TrimPrefix(s.upstream, "http://")))
	var all sync.WaitGroup
	for i := range readers {
		user := fmt.Sprint("user", i)
		token := "Bearer " + s.token(user)
		all.Go(func() {
			for round := range rounds {
				for path, want := range map[string]string{
					fmt.Sprintf("/kept/%s/%d", user, round/2): "allow /kept/{name}/{round} " + user + " " + user + " ",
					"/self/" + user:                         "allow /self/{name} " + user + " " + user + " ",
					"/self/other" + user:                    "deny /self/{name} " + user + " other" + user + " ",
					"/closed/" + user:                       "deny /closed/{name} " + user + " " + user + " ",
					fmt.Sprintf("/open/%s/%d", user, round): "allow /   ",
				} {
					var headers []string
					if !strings.HasPrefix(path, "/open") {
						headers = []string{"Authorization", token}
					}
					got := s.try(path, headers...)
					if got.err != nil {
						t.Error(got.err)
						return
					}
					cached, ok := strings.CutPrefix(got.header.Get("X-Out"), want)
					if hit := strings.Contains(got.header.Get("Cache-Status"), "; hit"); !ok || hit != strings.HasPrefix(cached, "hit") {
						t.Errorf("%s: %q, want %q; Cache-Status is %q", path, got.header.Get("X-Out"), want, got.header.Get("Cache-Status"))
					}
				}
			}
		})
	}
	all.Wait()
	lines := logged.entries(t, "http.log.access")
	if len(lines) != readers*rounds*5 {
		t.Errorf("%d requests are logged", len(lines))
	}
	for _, line := range lines {
		request, _ := line["request"].(map[string]any)
		outcome, _ := line["gatefold"].(map[string]any)
		uri, _ := request["uri"].(string)
		parts := strings.Split(uri, "/")
		user, _ := outcome["user"].(string)
		cached, _ := outcome["cache"].(string)
		appended, _ := line["appended"].(string)
		kept := parts[1] == "kept" || parts[1] == "open"
		if want := strings.TrimPrefix(parts[2], "other"); (parts[1] == "open") != (user == "") || user != "" && user != want || cached != appended || kept != (cached != "") {
			t.Errorf("%s is logged as %v, appended %q", uri, outcome, appended)
		}
	}
}
