package admin_test

import (
	"net/http"
	"testing"
)

// A token opens what its scopes name, and nothing else: reading is not writing,
// and one resource is not another.
func TestScopes(t *testing.T) {
	b := newBench(t, true)
	as := func(scope, method, path, body string) answer {
		header := http.Header{"X-Test-Scope": {scope}, "Content-Type": {"application/json"}}
		return b.send("acme", method, path, body, header)
	}
	const grants = "/management/access-lists/src_default/grants"
	as("grants:read", http.MethodGet, grants, "").want(http.StatusOK, nil)
	as("grants:write", http.MethodPost, grants, `{"userId":"u","sku":"premium"}`).want(http.StatusCreated, nil)
	for scope, call := range map[string][3]string{
		"grants:read":   {http.MethodPost, grants, `{"userId":"u","sku":"premium"}`},
		"grants:write":  {http.MethodGet, grants, ""},
		"links:read":    {http.MethodGet, "/management/entitlements?userId=u", ""},
		"rules:read":    {http.MethodPost, "/api/proxy/rules", `{"path":"/","allow":0}`},
		"grants":        {http.MethodGet, grants, ""},
		"grants:read,x": {http.MethodGet, grants, ""},
	} {
		as(scope, call[0], call[1], call[2]).refused(http.StatusForbidden, "forbidden", "")
	}
}
