package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/webhook"
)

// hookSecret and nextHookSecret are what a provider shows for its endpoint.
const (
	hookSecret     = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	nextHookSecret = "whsec_bm90IHRoZSBzYW1lIHNlY3JldCE="
)

// provider is a billing system that signs as Standard Webhooks.
type provider struct {
	*fixture
	api     http.Handler
	path    string
	reports []admin.HookReport
	source  string
}

// newProvider makes a hook with a table.
func newProvider(t *testing.T, scheme, secret, table string) *provider {
	t.Helper()
	p := newProviders(t)
	p.promo("MONTH")
	p.hook(fmt.Sprintf(`{"name":"Test","scheme":%q,"secret":%q,"table":%s}`, scheme, secret, table))
	return p
}

// hook makes a hook.
func (p *provider) hook(body string) {
	p.Helper()
	var made admin.Hook
	p.call("POST", "/management/hooks", body).want(201, &made)
	p.path = made.Path
}

// newProviders returns an API without a hook.
func newProviders(t *testing.T) *provider {
	t.Helper()
	p := &provider{source: "192.0.2.1:1"}
	p.fixture = newFixtureWith(t, func(options *admin.Options) {
		options.HookReceived = func(r admin.HookReport) { p.reports = append(p.reports, r) }
	})
	authority, err := admin.NewAuthority(admin.AuthorityOptions{Store: p.store, Keyring: p.keyring, Now: p.options.Now, Own: true})
	require.NoError(t, err)
	options := p.fixture.options
	options.Authority = authority
	p.api, err = admin.New(options)
	require.NoError(t, err)
	p.clock = p.clock.Add(time.Hour) // events have happened
	return p
}

func (p *provider) promo(code string) {
	p.Helper()
	_, err := p.store.As(store.Actor{}).CreatePromo(p.Context(), "acme", store.Promo{
		Code: code, Items: []store.ContractItem{{SKU: "news"}}, Duration: store.DurationRecurring, Interval: store.IntervalMonth,
	})
	require.NoError(p, err)
}

func (p *provider) id() string { return strings.TrimPrefix(p.path, "/hooks/") }

// post sends a body with headers to a path, without any other authentication.
func (p *provider) post(path, body string, header http.Header) answer {
	p.Helper()
	request := httptest.NewRequestWithContext(p.Context(), http.MethodPost, path, strings.NewReader(body))
	request.RemoteAddr, request.Header = p.source, header
	recorder := httptest.NewRecorder()
	p.api.ServeHTTP(recorder, request)
	return answer{t: p.T, code: recorder.Code, head: recorder.Header(), body: recorder.Body.String()}
}

// signed are the headers of an event.
func (p *provider) signed(secret, id string, at time.Time, body string) http.Header {
	p.Helper()
	signature, err := webhook.Sign([]string{secret}, id, at, []byte(body))
	require.NoError(p, err)
	h := http.Header{}
	h.Set(webhook.HeaderID, id)
	h.Set(webhook.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(webhook.HeaderSignature, signature)
	return h
}

// event sends an event that happened some minutes after the start of the test.
func (p *provider) event(id, eventType string, minute int, data string) answer {
	p.Helper()
	body := fmt.Sprintf(`{"type":%q,"timestamp":%q,"data":%s}`, eventType, p.at(minute).Format(time.RFC3339), data)
	return p.post(p.path, body, p.signed(hookSecret, id, p.clock, body))
}

var eventsStart = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func (p *provider) at(minute int) time.Time {
	return eventsStart.Add(time.Duration(minute) * time.Minute)
}

// says checks the answer to an event.
func (a answer) says(applied bool, reason string) {
	a.t.Helper()
	var got admin.HookAnswer
	a.want(200, &got)
	require.Equal(a.t, admin.HookAnswer{Applied: applied, Reason: reason}, got)
}

const salesTable = `[
 {"event":"order.sold","do":"sell","order":"/data/order","promo":"MONTH","email":"/data/email"},
 {"event":"order.paid","do":"confirm","order":"/data/order"},
 {"event":"order.renewed","do":"renew","order":"/data/order","endsAt":"/data/end"},
 {"event":"order.cancelled","do":"cancel_at_period_end","order":"/data/order"},
 {"event":"order.resumed","do":"resume","order":"/data/order"},
 {"event":"order.ended","do":"end","order":"/data/order"},
 {"event":"ping.*","do":"ignore"}]`

const sold = `{"order":"o-1","email":"ann@example.com"}`

// A billing system without a token sells, confirms, renews and ends a contract by signed
// events, and what became of each can be read.
func TestEventsOfABillingSystem(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "standard", hookSecret, salesTable)
	end := p.at(60 * 24 * 60).Format(time.RFC3339)
	p.event("e1", "order.paid", 1, sold).refused(409, "contract_not_found", "")
	p.event("e0", "order.sold", 0, sold).says(true, "applied")
	p.event("e1", "order.paid", 1, sold).says(true, "applied")
	p.event("e1", "order.paid", 1, sold).says(false, "duplicate")
	p.event("e2", "order.renewed", 2, `{"order":"o-1","end":"`+end+`"}`).says(true, "applied")
	p.event("e3", "ping.test", 3, `{}`).says(false, "ignored")
	p.event("e4", "order.refunded", 3, sold).says(false, "no_entry")
	p.event("e5", "order.renewed", 4, `{"order":"o-1"}`).refused(422, "validation_failed", "body.data.end")
	p.event("e6", "order.ended", 5, sold).says(true, "applied")
	p.event("e7", "order.resumed", 6, sold).says(false, "contract_ended")

	var events []admin.HookEvent
	p.call("GET", "/management/hooks/"+p.id()+"/events", "").want(200, &events)
	got := map[string]string{}
	for _, e := range events {
		got[e.ID] = fmt.Sprint(e.Do, " ", e.Result, " ", e.Attempts, " ", e.Contract != "")
	}
	require.Equal(t, map[string]string{
		"e0": "sell applied 1 true", "e1": "confirm applied 2 true", "e2": "renew applied 1 true", "e4": " no_entry 1 false", "e5": "renew invalid 1 false",
		"e6": "end applied 1 true", "e7": "resume contract_ended 1 true",
	}, got)

	// Each change is audited, and names the hook. Nothing of the reader is in the reports.
	log := p.call("GET", "/management/audit?limit=100", "").want(200, nil)
	for _, operation := range []string{"hook-sell", "hook-confirm", "hook-renew", "hook-end"} {
		require.Contains(t, log.body, `"operation":"`+operation+`"`)
	}
	require.Contains(t, log.body, `"actor":"hook:`+p.id()+`"`)
	require.NotContains(t, log.body, hookSecret)
	encoded, err := json.Marshal(p.reports)
	require.NoError(t, err)
	require.NotContains(t, string(encoded), "example.com")
	require.Len(t, p.reports, 10)
}

// An unknown provider, a bad signature, none and one of another time have one answer that
// says nothing, and many of them are limited; the body is not read for its meaning before.
func TestRefusesUnsignedEvents(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "standard", hookSecret, salesTable)
	body := `{"type":"order.sold","timestamp":"2026-11-23T12:00:00Z","data":` + sold + `}`
	good := p.signed(hookSecret, "e", p.clock, body)
	want := p.post("/hooks/hook_unknown", body, good)
	want.refused(401, "unauthorized", "")
	for what, got := range map[string]answer{
		"none":           p.post(p.path, body, http.Header{}),
		"another secret": p.post(p.path, body, p.signed(nextHookSecret, "e", p.clock, body)),
		"another body":   p.post(p.path, body+" ", good),
		"no JSON":        p.post(p.path, "{", good),
		"too old":        p.post(p.path, body, p.signed(hookSecret, "e", p.clock.Add(-301*time.Second), body)),
		"too early":      p.post(p.path, body, p.signed(hookSecret, "e", p.clock.Add(301*time.Second), body)),
	} {
		require.Equal(t, want.code, got.code, what)
		require.Equal(t, want.body, got.body, what)
		require.Equal(t, want.head, got.head, what)
	}
	for _, path := range []string{p.path, "/hooks/hook_unknown"} {
		p.post(path, strings.Repeat(" ", 256<<10)+"{}", good).refused(413, "too_large", "")
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		recorder := httptest.NewRecorder()
		p.api.ServeHTTP(recorder, request)
		require.Equal(t, http.StatusMethodNotAllowed, recorder.Code)
	}

	for range 4 {
		p.post(p.path, body, http.Header{}).refused(401, "unauthorized", "")
	}
	limited := p.post(p.path, body, good)
	limited.want(429, nil)
	require.NotEmpty(t, limited.head.Get("Retry-After"))
	// Another address is not limited, and after a while neither is this one.
	p.source = "192.0.2.2:1"
	p.post(p.path, body, good).says(true, "applied")
	p.source, p.clock = "192.0.2.1:1", p.clock.Add(time.Minute)
	p.post(p.path, body, p.signed(hookSecret, "e", p.clock, body)).says(false, "duplicate")
}

// A provider changes its secret: both verify for the overlap, and then only the new one. No
// answer and no audit entry has a secret, and the database has none in the clear.
func TestHookSecretsRotate(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "standard", hookSecret, salesTable)
	send := func(id, secret string) answer {
		body := `{"type":"ping.test","timestamp":"2026-11-23T12:00:00Z"}`
		return p.post(p.path, body, p.signed(secret, id, p.clock, body))
	}
	send("1", nextHookSecret).refused(401, "unauthorized", "")
	one := "/management/hooks/" + p.id()
	p.call("PATCH", one, `{"secret":"sk_live_1234567890123456789"}`).refused(422, "validation_failed", "body.secret")
	p.call("PATCH", one, `{"overlapSeconds":60}`).refused(422, "validation_failed", "body.overlapSeconds")
	var changed admin.Hook
	rotated := p.call("PATCH", one, `{"secret":"`+nextHookSecret+`","overlapSeconds":3600}`).want(200, &changed)
	require.NotNil(t, changed.ReplacedUntil)
	require.NotContains(t, rotated.body, "whsec_")
	send("2", hookSecret).says(false, "ignored")
	send("3", nextHookSecret).says(false, "ignored")
	p.clock = p.clock.Add(time.Hour)
	send("4", hookSecret).refused(401, "unauthorized", "")
	send("5", nextHookSecret).says(false, "ignored")
	require.NotContains(t, p.call("GET", "/management/audit", "").body, "whsec_")
	content, err := os.ReadFile(filepath.Join(p.dir, "gatefold.db"))
	require.NoError(t, err)
	require.Contains(t, string(content), p.id())
	for _, secret := range []string{hookSecret, nextHookSecret} {
		require.NotContains(t, string(content), strings.TrimPrefix(secret, "whsec_"))
	}
}

// A disabled hook asks for the event again; a removed one is unknown.
func TestDisabledAndRemovedHooks(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "standard", hookSecret, salesTable)
	one := "/management/hooks/" + p.id()
	read := p.call("GET", one, "").want(200, nil)
	disabled := p.send("acme", "PATCH", one, `{"status":"disabled"}`, http.Header{"If-Match": {read.head.Get("ETag")}, "Content-Type": {"application/json"}}).want(200, nil)
	p.event("e0", "order.sold", 0, sold).refused(409, "hook_disabled", "")
	p.send("acme", "PATCH", one, `{"status":"active"}`, http.Header{"If-Match": {read.head.Get("ETag")}, "Content-Type": {"application/json"}}).refused(412, "precondition_failed", "")
	require.NotEqual(t, read.head.Get("ETag"), disabled.head.Get("ETag"))
	p.callAs("other", "GET", one, "").refused(404, "not_found", "")
	p.callAs("other", "DELETE", one, "").refused(404, "not_found", "")
	p.callAs("other", "GET", one+"/events", "").refused(404, "not_found", "")
	p.call("PATCH", one, `{"status":"active"}`).want(200, nil)
	p.event("e0", "order.sold", 0, sold).says(true, "applied")
	p.call("DELETE", one, "").want(204, nil)
	p.event("e1", "order.paid", 0, sold).refused(401, "unauthorized", "")
	var left []admin.Hook
	p.call("GET", "/management/hooks", "").want(200, &left)
	require.Empty(t, left)
}

// Mistakes in a hook are refused with the place, and nothing is stored.
func TestRefusesMistakesInAHook(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "standard", hookSecret, salesTable)
	entry := func(e string) string {
		return `{"scheme":"standard","secret":"` + hookSecret + `","table":[` + e + `]}`
	}
	for body, at := range map[string]string{
		entry(`{"event":"a","do":"renew","order":"/o"}`):                                                            "body.table[0].endsAt",
		entry(`{"event":"a","do":"sell","order":"/o","promo":"NONE","email":"/e"}`):                                 "body.table[0].promo",
		entry(`{"event":"a","do":"sell","order":"/o","email":"/e"}`):                                                "body.table[0].promo",
		entry(`{"event":"a","do":"confirm","order":"/o","when":{"/x":1}}`):                                          "body.table[0].when",
		entry(`{"event":"a","do":"refund","order":"/o"}`):                                                           "body.table[0].do",
		`{"scheme":"standard","secret":"` + hookSecret + `","table":[]}`:                                            "body.table",
		`{"scheme":"paypal","secret":"` + hookSecret + `","table":[{"event":"a","do":"ignore"}]}`:                   "body.scheme",
		`{"scheme":"stripe","secret":"sk_live_12345678901234567890","table":[{"event":"a","do":"ignore"}]}`:         "body.secret",
		`{"scheme":"standard","secret":"` + hookSecret + `","typeAt":"type","table":[{"event":"a","do":"ignore"}]}`: "body.typeAt",
	} {
		p.call("POST", "/management/hooks", body).refused(422, "validation_failed", at)
	}
	for range 15 {
		p.call("POST", "/management/hooks", entry(`{"event":"a","do":"ignore"}`)).want(201, nil)
	}
	p.call("POST", "/management/hooks", entry(`{"event":"a","do":"ignore"}`)).refused(422, "validation_failed", "body")
	p.send("acme", "POST", "/management/hooks", entry(`{"event":"a","do":"ignore"}`), http.Header{"X-Test-Scope": {"sales:write"}, "Content-Type": {"application/json"}}).refused(403, "forbidden", "")
}
