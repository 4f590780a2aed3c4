package caddymodule

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/metrics"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const lossRules = `identify jwt {
	issuer self
	cookie reader
}
on_store_loss 12s
rule /deny entitled premium {
	on_store_loss 5s
}
rule /teaser entitled premium {
	teaser cut
	on_store_loss 5s teaser
}
rule /public/{publisherContentId} entitled premium {
	on_store_loss 5s public
}
rule / entitled premium
`

// A Redis dies and comes back. Each rule answers by its on_store_loss: the reader with a
// subscription, the one without, and the one with a gift link. The page that opens is no
// one's in particular, so that no cache keeps it and the origin is told no reader.
func TestStoreLossOfARedis(t *testing.T) {
	s := newRedisSiteWith(t, "stale_for 20s", lossRules, "--appendonly", "yes", "--appendfsync", "always")
	s.origin.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=600")
		_, _ = io.WriteString(w, articlePage)
	})
	name, subscriber := s.subscriber()
	stranger := "Bearer " + s.reader(keys.ReaderClaims{UserID: "stranger"})
	gift, id := s.link(keys.LinkClaims{URL: s.site + "/public/hello", MaxUses: 1})
	gift = strings.TrimPrefix(gift, s.site)
	want := func(when, path, credential string, status int) answer {
		t.Helper()
		got := s.get(path, name, credential, "Accept", browserAccept)
		if got.StatusCode != status {
			t.Errorf("%s: %s is answered %d, want %d", when, path, got.StatusCode, status)
		}
		return got
	}
	for _, path := range []string{"/deny", "/teaser", "/public/hello", "/plain"} {
		want("before", path, subscriber, http.StatusOK)
		want("before", path, stranger, map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[path == "/teaser"])
	}
	s.redis.Kill()
	for _, path := range []string{"/deny", "/teaser", "/public/hello", "/plain"} {
		want("from memory", path, subscriber, http.StatusOK)
	}
	want("from memory", "/public/hello", stranger, http.StatusForbidden)

	answered := openedPages(t)
	clock.Advance(6 * time.Second)
	want("after 6 s", "/deny", subscriber, http.StatusServiceUnavailable)
	want("after 6 s", "/plain", subscriber, http.StatusOK)
	if got := want("after 6 s", "/teaser", subscriber, http.StatusOK); !strings.Contains(got.body, "The lead.") || strings.Contains(got.body, "SECRET") {
		t.Errorf("the teaser is %q", got.body)
	}
	for _, path := range []string{"/public/hello", gift} {
		for _, reader := range []string{subscriber, stranger, ""} {
			got := want("after 6 s", path, reader, http.StatusOK)
			if !strings.Contains(got.body, "SECRET") || strings.Contains(got.Header.Get("Cache-Control"), "public") || len(got.Header["Set-Cookie"]) > 0 {
				t.Errorf("%s: the open page has %v", path, got.Header)
			}
			if request := s.origin.Last(t); request.Header.Get(sessionHeader) != "" || request.URL.Query().Has("token") {
				t.Errorf("%s: the origin gets %v with %v", path, request.URL, request.Header)
			}
		}
	}
	if got := openedPages(t); got != answered+6 {
		t.Errorf("the metric counts %v open pages", got-answered)
	}
	if got := s.doBody(http.MethodPost, "/public/hello", "a comment", name, subscriber); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a POST is answered %d", got.StatusCode)
	}
	clock.Advance(6 * time.Second)
	want("after 12 s", "/plain", subscriber, http.StatusServiceUnavailable)

	s.redis.Start()
	s.waitFor("the store is back", func() bool { return s.get("/deny", name, subscriber).StatusCode == http.StatusOK })
	want("after the outage", "/public/hello", stranger, http.StatusForbidden)
	if uses := s.uses(id); uses != 0 {
		t.Errorf("%d uses of the link are spent", uses)
	}
	explained := s.explain(admin.ExplainRequest{URL: "/public/hello"})
	if loss := explained.Readings[0].OnStoreLoss; loss == nil || *loss != (admin.ExplainedStoreLoss{After: "5s", Then: "public"}) || explained.Decision.StoreLoss != "" {
		t.Errorf("explained as %+v, %+v", loss, explained.Decision)
	}
	if loss := s.explain(admin.ExplainRequest{URL: "/plain"}).Readings[0].OnStoreLoss; loss == nil || *loss != (admin.ExplainedStoreLoss{After: "12s", Then: "deny"}) {
		t.Errorf("the rule without an option is explained as %+v", loss)
	}
	s.grant(store.Grant{UserID: "stranger", SKU: "premium"})
	want("after the outage", "/deny", stranger, http.StatusOK)
}

// openedPages returns how many answers of public the metric counts.
func openedPages(t *testing.T) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.StoreLoss)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, metric := range families[0].GetMetric() {
		if labels := metric.GetLabel(); labels[0].GetValue() == "public" && labels[1].GetValue() == defaultVendor && labels[2].GetValue() == defaultVendor {
			return metric.GetCounter().GetValue()
		}
	}
	t.Fatal("the metric does not have the site")
	return 0
}

// A stream that a rule opened for the time of the outage ends when the store is back, and
// one of a subscriber when the rule's time is over.
func TestStoreLossEndsStreams(t *testing.T) {
	s := newRedisSiteWith(t, "stale_for 20s", lossRules, "--appendonly", "yes", "--appendfsync", "always")
	name, subscriber := s.subscriber()
	stranger := "Bearer " + s.reader(keys.ReaderClaims{UserID: "stranger"})
	s.get("/public/a", name, stranger)
	_, denied := s.open("/deny/events", name, subscriber)
	s.redis.Kill()
	clock.Advance(6 * time.Second)
	wait := func(what string, ended <-chan struct{}) {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Error(what)
		}
	}
	wait("the stream of the rule that denies goes on", denied)
	_, opened := s.open("/public/events", name, stranger)
	s.redis.Start()
	s.waitFor("the store", func() bool { return s.get("/public/a", name, stranger).StatusCode == http.StatusForbidden })
	clock.Advance(judgeStreams) // a stream is decided again by the clock, unless a record changes
	wait("the open stream goes on with the store", opened)
}

func TestStoreLossRefusesConfigurations(t *testing.T) {
	rule := func(option string) string {
		return "rule /a entitled premium {\n" + option + "\n}\nrule / any"
	}
	for text, want := range map[string]string{
		rule("on_store_loss"):                 "write `on_store_loss <duration>",
		rule("on_store_loss 1s"):              "2s to 24h",
		rule("on_store_loss 10s open"):        "no answer",
		rule("on_store_loss 10s teaser"):      "add the option teaser",
		"on_store_loss\nrule / any":           "write `on_store_loss <duration>",
		"on_store_loss soon\nrule / any":      "on_store_loss",
		"on_store_loss 1s\nrule / any":        "2s to 24h",
		"on_store_loss 9s public\nrule / any": "only a rule can open its pages",
	} {
		err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser("gatefold {\n" + text + "\n}"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
