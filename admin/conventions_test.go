package admin_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// The rules of docs/management.md about what the families of published operations do
// differently, each over all operations of the document.

// deletedAgain are the operations that answer a repeated DELETE of what is gone like the first.
var deletedAgain = map[string]string{
	"/management/domains/{domain}":                    "published as: domain removed (or did not exist)",
	"/management/denied-keys":                         "the other half of the trust in domains: afterwards the key is allowed",
	"/management/users/{user_id}":                     "a reader without a record is erased, too, and an erasure that was cut continues",
	"/management/users/{user_id}/user_metadata/{key}": "published with success only",
	"/management/domains/{domain}/links/{id}":         "the link stays, revoked, but is read in the list of its domain only",
	"/management/keys/{kid}":                          "the key stays, retired, but is read in the list of keys only",
}

// spare makes records that may be deleted, unlike those of makeRecords, and returns the paths.
func (p *public) spare(token string) map[string]string {
	p.Helper()
	make := func(path, body string, member string) string {
		got := p.with(token, http.MethodPost, path, body)
		if got.code >= 300 {
			p.Fatalf("POST %s: %d %s", path, got.code, got.body)
		}
		var record map[string]any
		if err := json.Unmarshal([]byte(strings.Trim(strings.TrimSpace(got.body), "[]")), &record); err != nil { // seats are a list of one
			p.Fatal(err)
		}
		text, _ := record[member].(string)
		return text
	}
	make("/api/users", `{"slug":"spare","username":"spare","email":"spare@example.com","full_name":"Spare"}`, "slug")
	make("/api/users", `{"slug":"other","username":"other","email":"other@example.com","full_name":"Other"}`, "slug")
	for _, user := range []string{"spare", "other"} {
		make("/api/profile/cowork/roles/contributor", `{"slug":"`+user+`"}`, "")
	}
	old := make("/management/keys/rotate", `{}`, "kid")
	make("/management/keys/rotate", `{}`, "kid")
	contract := make("/management/contracts", `{"userData":{"email":"ada@example.com"},"contractDuration":"PERPETUAL","items":[{"sku":"premium","seats":2}]}`, "id")
	seat := make("/management/contracts/"+contract+"/licenses", `{"email":"seat@example.com"}`, "entitlementId")
	session := strings.Repeat("A", 43)
	if err := p.store.As(store.Actor{}).CreateLoginSession(p.Context(), "acme", store.LoginSession{
		ID: session, Site: "news", Issuer: "https://id.example.com", ClientID: "news", Subject: "s", UserID: "ada", EndsAt: p.clock.Add(time.Hour), IdleSeconds: 600,
	}, "", 1); err != nil {
		p.Fatal(err)
	}
	return map[string]string{
		"/management/contracts/{id}/licenses/{entitlementId}": "/management/contracts/" + contract + "/licenses/" + seat,
		"/management/keys/{kid}":                              "/management/keys/" + old,
		"/management/sessions/{id}":                           "/management/sessions/" + session,
		"/api/users/{user}":                                   "/api/users/spare",
		"/management/feeds/{id}":                              "/management/feeds/" + make("/management/feeds", `{"userId":"spare","contentSpace":"podcasts","url":"https://news.example.com/feed.xml"}`, "id"),
		"/api/profile/{profile}/roles/{role}/{user}":          "/api/profile/cowork/roles/contributor/spare",
		"/api/users/{user}/accessibles/{role}/{profile}":      "/api/users/other/accessibles/contributor/cowork",
		"/api/profile/{profile}/plans/{plan}":                 "/api/profile/acme/plans/" + make("/api/profile/acme/plans", `{"title":"Spare"}`, "slug"),
		"/api/agreements/{document}":                          "/api/agreements/" + make("/api/agreements", `{"title":"Spare","text":"x"}`, "slug"),
	}
}

// A client repeats each DELETE of the document, as after a lost connection. A record that is
// gone is 404; one that stays in its last state is answered like the first time.
func TestSecondDelete(t *testing.T) {
	p := newPublic(t)
	operations := p.operations()
	token := p.token(p.client("acme", vendorScopes(operations)...))
	known := p.makeRecords(token, operations)
	spare := p.spare(token)
	bearer := http.Header{"Authorization": {"Bearer " + token}}
	slices.Reverse(operations) // the deepest first, as others contain them
	stay, gone := 0, 0
	for _, o := range operations {
		if o.method != http.MethodDelete || strings.HasPrefix(o.scope, "vendors:") {
			continue
		}
		path, ok := spare[o.path]
		if !ok {
			if path, ok = known.fill(o.path); !ok {
				path = known.unrecorded(&o)
			}
		}
		if o.query != "" {
			path += "?" + o.query
		}
		first := p.ask(o.method, path, "", bearer)
		if first.code != http.StatusNoContent && first.code != http.StatusOK {
			t.Errorf("%s: the first answer is %d %s: name a record in `spare`", o.String(), first.code, first.body)
			continue
		}
		stays := p.ask(http.MethodGet, path, "", bearer).code == http.StatusOK
		again, want := p.ask(o.method, path, "", bearer), http.StatusNotFound
		switch {
		case deletedAgain[o.path] != "":
			want = first.code
		case stays:
			stay++
			want = first.code
		default:
			gone++
		}
		if again.code != want {
			t.Errorf("%s answers %d and, repeated, %d, want %d: %s", o.String(), first.code, again.code, want, again.body)
		}
	}
	if stay < 2 || gone < 18 {
		t.Errorf("%d records stayed and %d are gone: this test sees too little", stay, gone)
	}
}

// members calls f with each member and query parameter of the operations of the document.
func (p *public) members(f func(o, name string, schema map[string]any)) {
	p.Helper()
	document := p.document()
	schemas := node(node(document["components"])["schemas"])
	for path, item := range node(document["paths"]) {
		for method, described := range node(item) {
			o := strings.ToUpper(method) + " " + path
			seen := map[string]bool{}
			var walk func(schema map[string]any)
			walk = func(schema map[string]any) {
				if ref, ok := schema["$ref"].(string); ok {
					if seen[ref] {
						return
					}
					seen[ref] = true
					schema = node(schemas[ref[strings.LastIndex(ref, "/")+1:]])
				}
				for name, member := range node(schema["properties"]) {
					f(o, name, node(member))
					walk(node(member))
				}
				for _, inner := range []any{schema["items"], schema["additionalProperties"]} {
					if inner, ok := inner.(map[string]any); ok {
						walk(inner)
					}
				}
				for _, kind := range []string{"oneOf", "anyOf", "allOf"} {
					inner, _ := schema[kind].([]any)
					for _, one := range inner {
						walk(node(one))
					}
				}
			}
			for _, content := range node(node(node(described)["requestBody"])["content"]) {
				walk(node(node(content)["schema"]))
			}
			for _, response := range node(node(described)["responses"]) {
				for _, content := range node(node(response)["content"]) {
					walk(node(node(content)["schema"]))
				}
			}
			parameters, _ := node(described)["parameters"].([]any)
			for _, parameter := range parameters {
				f(o, node(parameter)["name"].(string), node(node(parameter)["schema"]))
			}
		}
	}
}

// Ranks are numbers from 0 in all requests, as in the published examples, and kept as sent.
// Those that the gate gives begin at 1.
func TestRanksCountFromZero(t *testing.T) {
	p := newPublic(t)
	requests := map[string]bool{}
	p.members(func(o, name string, schema map[string]any) {
		if name != "rank" && name != "oldpos" && name != "newpos" {
			return
		}
		if schema["type"] != "integer" {
			t.Errorf("%s: %s is %v", o, name, schema)
		}
		if least, bounded := schema["minimum"]; bounded {
			requests[o] = true
			if least != 0.0 {
				t.Errorf("%s: the least %s is %v", o, name, least)
			}
		}
	})
	if len(requests) != 5 {
		t.Errorf("ranks are sent to %v", requests)
	}
	operations := p.operations()
	token := p.token(p.client("acme", vendorScopes(operations)...))
	ranks := func(got answer) string {
		var list struct{ Results []struct{ Rank int } }
		if rank, ok := got.want(got.code, nil).fields()["rank"]; ok {
			return encoded(rank)
		}
		got.want(http.StatusOK, &list)
		return encoded(list.Results)
	}
	for _, step := range []struct{ method, path, body, want string }{
		{http.MethodPost, rulesPath, `{"path":"/a","allow":"any"}`, "1"},
		{http.MethodPost, rulesPath, `{"rank":0,"path":"/b","allow":1}`, "0"},
		{http.MethodPut, rulesPath + "/a", `{"rank":7,"allow":"any"}`, "7"},
		{http.MethodPost, rulesPath, `{"path":"/c","allow":"any"}`, "8"},
		{http.MethodPatch, rulesPath + "/c", `{"rank":1}`, "1"},
		{http.MethodPatch, rulesPath, `{"updates":[{"oldpos":1,"newpos":0}]}`, `[{"Rank":0},{"Rank":1},{"Rank":7}]`},
		{http.MethodPut, rulesPath, `[{"path":"/x","allow":"any"},{"path":"/y","allow":"any"}]`, `[{"Rank":1},{"Rank":2}]`},
		{http.MethodPut, rulesPath, `[{"rank":0,"path":"/x","allow":"any"},{"rank":5,"path":"/y","allow":"any"}]`, `[{"Rank":0},{"Rank":5}]`},
	} {
		got := p.with(token, step.method, step.path, step.body)
		if got.code >= 300 || ranks(got) != step.want {
			t.Errorf("%s %s %s: %d %s, want the ranks %s", step.method, step.path, step.body, got.code, got.body, step.want)
		}
	}
}

// inCapitals begin the paths whose states are in capitals: those of the records that Sesamy
// publishes, and of what sells and licenses them.
var inCapitals = regexp.MustCompile(`^/(management/(access-lists|grants|contracts|promos|bills|paywalls|records/bills)|payments|paywalls)(/|$)`)

// The words of a state are written in one way in requests, filters and responses of a family
// of paths: in capitals or in lower case. The other way is 422, and not another state.
func TestWordsOfStates(t *testing.T) {
	p := newPublic(t)
	operations := p.operations()
	token := p.token(p.client("acme", vendorScopes(operations)...))
	known := p.makeRecords(token, operations)
	words := map[string][]any{} // by operation
	p.members(func(o, name string, schema map[string]any) {
		states, _ := schema["enum"].([]any)
		if name != "status" && name != "state" || states == nil {
			return
		}
		_, path, _ := strings.Cut(o, " ")
		for _, state := range states {
			word := state.(string)
			want := strings.ToLower(word)
			if inCapitals.MatchString(path) {
				want = strings.ToUpper(word)
			}
			if word != want {
				t.Errorf("%s has the %s %s, want %s", o, name, word, want)
			}
		}
		words[o+" "+name] = states
	})
	sent := 0
	for _, o := range operations {
		states := words[o.String()+" status"]
		path, ok := known.fill(o.path)
		if states == nil || !ok || strings.Contains(o.path, "/records/") {
			continue
		}
		word := strings.ToUpper(states[0].(string))
		if inCapitals.MatchString(o.path) {
			word = strings.ToLower(word)
		}
		switch {
		case o.method == http.MethodGet:
			got := p.ask(http.MethodGet, path+"?status="+word, "", http.Header{"Authorization": {"Bearer " + token}})
			got.t = t
			got.refused(http.StatusUnprocessableEntity, "validation_failed", "query.status")
			sent++
		case o.kind == "application/json" && strings.Contains(o.body, `"status":`):
			body := decoded(o.body).(map[string]any)
			body["status"] = word
			got := p.with(token, o.method, path, encoded(body))
			got.t = t
			got.refused(http.StatusUnprocessableEntity, "validation_failed", "body.status")
			sent++
		}
	}
	if len(words) < 50 || sent < 15 {
		t.Errorf("%d operations have states, and %d were sent another word: this test sees too little", len(words), sent)
	}
}
