package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// lossEnv is a testEnv whose store was last heard a while ago.
type lossEnv struct {
	*testEnv
	silence, staleFor time.Duration
}

func newLossEnv(t *testing.T, rules ...Rule) *lossEnv {
	env := &lossEnv{testEnv: newTestEnv(t), staleFor: 30 * time.Second}
	decisions, err := New(Options{
		Records: env.records, Versions: env.records.versions, Operators: StandardOperators(), CacheBytes: MinCacheBytes, Now: env.now,
		Fresh: func(string, time.Time) error {
			if env.silence >= env.staleFor {
				return ErrStale
			}
			return nil
		},
		Silence: func(vendor string, at time.Time) time.Duration {
			if vendor != "acme" || !at.Equal(env.now()) {
				t.Errorf("asked about %s at %v", vendor, at)
			}
			return env.silence
		},
	})
	must(t, err)
	t.Cleanup(decisions.Close)
	env.policy = decisions
	env.setLossRules(rules...)
	env.subscribe(0, 0)
	return env
}

// lossOperators has the option teaser, which is registered elsewhere.
func lossOperators() *Operators {
	teaser := RuleOption{Name: "teaser", Compile: func(json.RawMessage) (any, error) { return true, nil }}
	return NewOperators(registered.operators...).With(append([]RuleOption{teaser}, registered.options...)...)
}

func (env *lossEnv) setLossRules(rules ...Rule) {
	env.t.Helper()
	for i := range rules {
		rules[i].Rank, rules[i].Forward = i+1, true
	}
	compiled, err := CompileRules(rules, lossOperators())
	must(env.t, err)
	site := NewSite("acme", "news", compiled, PathOptions{}, env.keys)
	site.StoreLoss = env.site.StoreLoss
	env.site = site
}

// lossRule is a rule of which readers get an answer ten seconds after the loss.
func lossRule(path, then string) Rule {
	rule := Rule{Path: path, Allow: entitledTo("premium")}
	if then != "" {
		rule.Options = map[string]json.RawMessage{OptionStoreLoss: json.RawMessage(`{"after": "10s", "then": "` + then + `"}`), "teaser": json.RawMessage(`{}`)}
	}
	return rule
}

// Until its time a rule decides from memory. Then it answers what it says, to all readers
// alike, whatever they have; a rule without the option goes on until stale_for.
func TestStoreLossAnswers(t *testing.T) {
	env := newLossEnv(t, lossRule("/deny", LossDeny), lossRule("/teaser", LossTeaser), lossRule("/public", LossPublic), lossRule("/plain", ""), Rule{Path: "/open", Allow: Allow{Operator: "any"}})
	type want struct {
		subscriber, stranger Reason
		then                 string
	}
	memory := want{ReasonEntitled, ReasonNotEntitled, ""}
	denied := want{ReasonStoreUnavailable, ReasonStoreUnavailable, ""}
	opened := want{ReasonPublic, ReasonPublic, ""}
	answer := func(w want, then string) want { w.then = then; return w }
	for _, c := range []struct {
		path                    string
		at, after, stale, never want
	}{
		{"/deny", memory, answer(denied, LossDeny), answer(denied, LossDeny), answer(denied, LossDeny)},
		{"/teaser", memory, answer(denied, LossTeaser), answer(denied, LossTeaser), answer(denied, LossTeaser)},
		{"/public", memory, answer(opened, LossPublic), answer(opened, LossPublic), answer(opened, LossPublic)},
		{"/plain", memory, memory, denied, denied},
		{"/open", opened, opened, opened, opened},
	} {
		for silence, want := range map[time.Duration]want{0: c.at, 10*time.Second - 1: c.at, 10 * time.Second: c.after, 29 * time.Second: c.after, 30 * time.Second: c.stale, 1<<63 - 1: c.never} {
			env.silence = silence
			for reader, reason := range map[*Reader]Reason{&ann: want.subscriber, &bob: want.stranger} {
				decision := env.decide(testRequest{path: c.path, reader: *reader})
				then := ""
				if decision.Loss != nil {
					then = decision.Loss.Then
				}
				if decision.Reason != reason || then != want.then {
					t.Errorf("%s for %s after %v: %s (%s), want %s (%s)", c.path, reader.UserID, silence, decision.Reason, then, reason, want.then)
				}
				if decision.Reason == ReasonStoreUnavailable && !errors.Is(decision.Err, ErrStale) {
					t.Errorf("%s after %v: streams would go on: %v", c.path, silence, decision.Err)
				}
				if then != "" && (decision.Public() || decision.Rule == nil || decision.Rule.Path != c.path || decision.Option("teaser") == nil) {
					t.Errorf("%s after %v: for shared caches %t, by the rule %v", c.path, silence, decision.Public(), decision.Rule)
				}
			}
		}
	}
	// Only pages are opened, and what is refused in any case stays so.
	env.silence = time.Minute
	for reason, request := range map[Reason]testRequest{
		ReasonPublic: {method: "HEAD", path: "/public"}, ReasonStoreUnavailable: {method: "POST", path: "/public", reader: ann},
		ReasonBadPath: {path: "/public//x"}, ReasonPreflight: {method: "OPTIONS", path: "/public", preflight: true},
	} {
		if decision := env.decide(request); decision.Reason != reason {
			t.Errorf("%s %s: %s, want %s", request.method, request.path, decision.Reason, reason)
		}
	}
}

// With any option the readers of a protected page get it from memory for no longer than
// without: only a rule that says public opens one.
func TestStoreLossOnlyShortens(t *testing.T) {
	env := newLossEnv(t)
	for _, then := range []string{"", LossDeny, LossTeaser, LossPublic} {
		env.setLossRules(lossRule("/page", then))
		for _, env.staleFor = range []time.Duration{2 * time.Second, 9 * time.Second, 10 * time.Second, 11 * time.Second, time.Hour} {
			for _, env.silence = range []time.Duration{0, time.Second, 2 * time.Second, 9 * time.Second, 10 * time.Second, 11 * time.Second, time.Hour} {
				for _, reader := range []Reader{ann, bob, {}} {
					got := env.decide(testRequest{path: "/page", reader: reader})
					lost := env.silence >= env.staleFor || then != "" && env.silence >= 10*time.Second
					switch {
					case !lost && (got.Loss != nil || got.Allow() != (reader.UserID == "ann")):
						t.Errorf("%q at %v of %v for %q: %s", then, env.silence, env.staleFor, reader.UserID, got.Reason)
					case lost && got.Allow() != (then == LossPublic):
						t.Errorf("%q at %v of %v for %q: %s", then, env.silence, env.staleFor, reader.UserID, got.Reason)
					}
				}
			}
		}
	}
}

// A path that can be read as pages of two rules has the shorter time and the stricter answer
// of both. An attacker who finds such a spelling of a page gains nothing.
func TestStoreLossOfTwoReadings(t *testing.T) {
	for _, c := range []struct{ site, page, want string }{
		{LossPublic, LossPublic, LossPublic},
		{LossPublic, LossTeaser, LossTeaser},
		{LossTeaser, LossPublic, LossTeaser},
		{LossPublic, LossDeny, LossDeny},
		{LossDeny, LossTeaser, LossDeny},
		{LossPublic, "", LossDeny},
		{"", LossPublic, LossDeny},
	} {
		env := newLossEnv(t, lossRule("/page", c.page), lossRule("/", c.site))
		env.silence = 10 * time.Second
		request := env.request(testRequest{path: "/page.json", reader: ann}) // to some origins it is the page /page
		decision := env.policy.Decide(t.Context(), request)
		if len(request.matches) != 2 || decision.Loss == nil || decision.Loss.Then != c.want || decision.Allow() != (c.want == LossPublic) {
			t.Errorf("%q and %q: %s of %d matches by %+v, want %s", c.site, c.page, decision.Reason, len(request.matches), decision.Loss, c.want)
		}
	}
	long, short := &StoreLoss{time.Minute, LossPublic}, &StoreLoss{time.Second, LossTeaser}
	for _, joined := range []*StoreLoss{long.join(short), short.join(long)} {
		if *joined != (StoreLoss{time.Second, LossTeaser}) {
			t.Errorf("joined to %+v", joined)
		}
	}
}

// The site's option is for rules that have none; a rule's own replaces it.
func TestStoreLossOfTheSite(t *testing.T) {
	env := newLossEnv(t)
	env.site.StoreLoss = &StoreLoss{After: 4 * time.Second, Then: LossDeny}
	env.setLossRules(lossRule("/own", LossPublic), lossRule("/plain", ""))
	env.silence = 5 * time.Second
	if decision := env.decide(testRequest{path: "/plain", reader: ann}); decision.Reason != ReasonStoreUnavailable || decision.Loss == nil {
		t.Errorf("without an option of its own: %s", decision.Reason)
	}
	if decision := env.decide(testRequest{path: "/own", reader: ann}); decision.Reason != ReasonEntitled {
		t.Errorf("with an option of its own: %s", decision.Reason)
	}
}

// Readers try links while the store is lost. What was revoked opens nothing from
// memory, and the page that is open to all opens without a link: none is used up.
func TestStoreLossUsesNoLinks(t *testing.T) {
	env := newLossEnv(t, Rule{Path: "/articles/{publisherContentId}", Allow: entitledTo("premium", "{publisherContentId}"), Options: lossRule("", LossPublic).Options})
	counted := linkEvidence(env.newLink(keys.LinkClaims{MaxUses: 1}))
	withdrawn := linkEvidence(env.newLink(keys.LinkClaims{ID: "withdrawn"}))
	env.want(testRequest{reader: ann}, ReasonEntitled)
	env.want(testRequest{link: withdrawn}, ReasonSignedLink)
	env.silence = 9 * time.Second
	env.records.revoke("g1")
	env.records.revokeLink("withdrawn")
	env.want(testRequest{reader: ann}, ReasonNotEntitled)
	env.want(testRequest{link: withdrawn}, ReasonLinkRevoked)
	env.silence = 10 * time.Second
	for name, link := range map[string]LinkEvidence{"counted": counted, "forged": {Token: "e30.e30.e30", Spendable: true}, "none": {}} {
		decision := env.decide(testRequest{link: link})
		if decision.Reason != ReasonPublic || decision.Pending() || decision.Link != (LinkUse{}) {
			t.Errorf("%s link: %s by %+v", name, decision.Reason, decision.Link)
		}
	}
	env.silence = 0
	env.want(testRequest{link: counted}, ReasonSignedLink)
	env.want(testRequest{link: counted}, ReasonLinkUsedUp)
}

// A site whose store never answered gives the answer of the loss. Any other failure denies.
func TestStoreLossWithoutAStore(t *testing.T) {
	env := newLossEnv(t, lossRule("/page", LossPublic))
	for reason, err := range map[Reason]error{ReasonPublic: ErrUnavailable, ReasonStoreUnavailable: errors.New("the secret is another one")} {
		env.policy = Unreachable(StandardOperators(), env.now, err)
		if decision := env.decide(testRequest{path: "/page"}); decision.Reason != reason {
			t.Errorf("%v: %s, want %s", err, decision.Reason, reason)
		}
	}
}

func TestStoreLossRefusesRules(t *testing.T) {
	option := func(text string) map[string]json.RawMessage {
		return map[string]json.RawMessage{OptionStoreLoss: json.RawMessage(text)}
	}
	for text, want := range map[string]string{
		`"10s"`: "must be an object", `{"after": "10s", "than": "deny"}`: "must be an object", `{"after": "soon"}`: "2s to 24h", `{}`: "2s to 24h",
		`{"after": "1s"}`: "2s to 24h", `{"after": "25h"}`: "2s to 24h", `{"after": "-10s"}`: "2s to 24h",
		`{"after": "10s", "then": "open"}`: `"open" is no answer`, `{"after": "10s", "then": "teaser"}`: "add the option teaser",
	} {
		_, err := CompileRules([]Rule{{Rank: 1, Path: "/", Forward: true, Allow: entitledTo("premium"), Options: option(text)}}, lossOperators())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	open := option(`{"after": "10s", "then": "public"}`)
	for want, rule := range map[string]Rule{
		"is for content":           {Forward: true, Path: "/profile/{user}", Allow: Allow{Operator: "self"}, Options: open},
		"is for pages of the orig": {Path: "/", Allow: entitledTo("premium"), Options: open},
	} {
		rule.Rank = 1
		if _, err := CompileRules([]Rule{rule}, lossOperators()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", rule.Path, err, want)
		}
	}
}
