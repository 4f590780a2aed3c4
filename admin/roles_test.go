package admin_test

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// heldRole is a role in an answer.
type heldRole struct {
	GrantKey   *string `json:"grant_key"`
	RequestKey *string `json:"request_key"`
	Requested  *string `json:"requested"`
	Kind       *struct {
		Slug     string
		Editable bool
	} `json:"role_description"`
	User      struct{ Slug, Email, PrintableName string }
	Profile   struct{ Slug string }
	AcceptURL *string `json:"accept_grant_api_url"`
	GrantURL  *string `json:"accept_request_api_url"`
	RemoveURL string  `json:"remove_api_url"`
	HomeURL   string  `json:"home_url"`
}

type heldRoles struct {
	Count, Invited, Requested int
	Results                   []heldRole
}

var memberKey = regexp.MustCompile(`^[0-9a-f]{40}$`)

func text(value *string) string {
	if value == nil {
		return "null"
	}
	return *value
}

// team is a company with a manager ann, a contributor ken, and users without a role.
func team(t *testing.T) *fixture {
	t.Helper()
	b := newFixture(t, false)
	w := b.store.As(store.Actor{})
	for _, user := range []string{"ann", "ken", "bob", "eve"} {
		if _, err := w.CreateUser(t.Context(), "acme", store.User{Slug: user, FullName: user + " Doe", Contact: store.Contact{Email: user + "@example.com"}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, slug := range []string{"abc", "other"} {
		if _, err := w.CreateProfile(t.Context(), "acme", store.Profile{Slug: slug, FullName: strings.ToUpper(slug)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range []store.Role{{Profile: "abc", User: "ann", Type: "manager"}, {Profile: "abc", User: "ken", Type: "contributor"}} {
		if _, err := w.CreateRole(t.Context(), "acme", role); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// Ann invites Bob, loses the message, sends another one, and Bob accepts. Only the last key
// works, once, and only for Bob. It is in no listing, no log and no entry of the audit log.
func TestInvitation(t *testing.T) {
	b := team(t)
	var made, again, accepted heldRole
	var roles heldRoles
	b.callReader("acme", "ann", "POST", "/api/profile/abc/roles/Contributors", `{"slug":"bob","message":"Join us"}`).want(http.StatusCreated, &made)
	if !memberKey.MatchString(text(made.GrantKey)) || made.Kind.Slug != "contributor" || made.User.Email != "" {
		t.Errorf("the invitation is %+v", made)
	}
	b.callReader("acme", "bob", "GET", "/api/profile/abc", "").refused(http.StatusForbidden, "forbidden", "")
	// No page of another origin can send it.
	b.send("acme", "POST", "/api/profile/abc/roles/contributor/bob", "", http.Header{"X-Test-Reader": {"ann"}, "Origin": {"https://evil.example"}}).
		refused(http.StatusUnsupportedMediaType, "unsupported_media_type", "")
	ask := http.Header{"X-Test-Reader": {"ann"}, "Content-Type": {"application/json"}}
	b.send("acme", "POST", "/api/profile/abc/roles/contributor/bob", "", ask).want(http.StatusOK, &again)
	if !memberKey.MatchString(text(again.GrantKey)) || text(again.GrantKey) == text(made.GrantKey) {
		t.Errorf("sent again it is %s", text(again.GrantKey))
	}
	for _, listing := range []string{"/api/profile/abc/roles", "/api/profile/abc/roles/contributor", "/api/users/bob/accessibles", "/api/users/bob/accessibles/contributors"} {
		got := b.call("GET", listing, "").want(http.StatusOK, &roles)
		waits := slices.IndexFunc(roles.Results, func(r heldRole) bool { return text(r.GrantKey) == "1" })
		if strings.Contains(got.body, *again.GrantKey) || waits < 0 {
			t.Errorf("%s: %s", listing, got.body)
		}
		if !strings.Contains(got.body, `"invited_count":1,"requested_count":0`) {
			t.Errorf("%s counts %s", listing, got.body)
		}
	}
	put := func(reader, user, key string) answer {
		return b.send("acme", "PUT", "/api/users/"+user+"/accessibles/accept/"+key, "", http.Header{"X-Test-Reader": {reader}})
	}
	put("eve", "bob", *again.GrantKey).refused(http.StatusForbidden, "forbidden", "")
	put("eve", "eve", *again.GrantKey).refused(http.StatusNotFound, "not_found", "")
	put("bob", "bob", *made.GrantKey).refused(http.StatusNotFound, "not_found", "")
	put("bob", "bob", "1").refused(http.StatusNotFound, "not_found", "")
	put("bob", "bob", *again.GrantKey).want(http.StatusOK, &accepted)
	if accepted.Profile.Slug != "abc" || accepted.GrantKey != nil || accepted.AcceptURL != nil {
		t.Errorf("accepted is %+v", accepted)
	}
	put("bob", "bob", *again.GrantKey).refused(http.StatusNotFound, "not_found", "")
	b.callReader("acme", "bob", "GET", "/api/profile/abc", "").want(http.StatusOK, nil)
	got := b.call("GET", "/management/audit?limit=100", "").want(http.StatusOK, nil)
	for _, secret := range []string{*made.GrantKey, *again.GrantKey} {
		if strings.Contains(got.body, secret) || strings.Contains(fmt.Sprint(b.failed), secret) {
			t.Error("a key is in the audit log or the server's log")
		}
	}
	if !strings.Contains(got.body, `"accept-role"`) {
		t.Errorf("the audit log has no acceptance: %s", got.body)
	}
}

// Bob asks for a role, and Ann grants it without the key. A contributor's role goes on
// counting while its user asks for another one.
func TestRequest(t *testing.T) {
	b := team(t)
	var asked heldRole
	got := b.callReader("acme", "bob", "POST", "/api/users/bob/accessibles", `{"slug":"abc"}`).want(http.StatusCreated, &asked)
	if !memberKey.MatchString(text(asked.RequestKey)) || asked.Kind != nil || asked.RemoveURL != "/api/users/bob/accessibles/manager/abc" {
		t.Errorf("the request is %s", got.body)
	}
	b.callReader("acme", "bob", "GET", "/api/profile/abc", "").refused(http.StatusForbidden, "forbidden", "")
	var granted heldRole
	b.callReader("acme", "ann", "POST", "/api/profile/abc/roles/contributor", `{"slug":"bob"}`).want(http.StatusOK, &granted)
	if granted.GrantKey != nil || granted.RequestKey != nil || granted.User.Email != "bob@example.com" {
		t.Errorf("granted is %+v", granted)
	}
	b.callReader("acme", "bob", "GET", "/api/profile/abc", "").want(http.StatusOK, nil)
	b.callReader("acme", "bob", "POST", "/api/users/bob/accessibles/contributor", `{"slug":"abc"}`).refused(http.StatusConflict, "conflict", "")
	b.callReader("acme", "bob", "POST", "/api/users/bob/accessibles/managers", `{"email":"unknown@example.com"}`).refused(http.StatusNotFound, "not_found", "")
	b.callReader("acme", "bob", "POST", "/api/users/bob/accessibles/managers", `{"slug":"abc"}`).want(http.StatusOK, &asked)
	if asked.Kind.Slug != "contributor" || text(asked.Requested) != "manager" {
		t.Errorf("beside the role the request is %+v", asked)
	}
	b.callReader("acme", "bob", "GET", "/api/profile/abc", "").want(http.StatusOK, nil)
	b.callReader("acme", "bob", "PUT", "/api/profile/abc", `{"full_name":"Bob's"}`).refused(http.StatusForbidden, "forbidden", "")
	for _, unknown := range []string{"/api/users/bob/accessibles/unknown", "/api/users/bob/accessibles"} {
		body := map[bool]string{true: `{"slug":"abc"}`, false: `{"slug":"never"}`}[strings.HasSuffix(unknown, "/unknown")]
		b.callReader("acme", "bob", "POST", unknown, body).refused(http.StatusNotFound, "not_found", "")
	}
	b.callReader("acme", "bob", "POST", "/api/users/bob/accessibles", `{}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.slug")
	b.callReader("acme", "bob", "DELETE", "/api/users/bob/accessibles/contributor/abc", "").want(http.StatusNoContent, nil)
	b.callReader("acme", "bob", "GET", "/api/profile/abc", "").refused(http.StatusForbidden, "forbidden", "")
}

// A role that counts is not replaced by mistake, and a profile keeps a manager.
func TestReplacingARole(t *testing.T) {
	b := team(t)
	refused := b.call("POST", "/api/profile/abc/roles/manager", `{"slug":"ken"}`).refused(http.StatusConflict, "replaces_role", "")
	if !strings.Contains(refused.Detail, "contributor") || !strings.Contains(refused.Detail, "replace=1") {
		t.Errorf("the refusal says %s", refused.Detail)
	}
	same := b.call("POST", "/api/profile/abc/roles/contributor", `{"slug":"ken"}`).want(http.StatusOK, nil)
	json := func(match string) http.Header {
		return http.Header{"Content-Type": {"application/json"}, "If-Match": {match}}
	}
	b.send("acme", "POST", "/api/profile/abc/roles/manager", `{"slug":"ken"}`, json(`"old"`)).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.send("acme", "POST", "/api/profile/abc/roles/manager", `{"slug":"bob"}`, json("*")).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	var now heldRole
	b.send("acme", "POST", "/api/profile/abc/roles/manager", `{"slug":"ken"}`, json(same.head.Get("ETag"))).want(http.StatusOK, &now)
	if now.Kind.Slug != "manager" || now.GrantKey != nil {
		t.Errorf("ken is %+v", now)
	}
	b.callReader("acme", "ken", "POST", "/api/profile/abc/roles/contributor?replace=1", `{"slug":"ann"}`).want(http.StatusOK, nil)
	b.callReader("acme", "ken", "POST", "/api/profile/abc/roles/contributor?replace=1", `{"slug":"ken"}`).refused(http.StatusConflict, "last_manager", "")
	for _, path := range []string{"/api/users/ken/accessibles/manager/abc", "/api/profile/abc/roles/manager/ken", "/api/users/ken"} {
		b.callReader("acme", "ken", "DELETE", path, "").refused(http.StatusConflict, "last_manager", "")
	}
	// The operator may.
	b.call("DELETE", "/api/profile/abc/roles/contributor/ken", "").want(http.StatusNoContent, nil)
	b.call("DELETE", "/api/profile/abc/roles/contributor/ken", "").refused(http.StatusNotFound, "not_found", "")
}

// A user can be invited by their address. One who does not exist is created with force only.
func TestInvitationByEmail(t *testing.T) {
	b := team(t)
	const path = "/api/profile/abc/roles/contributor"
	b.call("POST", path, `{"email":"new@example.com"}`).refused(http.StatusNotFound, "not_found", "")
	b.call("POST", path+"?force=1", `{"slug":"auth0|new"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.email")
	var made heldRole
	b.call("POST", path, `{"email":"BOB@example.com"}`).want(http.StatusCreated, &made)
	if made.User.Slug != "bob" {
		t.Errorf("the address of bob is %s", made.User.Slug)
	}
	b.call("POST", path+"?force=1", `{"email":"New@example.com","full_name":"New User"}`).want(http.StatusCreated, &made)
	if made.User.Slug != "new@example.com" || made.GrantKey == nil {
		t.Errorf("the new user is %+v", made)
	}
	b.call("POST", path+"?force=1", `{"slug":"auth0|7","email":"seven@example.com"}`).want(http.StatusCreated, &made)
	if made.User.Slug != "auth0|7" || made.RemoveURL != "/api/profile/abc/roles/contributor/auth0%7C7" {
		t.Errorf("the user with an id is %+v", made)
	}
	b.call("GET", "/api/users/auth0%7C7/accessibles", "").want(http.StatusOK, nil)
	b.call("POST", "/api/users", `{"slug":"bob2","email":"bob@example.com"}`).want(http.StatusCreated, nil)
	b.call("POST", path, `{"email":"bob@example.com"}`).refused(http.StatusConflict, "conflict", "")
	b.call("POST", path, `{"email":"bob@example.com","slug":"bob"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.slug")
}

// A call of the gate with wrong keys ends soon, for its caller only.
func TestWrongKeysAreBounded(t *testing.T) {
	b := team(t)
	var made heldRole
	b.callReader("acme", "ann", "POST", "/api/profile/abc/roles/contributor", `{"slug":"bob"}`).want(http.StatusCreated, &made)
	try := func(reader, key string) answer {
		return b.send("acme", "PUT", "/api/users/"+reader+"/accessibles/accept/"+key, "", http.Header{"X-Test-Reader": {reader}})
	}
	tries := 0
	for ; tries < 1000 && try("eve", strings.Repeat("0", 40)).code == http.StatusNotFound; tries++ {
	}
	if tries == 0 || tries > 100 {
		t.Errorf("there were %d tries", tries)
	}
	try("eve", *made.GrantKey).refused(http.StatusTooManyRequests, "too_many_requests", "")
	try("bob", *made.GrantKey).want(http.StatusOK, nil)
	b.clock = b.clock.Add(time.Hour)
	try("eve", *made.GrantKey).refused(http.StatusNotFound, "not_found", "")
}

// Readers cannot take what decides of access: an address that is not theirs, or the right to
// sell what others read. Before, a reader could make a profile, and a plan of it that gives
// any product, and subscribe to it.
func TestReadersCannotRaiseThemselves(t *testing.T) {
	b := team(t)
	const own = `{"slug":"evil","full_name":"Evil"}`
	b.callReader("acme", "eve", "POST", "/api/users/eve/profiles", `{"slug":"evil","is_provider":true}`).refused(http.StatusForbidden, "forbidden", "")
	b.callReader("acme", "eve", "POST", "/api/users/eve/profiles", own).want(http.StatusCreated, nil)
	for _, try := range []struct{ method, path, body string }{
		{"PUT", "/api/profile/evil", `{"is_provider":true}`},
		{"POST", "/api/profile/evil/plans", `{"title":"Free","is_active":true,"skip_optin_on_grant":true,"skus":["premium"]}`},
		{"PUT", "/api/users/eve", `{"email":"ann@example.com"}`},
		{"PUT", "/api/profile/evil/roles/describe/manager", `{"otp_required":false}`},
		{"POST", "/api/profile/acme/roles/manager", `{"slug":"eve"}`},
		{"POST", "/api/users", `{"slug":"evil"}`},
		{"GET", "/api/accounts?q=ann", ""},
		{"GET", "/management/audit", ""},
	} {
		b.callReader("acme", "eve", try.method, try.path, try.body).refused(http.StatusForbidden, "forbidden", "")
	}
	b.callReader("acme", "eve", "PUT", "/api/users/eve", `{"email":"eve@example.com","nick_name":"E"}`).want(http.StatusOK, nil)
	b.callReader("acme", "eve", "POST", "/api/users/eve/profiles", `{"slug":"abc"}`).refused(http.StatusConflict, "conflict", "")
	// An invitation shows nothing of a user who did not accept.
	got := b.callReader("acme", "eve", "POST", "/api/profile/evil/roles/manager", `{"slug":"ann"}`).want(http.StatusCreated, nil)
	if strings.Contains(got.body, "ann@") || strings.Contains(got.body, "ann Doe") {
		t.Errorf("an invitation shows %s", got.body)
	}
	// The broker makes it a provider.
	b.call("PUT", "/api/profile/evil", `{"is_provider":true}`).want(http.StatusOK, nil)
	b.callReader("acme", "eve", "POST", "/api/profile/evil/plans", `{"title":"Free"}`).want(http.StatusCreated, nil)
}

// A reader can only have so many roles.
func TestReadersHaveOnlySoManyRoles(t *testing.T) {
	b := team(t)
	w := b.store.As(store.Actor{})
	for i := range 200 {
		slug := fmt.Sprintf("p%d", i)
		if _, err := w.CreateProfile(t.Context(), "acme", store.Profile{Slug: slug}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.CreateRole(t.Context(), "acme", store.Role{Profile: slug, User: "eve", Type: "contributor"}); err != nil {
			t.Fatal(err)
		}
	}
	for path, body := range map[string]string{"/api/users/eve/profiles": `{"slug":"mine"}`, "/api/users/eve/accessibles": `{"slug":"abc"}`} {
		b.callReader("acme", "eve", "POST", path, body).refused(http.StatusConflict, "conflict", "")
		b.call("POST", path, body).want(http.StatusCreated, nil)
	}
}

// Operations that are left out on purpose say why.
func TestOmittedOperations(t *testing.T) {
	b := newFixture(t, false)
	for _, line := range []string{
		"POST /api/users/xia/activate", "GET /api/users/xia/notifications", "PUT /api/users/xia/notifications", "PUT /api/users/xia/otp",
		"PUT /api/users/xia/password", "PUT /api/users/xia/ssh-keys", "POST /api/contact", "GET /api/contacts/xia/activities", "POST /api/contacts/xia/activities",
		"POST /api/notifications/user_welcome", "POST /api/themes", "DELETE /api/themes",
	} {
		method, path, _ := strings.Cut(line, " ")
		if p := b.call(method, path, "").refused(http.StatusNotImplemented, "not_implemented", ""); !strings.Contains(p.Detail, "Gatefold") {
			t.Errorf("%s: %s", line, p.Detail)
		}
	}
	b.call("GET", "/api/users/xia/password", "").refused(http.StatusNotFound, "not_found", "")
	p := b.call("POST", "/api/users", `{"slug":"xia","password":"yoyo"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.password")
	if strings.Contains(cmp.Or(p.Detail, p.Code), "yoyo") {
		t.Error("the refusal repeats the password")
	}
	b.call("POST", "/api/users", `{"slug":"xia","password":"","picture":null}`).want(http.StatusCreated, nil)
}
