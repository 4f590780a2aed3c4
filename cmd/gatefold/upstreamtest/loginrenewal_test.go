package upstreamtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// sharedStore is the store of a Redis, beside the nodes that use it.
func sharedStore(t *testing.T, url string) store.Writer {
	t.Helper()
	options, err := redisengine.ParseURLs([]string{url})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return store.New(engine, new(policy.Versions), time.Now).As(store.Actor{})
}

// refresh is a refresh token that the provider got, and the status of its answer.
type refresh struct {
	Token  string
	Status int
}

func (p *openIDProvider) refreshes(t *testing.T) (list []refresh) {
	t.Helper()
	if err := json.Unmarshal(p.ask(t, "/refreshes"), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// fetches loads the page of a tab many times at once by script, and returns what differs from
// the article.
func (b *browser) fetches(times int) string {
	b.t.Helper()
	b.evaluate(fmt.Sprintf(`window.fetched = ""; Promise.all(Array.from({length: %d}, () => fetch(location.href).then(async (page) =>
		page.status === 200 && !page.redirected && (await page.text()).includes(%q) ? "" : "status " + page.status + " of " + page.url))).then((all) => {
			window.fetched = "done" + all.join("") });
		"sent"`, times, secretHello))
	var seen string
	for end := time.Now().Add(deadline / 2); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if seen = b.evaluate("window.fetched"); strings.HasPrefix(seen, "done") {
			return strings.TrimPrefix(seen, "done")
		}
	}
	b.t.Fatalf("the page is not loaded: %s", seen)
	return ""
}

// ticketOf returns the value of the session's cookie.
func (b *browser) ticketOf(site string) string {
	b.t.Helper()
	for _, cookie := range b.cookiesOf(site) {
		if strings.HasSuffix(cookie.Name, "-session") {
			return cookie.Value
		}
	}
	b.t.Fatal("the browser has no session")
	return ""
}

// A reader reads on in two tabs while the tokens of their session come near their end, twice. The
// provider, whose refresh tokens count once, gets one request for new tokens each time, with the
// newest refresh token; it would end the grant at the second use of one. The browser notices
// nothing: no page is redirected, and its cookie stays as it is.
//
// No test waits for the quarter of an hour that lies between renewals: the session is written as
// one whose time has come.
func TestRenewalInChromium(t *testing.T) {
	provider, origin, redis := startOpenIDProvider(t), startMagazine(t), redistest.Start(t)
	text := strings.Replace(document(t, "docs/login.md"), "{env.OIDC_SECRET}\n", "{env.OIDC_SECRET}\n\t\t\tscopes openid email offline_access\n", 1)
	r := startSectionAt(t, text, place{"https", "localhost", "redis " + redis.URL() + "\n\t\tsecret {env.STORE_SECRET}"},
		[]string{"OIDC_SECRET=secret", "STORE_SECRET=a secret of the node", "SSL_CERT_FILE=" + provider.roots},
		"https://id.example.com", provider.issuer, "localhost:3000", origin.address)
	provider.serves(t, r.address)
	r.must("grant", "add", "--user", "ann", "--sku", "premium")
	records := sharedStore(t, redis.URL())
	session := func() store.LoginSession {
		t.Helper()
		sessions, err := records.LoginSessionsOf(t.Context(), "default", "ann")
		if err != nil || len(sessions) != 1 {
			t.Fatalf("there are %d sessions, %v", len(sessions), err)
		}
		return sessions[0]
	}

	reader := startBrowser(t)
	article := r.address + "/articles/hello"
	began := time.Now()
	reader.open(article)
	reader.at(provider.issuer+"/interaction/", "Sign-in")
	reader.submit(`{login: "ann", password: "x"}`)
	reader.arrives(provider.issuer, article)
	second := reader.beside()
	second.open(article)
	ticket := reader.ticketOf(r.address)
	tokens := string(session().Tokens)
	stored := tokens
	if after := session().RenewAt.Sub(began).Round(time.Minute); after != 15*time.Minute || tokens == "" {
		t.Fatalf("the tokens, of %d bytes, are renewed after %v", len(tokens), after)
	}
	for renewals := 1; renewals <= 2; renewals++ {
		now := session()
		err := records.RenewLoginSession(t.Context(), "default", now.ID, now.RenewingUntil, func(next *store.LoginSession) {
			next.RenewAt = time.Now().Add(-time.Second).UTC().Truncate(time.Millisecond)
		})
		if err != nil {
			t.Fatal(err)
		}
		r.process.waitFor(t, "the tokens are renewed", func() error {
			for _, tab := range []*browser{reader, second} {
				if differs := tab.fetches(20); differs != "" {
					t.Fatalf("during a renewal a tab gets %s", differs)
				}
			}
			if at := session().RenewAt; at.Before(time.Now()) {
				return errors.New("they were to be renewed at " + at.String())
			}
			return nil
		})
		if renewed := string(session().Tokens); renewed == tokens {
			t.Error("the tokens of the session are the same after a renewal")
		} else {
			tokens = renewed
			stored += renewed
		}
		if differs := reader.fetches(20); differs != "" {
			t.Errorf("after a renewal a tab gets %s", differs)
		}
		used := map[string]bool{}
		for _, one := range provider.refreshes(t) {
			if used[one.Token] || one.Status != 200 || strings.Contains(stored, one.Token) {
				t.Errorf("a refresh token is used again, is not sealed, or is answered %d", one.Status)
			}
			used[one.Token] = true
		}
		if len(used) != renewals {
			t.Errorf("the provider got %d refresh tokens in %d renewals", len(used), renewals)
		}
	}
	for _, tab := range []*browser{reader, second} {
		tab.at(article, secretHello)
		if tab.ticketOf(r.address) != ticket {
			t.Error("the cookie of the session changed")
		}
	}
	if log := r.process.log.String(); strings.Contains(log, `"kind":"renewal"`) {
		t.Errorf("a renewal is logged as a failure:\n%s", log)
	}
}
