package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/paywall"
	"github.com/gatefold/gatefold/policy/store"
)

// logForReaders has a paywall, a teaser and a page cache that do not work.
func logForReaders(t *testing.T) {
	rules := identifyReaders + "rule /articles/{id} entitled premium {\n teaser cut\n}\nrule / any\n"
	s := newTestSiteWith(t, "", rules+"deny {\n paywall none\n}\n", "")
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no HTML") })
	s.get("/articles/1", "Accept", browserAccept)

	s.load(s.siteOf("\tgatefold_cache\n\trespond page"))
	s.get("/")
}

// logLogins has an identity provider that does not answer.
func logLogins(t *testing.T) {
	login := newLoginSite(t, "")
	_, release := login.provider.hang("/.well-known/openid-configuration")
	release()
	login.browser().open("/.gatefold/login")
}

// logUnreadPaywalls has a store that is away when a denial needs its paywall.
func logUnreadPaywalls(t *testing.T) {
	s := newRedisSite(t, "")
	gated := identifyReaders + "rule /a entitled a {\n paywall read\n}\nrule /b entitled b {\n paywall unread\n}\nrule / any"
	s.load(fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tlog {\n\t\toutput test\n\t\tlevel INFO\n\t}\n\tgatefold {\n\t\tstore redis %s\n\t\tsecret {env.GATEFOLD_TEST_SECRET}\n\t}\n}\n\nhttp://127.0.0.1:%s {\n\tgatefold {\n%s\n\t}\n\treverse_proxy %s\n}\n",
		s.redis.URL(), s.port, gated, strings.TrimPrefix(s.origin.URL, "http://")))
	writer := s.running().Store.As(store.Actor{Name: "desk", Operation: "test"})
	if _, _, err := writer.PutPaywall(t.Context(), defaultVendor, paywall.Paywall{ID: "read", Name: "Read", Status: paywall.StatusActive}, nil); err != nil {
		t.Fatal(err)
	}
	s.get("/a", "Accept", browserAccept)
	s.redis.Kill()
	clock.Advance(2 * paywallFresh)
	for _, path := range []string{"/a", "/b"} {
		s.get(path, "Accept", browserAccept)
	}
}
