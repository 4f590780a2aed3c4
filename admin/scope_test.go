package admin_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatefold/gatefold/admin"
)

// A token permits what its scopes name: read is not write, and resources are
// separate.
func TestScopes(t *testing.T) {
	b := newFixture(t, true)
	as := func(scope, method, path, body string) answer {
		header := http.Header{"X-Test-Scope": {scope}, "Content-Type": {"application/json"}}
		return b.send("acme", method, path, body, header)
	}
	const grants = "/management/access-lists/src_default/grants"
	as("grants:read", http.MethodGet, grants, "").want(http.StatusOK, nil)
	as("grants:write", http.MethodPost, grants, `{"userId":"u","sku":"premium"}`).want(http.StatusCreated, nil)
	as("grants:*", http.MethodGet, grants, "").want(http.StatusOK, nil)
	as("grants:*", http.MethodPost, grants, `{"userId":"u","sku":"premium"}`).want(http.StatusCreated, nil)
	for scope, call := range map[string][3]string{
		"grants:read":   {http.MethodPost, grants, `{"userId":"u","sku":"premium"}`},
		"grants:write":  {http.MethodGet, grants, ""},
		"links:read":    {http.MethodGet, "/management/entitlements?userId=u", ""},
		"rules:read":    {http.MethodPost, "/api/proxy/rules", `{"path":"/","allow":0}`},
		"grants":        {http.MethodGet, grants, ""},
		"grants:read,x": {http.MethodGet, grants, ""},
		"*":             {http.MethodGet, grants, ""},
		"*:*":           {http.MethodGet, grants, ""},
		"*:read":        {http.MethodGet, grants, ""},
		"grants:r*":     {http.MethodGet, grants, ""},
		"links:*":       {http.MethodGet, grants, ""},
	} {
		as(scope, call[0], call[1], call[2]).refused(http.StatusForbidden, "forbidden", "")
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, http.ErrBodyNotAllowed
}

// Without the scope, the server does not read the body and does not report errors
// of the request.
func TestScopeIsCheckedBeforeBody(t *testing.T) {
	b := newFixture(t, true)
	for _, path := range []string{
		"/management/access-lists/src_default/grants", "/management/access-lists/src_default/grants/batch",
		"/management/create-signed-link?unknown=1", "/management/reader-tokens",
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, unread{t})
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Test-Vendor", "acme")
		request.Header.Set("X-Test-Scope", "rules:read")
		recorder := httptest.NewRecorder()
		b.handler.ServeHTTP(recorder, request)
		got := answer{t: t, code: recorder.Code, head: recorder.Header(), body: recorder.Body.String()}
		got.refused(http.StatusForbidden, "forbidden", "")
		if says := got.head.Get("WWW-Authenticate"); says == "" {
			t.Errorf("%s: it does not say which scope is missing", path)
		}
	}
}

// A caller without a vendor cannot access any vendor's records, whatever its
// scopes.
func TestCallerWithoutVendor(t *testing.T) {
	b := newFixtureWith(t, func(options *admin.Options) {
		options.Authorize = func(*http.Request) (admin.Caller, error) {
			return admin.Caller{Name: "operator", Scopes: []string{"vendors:*", "grants:*", "links:*"}}, nil
		}
	})
	b.call(http.MethodGet, "/management/access-lists", "").refused(http.StatusForbidden, "forbidden", "")
	b.call(http.MethodPost, "/management/create-signed-link", `{"sku":"premium"}`).refused(http.StatusForbidden, "forbidden", "")
}

// The scopes that exist are those that operations need, and no wildcard includes
// another one: `grants:*` once gave a token with `grants:foo`.
func TestScopesThatDoNotExistAreRefused(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "grants:*", "audit:*", "entitlements:*", "foo:*", "links:read", "links:write")
	ask := func(scope string) answer {
		return p.ask(http.MethodPost, "/oauth/token", form("grant_type", "client_credentials", "client_id", id, "client_secret", secret, "scope", scope), isForm)
	}
	for _, scope := range []string{
		"grants:foo", "grants:", "grants", "foo:*", "foo:read", ":*", "*", "*:*", "grants:*x", "grants:read:x", "grants:READ", "Grants:read", "grants:read grants:foo",
		"audit:write", "entitlements:write",
	} {
		ask(scope).tokenError(http.StatusBadRequest, "invalid_scope")
	}
	for _, scope := range []string{"grants:read", "grants:write", "grants:*", "audit:read", "audit:*", "entitlements:read", "links:*"} {
		ask(scope).want(http.StatusOK, nil)
	}
	local := newFixture(t, true)
	for _, scope := range []string{"audit:write", "entitlements:write", "grants:foo"} {
		local.call(http.MethodPost, "/management/clients", `{"name":"c","scopes":["`+scope+`"]}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.scopes")
	}
}

// The published scope of external sales has two spellings. A client gets it by either, a
// token is asked for by either, as JSON like in the reference, and has sales:write alone.
func TestSalesScopeHasItsPublishedSpellings(t *testing.T) {
	p := newPublic(t)
	operator := newFixture(t, true)
	for _, spelling := range []string{"payments:contract:third-party-onboarding", "paymentsContractThirdPartyOnboarding", "sales:write"} {
		var made struct{ Scopes []string }
		operator.call(http.MethodPost, "/management/clients", `{"name":"seller","scopes":["`+spelling+`"]}`).want(http.StatusCreated, &made)
		if len(made.Scopes) != 1 || made.Scopes[0] != "sales:write" {
			t.Errorf("a client with %s has %v", spelling, made.Scopes)
		}
		id, secret := p.client("acme", "sales:*")
		body := `{"client_id":"` + id + `","client_secret":"` + secret + `","grant_type":"client_credentials","scope":"` + spelling + `"}`
		var got handed
		p.ask(http.MethodPost, "/oauth/token", body, isJSON).want(http.StatusOK, &got)
		if got.Scope != "sales:write" || got.AccessToken == "" {
			t.Errorf("a token for %s has %q", spelling, got.Scope)
		}
		p.with(got.AccessToken, http.MethodGet, "/management/access-lists", "").refused(http.StatusForbidden, "forbidden", "")
		other, otherSecret := p.client("acme", "grants:*", "contracts:*")
		body = `{"client_id":"` + other + `","client_secret":"` + otherSecret + `","grant_type":"client_credentials","scope":"` + spelling + `"}`
		p.ask(http.MethodPost, "/oauth/token", body, isJSON).tokenError(http.StatusBadRequest, "invalid_scope")
	}
}

// A vendor's own client reads its vendor, and nothing else about vendors: another vendor's id
// has the same answer whether there is such a vendor or not, and it creates none.
func TestVendorsOwnClientReadsItsVendorOnly(t *testing.T) {
	p := newPublic(t)
	operator, own, bare := p.token(p.client("", "vendors:*")), p.token(p.client("acme", "vendors:read")), p.token(p.client("newcomer", "vendors:read"))
	for id, name := range map[string]string{"acme": "Acme Publishing", "other": "A secret customer"} {
		p.with(operator, http.MethodPost, "/management/vendors", `{"id":"`+id+`","name":"`+name+`"}`).want(http.StatusCreated, nil)
	}
	type vendor struct{ ID, Name string }
	var list []vendor
	p.with(own, http.MethodGet, "/management/vendors", "").want(http.StatusOK, &list)
	if len(list) != 1 || list[0] != (vendor{"acme", "Acme Publishing"}) {
		t.Errorf("a vendor's client lists %v", list)
	}
	var one vendor
	p.with(own, http.MethodGet, "/management/vendors/acme", "").want(http.StatusOK, &one)
	if one.Name != "Acme Publishing" {
		t.Errorf("a vendor's client reads %v", one)
	}
	there, none := p.with(own, http.MethodGet, "/management/vendors/other", ""), p.with(own, http.MethodGet, "/management/vendors/nothing", "")
	there.refused(http.StatusForbidden, "forbidden", "")
	if there.body != none.body || there.code != none.code {
		t.Errorf("another vendor is answered %d %s, none %d %s", there.code, there.body, none.code, none.body)
	}
	p.with(own, http.MethodPost, "/management/vendors", `{"id":"mine","name":"Mine"}`).refused(http.StatusForbidden, "forbidden", "")
	p.with(own, http.MethodGet, "/management/system-audit", "").refused(http.StatusForbidden, "forbidden", "")
	p.with(bare, http.MethodGet, "/management/vendors", "").want(http.StatusOK, &list)
	if len(list) != 1 || list[0] != (vendor{"newcomer", "newcomer"}) {
		t.Errorf("a vendor that was never created is %v", list)
	}
	p.with(bare, http.MethodGet, "/management/vendors?from=newcomer", "").want(http.StatusOK, &list)
	if len(list) != 0 {
		t.Errorf("after its vendor, the list has %v", list)
	}
	p.with(p.token(p.client("acme", "grants:*")), http.MethodGet, "/management/vendors", "").refused(http.StatusForbidden, "forbidden", "")
	p.with(operator, http.MethodGet, "/management/vendors/other", "").want(http.StatusOK, nil)
	p.with(operator, http.MethodGet, "/management/vendors/nothing", "").want(http.StatusNotFound, nil)
	local := newFixture(t, true)
	local.call(http.MethodPost, "/management/clients", `{"name":"c","scopes":["vendors:read"]}`).want(http.StatusCreated, nil)
	for _, scope := range []string{"vendors:write", "vendors:*"} {
		local.call(http.MethodPost, "/management/clients", `{"name":"c","scopes":["`+scope+`"]}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.scopes")
	}
}
