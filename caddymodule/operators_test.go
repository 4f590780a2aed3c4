package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// operatorCases are decisions of the reference implementation, and the world that they
// are about.
type operatorCases struct {
	World operatorWorld
	Cases []operatorCase
}

type operatorWorld struct {
	Broker, Provider string
	Roles            []struct {
		Profile, User, Role string
		GrantKey            bool `json:"grant_key"`
		RequestKey          bool `json:"request_key"`
		Ended               bool
	}
	Plans []struct {
		Slug, Provider string
		PeriodAmount   int  `json:"period_amount"`
		IsNotPriced    bool `json:"is_not_priced"`
	}
	Subscriptions []struct {
		Profile, Plan string
		EndsInDays    int  `json:"ends_in_days"`
		GrantKey      bool `json:"grant_key"`
		RequestKey    bool `json:"request_key"`
	}
}

type operatorCase struct {
	Op           int
	User, Method string
	Params       map[string]any
	Expect       string
}

func readOperatorCases(t *testing.T) (all operatorCases) {
	t.Helper()
	text, err := os.ReadFile("../policy/testdata/operators.json")
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || len(all.Cases) != 3061 {
		t.Fatalf("%d cases, %v", len(all.Cases), err)
	}
	return all
}

// allow returns the operator of a case with its arguments.
func (c *operatorCase) allow(t *testing.T) string {
	t.Helper()
	arguments, err := json.Marshal(c.Params) // sorted
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d/%s", c.Op, arguments)
}

// captured returns the operator with the arguments of a case that the path can capture in
// captures, and the path that does.
func (c *operatorCase) captured(t *testing.T) (allow, template, path string) {
	t.Helper()
	rest := operatorCase{Op: c.Op, Params: map[string]any{}}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		if value, ok := c.Params[name].(string); ok && name != "roledescription" {
			template, path = template+"/{"+name+"}", path+"/"+value
			continue
		}
		rest.Params[name] = c.Params[name]
	}
	return rest.allow(t), template, path
}

// casePages are the pages of the cases, each with two rules: with all arguments in the
// rule, and with those that the path captures.
type casePages struct {
	rules [][2]string
	paths map[string]string // by operator and arguments
}

func (p *casePages) add(template, path, allow string) string {
	key := allow + " " + path
	if known := p.paths[key]; known != "" {
		return known
	}
	prefix := fmt.Sprintf("/page%d", len(p.paths))
	p.rules = append(p.rules, [2]string{prefix + template, allow})
	p.paths[key] = prefix + path
	return prefix + path
}

// The kinds of differences between the gate and the reference. docs/proxy.md has each,
// with its reason.
const (
	sameAsReference = ""
	headAsGet       = "HEAD is judged as GET"
	churnedProvider = "a provider has a current subscription"
	noSuchSlug      = "an unknown plan or profile is a denial with a reason"
	notListed       = "none that is listed"
)

// differs returns the kind of a difference. A denial about a role leads a browser to the
// page of roles.
func (c *operatorCase) differs(got asked, world *operatorWorld) string {
	allowed := got.status == http.StatusOK
	denied := got.status == http.StatusForbidden || got.status == http.StatusSeeOther && strings.HasPrefix(got.target, "/users/"+c.User+"/roles/?next=")
	page, redirects := strings.CutPrefix(c.Expect, "redirect:")
	switch {
	case c.Expect == "allow" && allowed, c.Expect == "deny" && denied:
		return sameAsReference
	case redirects && got.status == http.StatusSeeOther && got.reason == "not_subscribed" && strings.HasPrefix(got.target, page+"?next="):
		return sameAsReference
	case c.Expect == "error:Http404" && !allowed && got.reason == "not_subscribed":
		return noSuchSlug
	case c.Expect == "deny" && allowed && c.Method == http.MethodHead:
		return headAsGet
	case c.Expect == "allow" && denied && c.Params["profile"] == "old" && world.isStaff(c.User, world.Provider):
		return churnedProvider
	default:
		return notListed
	}
}

// isStaff reports whether a user has a role on a profile.
func (w *operatorWorld) isStaff(user, profile string) bool {
	for _, role := range w.Roles {
		if role.User == user && role.Profile == profile {
			return true
		}
	}
	return false
}

// Every decision of the reference implementation is the gate's, on both engines, with
// caches cold and warm, whether the arguments are in the rule or captured by the path. A
// denial leads to the page to which the reference sends. The number of differences, which
// are on purpose, is known by kind.
func TestOperatorsDecideAsTheReference(t *testing.T) {
	all := readOperatorCases(t)
	want := map[string]int{headAsGet: 22, churnedProvider: 24, noSuchSlug: 21}
	for _, engine := range coworkEngines {
		t.Run(engine, func(t *testing.T) {
			began := time.Now()
			s := newCoworkSite(t, engine, "")
			s.build(&all.World)
			pages := casePages{paths: map[string]string{}}
			var inRule, inPath []string
			for i := range all.Cases {
				c := &all.Cases[i]
				inRule = append(inRule, pages.add("", "", c.allow(t)))
				allow, template, path := c.captured(t)
				inPath = append(inPath, pages.add(template, path, allow))
			}
			s.rules(pages.rules...)
			client := keepingClient(t)
			for _, pass := range []struct {
				name  string
				paths []string
				cold  bool
			}{{"cold", inRule, true}, {"warm", inRule, false}, {"captured", inPath, false}} {
				found := map[string]int{}
				for i := range all.Cases {
					c := &all.Cases[i]
					if pass.cold {
						s.forget()
					}
					got := s.ask(client, c.Method, pass.paths[i], c.User)
					kind := c.differs(got, &all.World)
					if found[kind]++; kind == notListed && found[kind] < 20 {
						t.Errorf("%s: %s %s as %s under %s: %s, want %s", pass.name, c.Method, pass.paths[i], c.User, c.allow(t), got, c.Expect)
					}
				}
				delete(found, sameAsReference)
				if !maps.Equal(found, want) {
					t.Errorf("%s: the differences are %v, want %v", pass.name, found, want)
				}
			}
			t.Logf("%d requests after %v", 3*len(all.Cases), time.Since(began))
		})
	}
}
