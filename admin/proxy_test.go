package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store"
)

const proxyPath = "/api/proxy"

func TestProxySettings(t *testing.T) {
	b := newFixture(t, false)
	b.call(http.MethodPut, proxyPath, `{"entry_point":"https://app.example.com/base","session_backend":3}`).want(http.StatusOK, nil)
	// Unnamed fields are unchanged; a client may send back a response.
	got := b.call(http.MethodPatch, proxyPath, `{"slug":"acme","session_backend":0,"authentication":"enabled","welcome_email":false,"cors_restricted":true,"show_edit_tools":false,"detail":"x"}`).want(http.StatusOK, nil).fields()
	if got["entry_point"] != "https://app.example.com/base" || got["session_backend"] != 0.0 || got["slug"] != "acme" || got["detail"] == "" {
		t.Errorf("the settings are %v", got)
	}
	b.call(http.MethodPut, proxyPath+"?site=other", `{"session_backend":1}`).want(http.StatusOK, nil)
	if got := b.call(http.MethodGet, proxyPath+"?site=other", "").want(http.StatusOK, nil).fields(); got["slug"] != "other" || got["session_backend"] != 1.0 || got["entry_point"] != "" {
		t.Errorf("another site: %v", got)
	}
	for name, body := range map[string]string{
		"session_backend": `{"session_backend":7}`, "slug": `{"slug":"cowork"}`, "authentication": `{"authentication":"disabled"}`,
		"welcome_email": `{"welcome_email":true}`, "cors_restricted": `{"cors_restricted":false}`, "show_edit_tools": `{"show_edit_tools":true}`,
	} {
		b.call(http.MethodPut, proxyPath, body).refused(http.StatusUnprocessableEntity, "validation_failed", "body."+name)
	}
	for _, entry := range []string{"localhost", "ftp://x.example", "http://u:p@x.example/", "http://x.example/?a", "//x.example", "http://"} {
		b.call(http.MethodPut, proxyPath, `{"entry_point":"`+entry+`"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.entry_point")
	}
	b.call(http.MethodPut, proxyPath, `{"entry":"x"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "")
	b.call(http.MethodGet, proxyPath, "").want(http.StatusOK, &got)
	if got["entry_point"] != "https://app.example.com/base" || got["session_backend"] != 0.0 {
		t.Errorf("a refused call changed %v", got)
	}
	if got := b.callAs("globex", http.MethodGet, proxyPath, "").want(http.StatusOK, nil).fields(); got["entry_point"] != "" {
		t.Errorf("another vendor sees %v", got)
	}
}

// Of two concurrent changes of a site's settings, the second is refused.
func TestProxySettingsIfMatch(t *testing.T) {
	b := newFixture(t, false)
	etag := b.call(http.MethodGet, proxyPath, "").head.Get("ETag")
	put := func(body, match string) answer {
		return b.send("acme", http.MethodPut, proxyPath, body, http.Header{"If-Match": {match}, "Content-Type": {"application/json"}})
	}
	changed := put(`{"session_backend":3}`, etag).want(http.StatusOK, nil)
	put(`{"session_backend":2}`, etag).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	if now := b.call(http.MethodGet, proxyPath, "").head.Get("ETag"); now == etag || now != changed.head.Get("ETag") {
		t.Errorf("the ETag is %s, and was %s", now, etag)
	}
}

// The audit log names who changed the settings and contains no key.
func TestSessionKeysInTheAuditLog(t *testing.T) {
	b := newFixture(t, false)
	var made struct {
		Key string `json:"enc_key"`
	}
	header := http.Header{"Idempotency-Key": {"once"}}
	b.send("acme", http.MethodPost, proxyPath+"/key", "", header).want(http.StatusOK, &made)
	again := b.send("acme", http.MethodPost, proxyPath+"/key", "", header)
	again.refused(http.StatusConflict, "idempotency_answer_lost", "")
	b.call(http.MethodPut, proxyPath, `{"session_backend":2}`).want(http.StatusOK, nil)
	log := b.call(http.MethodGet, "/management/audit", "").want(http.StatusOK, nil).body
	for _, want := range []string{`"rotate-session-key"`, `"session-keys"`, `"update-proxy"`, `"sessionBackend":2`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s: %s", want, log)
		}
	}
	if strings.Contains(log+again.body, made.Key) || strings.Contains(log, "sealed") {
		t.Error("the key shows")
	}
}

// CheckEntryPoint decides which addresses the gate may reach.
func TestUnsafeEntryPoint(t *testing.T) {
	b := newFixtureWith(t, func(options *admin.Options) {
		options.CheckEntryPoint = func(_ context.Context, entry *url.URL) error {
			if entry.Hostname() == "inside.example" {
				return errors.New("it is inside")
			}
			return nil
		}
	})
	p := b.call(http.MethodPut, proxyPath, `{"entry_point":"http://inside.example/"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.entry_point")
	if !strings.Contains(p.Detail, "Unsafe URLs are not allowed") || !strings.Contains(p.Detail, "it is inside") {
		t.Errorf("the detail is %q", p.Detail)
	}
	b.call(http.MethodPut, proxyPath, `{"entry_point":"http://outside.example/"}`).want(http.StatusOK, nil)
	b.call(http.MethodPut, proxyPath, `{"entry_point":""}`).want(http.StatusOK, nil)
}

// A key is shown once, when it is created; GET returns its state.
func TestSessionKeyIsShownOnce(t *testing.T) {
	b := newFixture(t, false)
	path := proxyPath + "/key"
	rotate := func(body string) (made struct {
		Key       string    `json:"enc_key"`
		SignsFrom time.Time `json:"signs_from"`
	},
	) {
		t.Helper()
		b.call(http.MethodPost, path, body).want(http.StatusOK, &made)
		if len(made.Key) < 43 {
			t.Errorf("the key %q is short", made.Key)
		}
		return made
	}
	state := func() string {
		t.Helper()
		got := b.call(http.MethodGet, path, "").want(http.StatusOK, nil)
		var shown struct {
			Keys []struct {
				ID, State string
				SignsFrom time.Time `json:"signs_from"`
			}
			SwitchesAt *time.Time `json:"switches_at"`
		}
		if err := json.Unmarshal([]byte(got.body), &shown); err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, key := range shown.Keys {
			text += key.State + " "
		}
		if shown.SwitchesAt != nil {
			text += shown.SwitchesAt.Sub(b.clock).String()
		}
		return text
	}
	if got := state(); got != "" {
		t.Errorf("before the first key: %q", got)
	}
	b.call(http.MethodPost, path+"/switch", "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodPut, proxyPath, `{"session_backend":2}`).want(http.StatusOK, nil)
	first := rotate("") // the previous key was never revealed
	if !first.SignsFrom.Equal(b.clock) || state() != "replaced signing " {
		t.Errorf("%v %s", first.SignsFrom, state())
	}
	second := rotate("")
	if got := state(); !second.SignsFrom.Equal(b.clock.Add(10*time.Minute)) || got != "signing waiting 10m0s" {
		t.Errorf("%v %s", second.SignsFrom, got)
	}
	third := rotate(`{"overlap_seconds":3600}`)
	if got := state(); got != "signing waiting 1h0m0s" {
		t.Error(got)
	}
	b.call(http.MethodPost, path+"/switch", "").want(http.StatusOK, nil)
	if got := state(); got != "replaced signing " {
		t.Error(got)
	}
	fourth := rotate(`{"overlap_seconds":0}`)
	if got := state(); got != "replaced signing " {
		t.Error(got)
	}
	for _, bad := range []string{`{"overlap_seconds":-1}`, `{"overlap_seconds":604801}`, `{"overlap":1}`} {
		b.call(http.MethodPost, path, bad).refused(http.StatusUnprocessableEntity, "validation_failed", "")
	}
	for _, key := range []string{first.Key, second.Key, third.Key, fourth.Key} {
		for _, other := range []string{path, proxyPath, proxyPath + "/recent", proxyPath + "/engagement", proxyPath + "/sessions/alice"} {
			if strings.Contains(b.call(http.MethodGet, other, "").body, key) {
				t.Errorf("%s shows a key", other)
			}
		}
	}
	b.call(http.MethodDelete, path, "").refused(http.StatusMethodNotAllowed, "method_not_allowed", "")
}

// A page in the operator's browser posts to the admin endpoint without a body:
// this needs no preflight, but carries Origin.
func TestCrossSitePostWithoutABody(t *testing.T) {
	b := newFixture(t, true)
	for _, origin := range []string{"https://evil.example", "null"} {
		b.send("acme", http.MethodPost, proxyPath+"/key", "", http.Header{"Origin": {origin}}).refused(http.StatusUnsupportedMediaType, "unsupported_media_type", "")
	}
	b.send("acme", http.MethodPost, proxyPath+"/key", "", http.Header{"Content-Type": {"text/plain"}}).refused(http.StatusUnsupportedMediaType, "unsupported_media_type", "")
}

func TestSampleSession(t *testing.T) {
	b := newFixture(t, false)
	sample := func() (got struct {
		Session string `json:"forward_session"`
		Header  string `json:"forward_session_header"`
		URL     string `json:"forward_url"`
	},
	) {
		t.Helper()
		b.call(http.MethodGet, proxyPath+"/sessions/xia", "").want(http.StatusOK, &got)
		return got
	}
	if got := sample(); got.Session != "" || got.Header != "" || got.URL != "" {
		t.Errorf("without a session: %+v", got)
	}
	var key struct {
		Key string `json:"enc_key"`
	}
	b.call(http.MethodPost, proxyPath+"/key", "").want(http.StatusOK, &key)
	if _, err := b.store.As(store.Actor{}).CreateGrant(t.Context(), "acme", store.DefaultList, store.Grant{UserID: "xia", SKU: "open-space"}); err != nil {
		t.Fatal(err)
	}
	b.call(http.MethodPut, proxyPath, `{"entry_point":"https://app.example.com","session_backend":2}`).want(http.StatusOK, nil)
	got := sample()
	var session map[string]any
	if err := json.Unmarshal([]byte(got.Session), &session); err != nil || session["username"] != "xia" || got.URL != "https://app.example.com" {
		t.Errorf("%v, %+v", err, got)
	}
	if !strings.Contains(got.Session, "\n  ") || !strings.Contains(got.Session, `"open-space"`) {
		t.Errorf("the session is %s", got.Session)
	}
	token, err := jose.ParseSignedCompact(strings.TrimPrefix(got.Header, "Authorization: Bearer "), []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Verify([]byte(key.Key)); err != nil {
		t.Errorf("the token is not under the site's key: %v", err)
	}
	for backend, header := range map[int]string{1: "Cookie: sessionid=U2FsdGVkX1", 3: "Gatefold-Session: eyJ"} {
		b.call(http.MethodPut, proxyPath, fmt.Sprintf(`{"session_backend":%d}`, backend)).want(http.StatusOK, nil)
		if got := sample(); !strings.HasPrefix(got.Header, header) || !strings.Contains(got.Session, "xia") {
			t.Errorf("backend %d: %+v", backend, got)
		}
	}
	// A session can be used, so read access is not sufficient.
	header := http.Header{"X-Test-Scope": {"proxy:read"}}
	b.send("acme", http.MethodGet, proxyPath+"/sessions/xia", "", header).refused(http.StatusForbidden, "forbidden", "")
	b.send("acme", http.MethodPost, proxyPath+"/key", "", header).refused(http.StatusForbidden, "forbidden", "")
	// The key of an assertion is published under its id.
	set := b.send("acme", http.MethodGet, proxyPath+"/jwks.json", "", header).want(http.StatusOK, nil)
	b.call(http.MethodPut, proxyPath, `{"session_backend":3}`).want(http.StatusOK, nil)
	assertion, err := jose.ParseSignedCompact(strings.TrimPrefix(sample().Header, "Gatefold-Session: "), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(set.body), &keys); err != nil {
		t.Fatal(err)
	}
	found := keys.Key(assertion.Signatures[0].Protected.KeyID)
	if len(found) != 1 {
		t.Fatalf("the key is not in %s", set.body)
	}
	if _, err := assertion.Verify(found[0]); err != nil {
		t.Error(err)
	}
}

func TestEngagementOfASite(t *testing.T) {
	b := newFixture(t, false)
	visit := func(user string, tags ...string) {
		t.Helper()
		visits := []store.Visit{{Site: "acme", UserID: user, At: b.clock, Tags: tags}}
		if err := b.store.RecordVisits(t.Context(), "acme", visits); err != nil {
			t.Fatal(err)
		}
	}
	users := func(path string) string {
		t.Helper()
		var page struct {
			Count   int
			Results []map[string]any
		}
		b.call(http.MethodGet, proxyPath+path, "").want(http.StatusOK, &page)
		text := fmt.Sprint(page.Count)
		for _, user := range page.Results {
			text += fmt.Sprintf(" %v%v%v", user["username"], user["slug"], user["engagements"])
		}
		return strings.ReplaceAll(text, "<nil>", "")
	}
	empty := b.call(http.MethodGet, proxyPath+"/engagement", "").want(http.StatusOK, nil).fields()
	if fmt.Sprint(empty) != "map[active_users:0 authentication:enabled engagements:[]]" {
		t.Errorf("of a new site: %v", empty)
	}
	visit("old", "app")
	b.clock = b.clock.Add(8 * 24 * time.Hour)
	visit("yesterday", "billing")
	b.clock = b.clock.Add(36 * time.Hour)
	visit("alice", "app", "profile")
	b.clock = b.clock.Add(time.Minute)
	visit("kenneth", "app", "billing")
	got := b.call(http.MethodGet, proxyPath+"/engagement", "").want(http.StatusOK, nil)
	if want := `{"active_users":2,"authentication":"enabled","engagements":[{"slug":"app","count":3},{"slug":"billing","count":2},{"slug":"profile","count":1}]}`; strings.TrimSpace(got.body) != want {
		t.Errorf("the engagement is %s", got.body)
	}
	if got := b.call(http.MethodGet, proxyPath+"/engagement?page=2&page_size=2", ""); !strings.Contains(got.body, `"engagements":[{"slug":"profile","count":1}]`) {
		t.Errorf("the second page is %s", got.body)
	}
	if got := users("/engagement/users"); got != "4 kenneth[app billing] alice[app profile] yesterday[billing] old[app]" {
		t.Errorf("the users are %s", got)
	}
	if got := users("/engagement/users?page_size=3&page=2"); got != "4 old[app]" {
		t.Errorf("the second page is %s", got)
	}
	if got := users("/recent"); got != "3 kenneth alice yesterday" {
		t.Errorf("the recent users are %s", got)
	}
	b.call(http.MethodGet, proxyPath+"/recent?page=2", "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodGet, proxyPath+"/recent?page_size=101", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.page_size")
	if got := b.callAs("globex", http.MethodGet, proxyPath+"/recent?site=acme", "").want(http.StatusOK, nil); !strings.Contains(got.body, `"count":0`) {
		t.Errorf("another vendor sees %s", got.body)
	}
}
