package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// decides expects a decision of the next request, and of the one after, which is from memory.
func (s *coworkSite) decides(client *http.Client, user, path, reason string) {
	s.Helper()
	for range 2 {
		if got := s.ask(client, http.MethodGet, path, user); got.reason != reason {
			s.Errorf("%s as %s: %s, want %s", path, user, got, reason)
		}
	}
}

// advance moves the clock. A node that shares its store hears from it again before it
// decides by the new time.
func (s *coworkSite) advance(client *http.Client, by time.Duration) {
	s.Helper()
	clock.Advance(by)
	s.waitFor("decisions after the clock moved", func() bool { return s.ask(client, http.MethodGet, "/app/none", "joe").reason == "role_required" })
}

// A change of the records of the access model decides the very next request, on both
// engines: a role that is removed or ends, a subscription that is locked or ends, an
// agreement that is updated, a plan and a profile that change.
func TestMemberChangeDecidesTheNextRequest(t *testing.T) {
	for _, engine := range coworkEngines {
		t.Run(engine, func(t *testing.T) {
			s := newCoworkSite(t, engine, "")
			s.desk()
			s.rules(append([][2]string{{"/given", `entitled/{"sku": "premium"}`}}, helpRules...)...)
			client := keepingClient(t)

			s.decides(client, "ken", "/read/abc", "not_subscribed")
			s.decides(client, "ken", "/given", "not_entitled")
			end := clock.Now().Add(time.Hour)
			s.subscribe(end, nil)
			s.decides(client, "ken", "/read/abc", "entitled")
			s.decides(client, "ken", "/given", "entitled")
			s.subscribe(end, row{"balance_due": true})
			s.decides(client, "ken", "/read/abc", "balance_due")
			s.decides(client, "ken", "/given", "not_entitled")
			s.subscribe(end, nil) // what a row leaves out stays as it is
			s.decides(client, "ken", "/read/abc", "balance_due")
			s.subscribe(end, row{"balance_due": false})
			s.decides(client, "ken", "/read/abc", "entitled")
			s.advance(client, time.Hour-time.Millisecond)
			s.decides(client, "ken", "/read/abc", "entitled")
			s.advance(client, time.Millisecond) // the end no longer counts
			s.decides(client, "ken", "/read/abc", "not_subscribed")
			s.decides(client, "ken", "/given", "not_entitled")

			s.decides(client, "ken", "/app/abc", "role")
			s.stream("roles", row{"profile": "abc", "user": "ken", "role": "contributor", "ends_at": clock.Now().Add(time.Minute)})
			s.decides(client, "ken", "/app/abc", "role")
			s.advance(client, time.Minute)
			s.decides(client, "ken", "/app/abc", "role_required")
			s.stream("roles", row{"profile": "abc", "user": "ken", "role": "contributor", "ends_at": clock.Now().AddDate(1, 0, 0)})
			s.decides(client, "ken", "/app/abc", "role")
			s.stream("profiles", row{"slug": "abc", "is_active": false})
			s.decides(client, "ken", "/app/abc", "role_required")
			s.stream("profiles", row{"slug": "abc", "is_active": true})
			s.decides(client, "ken", "/app/abc", "role")
			s.stream("users", row{"slug": "ken", "is_active": false})
			s.decides(client, "ken", "/app/abc", "role_required")
			s.stream("users", row{"slug": "ken", "is_active": true})
			s.decides(client, "ken", "/app/abc", "role")
			s.call(http.MethodDelete, "/api/profile/abc/roles/contributor/ken", "", http.StatusNoContent)
			s.decides(client, "ken", "/app/abc", "role_required")

			s.decides(client, "xia", "/terms", "agreement_required")
			s.sign("terms-of-use", "xia")
			s.decides(client, "xia", "/terms", "authenticated")
			s.advance(client, time.Second)
			s.call(http.MethodPut, "/api/agreements/terms-of-use", `{"title": "Terms of use", "updated_at": "`+clock.Now().UTC().Format(time.RFC3339)+`"}`, http.StatusOK)
			s.decides(client, "xia", "/terms", "agreement_required")
			s.sign("terms-of-use", "xia")
			s.decides(client, "xia", "/terms", "authenticated")
		})
	}
}

// Another node removes a role and ends a subscription, and this node, which decided from
// memory, denies the next requests as soon as it has heard of the change: within the bound of
// every other change.
func TestMemberChangeOfAnotherNode(t *testing.T) {
	redis := redistest.Start(t)
	s := newCoworkSiteOn(t, "redis "+redis.URL(), "")
	s.desk()
	s.subscribe(clock.Now().Add(time.Hour), nil)
	s.rules(helpRules...)
	options, err := redisengine.ParseURLs([]string{redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	other := store.New(backend, new(policy.Versions), now).As(store.Actor{})
	client := keepingClient(t)
	heard := func(user, path, reason string) {
		t.Helper()
		began := time.Now()
		s.waitFor(reason+" on "+path, func() bool { return s.ask(client, http.MethodGet, path, user).reason == reason })
		t.Logf("%s after %v", reason, time.Since(began).Round(time.Millisecond))
	}
	s.decides(client, "ken", "/read/abc", "entitled")
	if _, err := other.Unsubscribe(t.Context(), cowork, "abc", "premium"); err != nil {
		t.Fatal(err)
	}
	heard("ken", "/read/abc", "not_subscribed")
	s.decides(client, "ken", "/app/abc", "role")
	if err := other.RemoveRole(t.Context(), cowork, "abc", "ken", true, nil); err != nil {
		t.Fatal(err)
	}
	heard("ken", "/app/abc", "role_required")
	s.sign("terms-of-use", "xia")
	s.decides(client, "xia", "/terms", "authenticated")
	s.advance(client, time.Minute)
	if _, err := other.UpdateAgreement(t.Context(), cowork, "terms-of-use", func(a *store.Agreement) error {
		a.UpdatedAt = clock.Now()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	heard("xia", "/terms", "agreement_required")
}

// The explanation names the record that decided, or that is missing, and why the reader's
// others do not count.
func TestExplainNamesTheRecord(t *testing.T) {
	s := newCoworkSite(t, openstore.Bolt, "")
	s.desk()
	s.subscribe(clock.Now().Add(-time.Minute), nil)
	s.rules(helpRules...)
	for _, test := range []struct{ path, user, decision, why string }{
		{"/app/abc", "ken", `"allow":true,"reason":"role","status":200,"demand":{"profile":"abc","role":"contributor"}`, `"role":"contributor","counts":true`},
		{"/app/other", "ken", `"reason":"role_required","status":403,"demand":{"profile":"other","role":"contributor"}`, "it gives nothing on other for GET"},
		{"/read/abc", "ken", `"reason":"not_subscribed","status":403,"demand":{"profile":"abc","plan":"premium"}`, `"counts":false,"why":"it has ended"`},
		{"/terms", "ken", `"reason":"agreement_required","status":403,"demand":{"agreement":"terms-of-use"}`, "the reader has not signed it"},
	} {
		got := s.get(s.admin + "/gatefold/management/explain?vendor=" + cowork + "&user=" + test.user + "&url=" + s.site + test.path).body
		if !strings.Contains(got, test.decision) || !strings.Contains(got, test.why) {
			t.Errorf("%s as %s: %s, want %s and %s", test.path, test.user, got, test.decision, test.why)
		}
	}
}

// sign signs an agreement for a user, as a client of the API does.
func (s *coworkSite) sign(agreement, user string) {
	s.Helper()
	if _, err := s.running().Store.As(store.Actor{}).Sign(s.Context(), cowork, agreement, user); err != nil {
		s.Fatal(err)
	}
}
