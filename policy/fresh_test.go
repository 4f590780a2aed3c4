package policy

import (
	"errors"
	"testing"
	"time"
)

// While a shared store is unreachable for too long, caches decide nothing: not an allow, and
// not a denial either. What the configuration alone makes public, or what is refused
// before any record is read, is decided as ever.
func TestStaleCachesDecideNothing(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	var stale error
	decisions, err := New(Options{
		Records: env.records, Versions: env.records.versions, Operators: StandardOperators(), CacheBytes: MinCacheBytes, Now: env.now,
		Fresh: func(vendor string, at time.Time) error {
			if vendor != "acme" || !at.Equal(env.now()) {
				t.Errorf("asked about %s at %v", vendor, at)
			}
			return stale
		},
	})
	must(t, err)
	t.Cleanup(decisions.Close)
	env.policy = decisions
	requests := map[string]testRequest{
		"subscriber": {reader: ann}, "stranger": {reader: bob}, "anonymous": {}, "public page": {path: "/public"}, "no rule": {path: "/none"},
		"bad path": {path: "/public//x"}, "preflight": {method: "OPTIONS", preflight: true},
	}
	want := func(reasons map[string]Reason) {
		t.Helper()
		for name, request := range requests {
			decision := env.decide(request)
			if decision.Reason != reasons[name] {
				t.Errorf("%s: %s, want %s", name, decision.Reason, reasons[name])
			}
			if decision.Reason == ReasonStoreUnavailable && !errors.Is(decision.Err, ErrStale) {
				t.Errorf("%s: the error is %v", name, decision.Err)
			}
		}
	}
	want(map[string]Reason{
		"subscriber": ReasonEntitled, "stranger": ReasonNotEntitled, "anonymous": ReasonLoginRequired, "public page": ReasonPublic, "no rule": ReasonNoRule,
		"bad path": ReasonBadPath, "preflight": ReasonPreflight,
	})
	stale = ErrStale
	want(map[string]Reason{
		"subscriber": ReasonStoreUnavailable, "stranger": ReasonStoreUnavailable, "anonymous": ReasonStoreUnavailable, "public page": ReasonPublic,
		"no rule": ReasonStoreUnavailable, "bad path": ReasonBadPath, "preflight": ReasonPreflight,
	})
	// A site whose rules are in the store has none that are fresh.
	env.site = NewSite("acme", "news", nil, PathOptions{}, env.keys)
	env.records.rules[siteKey{"acme", "news"}] = []Rule{{Rank: 1, Path: "/", Allow: Allow{Operator: "any"}}}
	for name := range requests {
		if reason := env.decide(requests[name]).Reason; reason != ReasonStoreUnavailable && reason != ReasonBadPath {
			t.Errorf("%s of a site with stored rules: %s", name, reason)
		}
	}
	// Rules that cannot be read either: the outage is as old as it is, so that open
	// streams are cut.
	env.records.down = errDown
	env.policy.RefreshVendor(t.Context(), "acme")
	if decision := env.decide(testRequest{reader: ann}); decision.Reason != ReasonStoreUnavailable || !errors.Is(decision.Err, ErrStale) {
		t.Errorf("without rules: %s, %v", decision.Reason, decision.Err)
	}
}
