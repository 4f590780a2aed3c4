package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// parseSteps returns a rule with steps in their text form.
func parseSteps(t *testing.T, path string, steps ...string) Rule {
	t.Helper()
	rule := parseRule(t, path, steps[0])
	for _, step := range steps[1:] {
		rule.Then = append(rule.Then, parseRule(t, path, step).Allow)
	}
	return rule
}

// The first step that allows decides. If none does, the denial is that of the last.
func TestStepsAreTriedInOrder(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0) // ann has premium
	env.setRules(
		parseSteps(t, "/both", "subscribed/{\"plan\":\"gold\"}", "entitled/{\"sku\":\"premium\"}"),
		parseSteps(t, "/own/{user}", "self", "entitled/{\"sku\":\"premium\"}"),
		parseSteps(t, "/open", "entitled/{\"sku\":\"gold\"}", "any"),
		parseSteps(t, "/closed", "entitled/{\"sku\":\"premium\"}", "self/{\"user\":\"bob\"}"),
	)
	for _, c := range []struct {
		path   string
		reader Reader
		want   Reason
	}{
		{"/both", ann, ReasonEntitled},
		{"/both", bob, ReasonNotEntitled},
		{"/both", Reader{}, ReasonLoginRequired},
		{"/both", Reader{Rejected: true}, ReasonBadCredential},
		{"/own/" + bob.UserID, bob, ReasonAuthenticated},
		{"/own/" + bob.UserID, ann, ReasonEntitled},
		{"/own/" + ann.UserID, bob, ReasonNotEntitled},
		{"/open", bob, ReasonPublic},
		{"/open", Reader{}, ReasonPublic},
		{"/closed", ann, ReasonEntitled},
		{"/closed", Reader{UserID: "bob"}, ReasonAuthenticated},
		{"/closed", Reader{UserID: "carl"}, ReasonNotEntitled},
	} {
		if decision := env.want(testRequest{path: c.path, reader: c.reader}, c.want); decision.Reason == ReasonEntitled && decision.SKU != "premium" {
			t.Errorf("%s: entitled by %q", c.path, decision.SKU)
		}
	}
	// Until is the earliest moment at which the answer of any tried step may change.
	ends := env.now().UnixMilli() + 1000
	env.records.grant(fakeGrant{Grant: Grant{ID: "g7", SKU: "gold", StartsAt: ends}, userID: bob.UserID})
	if decision := env.want(testRequest{path: "/both", reader: bob}, ReasonNotEntitled); decision.Until != ends {
		t.Errorf("the denial holds until %d, want %d", decision.Until, ends)
	}
}

// A step that cannot be answered makes the decision unavailable unless another step
// allows.
func TestUnreadableStepIsUnavailable(t *testing.T) {
	env := newTestEnv(t)
	env.subscribe(0, 0)
	env.setRules(
		parseSteps(t, "/both", "entitled/{\"sku\":\"gold\"}", "entitled/{\"sku\":\"premium\"}"),
		parseSteps(t, "/other", "entitled/{\"sku\":\"gold\"}", "self/{\"user\":\"x\"}"),
	)
	env.records.containersDown = errDown
	env.want(testRequest{path: "/both", reader: ann}, ReasonEntitled)
	if decision := env.want(testRequest{path: "/other", reader: ann}, ReasonStoreUnavailable); !errors.Is(decision.Err, errDown) {
		t.Errorf("the error is %v", decision.Err)
	}
}

// A link satisfies the step that accepts links, at any place in the rule.
func TestLinkSatisfiesAStep(t *testing.T) {
	env := newTestEnv(t)
	env.setRules(parseSteps(t, "/articles/{publisherContentId}", "subscribed/{\"plan\":\"gold\"}", "entitled/{\"sku\":\"{publisherContentId}\"}"))
	link := linkEvidence(env.newLink(keys.LinkClaims{}))
	env.want(testRequest{path: "/articles/a1", link: link}, ReasonSignedLink)
	env.want(testRequest{path: "/articles/a2", link: link}, ReasonLinkOtherResource)
	explained := env.policy.Explain(t.Context(), env.request(testRequest{path: "/articles/a2", link: link}))
	if reading := explained.Readings[0]; reading.Misfit != "publisherContentId" || fmt.Sprint(reading.SKUs) != "[a2]" || reading.ContentID != "a2" {
		t.Errorf("the reading is %+v", reading)
	}
}

func TestInvalidSteps(t *testing.T) {
	many := make([]string, maxSteps+1)
	for i := range many {
		many[i] = "any"
	}
	for name, c := range map[string]struct {
		rule Rule
		want string
	}{
		"an unknown operator":     {parseSteps(t, "/x", "any", "nothing"), "unknown operator"},
		"arguments of a step":     {parseSteps(t, "/x", "any", "entitled"), "at least one sku"},
		"more steps than allowed": {parseSteps(t, "/x", many...), "more than 16 steps"},
		"an unknown option":       {Rule{Path: "/x", Allow: Allow{Operator: "any"}, Options: map[string]json.RawMessage{"x": nil}}, `unknown option "x"`},
	} {
		if _, err := CompileRules([]Rule{c.rule}, StandardOperators()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A rule option is compiled once, is read from the decision, and does not decide.
func TestRuleOption(t *testing.T) {
	number := RuleOption{Name: "number", Compile: func(value json.RawMessage) (any, error) {
		var n int
		err := json.Unmarshal(value, &n)
		return n, err
	}}
	operators := NewOperators(registered.operators...).With(number)
	rule := func(path, value string) Rule {
		return Rule{Path: path, Allow: Allow{Operator: "any"}, Options: map[string]json.RawMessage{"number": json.RawMessage(value)}}
	}
	rules := []Rule{rule("/a", "1"), rule("/b", "2"), {Path: "/", Allow: Allow{Operator: "any"}}}
	for i := range rules {
		rules[i].Rank = i
	}
	compiled, err := CompileRules(rules, operators)
	must(t, err)
	env := newTestEnv(t)
	env.site = NewSite("acme", "news", compiled, PathOptions{}, env.keys)
	for path, want := range map[string]any{"/a": 1, "/b/c": 2, "/c": nil, "/a/../b": nil} {
		if decision := env.decide(testRequest{path: path}); decision.Option("number") != want {
			t.Errorf("%s has the number %v, want %v", path, decision.Option("number"), want)
		}
	}
	if _, err := CompileRules([]Rule{rule("/a", `"x"`)}, operators); err == nil || !strings.Contains(err.Error(), "number: ") {
		t.Errorf("an invalid value: %v", err)
	}
	for _, name := range []string{"number", "any"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("the option %s was accepted twice", name)
				}
			}()
			operators.With(RuleOption{Name: name})
		}()
	}
}

// Steps and options survive a round trip through JSON.
func TestRuleJSONKeepsStepsAndOptions(t *testing.T) {
	const stored = `{"rank":3,"path":"/x","allow":15,"then":["entitled/{\"sku\":\"premium\"}",0],"is_forward":true,"options":{"cache":{"ttl":60}}}`
	var rule Rule
	must(t, json.Unmarshal([]byte(stored), &rule))
	if again, err := json.Marshal(rule); err != nil || string(again) != stored {
		t.Errorf("%s, %v", again, err)
	}
}
