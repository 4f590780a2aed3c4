package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy"
)

const rulesPath = "/api/proxy/rules"

// ruleRead is a rule in a response.
type ruleRead struct {
	Rank      int
	Path      string
	Methods   []string
	Allow     any
	IsForward bool `json:"is_forward"`
	Engaged   string
	Detail    string
}

type rulesRead struct {
	Count          int
	Next, Previous *string
	Results        []ruleRead
	Version        string
	Detail         string
}

func (b *fixture) rules(query string) (page rulesRead) {
	b.Helper()
	b.call(http.MethodGet, rulesPath+query, "").want(http.StatusOK, &page)
	return page
}

// order returns the ranks and paths of a site's rules.
func (b *fixture) order() string {
	b.Helper()
	var order []string
	for _, rule := range b.rules("?page_size=100").Results {
		order = append(order, fmt.Sprintf("%d%s", rule.Rank, rule.Path))
	}
	return strings.Join(order, " ")
}

func (b *fixture) addRules(paths ...string) {
	b.Helper()
	for _, path := range paths {
		b.call(http.MethodPost, rulesPath, fmt.Sprintf(`{"path":%q,"allow":"authenticated"}`, path)).want(http.StatusCreated, nil)
	}
}

func (b *fixture) wantOrder(want string) {
	b.Helper()
	if got := b.order(); got != want {
		b.Errorf("the rules are %q, want %q", got, want)
	}
}

// The example of the published contract.
func TestRuleOfTheContract(t *testing.T) {
	b := newFixture(t, false)
	made := b.call(http.MethodPost, rulesPath, `{"rank": 0, "path": "/", "allow": 1, "is_forward": true, "engaged": ""}`).want(http.StatusCreated, nil)
	want := map[string]any{"rank": 0.0, "path": "/", "allow": 1.0, "is_forward": true, "engaged": ""}
	check := func(name string, got map[string]any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s gives %v, want %v", name, got, want)
		}
	}
	check("POST", made.fields())
	if location := made.head.Get("Location"); location != "rules/" {
		t.Errorf("the Location is %q", location)
	}
	list := b.call(http.MethodGet, rulesPath, "").want(http.StatusOK, nil).fields()
	if list["count"] != 1.0 || list["next"] != nil || list["previous"] != nil {
		t.Errorf("the envelope is %v", list)
	}
	check("the list", list["results"].([]any)[0].(map[string]any))
	check("GET", b.call(http.MethodGet, rulesPath+"/", "").want(http.StatusOK, nil).fields())
	want["engaged"] = "app"
	check("PUT", b.call(http.MethodPut, rulesPath+"/", `{"rank": 0, "allow": 1, "is_forward": true, "engaged": "app"}`).want(http.StatusOK, nil).fields())
	if got := b.call(http.MethodDelete, rulesPath+"/", ""); got.code != http.StatusNoContent || got.body != "" {
		t.Errorf("DELETE gives %d %s", got.code, got.body)
	}
	b.call(http.MethodDelete, rulesPath+"/", "").refused(http.StatusNotFound, "not_found", "")
}

func TestRuleRoundTrip(t *testing.T) {
	b := newFixture(t, false)
	const rule = `{"rank":3,"path":"/articles/{id}","methods":["GET","PUT"],"allow":"entitled/{\"sku\":[\"premium\",\"{id}\"]}","is_forward":false,"engaged":"read, app,"}`
	var made ruleRead
	b.call(http.MethodPost, rulesPath, rule).want(http.StatusCreated, &made)
	one := rulesPath + "/articles/" + url.PathEscape("{id}")
	var read ruleRead
	b.call(http.MethodGet, one, "").want(http.StatusOK, &read)
	want := ruleRead{
		Rank: 3, Path: "/articles/{id}", Methods: []string{"GET", "PUT"},
		Allow: `entitled/{"sku":["premium","{id}"]}`, Engaged: "read,app",
	}
	if fmt.Sprint(made) != fmt.Sprint(want) || fmt.Sprint(read) != fmt.Sprint(want) {
		t.Errorf("made %v\nread %v\nwant %v", made, read, want)
	}
	// PATCH changes named fields, PUT all others too.
	want.Methods, want.Engaged = nil, "app"
	b.call(http.MethodPatch, one, `{"methods":[],"engaged":"app"}`).want(http.StatusOK, &read)
	read = ruleRead{}
	b.call(http.MethodGet, one, "").want(http.StatusOK, &read)
	if fmt.Sprint(read) != fmt.Sprint(want) {
		t.Errorf("after PATCH: %v, want %v", read, want)
	}
	read = ruleRead{}
	b.call(http.MethodPut, one, `{"path":"/articles/{id}","allow":"any"}`).want(http.StatusOK, &read)
	want = ruleRead{Rank: 3, Path: "/articles/{id}", Allow: "any", IsForward: true}
	if fmt.Sprint(read) != fmt.Sprint(want) {
		t.Errorf("after PUT: %v, want %v", read, want)
	}
}

// A rule is identified by its exact path: a trailing slash is significant, and
// special characters are escaped.
func TestRulesAreIdentifiedByPath(t *testing.T) {
	b := newFixture(t, false)
	paths := []string{"/", "/app", "/app/", "/a/{b}/:c", `/übung/a\ b`, `/a\*b`, `/100\%`, "/robots.txt", "/pre{x}"}
	b.addRules(paths...)
	for _, path := range paths {
		segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
		for i := range segments {
			segments[i] = url.PathEscape(segments[i])
		}
		var read ruleRead
		got := b.call(http.MethodGet, rulesPath+"/"+strings.Join(segments, "/"), "").want(http.StatusOK, &read)
		if read.Path != path {
			t.Errorf("%s is answered with %s", path, got.body)
		}
	}
	b.addRules("no-slash")
	b.call(http.MethodGet, rulesPath+"/no-slash", "").want(http.StatusOK, nil)
	for _, path := range []string{"/App", "//app", "/app//", "/./app", "/x/../app"} {
		b.call(http.MethodGet, rulesPath+path, "").refused(http.StatusNotFound, "not_found", "")
	}
	b.call(http.MethodPost, rulesPath, `{"path":"/app","allow":"any"}`).refused(http.StatusConflict, "conflict", "")
	b.call(http.MethodPatch, rulesPath+"/app", `{"path":"/other"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "")
}

// DELETE without the slash of the rule for / does not delete it.
func TestDeleteRulesWithoutPath(t *testing.T) {
	b := newFixture(t, false)
	b.addRules("/")
	wrong := b.call(http.MethodDelete, rulesPath, "")
	wrong.refused(http.StatusMethodNotAllowed, "method_not_allowed", "")
	if wrong.head.Get("Allow") == "" {
		t.Error("the answer does not say what is allowed")
	}
	b.wantOrder("1/")
}

func TestRulesAreInsertedAtTheirRank(t *testing.T) {
	b := newFixture(t, false)
	post := func(rank, path string) {
		t.Helper()
		b.call(http.MethodPost, rulesPath, `{"rank":`+rank+`,"path":"`+path+`","allow":1}`).want(http.StatusCreated, nil)
	}
	b.addRules("/a", "/b")
	b.wantOrder("1/a 2/b")
	post("1", "/c")
	b.wantOrder("1/c 2/a 3/b")
	post("2", "/d")
	b.wantOrder("1/c 2/d 3/a 4/b")
	post("9", "/e") // a free rank moves no rule
	b.wantOrder("1/c 2/d 3/a 4/b 9/e")
	b.addRules("/f")
	b.wantOrder("1/c 2/d 3/a 4/b 9/e 10/f")
	if got := b.call(http.MethodDelete, rulesPath+"/d", ""); got.code != http.StatusNoContent {
		t.Fatalf("DELETE: %d %s", got.code, got.body)
	}
	b.wantOrder("1/c 2/a 3/b 8/e 9/f")
	// Imported from another system, in any order.
	for _, rank := range []string{"23", "21", "22"} {
		post(rank, "/r"+rank)
	}
	b.wantOrder("1/c 2/a 3/b 8/e 9/f 21/r21 22/r22 23/r23")
}

func TestTakenRank(t *testing.T) {
	b := newFixture(t, false)
	b.addRules("/a", "/b", "/c")
	for _, method := range []string{http.MethodPut, http.MethodPatch} {
		p := b.call(method, rulesPath+"/c", `{"rank":1,"allow":1}`).refused(http.StatusConflict, "conflict", "")
		if !strings.Contains(p.Detail, "/a") {
			t.Errorf("the detail does not name whose it is: %s", p.Detail)
		}
		b.wantOrder("1/a 2/b 3/c")
		b.call(method, rulesPath+"/c", `{"rank":3,"allow":1}`).want(http.StatusOK, nil)
	}
	b.call(http.MethodPut, rulesPath+"/a", `{"rank":4,"allow":1}`).want(http.StatusOK, nil)
	b.wantOrder("2/b 3/c 4/a")
}

func TestRulesAreReordered(t *testing.T) {
	for name, test := range map[string]struct{ updates, want string }{
		"up":                {`{"oldpos":5,"newpos":1}`, "1/e 2/a 3/b 4/c 5/d"},
		"down":              {`{"oldpos":1,"newpos":4}`, "1/b 2/c 3/d 4/a 5/e"},
		"to its own place":  {`{"oldpos":3,"newpos":3}`, "1/a 2/b 3/c 4/d 5/e"},
		"behind the last":   {`{"oldpos":2,"newpos":99}`, "1/a 2/c 3/d 4/e 5/b"},
		"one after another": {`{"oldpos":1,"newpos":2},{"oldpos":1,"newpos":5}`, "1/a 2/c 3/d 4/e 5/b"},
		"with its name":     {`{"oldpos":2,"newpos":1,"path":"/b"}`, "1/b 2/a 3/c 4/d 5/e"},
		"nothing":           {``, "1/a 2/b 3/c 4/d 5/e"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t, false)
			b.addRules("/a", "/b", "/c", "/d", "/e")
			var page rulesRead
			b.call(http.MethodPatch, rulesPath, `{"updates":[`+test.updates+`]}`).want(http.StatusOK, &page)
			b.wantOrder(test.want)
			if page.Count != 5 || len(page.Results) != 5 || !strings.HasPrefix(test.want, "1"+page.Results[0].Path+" ") {
				t.Errorf("the answer is %+v", page)
			}
			b.T = t
		})
	}
}

// If the second of several moves fails, the first is not made either.
func TestReorderingIsAllOrNothing(t *testing.T) {
	b := newFixture(t, false)
	b.addRules("/a", "/b", "/c")
	first := `{"oldpos":1,"newpos":3}`
	b.call(http.MethodPatch, rulesPath, `{"updates":[`+first+`,{"oldpos":7,"newpos":1}]}`).refused(http.StatusUnprocessableEntity, "validation_failed", "")
	p := b.call(http.MethodPatch, rulesPath, `{"updates":[`+first+`,{"oldpos":2,"newpos":1,"path":"/b"}]}`).refused(http.StatusConflict, "conflict", "")
	if !strings.Contains(p.Detail, "/c") {
		t.Errorf("the detail is %q", p.Detail)
	}
	b.call(http.MethodPatch, rulesPath, `[]`).refused(http.StatusUnprocessableEntity, "validation_failed", "")
	b.wantOrder("1/a 2/b 3/c")
}

func TestAllRulesAreReplaced(t *testing.T) {
	b := newFixture(t, false)
	b.addRules("/old", "/kept")
	put := func(query, rules string) answer {
		t.Helper()
		return b.call(http.MethodPut, rulesPath+query, rules)
	}
	var page rulesRead
	put("", `[{"path":"/kept","allow":0},{"path":"/new","allow":"authenticated"}]`).want(http.StatusOK, &page)
	b.wantOrder("1/kept 2/new")
	if page.Count != 2 || page.Version != b.rules("").Version {
		t.Errorf("the answer is %+v", page)
	}
	put("", `[{"rank":7,"path":"/b","allow":0},{"rank":2,"path":"/a","allow":0}]`).want(http.StatusOK, nil)
	b.wantOrder("2/a 7/b")
	put("?dry_run=true", `[]`).want(http.StatusOK, &page)
	if page.Count != 0 {
		t.Errorf("the rehearsal says %+v", page)
	}
	for name, rules := range map[string]string{
		"one without a rank": `[{"rank":1,"path":"/x","allow":0},{"path":"/y","allow":0}]`,
		"a rank twice":       `[{"rank":1,"path":"/x","allow":0},{"rank":1,"path":"/y","allow":0}]`,
		"a path twice":       `[{"path":"/x","allow":0},{"path":"x","allow":0}]`,
	} {
		for _, query := range []string{"", "?dry_run=true"} {
			if p := put(query, rules).refused(http.StatusUnprocessableEntity, "validation_failed", ""); p.Detail == "" {
				t.Errorf("%s: no detail", name)
			}
		}
	}
	b.wantOrder("2/a 7/b")
	put("", `[]`).want(http.StatusOK, nil)
	b.wantOrder("")
}

// Invalid rules are named in the error, and nothing of the call is stored.
func TestInvalidRules(t *testing.T) {
	for name, test := range map[string]struct{ rule, want string }{
		"unknown operator":      {`{"path":"/x","allow":"everybody"}`, `rule 2 (/x everybody): unknown operator`},
		"unknown code":          {`{"path":"/x","allow":99}`, "/x"},
		"arguments that it has": {`{"path":"/x","allow":"any/{\"sku\":\"s\"}"}`, `takes no argument`},
		"arguments that fail":   {`{"path":"/x","allow":"entitled"}`, "at least one sku"},
		"a capture that is not": {`{"path":"/x","allow":"entitled/{\"sku\":\"{id}\"}"}`, "{id} is not captured"},
		"arguments cut off":     {`{"path":"/x","allow":"entitled/{\"sku\""}`, "rule /x: the arguments of entitled"},
		"no operator":           {`{"path":"/x","allow":""}`, "rule /x: allow names no operator"},
		"dot segment":           {`{"path":"/x/../y","allow":0}`, "/x/../y"},
		"escape":                {`{"path":"/x%20y","allow":0}`, "/x%20y"},
		"empty segment":         {`{"path":"/x//y","allow":0}`, "rule /x//y: the path holds an empty segment"},
		"star":                  {`{"path":"/x/*","allow":0}`, "leave a wildcard out"},
		"method in small":       {`{"path":"/x","methods":["get"],"allow":0}`, `"get"`},
		"HEAD alone":            {`{"path":"/x","methods":["HEAD"],"allow":0}`, "GET"},
		"tags that steer":       {`{"path":"/x","allow":0,"engaged":"a\u001b[2J"}`, "rule /x: engaged"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t, false)
			b.addRules("/kept")
			for method, body := range map[string]string{http.MethodPost: test.rule, http.MethodPut: `[{"path":"/kept","allow":0},` + test.rule + `]`} {
				p := b.call(method, rulesPath, body).refused(http.StatusUnprocessableEntity, "validation_failed", "")
				if !strings.Contains(p.Detail, test.want) {
					t.Errorf("%s: the detail is %q, want %q", method, p.Detail, test.want)
				}
			}
			b.wantOrder("1/kept")
		})
	}
	b := newFixture(t, false)
	for rule, location := range map[string]string{
		`{"path":"","allow":0}`: "body.path", `{"path":"/x"}`: "body.allow", `{"rank":-1,"path":"/x","allow":0}`: "body.rank",
		`{"path":"/x","allow":null}`: "body.allow", `{"path":"/x","allow":0,"allw":0}`: "body.allw",
	} {
		b.call(http.MethodPost, rulesPath, rule).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	b.call(http.MethodPut, rulesPath, `[{"path":"/a","allow":0},{"path":"/b","allow":"everybody/{"}]`).refused(http.StatusUnprocessableEntity, "validation_failed", "body[1].allow")
	b.addRules("/kept")
	p := b.call(http.MethodPut, rulesPath+"/kept", `{"allow":"everybody"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "")
	if !strings.Contains(p.Detail, "/kept everybody") {
		t.Errorf("the detail is %q", p.Detail)
	}
	b.call(http.MethodPut, rulesPath+"/none", `{"allow":0}`).refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodPatch, rulesPath+"/none", `{"allow":0}`).refused(http.StatusNotFound, "not_found", "")
}

// The response warns of a rule that never decides.
func TestHiddenRulesAreReported(t *testing.T) {
	b := newFixture(t, false)
	var made ruleRead
	b.addRules("/app")
	b.call(http.MethodPost, rulesPath, `{"path":"/app/{x}/","allow":0}`).want(http.StatusCreated, &made)
	if !strings.Contains(made.Detail, "Rule 2 (/app/{x}/) never decides") || !strings.Contains(made.Detail, "rule 1 (/app)") {
		t.Errorf("the detail is %q", made.Detail)
	}
	made = ruleRead{}
	b.call(http.MethodPost, rulesPath, `{"path":"/other","allow":0}`).want(http.StatusCreated, &made)
	if made.Detail != "" {
		t.Errorf("a rule that decides is reported: %q", made.Detail)
	}
	// Conversely, the new rule hides others.
	b.call(http.MethodPost, rulesPath, `{"rank":1,"path":"/","allow":0}`).want(http.StatusCreated, &made)
	if !strings.Contains(made.Detail, "Rule 2 (/app)") || !strings.Contains(made.Detail, "rule 1 (/)") {
		t.Errorf("the detail is %q", made.Detail)
	}
	var page rulesRead
	b.call(http.MethodPatch, rulesPath, `{"updates":[{"oldpos":1,"newpos":4}]}`).want(http.StatusOK, &page)
	if !strings.Contains(page.Detail, "/app/{x}/") || strings.Contains(page.Detail, "(/)") {
		t.Errorf("the detail is %q", page.Detail)
	}
	all := []map[string]any{{"path": "/", "allow": 0}}
	for i := range 8 {
		all = append(all, map[string]any{"path": fmt.Sprintf("/%d", i), "allow": 0})
	}
	body, _ := json.Marshal(all)
	b.call(http.MethodPut, rulesPath, string(body)).want(http.StatusOK, &page)
	if !strings.Contains(page.Detail, "3 more") {
		t.Errorf("the detail is %q", page.Detail)
	}
}

func TestRulePages(t *testing.T) {
	b := newFixture(t, true)
	if page := b.rules(""); page.Count != 0 || page.Results == nil || page.Next != nil {
		t.Errorf("no rules are %+v", page)
	}
	var all []map[string]any
	for i := range 60 {
		all = append(all, map[string]any{"path": fmt.Sprintf("/p%d", i), "allow": 0})
	}
	body, _ := json.Marshal(all)
	b.call(http.MethodPut, rulesPath, string(body)).want(http.StatusOK, nil)
	// A client of the published contract follows next only.
	var got []string
	sizes := []int{}
	next := "http://example.com" + rulesPath + "?vendor=acme&site=acme"
	for next != "" {
		var page rulesRead
		b.call(http.MethodGet, next, "").want(http.StatusOK, &page)
		sizes = append(sizes, len(page.Results))
		for _, rule := range page.Results {
			got = append(got, rule.Path)
		}
		if next = ""; page.Next != nil {
			if next = *page.Next; !strings.HasPrefix(next, "http://example.com"+rulesPath+"?") || !strings.Contains(next, "vendor=acme") {
				t.Fatalf("next is %s", next)
			}
		}
	}
	if !slices.Equal(sizes, []int{25, 25, 10}) || len(got) != 60 || got[59] != "/p59" {
		t.Errorf("pages of %v give %v", sizes, got)
	}
	last := b.rules("?page=6&page_size=10")
	if last.Next != nil || last.Previous == nil || !strings.Contains(*last.Previous, "page=5&page_size=10") || last.Results[0].Path != "/p50" {
		t.Errorf("the last page is %+v", last)
	}
	b.call(http.MethodGet, rulesPath+"?page=7&page_size=10", "").refused(http.StatusNotFound, "not_found", "")
	for query, location := range map[string]string{
		"?page=0": "query.page", "?page=x": "query.page", "?page_size=0": "query.page_size", "?page_size=101": "query.page_size",
		"?site=No!": "query.site", "?q=x": "query.q",
	} {
		b.call(http.MethodGet, rulesPath+query, "").refused(http.StatusUnprocessableEntity, "validation_failed", strings.TrimSpace(location))
	}
	version := b.rules("?page=2").Version
	b.addRules("/p60")
	if b.rules("?page=2").Version == version {
		t.Error("a change leaves the version as it was")
	}
}

// Each site has its own rules, and each vendor its own sites.
func TestRulesOfSitesAndVendors(t *testing.T) {
	b := newFixture(t, false)
	b.addRules("/acme")
	b.call(http.MethodPost, rulesPath+"?site=sport", `{"path":"/sport","allow":0}`).want(http.StatusCreated, nil)
	b.callAs("other", http.MethodPost, rulesPath+"?site=acme", `{"path":"/other","allow":0}`).want(http.StatusCreated, nil)
	b.wantOrder("1/acme")
	if page := b.rules("?site=acme"); page.Count != 1 || page.Results[0].Path != "/acme" {
		t.Errorf("the vendor's own site has %+v", page)
	}
	if page := b.rules("?site=sport"); page.Count != 1 || page.Results[0].Path != "/sport" {
		t.Errorf("the other site has %+v", page)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		b.call(method, rulesPath+"/other?site=acme", "").refused(http.StatusNotFound, "not_found", "")
	}
	b.callAs("other", http.MethodPatch, rulesPath+"/acme", `{"allow":0}`).refused(http.StatusNotFound, "not_found", "")
}

// Concurrent additions: each 201 has its rule, each 409 has none, and no two rules
// share a rank.
func TestConcurrentRuleChanges(t *testing.T) {
	b := newFixture(t, false)
	const editors = 12
	status := make([]int, editors)
	var wait sync.WaitGroup
	for i := range editors {
		wait.Go(func() {
			status[i] = b.call(http.MethodPost, rulesPath, fmt.Sprintf(`{"rank":1,"path":"/p%d","allow":1}`, i)).code
		})
	}
	wait.Wait()
	var want []string
	for i, code := range status {
		switch code {
		case http.StatusCreated:
			want = append(want, fmt.Sprintf("/p%d", i))
		case http.StatusConflict:
		default:
			t.Errorf("editor %d got %d", i, code)
		}
	}
	var got []string
	for i, rule := range b.rules("").Results {
		if rule.Rank != i+1 {
			t.Errorf("%s has the rank %d, want %d", rule.Path, rule.Rank, i+1)
		}
		got = append(got, rule.Path)
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) || len(got) == 0 {
		t.Errorf("there are %v, acknowledged were %v", got, want)
	}
}

// Rules in the configuration are listed and read-only.
func TestConfiguredRulesAreReadOnly(t *testing.T) {
	b := newFixtureWith(t, func(options *admin.Options) {
		options.FixedRules = func(vendor, site string) []policy.Rule {
			if vendor != "acme" || site != "fixed" {
				return nil
			}
			return []policy.Rule{{Rank: 1, Path: "/written", Allow: policy.Allow{Operator: "any"}, Forward: true, Origin: "Caddyfile:12"}}
		}
	})
	if page := b.rules("?site=fixed"); page.Count != 1 || page.Results[0].Path != "/written" {
		t.Errorf("the site shows %+v", page)
	}
	b.call(http.MethodGet, rulesPath+"/written?site=fixed", "").want(http.StatusOK, nil)
	for _, call := range [][3]string{
		{http.MethodPost, "", `{"path":"/x","allow":0}`},
		{http.MethodPut, "", `[]`},
		{http.MethodPatch, "", `{"updates":[]}`},
		{http.MethodPut, "/written", `{"allow":0}`},
		{http.MethodPatch, "/written", `{"allow":0}`},
		{http.MethodDelete, "/written", ""},
	} {
		p := b.call(call[0], rulesPath+call[1]+"?site=fixed", call[2]).refused(http.StatusConflict, "conflict", "")
		if !strings.Contains(p.Detail, "fixed") || !strings.Contains(p.Detail, "Caddyfile:12") {
			t.Errorf("%s %s: the detail is %q", call[0], call[1], p.Detail)
		}
	}
	p := b.call(http.MethodPut, rulesPath+"?site=fixed&dry_run=true", `[]`).refused(http.StatusConflict, "conflict", "")
	if !strings.Contains(p.Detail, "reload") {
		t.Errorf("the detail is %q", p.Detail)
	}
	b.addRules("/free")
	b.callAs("other", http.MethodPost, rulesPath+"?site=fixed", `{"path":"/x","allow":0}`).want(http.StatusCreated, nil)
}

// The client disconnects while the rules are stored: the gate applies them
// nevertheless.
func TestRuleChangeAfterDisconnect(t *testing.T) {
	b := newFixture(t, false)
	gone, leave := context.WithCancel(t.Context())
	leave()
	request := httptest.NewRequestWithContext(gone, http.MethodPost, rulesPath, strings.NewReader(`{"path":"/x","allow":0}`))
	request.Header = http.Header{"Content-Type": {"application/json"}, "X-Test-Vendor": {"acme"}}
	b.handler.ServeHTTP(httptest.NewRecorder(), request)
	b.wantOrder("1/x")
}

func TestRulesOfAClosedStore(t *testing.T) {
	b := newFixture(t, false)
	b.closeStore()
	b.call(http.MethodGet, rulesPath, "").refused(http.StatusServiceUnavailable, "store_unavailable", "")
	b.call(http.MethodPost, rulesPath, `{"path":"/x","allow":0}`).refused(http.StatusServiceUnavailable, "store_unavailable", "")
}
