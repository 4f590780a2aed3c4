package caddymodule

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/openstore"
)

// desk makes the records of the stories: the profile abc, which is subscribed to nothing,
// with the manager xia and the contributor ken; the plan premium of cowork; and terms of
// use.
func (s *coworkSite) desk() {
	s.Helper()
	s.stream("profiles", row{"slug": "abc", "full_name": "ABC Corp."})
	s.stream("users", row{"slug": "xia"}, row{"slug": "ken"}, row{"slug": "joe"})
	s.stream("roles", row{"profile": "abc", "user": "xia", "role": "manager"}, row{"profile": "abc", "user": "ken", "role": "contributor"})
	s.stream("plans",
		row{"slug": "premium", "profile": cowork, "title": "Premium", "is_active": true, "period_amount": 1000, "period_type": "monthly"},
		row{"slug": "contact", "profile": cowork, "title": "Contact us", "is_active": true, "is_not_priced": true, "period_type": "monthly"})
	s.call(http.MethodPost, "/api/agreements", `{"title": "Terms of use"}`, http.StatusCreated)
}

// subscribe subscribes abc to premium until a moment.
func (s *coworkSite) subscribe(until time.Time, more row) {
	s.Helper()
	subscription := row{"profile": "abc", "plan": "premium", "created_at": clock.Now().Add(-time.Hour).Truncate(time.Second), "ends_at": until}
	maps.Copy(subscription, more)
	s.stream("subscriptions", subscription)
}

// helpRules ask for each of the things that a reader can lack.
var helpRules = [][2]string{
	{"/app/{profile}", "direct"},
	{"/read/{profile}", `subscribed/{"plan": "premium"}`},
	{"/any/{profile}", `subscribed/{"plan": ["premium", "basic"]}`},
	{"/ask/{profile}", `was_subscribed/{"plan": "contact"}`},
	{"/terms", "signed"},
	{"/safe", "verified"},
	{"/", "any"},
}

// A reader who lacks something is sent to the page that gives it, in a browser by a
// redirect, and in a program by the problem. Other methods get a page with a link. Nothing is
// written by a denied request.
func TestDenialsLeadToThePageThatHelps(t *testing.T) {
	s := newCoworkSite(t, openstore.Bolt, "")
	s.desk()
	s.subscribe(clock.Now().Add(time.Hour), row{"balance_due": true})
	s.rules(helpRules...)
	before := s.audit()
	for _, test := range []struct{ path, user, code, action, target string }{
		{"/app/abc", "", "login_required", "login", "/login/"},
		{"/app/abc", "joe", "role_required", "request_role", "/users/joe/roles/"},
		{"/app/a%20b", "joe", "role_required", "request_role", "/users/joe/roles/"},
		{"/read/other", "ken", "not_subscribed", "subscribe", "/billing/other/cart/"},
		{"/read/a%3Fb%23c", "ken", "not_subscribed", "subscribe", "/billing/a%3Fb%23c/cart/"},
		{"/read/abc", "ken", "balance_due", "pay", "/billing/abc/balance/premium/"},
		{"/any/other", "ken", "not_subscribed", "subscribe", "/pricing/"},
		{"/ask/abc", "ken", "not_subscribed", "subscribe", "/pricing/"},
		{"/terms", "ken", "agreement_required", "sign", "/legal/terms-of-use/sign/"},
		{"/safe", "unverified", "verify_required", "verify", "/users/unverified/verify/"},
	} {
		var credential []string
		if test.user != "" {
			name, value := s.as(test.user)
			credential = []string{name, value}
		}
		status := http.StatusForbidden
		if test.action == "login" {
			status = http.StatusUnauthorized
		}
		want := test.target + "?next=" + url.QueryEscape(s.site+test.path+"?a=1&b=%20")
		got := s.get(test.path+"?a=1&b=%20", append(credential, "Accept", browserAccept)...)
		if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != want || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s as %s: %d to %s, want %s", test.path, test.user, got.StatusCode, got.Header.Get("Location"), want)
		}
		var problem struct{ Code, Next_Action, URL string } //nolint:revive // as the member
		got = s.get(test.path+"?a=1&b=%20", credential...).denied(status, test.code)
		if err := json.Unmarshal([]byte(got.body), &problem); err != nil || problem.Next_Action != test.action || problem.URL != want {
			t.Errorf("%s as %s: %+v, %v; want %s and %s", test.path, test.user, problem, err, test.action, want)
		}
		got = s.do(http.MethodPost, test.path, append(credential, "Accept", browserAccept)...)
		link := `href="` + test.target + "?next="
		if got.StatusCode != status || !strings.Contains(got.body, link) || !strings.Contains(got.body, test.code) {
			t.Errorf("POST %s as %s: %d %s, want a link %s", test.path, test.user, got.StatusCode, got.body, link)
		}
		if got := s.do(http.MethodHead, test.path, append(credential, "Accept", browserAccept)...); got.StatusCode != status {
			t.Errorf("HEAD %s as %s: %d", test.path, test.user, got.StatusCode)
		}
	}
	if after := s.audit(); after != before {
		t.Errorf("denied requests wrote something: the audit log was\n%s and is\n%s", before, after)
	}
	// A denial about which a reader can do nothing has no next step.
	s.rules([2]string{"/closed", "entitled/{\"sku\": [\"none\"]}"})
	name, value := s.as("ken")
	if got := s.get("/closed", name, value).denied(http.StatusForbidden, "not_entitled"); strings.Contains(got.body, "next_action") || strings.Contains(got.body, `"url"`) {
		t.Errorf("%s", got.body)
	}
	s.origin.WantNone(t)
}

// audit returns the audit log.
func (s *coworkSite) audit() string {
	s.Helper()
	return s.get(s.admin + "/gatefold/management/audit?vendor=" + cowork).body
}

// What can only be a mistake in the pages of deny fails the load, with the place.
func TestMistakesOfPages(t *testing.T) {
	s := newTestSite(t, standardRules)
	for deny, want := range map[string]string{
		"verify verify/":                    "deny: verify: \"verify/\" must be an http or https URL",
		"agreement //evil.example/":         "deny: agreement:",
		"subscribe /{porfile}/cart":         "deny: subscribe: \"{porfile}\" has no value for this page; known are {profile}, {plan}, {user}, {next}",
		"subscribe /cart /{plan}":           "deny: pricing: \"{plan}\" has no value",
		"subscribe /cart /pricing /another": "wrong argument count",
		"subscribe":                         "wrong argument count",
		"balance /p-{profile}":              "whole segment",
		"role /roles/{agreement}":           "has no value",
		"login /{user}":                     "has no value",
		"errors\nrole /roles/":              "exclude one another",
		"subscribe /a\nsubscribe /b":        "given twice",
	} {
		if err := load(s.config("", standardRules+"\ndeny {\n"+deny+"\n}\n", "")); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("%s: the error is %v, want %q", deny, err, want)
		}
	}
}
