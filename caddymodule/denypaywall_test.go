package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/paywall"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// paywall stores a paywall with a headline.
func (s *testSite) paywall(id, headline string) {
	s.Helper()
	_, _, err := s.running().Store.As(store.Actor{}).PutPaywall(s.Context(), defaultVendor, paywall.Paywall{
		ID: id, Headline: headline, Currency: "SEK", ShowLoginButton: true,
		Settings:       paywall.Settings{DisplayOptions: &paywall.DisplayOptions{EnableGift: true, EnableLoginButton: true}},
		Subscriptions:  []paywall.Subscription{{ID: "a", SKU: "premium", POID: "po-1", Title: "Digital", Price: "99", PeriodText: "month"}},
		SinglePurchase: &paywall.SinglePurchase{Enabled: true},
	}, nil)
	if err != nil {
		s.Fatal(err)
	}
}

const paywallSite = `
	identify jwt {
		issuer self
	}
	rule /articles/{publisherContentId} entitled premium {publisherContentId}
	rule /films/{publisherContentId} {
		entitled films
		paywall films
		paywall gone links
	}
	rule /account authenticated
	rule /public any
	deny {
		login https://id.example.com/login?client=news
		checkout https://pay.example.com/{kind}?sku={sku}&po={po}&wall={paywall}&v={version}&back={next}
		name "The Acme"
		paywall main
		paywall gift links
	}
`

// Each refused reader gets the paywall that is meant for them: that of the rule, of their
// reason, or of the site. It comes in place of the redirect to the login, which it has as
// its first link.
func TestPaywallOfADenial(t *testing.T) {
	s := newTestSite(t, paywallSite)
	s.paywall("main", "Read on with Acme")
	s.paywall("gift", "A gift for you")
	s.paywall("films", "Films are extra")
	for _, test := range []struct {
		name, path, headline, title string
		status                      int
		headers                     []string
	}{
		{"anonymous", "/articles/hello", "Read on with Acme", "Log in to read this page", 401, nil},
		{"another rule", "/films/one", "Films are extra", "Log in to read this page", 401, nil},
		{"no sku", "/articles/hello", "Read on with Acme", "Your subscription does not include this page", 403, []string{"Authorization", "Bearer " + s.reader(keys.ReaderClaims{UserID: "u"})}},
		{"bad link", "/articles/hello?token=" + cutLink, "A gift for you", "This link is not valid", 403, nil},
		{"bad credential", "/account", "Read on with Acme", "Log in again", 401, []string{"Authorization", "Bearer " + expiredReader(s)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.get(test.path, append(test.headers, "Accept", browserAccept)...)
			if got.StatusCode != test.status || !strings.Contains(got.body, test.headline) || !strings.Contains(got.body, test.title) || !strings.Contains(got.body, "The Acme") {
				t.Fatalf("%d %s", got.StatusCode, got.body)
			}
			if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Set-Cookie") != "" || !strings.Contains(got.Header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("the header is %v", got.Header)
			}
			page, _, _ := strings.Cut(test.path, "?")
			if !strings.Contains(got.body, "https://pay.example.com/subscription?sku=premium&amp;po=po-1&amp;wall=") || !strings.Contains(got.body, url.QueryEscape(s.site+page)) {
				t.Errorf("the checkout is not named: %s", got.body)
			}
		})
	}
	// A program gets the problem, and what no offer helps with has the built-in page.
	s.get("/articles/hello").denied(http.StatusUnauthorized, "login_required")
	if got := s.rawPath("//articles/hello"); strings.Contains(got.body, "Read on with Acme") {
		t.Error("a bad address has offers")
	}
	// The paywall that the rule names for links does not exist: the built-in page.
	if got := s.get("/films/one?token="+cutLink, "Accept", browserAccept); !strings.Contains(got.body, "This link is not valid") || strings.Contains(got.body, "extra") || strings.Contains(got.body, "A gift") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	s.origin.WantNone(t)
}

// A change shows at once, and a canceled paywall is none: readers who must log in are
// redirected as without one.
func TestPaywallChanges(t *testing.T) {
	s := newTestSite(t, paywallSite)
	s.paywall("main", "First words")
	get := func() answer { return s.get("/articles/hello", "Accept", browserAccept) }
	if got := get(); !strings.Contains(got.body, "First words") {
		t.Fatal(got.body)
	}
	s.paywall("main", "Second words")
	if got := get(); !strings.Contains(got.body, "Second words") {
		t.Errorf("the change does not show: %s", got.body)
	}
	if _, err := s.running().Store.As(store.Actor{}).UpdatePaywall(t.Context(), defaultVendor, "main", func(p *paywall.Paywall) error {
		p.Status = paywall.StatusCanceled
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := get(); got.StatusCode != http.StatusSeeOther {
		t.Errorf("a canceled paywall: %d", got.StatusCode)
	}
}

// The page speaks the reader's language, with the operator's own words.
func TestPaywallLanguages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "texts.json")
	if err := os.WriteFile(file, []byte(`{"da":{"reasons":{"login_required":["Log ind, kære læser",""]}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTestSite(t, "rule / authenticated\n deny {\n texts "+file+"\n}\n")
	for accept, want := range map[string]string{"sv": "Logga in för att läsa", "da,en;q=0.5": "Log ind, kære læser", "fi": "Log in to read this page"} {
		got := s.get("/x", "Accept", browserAccept, "Accept-Language", accept)
		if !strings.Contains(got.body, want) || !strings.Contains(strings.Join(got.Header.Values("Vary"), ","), "Accept-Language") {
			t.Errorf("%s: %v %s", accept, got.Header.Values("Vary"), got.body)
		}
	}
}

// Every reason that denies has texts in every language.
func TestEveryReasonSpeaks(t *testing.T) {
	for _, reason := range policy.Reasons() {
		if reason.Allows() {
			continue
		}
		for _, tag := range paywall.BuiltIn().Tags() {
			if title, detail, known := paywall.BuiltIn().For([]string{tag}).Reason(reason.String()); !known || title == "" || detail == "" {
				t.Errorf("%s has no texts in %s", reason, tag)
			}
		}
	}
}

func TestPaywallConfiguration(t *testing.T) {
	for config, want := range map[string]string{
		"deny {\n paywall\n}":                                     "wrong argument count",
		"deny {\n paywall a strangers\n}":                         `"strangers" are no readers: write anonymous, not_entitled, links`,
		"deny {\n paywall a\n paywall b\n}":                       "a and b are both for all others",
		"deny {\n paywall a links\n paywall b anonymous links\n}": "a and b are both for links",
		"deny {\n paywall a\n errors\n}":                          "exclude one another",
		"deny {\n home javascript:alert(1)\n}":                    "home",
		"deny {\n texts /nowhere.json\n}":                         "texts",
		"deny {\n checkout https://pay.example/{price}\n}":        "known are {kind}",
		"rule /x {\n entitled a\n paywall a\n paywall b\n}":       "a and b are both for all others",
		"rule /x {\n entitled a\n paywall a strangers\n}":         "are no readers",
	} {
		err := load(newTestSite(t, "rule / any").config("", "rule / any\n"+config, ""))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// A paywall that is changed at another node shows at once, by the change feed: no time passes
// on this node's clock.
func TestPaywallChangesAtAnotherNode(t *testing.T) {
	s := newRedisSite(t, "")
	gated := identifyReaders + "rule /a entitled a {\n paywall main\n}\nrule / any"
	s.load(fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tgatefold {\n\t\tstore redis %s\n\t\tsecret {env.GATEFOLD_TEST_SECRET}\n\t}\n}\n\nhttp://127.0.0.1:%s {\n\tgatefold {\n%s\n\t}\n\treverse_proxy %s\n}\n",
		s.redis.URL(), s.port, gated, strings.TrimPrefix(s.origin.URL, "http://")))
	options, err := redisengine.ParseURLs([]string{s.redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	other := store.New(backend, new(policy.Versions), now).As(store.Actor{})
	for _, headline := range []string{"First words", "Second words"} {
		if _, _, err := other.PutPaywall(t.Context(), defaultVendor, paywall.Paywall{ID: "main", Headline: headline}, nil); err != nil {
			t.Fatal(err)
		}
		s.waitFor(headline, func() bool { return strings.Contains(s.get("/a", "Accept", browserAccept).body, headline) })
	}
}
