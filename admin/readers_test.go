package admin_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// readerOperation is an operation of the document and its rule for readers.
type readerOperation struct {
	operation
	rule string
}

// readerOperations returns all operations of the document that need a token.
func readerOperations(t *testing.T) (all []readerOperation) {
	t.Helper()
	p := newPublic(t)
	rules := map[string]string{}
	for path, item := range node(p.document()["paths"]) {
		for method, described := range node(item) {
			rules[strings.ToUpper(method)+" "+path], _ = node(described)["x-gatefold-readers"].(string)
		}
	}
	counts := map[string]int{}
	for _, o := range p.operations() {
		if o.scope != "" {
			all = append(all, readerOperation{o, rules[o.String()]})
			counts[rules[o.String()]]++
		}
	}
	for _, rule := range []string{"", "any", "known", "self", "profile", "broker"} {
		if counts[rule] == 0 && rule != "known" {
			t.Errorf("no operation has the rule %q for readers", rule)
		}
	}
	return all
}

// at returns the path of an operation for a user and a profile.
func (o *readerOperation) at(user, profile string) string {
	path := strings.NewReplacer("{user}", user, "{profile}", profile, "{role}", "manager", "{plan}", "gold", "{subscriber}", profile, "{subscribed_plan}", "gold",
		"{document}", "terms", "{agreement}", "terms").Replace(o.path)
	path = pathParameter.ReplaceAllString(path, "x")
	if o.query != "" {
		path += "?" + o.query
	}
	return path
}

// asReader calls an operation with the example of the document.
func (b *fixture) asReader(vendor, reader string, o *readerOperation, path string) answer {
	b.Helper()
	header := http.Header{"X-Test-Reader": {reader}}
	if o.kind != "" {
		header.Set("Content-Type", o.kind)
	}
	return b.send(vendor, o.method, path, o.body, header)
}

// dump returns all entries of a vendor.
func (b *fixture) dump(vendor string) map[string]string {
	b.Helper()
	all := map[string]string{}
	err := b.engine.View(b.Context(), vendor, func(snapshot engine.Snapshot) error {
		for entry, err := range snapshot.Scan(nil, nil) {
			if err != nil {
				return err
			}
			all[string(entry.Key)] = string(entry.Value)
		}
		return nil
	})
	if err != nil || len(all) == 0 {
		b.Fatal(len(all), err)
	}
	return all
}

func (b *fixture) unchanged(vendor string, before map[string]string, why string) {
	b.Helper()
	after := b.dump(vendor)
	for k, value := range after {
		if before[k] != value {
			b.Errorf("%s: %q is %q, and was %q", why, k, value, before[k])
		}
	}
	if len(after) < len(before) {
		b.Errorf("%s: %d entries are left of %d", why, len(after), len(before))
	}
}

// Of all operations of the document, a contributor of a profile may call those that read it,
// a manager those of the profile, and an anonymous or unrelated reader none of them. What has
// no rule, no reader may call.
func TestReadersAreJudgedForEveryOperation(t *testing.T) {
	b := team(t)
	before := b.dump("acme")
	refused := func(o *readerOperation, reader, user, profile string, status int) {
		t.Helper()
		got := b.asReader("acme", reader, o, o.at(user, profile))
		if got.code != status {
			t.Errorf("%s: the reader %q gets %d %s", o.String(), reader, got.code, got.body)
		}
	}
	operations := readerOperations(t)
	allowed := 0
	for i := range operations {
		o := &operations[i]
		read := o.method == http.MethodGet
		switch o.rule {
		case "any":
			continue
		case "":
			for _, reader := range []string{"", "ann", "ken"} {
				refused(o, reader, "ann", "abc", http.StatusForbidden)
			}
			continue
		case "known":
		case "self":
			refused(o, "ann", "bob", "abc", http.StatusForbidden)
			refused(o, "bob", "ann", "abc", http.StatusForbidden)
			refused(o, "bob", "Bob", "abc", http.StatusForbidden)
		case "profile":
			refused(o, "eve", "eve", "abc", http.StatusForbidden)
			refused(o, "ann", "ann", "other", http.StatusForbidden)
			refused(o, "ann", "ann", "never", http.StatusForbidden)
			if !read {
				refused(o, "ken", "ken", "abc", http.StatusForbidden)
			} else if got := b.asReader("acme", "ken", o, o.at("ken", "abc")); got.code == http.StatusForbidden {
				t.Errorf("%s: a contributor gets %s", o.String(), got.body)
			} else {
				allowed++
			}
		case "broker":
			refused(o, "ann", "ann", "abc", http.StatusForbidden)
		default:
			t.Errorf("%s: this test does not know the rule %s", o.String(), o.rule)
		}
		refused(o, "", "ann", "abc", http.StatusUnauthorized)
	}
	if allowed < 10 {
		t.Errorf("a contributor may read %d operations: this test sees too little", allowed)
	}
	b.unchanged("acme", before, "refused calls")

	// What is refused to the contributor is allowed to the manager.
	for i := range operations {
		if o := &operations[i]; o.rule == "profile" && o.method != http.MethodDelete {
			if got := b.asReader("acme", "ann", o, o.at("ann", "abc")); got.code == http.StatusForbidden && !strings.Contains(got.body, "is no provider") && !strings.Contains(got.body, "runs the site") {
				t.Errorf("%s: the manager gets %s", o.String(), got.body)
			}
		}
	}
}

// The staff of another vendor, who may do everything there, sees and changes nothing of a
// vendor by any operation of the document.
func TestReadersOfAnotherVendorAreIsolated(t *testing.T) {
	b := team(t)
	w := b.store.As(store.Actor{})
	if _, err := w.CreateUser(t.Context(), "rival", store.User{Slug: "boss"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateRole(t.Context(), "rival", store.Role{Profile: "rival", User: "boss", Type: "manager"}); err != nil {
		t.Fatal(err)
	}
	b.asReader("rival", "boss", &readerOperation{operation: operation{method: http.MethodGet}}, "/api/users").want(http.StatusOK, nil)
	before := b.dump("acme")
	operations := readerOperations(t)
	for i := range operations {
		o := &operations[i]
		if o.rule == "" {
			continue
		}
		for _, path := range []string{o.at("ann", "abc"), o.at("ann", "acme"), o.at("boss", "abc")} {
			got := b.asReader("rival", "boss", o, path)
			for _, name := range []string{"ann Doe", "ann@example.com", "ABC"} {
				if strings.Contains(got.body, name) {
					t.Errorf("%s %s shows %s of another vendor: %s", o.method, path, name, got.body)
				}
			}
		}
	}
	b.unchanged("acme", before, "another vendor's staff")
}

// The broker's staff may act for every user and profile of their own vendor.
func TestStaffOfTheBroker(t *testing.T) {
	b := team(t)
	w := b.store.As(store.Actor{})
	for user, kind := range map[string]string{"bob": "manager", "eve": "contributor"} {
		if _, err := w.CreateRole(t.Context(), "acme", store.Role{Profile: "acme", User: user, Type: kind}); err != nil {
			t.Fatal(err)
		}
	}
	for _, try := range []struct {
		method, path, body string
		manager, other     int
	}{
		{"GET", "/api/users/ann", "", 200, 200},
		{"GET", "/api/accounts?q=ann", "", 200, 200},
		{"GET", "/api/profile", "", 200, 200},
		{"PUT", "/api/users/ann", `{"email":"ann@acme.example"}`, 200, 403},
		{"PUT", "/api/profile/abc", `{"is_provider":true}`, 200, 403},
		{"POST", "/api/users", `{"slug":"new"}`, 201, 403},
		{"POST", "/api/profile/acme/roles/describe", `{"title":"Auditor"}`, 201, 403},
		{"POST", "/api/profile/abc/roles/auditor", `{"slug":"new"}`, 201, 403},
		{"DELETE", "/api/profile/abc/roles/contributor/ken", "", 204, 403},
	} {
		b.callReader("acme", "eve", try.method, try.path, try.body).want(try.other, nil)
		b.callReader("acme", "bob", try.method, try.path, try.body).want(try.manager, nil)
	}
	var all heldRoles
	b.call("GET", "/api/profile/other/roles/describe?q=auditor", "").want(http.StatusOK, &all)
	if all.Count != 1 {
		t.Error("a role type of the broker is not one of all profiles")
	}
}

// Readers whose user is not active could, by removing it, come back as an active one, because
// a reader's first call makes their user. Only the broker's managers remove it.
func TestReadersCannotLiftTheirDeactivation(t *testing.T) {
	b := team(t)
	if _, err := b.store.As(store.Actor{}).CreateRole(t.Context(), "acme", store.Role{Profile: "acme", User: "bob", Type: "manager"}); err != nil {
		t.Fatal(err)
	}
	b.call("PUT", "/api/users/eve", `{"is_active":false}`).want(http.StatusOK, nil)
	before := b.dump("acme")
	b.callReader("acme", "eve", "PUT", "/api/users/eve", `{"is_active":true}`).refused(http.StatusForbidden, "forbidden", "")
	b.callReader("acme", "eve", "DELETE", "/api/users/eve", "").refused(http.StatusForbidden, "forbidden", "")
	b.callReader("acme", "eve", "POST", "/api/users/eve/accessibles", `{"slug":"abc"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.user")
	b.unchanged("acme", before, "the calls of a reader whose user is not active")
	b.callReader("acme", "bob", "DELETE", "/api/users/eve", "").want(http.StatusNoContent, nil)
}
