package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/readerkey"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const feedRules = `
		identify jwt {
			issuer self
			cookie reader
		}
		rule /podcasts/{publisherContentId} entitled premium {publisherContentId} {
			content_space podcasts
		}
		rule /articles/{publisherContentId} entitled premium {publisherContentId}
		rule /account authenticated
		rule / any
`

var episode = strings.Repeat("0123456789", 1000)

// podcast is an origin that writes the enclosures of a feed by the reader's base URL.
func podcast(w http.ResponseWriter, r *http.Request) {
	switch base := r.Header.Get(readerBaseHeader); r.URL.Path {
	case "/podcasts/daily/feed.xml":
		w.Header().Set("Content-Type", "application/rss+xml")
		fmt.Fprintf(w, `<rss version="2.0"><channel><title>Daily</title><item><title>One</title><enclosure url="%s/podcasts/daily/1.mp3" length="%d" type="audio/mpeg"/></item>`+
			`<item><title>Two</title><enclosure url="%s/podcasts/daily/2.mp3" length="%d" type="audio/mpeg"/></item></channel></rss>`, base, len(episode), base, len(episode))
	case "/podcasts/daily/old.xml":
		http.Redirect(w, r, "/podcasts/daily/feed.xml", http.StatusMovedPermanently)
	default:
		http.ServeContent(w, r, "x.mp3", time.Unix(1e9, 0), strings.NewReader(episode))
	}
}

type rss struct {
	Enclosures []struct {
		URL string `xml:"url,attr"`
	} `xml:"channel>item>enclosure"`
}

// A subscriber puts the URL of their feed into a podcast app, which has no cookies and asks for
// the feed every hour, and for parts of its enclosures. The feed opens as long as the
// subscription lasts, and again when it is renewed, by the same URL; and nothing else of theirs.
func TestFeed(t *testing.T) {
	s := newKeySite(t, feedRules)
	keepClock(t)
	s.origin.Handle(podcast)
	s.backend(policy.SessionAssertion)
	grant := s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	make := func() (feed admin.FeedLink) {
		s.call(http.MethodPost, "/management/feeds", fmt.Sprintf(`{"userId": "ann", "contentSpace": "podcasts", "url": %q}`, s.site+"/podcasts/daily/feed.xml"), http.StatusCreated, &feed)
		return feed
	}
	feed := make()
	if !strings.HasPrefix(feed.URL, s.site+"/.gatefold/l/gff_") || make() != feed {
		t.Fatalf("the feed is %+v", feed)
	}
	read := func(got answer) (enclosures []string) {
		t.Helper()
		var found rss
		if err := xml.Unmarshal([]byte(got.body), &found); got.StatusCode != http.StatusOK || err != nil {
			t.Fatalf("%d %s, %v", got.StatusCode, got.body, err)
		}
		for _, one := range found.Enclosures {
			enclosures = append(enclosures, one.URL)
		}
		return enclosures
	}
	app := []string{"User-Agent", "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)", "Gatefold-Reader-Base", "https://evil.example"}
	for range 5 {
		got := s.get(feed.URL, app...)
		for _, enclosure := range read(got) {
			if !strings.HasPrefix(enclosure, s.site+"/.gatefold/l/"+feed.Password+"/podcasts/daily/") {
				t.Fatalf("the enclosure is %s", enclosure)
			}
			part := s.get(enclosure, append(app, "Range", "bytes=10-19")...)
			if part.StatusCode != http.StatusPartialContent || part.body != "0123456789" || part.Header.Get("Content-Range") != "bytes 10-19/10000" {
				t.Fatalf("the part is %d %s, %v", part.StatusCode, part.body, part.Header)
			}
			if head := s.do(http.MethodHead, enclosure, app...); head.StatusCode != http.StatusOK || head.ContentLength != int64(len(episode)) {
				t.Errorf("HEAD is %d, %v", head.StatusCode, head.Header)
			}
		}
		if !strings.Contains(got.Header.Get("Cache-Control"), "private") || got.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("the header is %v", got.Header)
		}
		clock.Advance(200 * 24 * time.Hour) // 366 days do not end it
	}
	if origin := s.origin.Last(t); strings.Contains(origin.RequestURI, "gff_") || origin.Header.Get(sessionHeader) == "" {
		t.Errorf("the origin sees %s, %v", origin.RequestURI, origin.Header)
	}
	if to := s.get(s.site+"/.gatefold/l/"+feed.Password+"/podcasts/daily/old.xml", app...).Header.Get("Location"); to != "/.gatefold/l/"+feed.Password+"/podcasts/daily/feed.xml" {
		t.Errorf("a redirect of the origin leads to %s", to)
	}
	// A program that asks for a password gets the same by the plain URL.
	enclosures := read(s.get("/podcasts/daily/feed.xml", "Authorization", basic("ann", feed.Password)))
	if len(enclosures) != 2 || !strings.Contains(enclosures[0], feed.Password) {
		t.Errorf("by Basic credentials the enclosures are %v", enclosures)
	}
	// A browser that opens the URL sees the feed, and is not sent to a clean URL that it cannot open.
	read(s.get(feed.URL, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"))
	// The URL was posted in a forum: it opens this space, by GET and HEAD, and names no one elsewhere.
	base := "/.gatefold/l/" + feed.Password
	for _, path := range []string{"/articles/hello", "/account"} {
		s.get(base+path).denied(http.StatusUnauthorized, "bad_credential")
	}
	s.do(http.MethodPost, base+"/podcasts/daily/1.mp3").denied(http.StatusUnauthorized, "bad_credential")
	s.get(base + "/index.html")
	if origin := s.origin.Last(t).Header; origin.Get(sessionHeader) != "" || origin.Get(readerBaseHeader) != "" {
		t.Errorf("of a public page the origin gets %v", origin)
	}
	for _, path := range []string{"/.gatefold/l/gff_x/podcasts/daily/1.mp3", base[:len(base)-2] + "xx/podcasts/daily/1.mp3"} {
		s.get(path).denied(http.StatusUnauthorized, "bad_credential")
	}
	s.rawPath("/%2Egatefold/l/"+feed.Password+"/podcasts/daily/1.mp3").denied(http.StatusBadRequest, "bad_path")
	if explained := s.explain(admin.ExplainRequest{URL: base + "/podcasts/daily/feed.xml"}); explained.Reader.UserID != "ann" || explained.Reader.Source != readerkey.KindFeed || explained.Decision.Reason != "entitled" {
		t.Errorf("explain says %+v", explained)
	}
	// The subscription ends, and is renewed.
	if err := s.running().Store.As(store.Actor{}).DeleteGrant(t.Context(), defaultVendor, store.DefaultList, grant.ID, nil); err != nil {
		t.Fatal(err)
	}
	s.get(feed.URL, app...).denied(http.StatusForbidden, "not_entitled")
	s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	read(s.get(feed.URL, app...))
	// Support revokes it: the URL is dead on the next request, and a new one is another.
	var list []admin.Feed
	s.call(http.MethodGet, "/management/feeds?userId=ann", "", http.StatusOK, &list)
	if len(list) != 1 || list[0] != feed.Feed {
		t.Fatalf("the feeds are %+v", list)
	}
	s.call(http.MethodDelete, "/management/feeds/"+feed.ID, "", http.StatusNoContent, nil)
	s.get(feed.URL, app...).denied(http.StatusUnauthorized, "bad_credential")
	if again := make(); again.URL == feed.URL {
		t.Error("a revoked feed is made again with its old URL")
	} else {
		read(s.get(again.URL, app...))
	}
	var ended admin.SessionsEnded
	if s.call(http.MethodPost, "/management/feeds/end", `{"userId": "ann"}`, http.StatusOK, &ended); ended.Ended != 1 {
		t.Errorf("%d feeds were revoked", ended.Ended)
	}
	for line := range strings.Lines(logged.String()) {
		if strings.Contains(line, policy.PrefixFeed) && !strings.Contains(line, `"logger":"http.log.`) {
			t.Errorf("a key is in the log: %s", line)
		}
	}
}

// The feeds of all subscribers are made in one stream; a wrong line is named, and nothing is made.
func TestFeedStream(t *testing.T) {
	s := newKeySite(t, feedRules)
	s.origin.Handle(podcast)
	s.grant(store.Grant{UserID: "reader-700", SKU: "premium"})
	var lines strings.Builder
	for i := range 701 {
		fmt.Fprintf(&lines, `{"userId": "reader-%d", "contentSpace": "podcasts", "url": "%s/podcasts/daily/feed.xml"}`+"\n", i, s.site)
	}
	got := s.call(http.MethodPost, "/management/feeds/batch", lines.String()+`{"userId": "x", "contentSpace": "Podcasts", "url": "/feed"}`, http.StatusUnprocessableEntity, nil)
	if !strings.Contains(got.body, "body.line[702].contentSpace") {
		t.Errorf("the problem is %s", got.body)
	}
	var list []admin.Feed
	if s.call(http.MethodGet, "/management/feeds?userId=reader-1", "", http.StatusOK, &list); len(list) != 0 {
		t.Errorf("feeds were made: %v", list)
	}
	first := s.call(http.MethodPost, "/management/feeds/batch", lines.String(), http.StatusOK, nil).body
	if again := s.call(http.MethodPost, "/management/feeds/batch", lines.String(), http.StatusOK, nil).body; again != first {
		t.Error("repeated, the call returns other feeds")
	}
	var last admin.FeedLink
	all := strings.Split(strings.TrimSpace(first), "\n")
	if err := json.Unmarshal([]byte(all[len(all)-1]), &last); err != nil || len(all) != 701 || last.UserID != "reader-700" {
		t.Fatalf("%d feeds, the last %+v, %v", len(all), last, err)
	}
	if got := s.get(last.URL); got.StatusCode != http.StatusOK {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// A podcast app asks for the password of a feed only when it is challenged. Browsers are not,
// nor are other pages.
func TestFeedChallenge(t *testing.T) {
	s := newKeySite(t, feedRules)
	challenges := func(path string, headers ...string) string {
		return strings.Join(s.get(path, headers...).Header.Values("WWW-Authenticate"), "; ")
	}
	if got := challenges("/podcasts/daily/feed.xml"); !strings.Contains(got, `Basic realm="`) || !strings.Contains(got, "Bearer") {
		t.Errorf("an app is challenged by %s", got)
	}
	for name, got := range map[string]string{
		"a script of a page": challenges("/podcasts/daily/feed.xml", "Sec-Fetch-Mode", "cors"),
		"a browser":          challenges("/podcasts/daily/feed.xml", "Accept", browserAccept),
		"another page":       challenges("/articles/hello"),
	} {
		if strings.Contains(got, "Basic") {
			t.Errorf("%s is challenged by %s", name, got)
		}
	}
}

// A feed has a free page, whose origin says that all may keep it. A subscriber whose
// subscription ended asks for it with their password: the page has their key in it, so no CDN
// may keep it for the next listener.
func TestFreePageOfAFeedIsPrivate(t *testing.T) {
	s := newKeySite(t, strings.Replace(feedRules, "content_space podcasts", "content_space podcasts\n\t\t\tany", 1))
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=600")
		podcast(w, r)
	})
	var feed admin.FeedLink
	s.call(http.MethodPost, "/management/feeds", `{"userId": "ann", "contentSpace": "podcasts", "url": "`+s.site+`/podcasts/daily/feed.xml"}`, http.StatusCreated, &feed)
	if got := s.get("/podcasts/daily/feed.xml"); got.StatusCode != http.StatusOK || !strings.HasPrefix(got.Header.Get("Cache-Control"), "public") {
		t.Fatalf("a stranger gets %d %v", got.StatusCode, got.Header)
	}
	got := s.get("/podcasts/daily/feed.xml", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann:"+feed.Password)))
	if !strings.Contains(got.body, feed.Password) || !strings.Contains(got.Header.Get("Cache-Control"), "private") || strings.Contains(got.Header.Get("Cache-Control"), "public") {
		t.Errorf("%d %v %s", got.StatusCode, got.Header, got.body)
	}
}

// The holder of the URL of a feed may read by it, and open no WebSocket.
func TestFeedOpensNoWebSocket(t *testing.T) {
	s := newKeySite(t, feedRules)
	s.origin.Handle(podcast)
	s.grant(store.Grant{UserID: "ann", SKU: "premium"})
	var feed admin.FeedLink
	s.call(http.MethodPost, "/management/feeds", `{"userId": "ann", "contentSpace": "podcasts", "url": "`+s.site+`/podcasts/daily/feed.xml"}`, http.StatusCreated, &feed)
	if got := s.get(feed.URL); got.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if got := s.get(feed.URL, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("an upgrade is %d %s", got.StatusCode, got.body)
	}
}
