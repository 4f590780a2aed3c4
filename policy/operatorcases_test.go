package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
)

// operatorCases are decisions of DjaoApp's operators in one small world, taken from the
// reference implementation.
type operatorCases struct {
	World struct {
		Broker string `json:"broker"`
		Roles  []struct {
			Profile    string `json:"profile"`
			User       string `json:"user"`
			Role       string `json:"role"`
			GrantKey   bool   `json:"grant_key"`
			RequestKey bool   `json:"request_key"`
			Ended      bool   `json:"ended"`
		} `json:"roles"`
		Plans []struct {
			Slug        string `json:"slug"`
			Provider    string `json:"provider"`
			IsNotPriced bool   `json:"is_not_priced"`
		} `json:"plans"`
		Subscriptions []struct {
			Profile    string `json:"profile"`
			Plan       string `json:"plan"`
			EndsInDays int64  `json:"ends_in_days"`
			GrantKey   bool   `json:"grant_key"`
			RequestKey bool   `json:"request_key"`
		} `json:"subscriptions"`
	} `json:"world"`
	Cases []operatorCase `json:"cases"`
}

type operatorCase struct {
	Op     int                        `json:"op"`
	User   string                     `json:"user"`
	Method string                     `json:"method"`
	Params map[string]json.RawMessage `json:"params"`
	Expect string                     `json:"expect"`
}

const day = 24 * 3600 * 1000

// loadOperatorCases reads the cases, and makes the records of their world. The broker of
// the world is the vendor acme.
func loadOperatorCases(t *testing.T, env *testEnv) []operatorCase {
	t.Helper()
	file, err := os.ReadFile("testdata/operators.json")
	must(t, err)
	var c operatorCases
	must(t, json.Unmarshal([]byte(strings.ReplaceAll(string(file), `"cowork"`, `"acme"`)), &c))
	if c.World.Broker != "acme" {
		t.Fatalf("the broker is %q", c.World.Broker)
	}
	for _, profile := range []string{"acme", "prov", "abc", "old", "never", "pendsub", "reqsub"} {
		env.records.setProfile(profile, true)
	}
	owners := map[string]string{}
	for _, plan := range c.World.Plans {
		env.records.setPlan(plan.Slug, Plan{Provider: plan.Provider, NotPriced: plan.IsNotPriced})
		owners[plan.Slug] = plan.Provider
	}
	for _, role := range c.World.Roles {
		r := Role{Profile: role.Profile, Type: role.Role, Pending: role.GrantKey || role.RequestKey}
		if role.Ended {
			r.EndsAt = start*1000 - day
		}
		env.records.setRole(role.User, r)
	}
	for _, s := range c.World.Subscriptions {
		if !s.GrantKey && !s.RequestKey {
			env.records.setSubscription(Subscription{
				Profile: s.Profile, Plan: s.Plan, Provider: owners[s.Plan],
				StartsAt: start*1000 - 60*day, EndsAt: start*1000 + s.EndsInDays*day,
			})
		}
	}
	return c.Cases
}

// ours is the answer in the words of the cases, for the pages that DjaoApp has.
func ours(d *Decision) string {
	switch {
	case d.Allow():
		return "allow"
	case d.Reason != ReasonNotSubscribed:
		return "deny"
	case d.Demand.Plan == "":
		return "redirect:/pricing/"
	case d.Demand.Profile == "":
		return "redirect:/billing/cart/"
	default:
		return "redirect:/billing/" + d.Demand.Profile + "/cart/"
	}
}

// difference names the listed difference that explains another answer than the
// reference's; it is empty if none does.
func (c *operatorCase) difference(got string) string {
	switch {
	case c.Expect == "error:Http404" && strings.HasPrefix(got, "redirect:"):
		return "no 404"
	case c.Method == http.MethodHead && c.Expect == "deny" && got == "allow":
		return "HEAD as GET"
	case string(c.Params["profile"]) == `"old"` && c.Expect == "allow" && got == "deny":
		return "ended provider"
	default:
		return ""
	}
}

// DjaoApp's decisions and ours are the same but for the listed differences, with the
// parameters as arguments of the rule and as captures of its path, from the store and from
// memory.
func TestOperatorsDecideAsDjaoApps(t *testing.T) {
	env := newTestEnv(t)
	cases := loadOperatorCases(t, env)
	if len(cases) != 3061 {
		t.Fatalf("%d cases", len(cases))
	}
	rulesets := map[string]*Site{}
	differences := map[string]int{}
	for i := range cases {
		c := &cases[i]
		for _, captured := range []bool{false, true} {
			arguments, pattern, path := maps.Clone(Arguments(c.Params)), "/x", "/x"
			for _, name := range []string{"profile", "user"} {
				var value *string
				if raw, ok := c.Params[name]; captured && ok && json.Unmarshal(raw, &value) == nil && value != nil {
					// Null, which DjaoApp stores for every parameter, does not override a capture.
					arguments[name] = json.RawMessage("null")
					pattern, path = pattern+"/{"+name+"}", path+"/"+*value
				}
			}
			rule := Rule{Rank: 1, Path: pattern, Allow: Allow{Operator: fmt.Sprint(c.Op), Arguments: arguments}}
			key := rule.Allow.String() + pattern
			if rulesets[key] == nil {
				rules, err := CompileRules([]Rule{rule}, StandardOperators())
				must(t, err)
				rulesets[key] = NewSite("acme", "news", rules, PathOptions{}, env.keys)
			}
			env.site = rulesets[key]
			request := testRequest{method: c.Method, path: path, reader: Reader{UserID: c.User}}
			decision := env.decide(request)
			got := ours(&decision)
			if cold := env.policy.uncached().Decide(t.Context(), env.request(request)); cold.Reason != decision.Reason || cold.Demand != decision.Demand || cold.Until != decision.Until {
				t.Errorf("%d %s by %s with %s: from the store %s %+v, from memory %s %+v", c.Op, c.Method, c.User, key, cold.Reason, cold.Demand, decision.Reason, decision.Demand)
			}
			if got == c.Expect {
				continue
			}
			kind := c.difference(got)
			if kind == "" {
				t.Errorf("%d %s by %s with %s (captured: %t): %s (%s), want %s", c.Op, c.Method, c.User, key, captured, got, decision.Reason, c.Expect)
			}
			if !captured {
				differences[kind]++
			}
		}
	}
	want := map[string]int{"HEAD as GET": 22, "no 404": 21, "ended provider": 24}
	if !maps.Equal(differences, want) {
		t.Errorf("the differences are %v, want %v", differences, want)
	}
}
