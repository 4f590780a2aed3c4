package admin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"
)

// closing are bodies that put a record into a state that denies access, by the path of the
// operation that does so, and the member that has the state. A body is a PATCH where the
// record has one, else a PUT.
var closing = map[string][]struct{ member, value string }{
	"/management/access-lists/{id}":                                  {{"status", `"INACTIVE"`}},
	"/management/access-lists/{id}/grants/{grantId}":                 {{"status", `"INACTIVE"`}, {"endsAt", `"2027-06-01T00:00:00Z"`}, {"startsAt", `"2027-05-01T00:00:00Z"`}},
	"/management/domains/{domain}":                                   {{"allowedResourceIds", `["only-this"]`}},
	"/management/webhooks/{id}":                                      {{"status", `"disabled"`}},
	"/management/hooks/{id}":                                         {{"status", `"disabled"`}},
	"/api/profile/{profile}/plans/{plan}":                            {{"is_active", `false`}},
	"/api/profile/{profile}/plans/{plan}/subscriptions/{subscriber}": {{"ends_at", `"2027-06-01T00:00:00Z"`}, {"balance_due", `true`}},
	"/api/profile/{profile}/roles/describe/{role}":                   {{"otp_required", `true`}},
	"/api/users/{user}":                                              {{"is_active", `false`}},
}

// open are the records without a state that denies.
var open = []string{
	"/management/products/{sku}", "/management/content-space", "/api/proxy", "/api/agreements/{document}", "/api/proxy/rules/{path}",
	"/management/paywalls/{paywallId}", "/management/users/{user_id}", "/management/bills/{id}", "/management/transactions/{id}",
	// The broker's own profile cannot be deactivated; TestInactiveProfileStaysInactive has another.
	"/api/profile/{profile}",
	// A subscriber can only shorten a subscription.
	"/api/profile/{profile}/subscriptions/{subscribed_plan}",
}

// A careless client changes a record that denies access, with every body that leaves the
// state out or has null for it: what was closed stays closed.
func TestChangesDoNotOpenWhatIsClosed(t *testing.T) {
	p := newPublic(t)
	operations := p.operations()
	token := p.token(p.client("acme", vendorScopes(operations)...))
	known := p.makeRecords(token, operations)
	header := http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
	changes := p.changes(operations)
	tried := 0
	for _, o := range changes {
		states, ok := closing[o.path]
		if !ok && !slices.Contains(open, o.path) {
			t.Errorf("%s: name the members of the record that deny access in `closing`, or its path in `open`", o.String())
		}
		path, ok := known.fill(o.path)
		if !ok {
			t.Fatalf("%s: there is no such record", o.String())
		}
		for _, state := range states {
			t.Run(fmt.Sprint(o.String(), " ", state.member), func(t *testing.T) {
				get := func() answer {
					got := p.ask(http.MethodGet, path, "", http.Header{"Authorization": {"Bearer " + token}})
					got.t = t
					return got.want(http.StatusOK, nil)
				}
				// Close it by naming the state, with everything else as it is.
				closed := get().fields()
				closed[state.member] = decoded(state.value)
				if state.member != "status" && closed["status"] != nil {
					closed["status"] = "ACTIVE"
				}
				method := o.method
				got := p.ask(method, path, encoded(closed), header)
				got.t = t
				got.want(http.StatusOK, nil)
				denies := get().fields()[state.member]
				if denies == nil || encoded(denies) == "null" {
					t.Fatalf("it is not closed: %s", get().body)
				}
				for _, body := range bodiesWithout(&o, get().fields(), state.member) {
					answer := p.ask(o.method, path, body, header)
					tried++
					if is := get().fields()[state.member]; encoded(is) != encoded(denies) {
						t.Fatalf("%s answers %d and makes %v of %v", body, answer.code, is, denies)
					}
				}
				// Named, it opens.
				if state.member == "status" && state.value == `"INACTIVE"` {
					closed = get().fields()
					closed["status"] = "ACTIVE"
					got := p.ask(o.method, path, encoded(closed), header)
					got.t = t
					if got.want(http.StatusOK, nil); got.fields()["status"] != "ACTIVE" {
						t.Errorf("named, it is not opened: %s", got.body)
					}
				}
			})
		}
	}
	if tried < 150 {
		t.Errorf("only %d bodies were tried", tried)
	}
}

// bodiesWithout returns bodies of a change of a record that do not name a member: without
// it, or with null. Each other member is left out, as it is, or null.
func bodiesWithout(o *change, record map[string]any, state string) (bodies []string) {
	all, least := map[string]any{}, map[string]any{}
	for _, name := range o.written {
		if value, ok := record[name]; ok && name != state && name != "status" {
			all[name] = value
		}
	}
	for _, name := range o.required {
		least[name] = all[name]
	}
	add := func(body map[string]any, changed string, value any) {
		next := maps.Clone(body)
		if changed != "" {
			next[changed] = value
		}
		bodies = append(bodies, encoded(next))
	}
	for _, body := range []map[string]any{{}, least, all} {
		add(body, "", nil)
		for _, name := range o.written {
			add(body, name, nil)
			if value, ok := all[name]; ok {
				add(body, name, value)
			}
		}
	}
	return bodies
}

func decoded(text string) any {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		panic(err)
	}
	return value
}

// A profile that the operator deactivated stays inactive under every change that does not
// name is_active.
func TestInactiveProfileStaysInactive(t *testing.T) {
	b := coworkingSite(t, true)
	const one = "/api/profile/xia23"
	b.callAs("cowork", http.MethodPut, one, `{"is_active":false}`).want(http.StatusOK, nil)
	for _, body := range []string{`{}`, `{"is_active":null}`, `{"full_name":"Xia"}`, `{"full_name":null}`, `{"extra":null}`} {
		b.callAs("cowork", http.MethodPut, one, body)
		if got := b.callAs("cowork", http.MethodGet, one, "").fields(); got["is_active"] != false {
			t.Errorf("%s makes is_active %v", body, got["is_active"])
		}
	}
}

// A reader's grant ended yesterday. Null for its end is refused, unless the status is named:
// then the grant has no end. An end in the future is no different: to remove it gives more.
func TestNullForAnEndNeedsTheStatus(t *testing.T) {
	b := newFixture(t, false)
	for _, ends := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		var made struct{ ID string }
		b.call(http.MethodPost, defaultPath, `{"userId":"u","sku":"s","endsAt":`+quoted(b.clock.Add(ends).Format(time.RFC3339))+`}`).want(http.StatusCreated, &made)
		one := defaultPath + "/" + made.ID
		b.call(http.MethodPatch, one, `{"endsAt":null}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.endsAt")
		b.call(http.MethodPut, one, `{"userId":"u","sku":"s","endsAt":null}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.endsAt")
		if got := b.call(http.MethodPut, one, `{"userId":"u","sku":"s","status":"ACTIVE"}`).want(http.StatusOK, nil).fields(); got["endsAt"] == nil {
			t.Errorf("without endsAt, PUT makes %v", got)
		}
		if got := b.call(http.MethodPatch, one, `{"endsAt":null,"status":"ACTIVE"}`).want(http.StatusOK, nil).fields(); got["endsAt"] != nil {
			t.Errorf("with the status named, it is %v", got)
		}
	}
}
