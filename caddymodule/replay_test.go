package caddymodule

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// step is a request of a recorded sequence, and what is expected of it.
type step struct {
	method string // GET if empty
	// clean is set for the URL without the token; keeps sends the cookies of the steps before.
	clean, keeps bool
	headers      []string
	status       int
	uses         int64 // counted afterwards
}

const (
	chrome    = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	safari    = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
	anyHTML   = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
	coreMedia = "AppleCoreMedia/1.0.0.21F79 (iPhone; U; CPU OS 17_5 like Mac OS X; en_us)"
)

func with(agent string, headers ...string) []string {
	return append([]string{"User-Agent", agent}, headers...)
}

func navigates(agent, site string) []string {
	return with(agent, "Accept", anyHTML, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", site, "Sec-Fetch-User", "?1", "Upgrade-Insecure-Requests", "1")
}

// replays are sequences of requests with their headers, each for a link of two uses.
var replays = map[string][]step{
	// The scanners of a mail service, and the reader who then clicks in their mail.
	"Outlook SafeLinks": {
		{method: http.MethodHead, headers: with(chrome), status: 200},
		{headers: with(chrome, "Accept", anyHTML), status: 303},
		{headers: navigates(chrome, "none"), status: 303},
		{clean: true, headers: navigates(chrome, "none"), status: 403}, // it keeps no cookies
		{headers: navigates(chrome, "cross-site"), status: 303},
		{clean: true, keeps: true, headers: navigates(chrome, "cross-site"), status: 200, uses: 1},
		{clean: true, keeps: true, headers: navigates(chrome, "same-origin"), status: 200, uses: 1},
	},
	"a scanner with an agent of its own": {
		{method: http.MethodHead, headers: with("Barracuda Sentinel (EE)", "Accept", "*/*"), status: 200},
		{headers: with("Mozilla/5.0 (compatible; Barracuda Sentinel (EE))", "Accept", anyHTML, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), status: 303},
	},
	"a mail program that prefetches": {
		{headers: append(navigates(chrome, "none"), "Sec-Purpose", "prefetch"), status: 401},
		{headers: append(navigates(chrome, "none"), "Sec-Purpose", "prefetch;prerender"), status: 401},
		{headers: append(navigates(safari, "none"), "X-Moz", "prefetch"), status: 401},
	},
	"Slack": {
		{headers: with("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "Accept", "*/*", "Range", "bytes=0-32768"), status: 401},
		{headers: with("Slack-ImgProxy (+https://api.slack.com/robots)", "Accept", "*/*"), status: 401},
		{headers: navigates(chrome, "cross-site"), status: 303},
		{clean: true, keeps: true, headers: navigates(chrome, "cross-site"), status: 200, uses: 1},
	},
	"WhatsApp": {
		{headers: with("WhatsApp/2.24.13.77 A", "Accept", "*/*"), status: 401},
		{headers: with("WhatsApp/2.23.20.0", "Range", "bytes=0-"), status: 401},
		{headers: navigates(safari, "none"), status: 303},
		{clean: true, keeps: true, headers: navigates(safari, "none"), status: 200, uses: 1},
	},
	// The sender's phone makes the preview with the agent of two crawlers.
	"iMessage": {
		{headers: with("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0", "Accept", anyHTML), status: 401},
		{headers: navigates(safari, "none"), status: 303},
		{clean: true, keeps: true, headers: navigates(safari, "none"), status: 200, uses: 1},
	},
	"Teams": {
		{headers: with("Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com", "Accept", "*/*"), status: 401},
		{headers: with("Mozilla/5.0 (compatible; MicrosoftPreview/2.0; +https://aka.ms/MicrosoftPreview)", "Accept", anyHTML), status: 401},
	},
	// A long press: the preview is a page that Safari loads without the reader's cookies.
	"Safari's link preview": {
		{headers: with(safari, "Accept", anyHTML, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none"), status: 303},
		{clean: true, headers: with(safari, "Accept", anyHTML, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none"), status: 403},
		{headers: navigates(safari, "none"), status: 303},
		{clean: true, keeps: true, headers: navigates(safari, "none"), status: 200, uses: 1},
	},
	"an in-app browser that drops cookies": {
		{headers: navigates(safari+" [FBAN/FBIOS;FBAV/470.0]", "none"), status: 303},
		{clean: true, headers: navigates(safari+" [FBAN/FBIOS;FBAV/470.0]", "none"), status: 403},
		{headers: navigates(safari+" [FBAN/FBIOS;FBAV/470.0]", "none"), status: 303},
	},
	// A service worker passes the click on, with and without navigation preload.
	"Workbox NetworkFirst": {
		{headers: with(chrome, "Accept", anyHTML, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"), status: 303},
		{clean: true, keeps: true, headers: with(chrome, "Accept", anyHTML, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"), status: 200, uses: 1},
	},
	"Workbox with navigation preload": {
		{headers: append(navigates(chrome, "cross-site"), "Service-Worker-Navigation-Preload", "true"), status: 303},
		{headers: with(chrome, "Accept", anyHTML, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"), status: 303},
		{clean: true, keeps: true, headers: append(navigates(chrome, "cross-site"), "Service-Worker-Navigation-Preload", "true"), status: 200, uses: 1},
		{clean: true, keeps: true, headers: with(chrome, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"), status: 200, uses: 1},
	},
	"Apple Podcasts": {
		{method: http.MethodHead, headers: with("Podcasts/1650.20 CFNetwork/1496.0.7 Darwin/23.5.0", "Accept", "*/*"), status: 200},
		{headers: with(coreMedia, "Accept", "*/*", "Range", "bytes=0-1", "X-Playback-Session-Id", "8B1A"), status: 200, uses: 1},
		{headers: with(coreMedia, "Accept", "*/*", "Range", "bytes=0-1048575", "X-Playback-Session-Id", "8B1A"), status: 200, uses: 1},
		{headers: with(coreMedia, "Accept", "*/*", "Range", "bytes=1048576-", "X-Playback-Session-Id", "8B1A"), status: 200, uses: 1},
		{method: http.MethodHead, headers: with(coreMedia), status: 200, uses: 1},
	},
	"Overcast": {
		{method: http.MethodHead, headers: with("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"), status: 200},
		{headers: with("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)", "Accept", "*/*"), status: 200, uses: 1},
		{headers: with("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)", "Accept", "*/*", "Range", "bytes=4096-"), status: 200, uses: 1},
	},
	"Miniflux and SimplePie": {
		{headers: with("Mozilla/5.0 (compatible; Miniflux/2.2.0; +https://miniflux.app)", "Accept", "application/xml, application/atom+xml, application/rss+xml, text/html, */*;q=0.9"), status: 200, uses: 1},
		{headers: with("Mozilla/5.0 (compatible; Miniflux/2.2.0; +https://miniflux.app)", "Accept", "*/*"), status: 200, uses: 1},
		{headers: with("SimplePie/1.8.0 (Feed Parser; http://simplepie.org; Allow like Gecko) Build/1692989122", "Accept", "application/atom+xml, application/rss+xml, application/rdf+xml;q=0.9, application/xml;q=0.8, text/xml;q=0.8, text/html;q=0.7"), status: 200, uses: 2},
	},
	// Nothing distinguishes the first request of an unknown program from that of curl: it is a
	// device, and gets the page at once.
	"programs that do not name themselves": {
		{headers: with("Go-http-client/2.0"), status: 200, uses: 1},
		{headers: with("curl/8.8.0", "Accept", "*/*"), status: 200, uses: 2},
		{headers: with("okhttp/4.12.0"), status: 403, uses: 2},
	},
}

// Each sequence spends what its reader got, and nothing for the machines on the way.
func TestReplays(t *testing.T) {
	s := newTestSite(t, standardRules)
	for name, steps := range replays {
		t.Run(name, func(t *testing.T) {
			link, id := s.link(keys.LinkClaims{MaxUses: 2})
			jar := ""
			for i, step := range steps {
				method, path, headers := step.method, link, step.headers
				if method == "" {
					method = http.MethodGet
				}
				if step.clean {
					path = "/articles/hello"
				}
				if step.keeps {
					headers = append(slices.Clip(headers), "Cookie", jar)
				}
				got := s.do(method, path, headers...)
				if got.StatusCode != step.status {
					t.Errorf("step %d: status %d, want %d: %s", i, got.StatusCode, step.status, got.body)
				}
				if uses := s.uses(id); uses != step.uses {
					t.Errorf("step %d: %d uses, want %d", i, uses, step.uses)
				}
				for _, cookie := range got.Cookies() {
					jar = cookie.Name + "=" + cookie.Value
				}
			}
		})
	}
}

// sharedPage is a page that declares what previews of it show.
const sharedPage = `<html><head><title>Hello</title><meta property="og:description" content="The lead."><meta property="og:url" content="https://elsewhere.example/">` +
	`<meta property="og:image" content="/lead.jpg"></head><body><p>SECRET</p></body></html>`

// The programs that make the previews of chats and social networks spend nothing, however they
// ask, and the reader whom they announce the link to gets the page. They get the card of the
// page, and so does a client that only claims to be one of them: nothing of the article.
func TestPreviewAgentsSpendNothing(t *testing.T) {
	s := newTestSite(t, standardRules)
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" || r.URL.RawQuery != "" {
			t.Errorf("the origin is asked for %s %s", r.URL, r.Header)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, sharedPage)
	})
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	agents := []string{
		"facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "Facebot", "meta-externalfetcher/1.1", "Twitterbot/1.0",
		"Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "Slackbot 1.0 (+https://api.slack.com/robots)", "Slack-ImgProxy (+https://api.slack.com/robots)",
		"WhatsApp/2.24.13.77 A", "TelegramBot (like TwitterBot)", "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
		"LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)", "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
		"Mozilla/5.0 (compatible; MicrosoftPreview/2.0; +https://aka.ms/MicrosoftPreview)", "Mozilla/5.0 (compatible; Pinterestbot/1.0; +http://www.pinterest.com/bot.html)",
		"Mozilla/5.0 (compatible; redditbot/1.0; +http://www.reddit.com/feedback)", "Mastodon/4.2.9 (http.rb/5.2.0; +https://mastodon.social/)", "Mozilla/5.0 (compatible; Cardyb/1.1)",
		"Mozilla/5.0 (compatible; vkShare; +http://vk.com/dev/Share)", "facebookexternalhit/1.1;line-poker/1.0", "facebookexternalhit/1.1; kakaotalk-scrap/1.0; +https://devtalk.kakao.com/",
		"Snap URL Preview Service; bot; snapchat; https://developers.snap.com/robots", "Iframely/1.3.1 (+https://iframely.com/docs/about)", "Mozilla/5.0 (compatible; Embedly/0.2; +http://support.embed.ly/)",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (compatible; Google-PageRenderer Google)", "Mozilla/5.0 GoogleMessages", "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Safari/605.1.15 (Applebot/0.1)",
		"mattermost-bot/1.1", "Rocket.Chat/6.9", "Mozilla/5.0 (compatible; FlipboardProxy/1.2; +http://flipboard.com/browserproxy)",
	}
	for _, agent := range agents {
		for _, headers := range [][]string{{"Accept", "*/*"}, {"Accept", anyHTML}, {"Range", "bytes=0-"}, navigation} {
			got := s.get(link, append(with(agent), headers...)...)
			if got.StatusCode != http.StatusOK || !strings.Contains(got.body, `<meta property="og:title" content="Hello">`) || !strings.Contains(got.body, s.site+"/lead.jpg") {
				t.Errorf("%s: %d %s", agent, got.StatusCode, got.body)
			}
			if strings.Contains(got.body, "SECRET") || strings.Contains(got.body, "elsewhere") || strings.Contains(got.body, "token") || got.Header.Get("Set-Cookie") != "" || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v %s", agent, got.Header, got.body)
			}
		}
	}
	s.wantUses(id, 0, strconv.Itoa(len(agents))+" previews")

	// Without a valid link for the page the name of such a program opens nothing, and no other
	// program gets a card.
	s.origin.Take()
	slack := with("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "Accept", anyHTML)
	expired, _ := s.link(keys.LinkClaims{MaxUses: 1, ExpiresAt: clock.Now().Unix() + 1})
	other, _ := s.link(keys.LinkClaims{MaxUses: 1, URL: s.site + "/articles/other"})
	_, otherToken, _ := strings.Cut(other, "?")
	clock.Advance(time.Minute)
	for _, path := range []string{"/articles/hello", "/articles/hello?token=" + cutLink, expired, "/articles/hello?" + otherToken} {
		if got := s.get(path, slack...); got.StatusCode != http.StatusUnauthorized && got.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
	for _, headers := range [][]string{append(slack, "Sec-Purpose", "prefetch"), {"Sec-Purpose", "prefetch"}, {"Sec-Fetch-Dest", "image"}} {
		if got := s.get(link, headers...); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v: %d", headers, got.StatusCode)
		}
	}
	if got := s.do(http.MethodPost, link, slack...); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("POST: %d", got.StatusCode)
	}
	s.origin.WantNone(t)

	// A page that declares nothing, or that is none, has no card.
	for _, status := range []int{http.StatusOK, http.StatusNotFound, http.StatusInternalServerError, http.StatusFound} {
		s.origin.Fail(status)
		if got := s.get(link, slack...); got.StatusCode != http.StatusUnauthorized || got.Header.Get("Location") != "" {
			t.Errorf("a page with %d: %d", status, got.StatusCode)
		}
	}
	s.origin.Handle(nil)
	s.get("/articles/hello", "Cookie", s.get(link, navigation...).linkCookie()).page()
	s.wantUses(id, 1, "the reader")
}

// A download manager fetches a file in eight parts at once, by the parameter and in the path.
func TestDownloadManagerIsOneUse(t *testing.T) {
	s := newTestSite(t, standardRules)
	link, id := s.link(keys.LinkClaims{MaxUses: 1})
	for _, form := range []string{link, s.inPath(link)} {
		var parts sync.WaitGroup
		for i := range 8 {
			parts.Go(func() {
				s.get(form, with("aria2/1.37.0", "Accept", "*/*", "Range", "bytes="+strconv.Itoa(i<<20)+"-")...).page()
			})
		}
		parts.Wait()
		s.wantUses(id, 1, strings.SplitN(form, "ey", 2)[0])
	}
}
