package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// promisedLines returns the log lines that docs/operations.md explains.
func promisedLines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## The log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var lines []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*)\\|").FindAllStringSubmatch(section, -1) {
		for _, line := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			lines = append(lines, line[1])
		}
	}
	if len(lines) < 20 {
		t.Fatalf("docs/operations.md has only the lines %q", lines)
	}
	return lines
}

// logLine returns the first line of the log with a message.
func logLine(t testing.TB, message string) map[string]any {
	t.Helper()
	entries := logged.entries(t, "")
	if i := slices.IndexFunc(entries, func(e map[string]any) bool { return e["msg"] == message }); i >= 0 {
		return entries[i]
	}
	return nil
}

// cannotBeProvoked are lines that a configuration that Caddy loads does not lead to.
var cannotBeProvoked = []string{
	"the routes of the configuration cannot be checked", "events of webhooks are delayed",
	// TestStartFromSnapshot leads to these.
	"the snapshot of this node cannot be written: without it, a node that starts while its Redis is away answers 503",
	"decisions are made from the snapshot of this node: the store is unreachable since its start",
	"the snapshot of this node is not used", "the snapshot of this node is written again",
	// TestLinkPostedInAForumIsQuarantined leads to this.
	"a link leaked: it was opened from more networks than its limit within an hour",
	// Of a store that fails between two steps.
	"building the indexes failed: the next sweep continues",
	"what this node saw of the Redis is not kept over a restart: after one it cannot notice that the Redis lost writes before",
}

// Each line of the log that docs/operations.md explains appears when what it explains
// happens: with a wrong Caddyfile, an origin that is down, a Redis that is away, full or
// wrongly set, a client that disconnects. What a row says of fields is checked as well.
func TestLogSaysWhatOperationsPromise(t *testing.T) {
	keepClock(t)
	seen := map[string]map[string]any{}
	collect := func() {
		for _, line := range promisedLines(t) {
			if entry := logLine(t, line); entry != nil && seen[line] == nil {
				seen[line] = entry
			}
		}
	}
	for name, scenario := range map[string]func(*testing.T){
		"mistakes in a Caddyfile": logMistakes, "answers that fail": logFailedAnswers, "backups": logBackups,
		"a Redis that is away at the start": logRedisAway, "a Redis that refuses": logRedisRefuses,
		"events of billing systems": logHooks, "what readers see": logForReaders, "logins": logLogins, "paywalls that cannot be read": logUnreadPaywalls,
	} {
		t.Run(name, func(t *testing.T) {
			logged.Reset()
			t.Cleanup(collect)
			scenario(t)
			collect()
		})
	}
	for _, line := range promisedLines(t) {
		if seen[line] == nil && !slices.Contains(cannotBeProvoked, line) && line != "cut" { // see TestStream…
			t.Errorf("docs/operations.md explains the log line %q, which did not appear", line)
		}
	}
	for line, fields := range map[string][]string{
		"the rules probably do not do what is meant":                                    {"warning"},
		"a rule never decides, because an earlier one matches all that it matches":      {"rule", "hidden_by"},
		"a mistake in the routes of a site":                                             {"problem", "remedy"},
		"a gate is not ready yet":                                                       {"error"},
		"publishers' keys are not fetched yet":                                          {"error"},
		"the management API failed":                                                     {"error"},
		"the store is unreachable":                                                      {"error"},
		"denied":                                                                        {"vendor", "site", "method", "host", "path", "client_ip"},
		"a condition began":                                                             {"condition", "what", "remedy"},
		"visits of readers could not be recorded; requests are not affected":            {"error"},
		"the history of links could not be recorded; requests are not affected":         {"error"},
		"the usage of contracts could not be recorded; requests are not affected":       {"error"},
		"refusals could not be kept for their support codes; requests are not affected": {"error"},
		"other nodes still use pages that a request changed; it is tried again":         {"error"},
		"event of a billing system":                                                     {"vendor", "hook", "result"},
		"the store is nearly full: records that can be spared are removed":              {"count"},
	} {
		for _, field := range fields {
			if seen[line] != nil && (seen[line][field] == nil || seen[line][field] == "") {
				t.Errorf("the line %q has no %s: %v", line, field, seen[line])
			}
		}
	}
}

func logMistakes(t *testing.T) {
	s := newTestSite(t, "rule /a/{x} any\nrule /a/b authenticated\nrule / any\n")
	s.load(s.config("", "rule /private authenticated\nrule / any\ndeny {\nlogin /private\n}\n", ""))
	s.load(s.config("", "rule /private authenticated\n", ""))
}

// logFailedAnswers has an origin that is down.
func logFailedAnswers(t *testing.T) {
	s := newTestSite(t, standardRules)
	page := s.write("denied.html", `{{if eq .Status 401}}{{index .Title 100000}}{{end}}`)
	s.load(s.config("", standardRules+"\ndeny {\npage "+page+"\nforward /gone\n}\n", ""))
	s.origin.Close()
	s.get("/account", "Accept", browserAccept)
	s.do(http.MethodOptions, "/articles/a", "Origin", "https://a.example", "Access-Control-Request-Method", "GET")
}

// failingWriter is a client that disconnects.
type failingWriter struct{ header http.Header }

func (w failingWriter) Header() http.Header           { return w.header }
func (failingWriter) WriteHeader(int)                 {}
func (failingWriter) Write([]byte) (int, error)       { return 0, errors.New("the client is gone") }
func (failingWriter) SetReadDeadline(time.Time) error { return nil }

func logBackups(t *testing.T) {
	s, admin := newAdminSite(t)
	s.subscriber()
	s.get(admin + "/gatefold/store/backup")
	s.do(http.MethodPost, admin+"/gatefold/store/compact")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	cut, err := http.NewRequestWithContext(gone, http.MethodPost, "/gatefold/store/compact", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.app().serveCompact(failingWriter{http.Header{}}, cut); err == nil {
		t.Error("a compaction of a client that left succeeds")
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/gatefold/store/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() != http.ErrAbortHandler { //nolint:errorlint // a panic's value
			t.Error("the response of an incomplete backup ends as if it were complete")
		}
	}()
	_ = s.app().serveBackup(failingWriter{http.Header{}}, request)
}

// newLoggedRedisSite runs a site and an API over a Redis, whose log is read.
func newLoggedRedisSite(t *testing.T, redis *redistest.Server) (s *testSite, api string) {
	t.Helper()
	t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
	s = &testSite{TB: t, dir: t.TempDir(), origin: keystest.NewOrigin(t), port: keystest.FreePort(t)}
	s.site = "http://127.0.0.1:" + s.port
	apiPort := keystest.FreePort(t)
	s.load(fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tlog {\n\t\toutput test\n\t}\n\tgatefold {\n\t\tstore redis %s\n\t\tsecret {env.GATEFOLD_TEST_SECRET}\n\t}\n}\n\n"+
		"http://127.0.0.1:%s {\n\tgatefold {\n%s\n\t}\n\treverse_proxy %s\n}\n\nhttp://127.0.0.1:%s {\n\tbind 127.0.0.1\n\tgatefold_api\n}\n",
		redis.URL(), s.port, standardRules, strings.TrimPrefix(s.origin.URL, "http://"), apiPort))
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s, "http://127.0.0.1:" + apiPort
}

func logRedisAway(t *testing.T) {
	redis := redistest.New(t)
	s, api := newLoggedRedisSite(t, redis)
	s.get("/account").denied(http.StatusServiceUnavailable, "store_unavailable")
	s.get(api + "/management/vendors")
	s.waitFor("the first lines", func() bool { return logLine(t, "publishers' keys are not fetched yet") != nil })
	redis.Start()
	s.waitFor("the Redis is back", func() bool { return logLine(t, "the store is reachable again") != nil })
	token := s.reader(keys.ReaderClaims{UserID: "ada"})
	s.get("/account", "Authorization", "Bearer "+token).page()
	redis.Kill()
	s.waitFor("the Redis is away", func() bool {
		clock.Advance(100 * time.Millisecond)
		return logLine(t, "the store is unreachable: decisions are made from memory for a while") != nil
	})
	s.waitFor("the API fails", func() bool {
		s.get(api+"/management/vendors", "Authorization", "Bearer x.y.z")
		s.post(api+"/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials&client_id=client_01&client_secret=x")
		return logLine(t, "the management API failed") != nil
	})
}

// logHooks has a billing system whose secret is another one than the hook's.
func logHooks(t *testing.T) {
	s := newAPISite(t, boundAPI)
	rt := s.running()
	made, err := store.NewHooks(rt.Keyring).CreateHook(t.Context(), rt.Store.As(store.Actor{}), defaultVendor, store.Hook{
		Scheme: hook.Stripe, Table: []hook.Entry{{Event: "invoice.*", Do: "ignore"}},
	}, "whsec_the_signing_secret_of_the_endpoint")
	if err != nil {
		t.Fatal(err)
	}
	s.post(s.api+"/hooks/"+made.ID, "application/json", "{}", "Stripe-Signature", "t=1,v1=00")
}

func logRedisRefuses(t *testing.T) {
	was := storeOptions.RecordEvery
	storeOptions.RecordEvery = 20 * time.Millisecond
	t.Cleanup(func() { storeOptions.RecordEvery = was })
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s, _ := newLoggedRedisSite(t, redis)
	token := s.reader(keys.ReaderClaims{UserID: "ada"})
	s.get("/account", "Authorization", "Bearer "+token).page()
	link, id := s.link(keys.LinkClaims{})
	if _, err := s.running().Store.As(store.Actor{}).RevokeLink(t.Context(), defaultVendor, keys.VendorIssuer(defaultVendor), id); err != nil {
		t.Fatal(err)
	}
	s.get(link).denied(http.StatusForbidden, "link_revoked")
	s.licence(store.SiteLicence{Domains: []string{"uni.example"}})
	ended := clock.Now().Add(-48 * time.Hour)
	s.grant(store.Grant{UserID: "ada", SKU: "premium", EndsAt: &ended})
	s.shared().NewShedding(s.app().logger).Once(t.Context(), func() bool { return true })
	redis.Do("config", "set", "maxmemory", "1")
	clock.Advance(10 * time.Minute) // what was recorded a moment ago is not recorded again
	s.waitFor("a refusal of a link is lost", func() bool {
		s.get(link)
		return logLine(t, "the history of links could not be recorded; requests are not affected") != nil &&
			logLine(t, "refusals could not be kept for their support codes; requests are not affected") != nil
	})
	token = s.reader(keys.ReaderClaims{UserID: "ada"})
	s.waitFor("a visit is lost", func() bool {
		s.get("/account", "Authorization", "Bearer "+token)
		return logLine(t, "visits of readers could not be recorded; requests are not affected") != nil
	})
	s.waitFor("the use of a site licence is lost", func() bool {
		s.get("/articles/hello", "Authorization", "Bearer "+s.reader(keys.ReaderClaims{UserID: "bea", Email: "bea@uni.example", EmailVerified: true}))
		return logLine(t, "the usage of contracts could not be recorded; requests are not affected") != nil
	})
	s.waitForCondition("writes_failing")
	redis.Do("config", "set", "maxmemory", "0")
	s.waitFor("writes work", func() bool {
		s.shared().Node.Probe(t.Context())
		clock.Advance(2 * time.Minute)
		return s.found("writes_failing") == nil
	})
	redis.Do("acl", "setuser", "default", "-info")
	s.waitFor("the settings cannot be read", func() bool { return logLine(t, "looking at the settings of the Redis server failed") != nil })
	redis.Do("acl", "setuser", "default", "+info")
	redis.Kill()
	s.shared().SweepOnce(t.Context(), s.app().logger)
	s.shared().Purge(defaultVendor, &policy.PagePurge{Site: defaultVendor, Paths: []string{"/a"}})
	s.waitFor("a change of a page is not told", func() bool {
		return logLine(t, "other nodes still use pages that a request changed; it is tried again") != nil
	})
}
