package admin

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// securityScheme is the name of the only security scheme: OAuth 2.0 access tokens
// (RFC 6750).
const securityScheme = "oauth2"

// A scope is `<resource>:read`, `<resource>:write`, or `<resource>:*` for both.
// Write does not imply read, and no scope covers all resources.
const (
	rightRead  = "read"
	rightWrite = "write"
	rightBoth  = "*"
)

// resource is the subject of scopes.
type resource struct {
	Name        string
	Description string
	// Operator is whether only clients without a vendor may have its scopes. Own is whether a
	// vendor's client may read its own record, with the scope :read.
	Operator, Own bool
	// ReadOnly is whether no operation writes it: only its scopes :read and :* exist.
	ReadOnly bool
	// Local is whether it exists on the operator's mount only. No token has its
	// scopes.
	Local bool
}

var resources = []resource{
	{Name: "accounts", Description: "profiles, users and their roles"},
	{Name: "agreements", Description: "agreements and their signatures"},
	{Name: "audit", Description: "the audit log", ReadOnly: true},
	{Name: "bills", Description: "bills, transactions and fulfilments"},
	{Name: "cache", Description: "stored pages of sites"},
	{Name: "clients", Description: "clients of this API", Local: true},
	{Name: "contracts", Description: "promos, contracts and their seats"},
	{Name: "decisions", Description: "refused requests, by their support codes", ReadOnly: true},
	{Name: "domains", Description: "trusted publisher domains"},
	{Name: "entitlements", Description: "entitlements of readers", ReadOnly: true},
	{Name: "explain", Description: "why a request would be allowed or denied", Local: true},
	{Name: "grants", Description: "access lists and their grants"},
	{Name: "health", Description: "the state of the server", Local: true},
	{Name: "keys", Description: "signing keys"},
	{Name: "links", Description: "signed links"},
	{Name: "paywalls", Description: "paywalls: what refused readers are offered"},
	{Name: "products", Description: "products"},
	{Name: "proxy", Description: "settings, engagement and sessions of sites"},
	{Name: "readers", Description: "tokens of readers", Local: true},
	{Name: "rules", Description: "the rules of sites"},
	{Name: "sales", Description: "sales by promo codes; payments:contract:third-party-onboarding and paymentsContractThirdPartyOnboarding are other names of sales:write"},
	{Name: "sessions", Description: "sessions of readers who logged in at the gate, API keys and feeds of readers"},
	{Name: "subscriptions", Description: "plans and subscriptions"},
	{Name: "users", Description: "readers' records"},
	{Name: "vendors", Description: "all vendors; a vendor's own client reads its vendor", Operator: true, Own: true},
	{Name: "webhooks", Description: "where events are sent"},
}

func findResource(name string) (resource, bool) {
	i := slices.IndexFunc(resources, func(r resource) bool { return r.Name == name })
	if i < 0 {
		return resource{}, false
	}
	return resources[i], true
}

// scopeSpellings are other names of scopes: the published ones of external sales, the
// second of which is newer.
var scopeSpellings = map[string]string{
	"payments:contract:third-party-onboarding": "sales:write",
	"paymentsContractThirdPartyOnboarding":     "sales:write",
}

// ownSpellings returns scopes by the names that scope.go gives them.
func ownSpellings(scopes []string) []string {
	own := slices.Clone(scopes)
	for i, scope := range own {
		own[i] = cmp.Or(scopeSpellings[scope], scope)
	}
	return own
}

// findScope returns the resource of a scope and its right, if the scope exists.
func findScope(scope string) (about resource, right string, exists bool) {
	name, right, _ := strings.Cut(scope, ":")
	about, exists = findResource(name)
	return about, right, exists && (right == rightRead || right == rightBoth || right == rightWrite && !about.ReadOnly)
}

// needs returns the security requirement of an operation: `<resource>:read` or
// `<resource>:write`. Every operation must have one, see scopeOf.
func needs(scope string) []map[string][]string {
	return []map[string][]string{{securityScheme: {scope}}}
}

// ownVendor is the key of the metadata of operations on vendors that a vendor's client may
// call about its vendor.
const ownVendor = "ownVendor"

// scopeOf returns the scope that an operation requires and its resource. It panics
// if the operation does not require exactly one scope of a known resource.
func scopeOf(operation *huma.Operation) (string, resource) {
	if len(operation.Security) != 1 || len(operation.Security[0][securityScheme]) != 1 {
		panic("admin: " + operation.OperationID + " must require one scope")
	}
	scope := operation.Security[0][securityScheme][0]
	about, right, exists := findScope(scope)
	if !exists || right == rightBoth {
		panic("admin: " + operation.OperationID + " needs the scope " + scope + ", which is not <resource>:read or :write of a resource in scope.go")
	}
	return scope, about
}

// may reports whether the caller has a scope.
func (c *Caller) may(scope string) bool {
	if c.Reader != nil {
		return false
	}
	return c.Unlimited || covers(c.Scopes, scope)
}

// covers reports whether scopes include another one: by name, by the wildcard of
// its resource, or, for a wildcard, by both rights. No scopes include one that does
// not exist.
func covers(scopes []string, wanted string) bool {
	about, right, exists := findScope(wanted)
	if !exists {
		return false
	}
	has := func(right string) bool { return slices.Contains(scopes, about.Name+":"+right) }
	return has(right) || has(rightBoth) || right == rightBoth && has(rightRead) && has(rightWrite)
}

// checkScopes returns an error if a client cannot have the scopes. Operator is
// whether the client belongs to no vendor.
func checkScopes(scopes []string, operator bool) error {
	for _, scope := range scopes {
		about, right, exists := findScope(scope)
		switch {
		case about.ReadOnly && !exists:
			return invalid("scopes", "must be "+about.Name+":read or "+about.Name+":*, because no operation writes "+about.Description)
		case !exists || about.Local:
			return invalid("scopes", "must each be <resource>:read, <resource>:write or <resource>:* of one of "+strings.Join(openResources(operator), ", "))
		case about.Operator && !operator && (!about.Own || right != rightRead):
			return invalid("scopes", "contains a scope of "+about.Name+", which requires a client that belongs to no vendor: a vendor's own client may have vendors:read, for its vendor")
		case !about.Operator && operator:
			return invalid("scopes", "contains a scope of "+about.Name+", which requires a vendor: a client of no vendor may have vendors:read, vendors:write or vendors:*")
		}
	}
	return nil
}

// openResources returns the resources for which a client can have scopes.
func openResources(operator bool) []string {
	var names []string
	for _, r := range resources {
		if !r.Local && r.Operator == operator {
			names = append(names, r.Name)
		}
	}
	return names
}

// usedScopes returns the scopes that operations require, with their wildcards.
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

// admit returns the middleware that requires an operation's scope, or of a reader its
// readerRule. It runs before the body is read, so that a refused caller costs little and
// learns nothing. An operation with ownVendor in its metadata answers a vendor's client about
// its vendor only.
func (a *api) admit(operation *huma.Operation) func(huma.Context, func(huma.Context)) {
	scope, about := scopeOf(operation)
	rule := readerRuleOf(operation)
	own := about.Own && operation.Metadata[ownVendor] != nil
	return func(ctx huma.Context, next func(huma.Context)) {
		c := callOf(ctx.Context())
		switch {
		case c == nil:
			answerProblem(ctx, newProblem(http.StatusUnauthorized, "Authentication required."))
		case c.Reader != nil:
			problem := a.mayRead(ctx, c, rule)
			if problem == nil {
				problem = refusedParameter(ctx, c.query)
			}
			if problem != nil {
				answerProblem(ctx, problem)
				return
			}
			next(ctx)
		case !c.may(scope):
			ctx.SetHeader("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+scope+`"`)
			answerProblem(ctx, newProblem(http.StatusForbidden, "The access token does not have the scope "+scope+"."))
		case about.Operator && c.Vendor != "" && !c.Unlimited && !own:
			answerProblem(ctx, newProblem(http.StatusForbidden, "This operation requires a client that belongs to no vendor."))
		case !about.Operator && c.Vendor == "":
			answerProblem(ctx, newProblem(http.StatusForbidden, "The access token belongs to no vendor: it may only use the operations on vendors."))
		default:
			if problem := refusedParameter(ctx, c.query); problem != nil {
				answerProblem(ctx, problem)
				return
			}
			next(ctx)
		}
	}
}

// refusedParameter returns the problem of a parameter that the operation would ignore, or
// nil: an empty one would select everything, the second of two nothing, and a change
// with an If-Match that is not compared would be made in any state.
func refusedParameter(ctx huma.Context, query url.Values) *Problem {
	operation := ctx.Operation()
	conditional := false
	for _, parameter := range operation.Parameters {
		conditional = conditional || parameter.Name == ifMatch
		values := query[parameter.Name]
		switch {
		case parameter.In != "query" || len(values) == 0:
		case slices.Contains(values, ""):
			return invalidAt("query."+parameter.Name, "is empty: give it a value, or leave it out")
		case len(values) > 1 && (parameter.Schema == nil || parameter.Schema.Type != huma.TypeArray):
			return invalidAt("query."+parameter.Name, "is given more than once")
		}
	}
	if !conditional && ctx.Header(ifMatch) != "" && operation.Method != http.MethodGet {
		return invalidAt("header."+ifMatch, "is not compared by this operation: leave it out")
	}
	return nil
}
