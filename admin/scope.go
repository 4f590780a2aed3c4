package admin

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// securityScheme names the one way to be authorized: an OAuth 2.0 access token
// (RFC 6750).
const securityScheme = "oauth2"

// A scope is `<resource>:read`, `<resource>:write`, or `<resource>:*`, which is
// both. Writing does not imply reading, and there is no scope for everything.
const (
	rightRead  = "read"
	rightWrite = "write"
	rightBoth  = "*"
)

// resource is what scopes are about.
type resource struct {
	Name        string
	Description string
	// Operator: only clients that belong to no vendor may have it, and nobody
	// else.
	Operator bool
	// Local: it exists on the operator's own mount alone, and no token opens
	// it.
	Local bool
}

// resources are those that there are.
var resources = []resource{
	{Name: "audit", Description: "the audit log"},
	{Name: "clients", Description: "clients of this API", Local: true},
	{Name: "domains", Description: "trusted publisher domains"},
	{Name: "entitlements", Description: "entitlements of readers"},
	{Name: "explain", Description: "why a request would be allowed or denied", Local: true},
	{Name: "grants", Description: "access lists and their grants"},
	{Name: "health", Description: "the state of the server", Local: true},
	{Name: "keys", Description: "signing keys"},
	{Name: "links", Description: "signed links"},
	{Name: "products", Description: "products"},
	{Name: "proxy", Description: "settings, engagement and sessions of sites"},
	{Name: "readers", Description: "tokens of readers", Local: true},
	{Name: "rules", Description: "the rules of sites"},
	{Name: "vendors", Description: "all vendors", Operator: true},
}

func findResource(name string) (resource, bool) {
	i := slices.IndexFunc(resources, func(r resource) bool { return r.Name == name })
	if i < 0 {
		return resource{}, false
	}
	return resources[i], true
}

// needs says which scope an operation asks for: `<resource>:read` or
// `<resource>:write`. Every operation names one, so that none is open because
// somebody forgot.
func needs(scope string) []map[string][]string {
	return []map[string][]string{{securityScheme: {scope}}}
}

// scopeOf returns the scope that an operation asks for, and what it is about. It
// panics when there is not exactly one of a known resource: that is a mistake in
// the program.
func scopeOf(operation *huma.Operation) (string, resource) {
	if len(operation.Security) != 1 || len(operation.Security[0][securityScheme]) != 1 {
		panic("admin: " + operation.OperationID + " does not say which scope it needs")
	}
	scope := operation.Security[0][securityScheme][0]
	name, right, _ := strings.Cut(scope, ":")
	about, known := findResource(name)
	if !known || right != rightRead && right != rightWrite {
		panic("admin: " + operation.OperationID + " needs the scope " + scope + ", which is not <resource>:read or :write of a resource in scope.go")
	}
	return scope, about
}

// may says whether the caller's token has a scope.
func (c *Caller) may(scope string) bool {
	return c.Unlimited || covers(c.Scopes, scope)
}

// covers says whether scopes hold another one: by its name, by the wildcard of its
// resource, or a wildcard by both of its parts.
func covers(scopes []string, wanted string) bool {
	name, right, _ := strings.Cut(wanted, ":")
	has := func(right string) bool { return slices.Contains(scopes, name+":"+right) }
	return has(right) || has(rightBoth) || right == rightBoth && has(rightRead) && has(rightWrite)
}

// checkScopes says what is wrong with the scopes of a client: every one must be of
// a resource that its kind of client can reach.
func checkScopes(scopes []string, operator bool) error {
	for _, scope := range scopes {
		name, right, _ := strings.Cut(scope, ":")
		about, known := findResource(name)
		switch {
		case !known || about.Local || right != rightRead && right != rightWrite && right != rightBoth:
			return invalid("scopes", "must each be <resource>:read, <resource>:write or <resource>:* of one of "+strings.Join(openResources(operator), ", "))
		case about.Operator && !operator:
			return invalid("scopes", "contains a scope of "+name+", which only clients without a vendor may have")
		case !about.Operator && operator:
			return invalid("scopes", "contains a scope of "+name+", which requires a vendor: a client without a vendor may have vendors:read, vendors:write or vendors:*")
		}
	}
	return nil
}

// openResources are those that a client can have scopes for.
func openResources(operator bool) []string {
	var names []string
	for _, r := range resources {
		if !r.Local && r.Operator == operator {
			names = append(names, r.Name)
		}
	}
	return names
}

// usedScopes are the scopes that operations ask for, with their wildcards.
func usedScopes(document *huma.OpenAPI) []string {
	used := make(map[string]bool)
	for _, operation := range operationsOf(document) {
		if len(operation.Security) == 0 {
			continue
		}
		scope, about := scopeOf(operation)
		used[scope], used[about.Name+":"+rightBoth] = true, true
	}
	return slices.Sorted(maps.Keys(used))
}

// admit lets a call pass that has a scope. It stands before everything that an
// operation reads: who may not call makes nobody read a body, and learns nothing
// of what is wrong with it.
func admit(scope string, about resource) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		call, ok := ctx.Context().Value(callKey{}).(call)
		switch {
		case !ok:
			answerProblem(ctx, newProblem(http.StatusUnauthorized, "Authentication required."))
		case !call.caller.may(scope):
			ctx.SetHeader("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+scope+`"`)
			answerProblem(ctx, newProblem(http.StatusForbidden, "The access token does not have the scope "+scope+"."))
		case about.Operator && call.caller.Vendor != "" && !call.caller.Unlimited:
			answerProblem(ctx, newProblem(http.StatusForbidden, "This operation requires a client that belongs to no vendor."))
		case !about.Operator && call.caller.Vendor == "":
			answerProblem(ctx, newProblem(http.StatusForbidden, "The access token belongs to no vendor: it may only use the operations on vendors."))
		default:
			next(ctx)
		}
	}
}
