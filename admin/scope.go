package admin

import (
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// securityScheme names the one way to be authorized: an OAuth 2.0 access token
// (RFC 6750).
const securityScheme = "oauth2"

// needs says which scope an operation asks for: `<resource>:read` or
// `<resource>:write`. Every operation names one, so that none is open because
// somebody forgot.
func needs(scope string) []map[string][]string {
	return []map[string][]string{{securityScheme: {scope}}}
}

// scopeOf returns the scope that an operation asks for. It panics when there is
// not exactly one: that is a mistake in the program.
func scopeOf(operation *huma.Operation) string {
	if len(operation.Security) != 1 || len(operation.Security[0][securityScheme]) != 1 {
		panic("admin: " + operation.OperationID + " does not say which scope it needs")
	}
	return operation.Security[0][securityScheme][0]
}

// may says whether the caller's token has a scope.
func (c *Caller) may(scope string) bool {
	return c.Unlimited || slices.Contains(c.Scopes, scope)
}

// lacksScope refuses a call whose token does not have a scope.
func lacksScope(scope string) *problem {
	return newProblem(http.StatusForbidden, "The access token does not have the scope "+scope+".")
}
