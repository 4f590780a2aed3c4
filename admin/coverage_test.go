package admin_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// published are the operations of the two published APIs that this one implements,
// and its additions. Parameter names are ignored.
var published = map[string][]string{
	"Sesamy's management API": {
		"GET /management/vendors", "POST /management/vendors",
		"GET /management/bills", "GET /management/bills/{}", "GET /management/transactions", "GET /management/products/{}/fulfillments",
		"GET /management/contracts", "GET /management/contracts/{}", "GET /management/contracts/{}/licenses",
		"GET /management/users", "POST /management/users", "GET /management/users/{}", "DELETE /management/users/{}", "PATCH /management/users/{}",
		"POST /management/users/{}/change-login-identifier", "POST /management/users/{}/add-phone-identifier",
		"PUT /management/users/{}/user_metadata/{}", "DELETE /management/users/{}/user_metadata/{}", "POST /management/users/{}/set-password",
		"GET /management/team", "POST /management/team", "PUT /management/team/{}", "DELETE /management/team/{}",
		"GET /management/mc/customers/{}", "GET /management/diagnostics/{}", "DELETE /management/diagnostics/{}",
		"POST /management/sync/team-to-organization", "GET /management/paywalls", "GET /management/paywalls/{}",
		"GET /management/products", "POST /management/products", "GET /management/products/{}", "PATCH /management/products/{}",
		"GET /management/entitlements",
		"GET /management/access-lists", "POST /management/access-lists",
		"GET /management/access-lists/{}", "PUT /management/access-lists/{}", "PATCH /management/access-lists/{}",
		"GET /management/access-lists/{}/grants", "POST /management/access-lists/{}/grants",
		"GET /management/access-lists/{}/grants/{}", "PUT /management/access-lists/{}/grants/{}", "DELETE /management/access-lists/{}/grants/{}",
		"POST /management/create-signed-link",
		"GET /management/domains", "GET /management/domains/{}", "PUT /management/domains/{}", "DELETE /management/domains/{}",
	},
	"Sesamy's external sales and contracts": {
		"POST /payments/vendor/{}/promos/code/{}", "POST /payments/vendor/{}/promos/code/{}/confirm/{}",
		"GET /management/contracts", "GET /management/contracts/{}", "GET /management/contracts/{}/licenses",
	},
	"what a back office does with contracts": {
		"GET /management/promos", "POST /management/promos", "GET /management/promos/{}", "PATCH /management/promos/{}", "POST /management/promos/{}/end",
		"POST /management/contracts", "PATCH /management/contracts/{}", "POST /management/contracts/{}/cancel", "POST /management/contracts/{}/renew",
		"POST /management/contracts/{}/transfer", "POST /management/contracts/{}/licenses", "DELETE /management/contracts/{}/licenses/{}",
		"PUT /management/contracts/{}/seats",
	},
	"DjaoApp's proxy": {
		"GET /api/proxy", "PUT /api/proxy", "POST /api/proxy/key",
		"GET /api/proxy/engagement", "GET /api/proxy/engagement/users", "GET /api/proxy/recent",
		"GET /api/proxy/rules", "POST /api/proxy/rules", "GET /api/proxy/rules/{}", "PUT /api/proxy/rules/{}",
		"GET /api/proxy/sessions/{}",
	},
	"DjaoApp's plans, subscriptions and agreements": {
		"GET /api/agreements", "POST /api/agreements", "GET /api/agreements/{}", "PUT /api/agreements/{}", "DELETE /api/agreements/{}",
		"GET /api/legal", "GET /api/legal/{}", "POST /api/legal/{}/sign", "GET /api/pricing",
		"GET /api/profile/{}/plans", "POST /api/profile/{}/plans", "GET /api/profile/{}/plans/{}", "PUT /api/profile/{}/plans/{}", "DELETE /api/profile/{}/plans/{}",
		"GET /api/profile/{}/plans/{}/subscriptions", "POST /api/profile/{}/plans/{}/subscriptions", "GET /api/profile/{}/plans/{}/subscriptions/all",
		"GET /api/profile/{}/plans/{}/subscriptions/churned", "GET /api/profile/{}/plans/{}/subscriptions/{}", "PUT /api/profile/{}/plans/{}/subscriptions/{}",
		"DELETE /api/profile/{}/plans/{}/subscriptions/{}",
		"GET /api/profile/{}/subscribers", "POST /api/profile/{}/subscribers/accept/{}", "GET /api/profile/{}/subscribers/engaged",
		"GET /api/profile/{}/subscribers/subscriptions", "GET /api/profile/{}/subscribers/subscriptions/all", "GET /api/profile/{}/subscribers/subscriptions/churned",
		"GET /api/profile/{}/subscribers/unengaged",
		"GET /api/profile/{}/subscriptions", "GET /api/profile/{}/subscriptions/expired", "GET /api/profile/{}/subscriptions/{}", "PUT /api/profile/{}/subscriptions/{}",
		"DELETE /api/profile/{}/subscriptions/{}",
	},
	"DjaoApp's accounts": {
		"GET /api/accounts", "GET /api/accounts/profiles", "POST /api/accounts/profiles", "GET /api/accounts/profiles/{}", "GET /api/accounts/users",
		"GET /api/profile", "GET /api/profile/{}", "PUT /api/profile/{}", "DELETE /api/profile/{}",
		"GET /api/profile/{}/roles", "GET /api/profile/{}/roles/describe", "POST /api/profile/{}/roles/describe", "GET /api/profile/{}/roles/describe/{}",
		"PUT /api/profile/{}/roles/describe/{}", "DELETE /api/profile/{}/roles/describe/{}", "GET /api/profile/{}/roles/{}", "POST /api/profile/{}/roles/{}",
		"POST /api/profile/{}/roles/{}/{}", "DELETE /api/profile/{}/roles/{}/{}",
		"GET /api/users", "POST /api/users", "GET /api/users/{}", "PUT /api/users/{}", "DELETE /api/users/{}",
		"GET /api/users/{}/accessibles", "POST /api/users/{}/accessibles", "PUT /api/users/{}/accessibles/accept/{}", "GET /api/users/{}/accessibles/{}",
		"POST /api/users/{}/accessibles/{}", "POST /api/users/{}/accessibles/{}/{}", "DELETE /api/users/{}/accessibles/{}/{}",
		"GET /api/users/{}/profiles", "POST /api/users/{}/profiles", "POST /api/users/{}/api-keys",
		"POST /api/auth/logout", "POST /api/auth/tokens", "POST /api/auth/tokens/verify",
	},
	"what else DjaoApp has": {
		"GET /api", "POST /api/auth", "GET /api/auth/activate/{}", "POST /api/auth/activate/{}", "POST /api/auth/recover",
		"POST /api/auth/register", "POST /api/auth/reset/{}", "GET /api/billing/charges",
		"GET /api/billing/transactions", "GET /api/billing/{}/balance", "POST /api/billing/{}/balance", "DELETE /api/billing/{}/balance",
		"GET /api/billing/{}/bank", "GET /api/billing/{}/card", "PUT /api/billing/{}/card", "DELETE /api/billing/{}/card",
		"GET /api/billing/{}/charges/{}", "POST /api/billing/{}/charges/{}/email", "POST /api/billing/{}/charges/{}/refund",
		"GET /api/billing/{}/checkout", "POST /api/billing/{}/checkout", "GET /api/billing/{}/coupons", "POST /api/billing/{}/coupons",
		"GET /api/billing/{}/coupons/{}", "PUT /api/billing/{}/coupons/{}", "DELETE /api/billing/{}/coupons/{}", "GET /api/billing/{}/history",
		"GET /api/billing/{}/receivables", "GET /api/billing/{}/transfers", "POST /api/billing/{}/transfers/import", "POST /api/cart",
		"DELETE /api/cart", "POST /api/cart/redeem", "POST /api/cart/{}/upload", "POST /api/contact", "GET /api/contacts/{}/activities",
		"POST /api/contacts/{}/activities", "GET /api/metrics/balances/{}", "GET /api/metrics/balances/{}/lines",
		"POST /api/metrics/balances/{}/lines", "GET /api/metrics/balances/{}/lines/{}", "PUT /api/metrics/balances/{}/lines/{}",
		"DELETE /api/metrics/balances/{}/lines/{}", "GET /api/metrics/registered", "GET /api/metrics/{}/balances", "GET /api/metrics/{}/coupons/{}",
		"GET /api/metrics/{}/customers", "GET /api/metrics/{}/federated", "GET /api/metrics/{}/federated/shared", "GET /api/metrics/{}/funds",
		"GET /api/metrics/{}/lifetimevalue", "GET /api/metrics/{}/plans", "POST /api/notifications/{}", "POST /api/themes", "DELETE /api/themes",
		"POST /api/users/{}/activate", "GET /api/users/{}/notifications", "PUT /api/users/{}/notifications",
		"PUT /api/users/{}/otp", "PUT /api/users/{}/password", "PUT /api/users/{}/ssh-keys",
	},
	"what they lack": {
		"POST /api/profile/{}/subscriptions", "PUT /api/profile/{}/subscriptions/accept/{}",
		"DELETE /api/proxy/rules/{}", "PATCH /api/proxy/rules",
		"DELETE /management/access-lists/{}", "PATCH /management/access-lists/{}/grants/{}",
		"GET /management/signed-links", "GET /management/signed-links/{}", "DELETE /management/signed-links/{}",
		"GET /management/audit",
		"POST /oauth/token", "GET /.well-known/openid-configuration", "GET /.well-known/jwks.json",
	},
}

// others are published operations that other parts of the same change add.
var others = regexp.MustCompile(`^[A-Z]+ /management/(?:contracts)(?:/|$)`)

// Every operation of the published APIs is served, or answered 501 with the reason.
func TestPublishedOperationsAreServedOrOmitted(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "links:read")
	bearer := http.Header{"Authorization": {"Bearer " + p.token(id, secret)}}
	described := map[string]bool{}
	for path, item := range node(p.document()["paths"]) {
		for method := range node(item) {
			described[strings.ToUpper(method)+" "+pathParameter.ReplaceAllString(path, "{}")] = true
		}
	}
	omitted := omittedInDocument(t)
	for api, operations := range published {
		for _, operation := range operations {
			reason := omitted[operation]
			switch {
			case described[operation] && reason != "":
				t.Errorf("%s of %s is served, and docs/omitted.md says that it is not", operation, api)
			case described[operation], others.MatchString(operation):
			case reason == "":
				t.Errorf("%s has %s, which is neither served nor in docs/omitted.md", api, operation)
			default:
				method, path, _ := strings.Cut(operation, " ")
				got := p.ask(method, strings.ReplaceAll(path, "{}", "x"), "", bearer)
				problem := got.refused(http.StatusNotImplemented, "not_implemented", "")
				if !strings.HasPrefix(problem.Detail, reason) || got.head.Get("Link") != `<http://example.com/docs/omitted>; rel="help"` {
					t.Errorf("%s is answered %s, Link: %s", operation, got.body, got.head.Get("Link"))
				}
			}
			delete(omitted, operation)
		}
	}
	for operation := range omitted {
		t.Errorf("docs/omitted.md has %s, which no published API has", operation)
	}
	if page := p.ask(http.MethodGet, "/docs/omitted", "", nil).want(http.StatusOK, nil); strings.Count(page.body, `<li><b class="method`) < 65 {
		t.Errorf("the page lists %d operations", strings.Count(page.body, `<li><b class="method`))
	}
	p.ask(http.MethodGet, "/api/auth/x/y/z", "", bearer).refused(http.StatusNotFound, "not_found", "")
	p.ask(http.MethodGet, "/api/auth/activate/", "", bearer).refused(http.StatusNotFound, "not_found", "")
	if got := p.ask(http.MethodGet, "/management/nothing", "", bearer).refused(http.StatusNotFound, "not_found", ""); !strings.Contains(got.Detail, "/openapi.json") {
		t.Errorf("an unknown path has no hint: %s", got.Detail)
	}
}

// omittedInDocument returns the operations of docs/omitted.md with their reasons.
func omittedInDocument(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/omitted.md")
	if err != nil {
		t.Fatal(err)
	}
	omitted := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)` \\| (.*) \\|$").FindAllStringSubmatch(string(text), -1) {
		omitted[pathParameter.ReplaceAllString(row[1], "{}")] = row[2]
	}
	return omitted
}
