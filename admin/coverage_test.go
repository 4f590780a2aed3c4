package admin_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// published are the operations of the two published APIs that this one implements,
// and its additions. Parameter names are ignored.
var published = map[string][]string{
	"Sesamy's management API": {
		"GET /management/vendors", "POST /management/vendors",
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
		"GET /api/users/{}/profiles", "POST /api/users/{}/profiles",
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

func TestDocumentHasThePublishedOperations(t *testing.T) {
	described := map[string]bool{}
	for path, item := range node(newPublic(t).document()["paths"]) {
		for method := range node(item) {
			described[strings.ToUpper(method)+" "+pathParameter.ReplaceAllString(path, "{}")] = true
		}
	}
	for api, operations := range published {
		for _, operation := range operations {
			if !described[operation] {
				t.Errorf("%s has %s, and /openapi.json does not", api, operation)
			}
		}
	}
	if t.Failed() {
		t.Logf("it has %v", slices.Sorted(maps.Keys(described)))
	}
}
