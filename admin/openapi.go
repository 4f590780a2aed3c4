package admin

import (
	stdjson "encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

const (
	openAPIPath = "/openapi.json"
	docsPath    = "/docs"
)

// aboutAPI is the description of the API in CommonMark; %s is the source of
// tokens.
const aboutAPI = `Manage who may read what: signed links, access lists and their grants, rules, and what a reader may have.
A change counts from the next request at the gate on.

**Access.** Every call carries an access token, ` + "`Authorization: Bearer <token>`" + `. %s
What a token may do, its scopes say: each operation names the one that it needs. A vendor's token reaches that vendor's records and no others.

**Errors** are ` + "`application/problem+json`" + ` (RFC 9457); go by the member ` + "`code`" + `, which does not change.

**Lists** come in pages: ` + "`limit`" + ` says how many records, ` + "`from`" + ` after which one. The header ` + "`Link`" + ` names the next page (RFC 8288).

**Changes of this API.** Version 1 is extended: new operations, optional members and parameters, members of responses and codes are added, so clients ignore what they do not know.
What is to be removed is marked ` + "`deprecated`" + ` first; its responses then carry ` + "`Deprecation`" + ` (RFC 9745) and ` + "`Sunset`" + ` (RFC 8594) at least 12 months before. Nothing is deprecated now.

**Bodies** are JSON of at most 1 MiB, unless an operation says otherwise. Unknown fields and query parameters are refused.`

const (
	aboutOwnTokens   = "A client gets one at `POST " + tokenPath + "` for its id and secret (OAuth 2.0, client credentials); it is valid for an hour."
	aboutOtherTokens = "The operator's OpenID issuer gives them, with the claims `vendor_id` and `scope`."
)

// tags are the groups of operations, in display order.
var tags = []*huma.Tag{
	{Name: "Links", Description: "URLs that open one page to any holder, until they expire, are used up or are revoked."},
	{Name: "Access lists", Description: "Named sources of access that contain grants."},
	{Name: "Grants", Description: "Access of a reader to a SKU for a period."},
	{Name: "Entitlements", Description: "What a reader has access to now, and why."},
	{Name: "Sales", Description: "External sales: a seller's order makes a contract by a promo code, and its confirmation gives access."},
	{Name: "Promos", Description: "Base contracts: what a promo code sells, to whom and how often."},
	{Name: "Contracts", Description: "What readers and organizations bought, their seats and how they end."},
	{Name: "Accounts", Description: "Searches of profiles and users while a text is typed."},
	{Name: "Profiles", Description: "Accounts that can subscribe to plans and own them."},
	{Name: "Users", Description: "People who may have roles."},
	{Name: "Readers", Description: "What is kept about readers: finding, changing, exporting and erasing it."},
	{Name: "Roles", Description: "What users may do on a profile, and the types of such roles."},
	{Name: "Accessibles", Description: "The roles of a user: how users accept, ask and leave."},
	{Name: "Plans", Description: "What providers sell to profiles."},
	{Name: "Subscriptions", Description: "Subscriptions of profiles to plans, as the provider and as the subscriber have them."},
	{Name: "Agreements", Description: "Documents that readers sign."},
	{Name: "Records", Description: "Profiles, users, plans, roles, subscriptions, bills, transactions and fulfilments as streams."},
	{Name: "Products", Description: "What is sold, and what it includes."},
	{Name: "Paywalls", Description: "What a refused reader is offered, and the page that says so."},
	{Name: "Bills", Description: "Bills and transactions as the seller's system has them. Gatefold moves no money."},
	{Name: "Rules", Description: "The access rules of a site, in the order in which they are tried."},
	{Name: "Proxy", Description: "A site's settings, sessions and readers."},
	{Name: "Domains", Description: "Hosts whose signatures are trusted."},
	{Name: "Keys", Description: "The vendor's signing keys for links and reader tokens."},
	{Name: "Webhooks", Description: "Where events are sent when records of the access model change, signed as Standard Webhooks; dead letters, replays."},
	{Name: "Events of billing systems", Description: "Signed events of billing systems, and the tables by which they sell, renew and end contracts."},
	{Name: "Vendors", Description: "Publishing houses, for the operator's clients."},
	{Name: "Decisions", Description: "Refused requests, by the support codes that their readers have."},
	{Name: "Audit", Description: "The log of changes."},
	{Name: "Access", Description: "Access tokens and key sets."},
}

// describe completes huma's description: security, errors, examples, and the
// operations that huma does not serve.
func (a *api) describe() {
	document := a.huma.OpenAPI()
	tokens := aboutOtherTokens
	if a.Authority != nil && a.Authority.Own {
		tokens = aboutOwnTokens
	}
	document.Info = &huma.Info{
		Title: "Gatefold management API", Version: "1", Description: fmt.Sprintf(aboutAPI, tokens),
		License: &huma.License{Name: "Apache License 2.0", Identifier: "Apache-2.0"},
		Contact: &huma.Contact{Name: "Gatefold", URL: "https://github.com/gatefold/gatefold"},
	}
	// Relative to the document, wherever the API is mounted.
	document.Servers = []*huma.Server{{URL: ".", Description: "The directory of this document."}}
	document.Components.SecuritySchemes = map[string]*huma.SecurityScheme{securityScheme: a.securityScheme()}
	plainPaths(document)
	a.describeProblems()
	a.describeAccess()
	a.plainSchemas()
	used := make(map[string]bool)
	for _, operation := range operationsOf(document) {
		a.describeErrors(operation)
		a.describeExamples(operation)
		describeScope(operation)
		for _, tag := range operation.Tags {
			used[tag] = true
		}
	}
	for _, tag := range tags {
		if used[tag.Name] {
			document.Tags = append(document.Tags, tag)
		}
	}
}

// describeScope adds to a description what a call needs, which generated clients show
// nowhere else.
func describeScope(operation *huma.Operation) {
	operation.Description = strings.TrimPrefix(operation.Description+"\n\n"+scopeSentence(operation), "\n\n")
}

func scopeSentence(operation *huma.Operation) string {
	if len(operation.Security) == 0 {
		return "It needs no access token."
	}
	return "It needs the scope `" + operation.Security[0][securityScheme][0] + "`."
}

// plainPaths replaces Go's {path...} by {path}.
func plainPaths(document *huma.OpenAPI) {
	for path, item := range document.Paths {
		plain := strings.ReplaceAll(path, "...}", "}")
		if plain == path {
			continue
		}
		delete(document.Paths, path)
		document.Paths[plain] = item
		for _, operation := range itemOperations(item) {
			operation.Path = plain
			for _, parameter := range operation.Parameters {
				parameter.Required = parameter.Required || parameter.In == "path"
			}
		}
	}
}

// operationsOf lists the operations of a document by path.
func operationsOf(document *huma.OpenAPI) []*huma.Operation {
	operations := make([]*huma.Operation, 0, 2*len(document.Paths))
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		operations = append(operations, itemOperations(document.Paths[path])...)
	}
	return operations
}

func itemOperations(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete}
	return slices.DeleteFunc(all, func(operation *huma.Operation) bool { return operation == nil })
}

// securityScheme describes how callers obtain tokens.
func (a *api) securityScheme() *huma.SecurityScheme {
	if a.Authority == nil || !a.Authority.Own {
		scheme := &huma.SecurityScheme{Type: "http", Scheme: "bearer", Description: "An access token of an OpenID issuer, with the claims vendor_id and scope."}
		if a.Authority != nil && strings.HasPrefix(a.Authority.Issuers[0].Issuer, "https://") {
			scheme = &huma.SecurityScheme{
				Type: "openIdConnect", Description: scheme.Description,
				OpenIDConnectURL: strings.TrimSuffix(a.Authority.Issuers[0].Issuer, "/") + discoveryPath,
			}
		}
		return scheme
	}
	scopes := make(map[string]string)
	for _, scope := range usedScopes(a.huma.OpenAPI()) {
		name, right, _ := strings.Cut(scope, ":")
		about, _ := findResource(name)
		scopes[scope] = map[string]string{
			rightRead: "Read", rightWrite: "Change", rightBoth: "Read and change",
		}[right] + " " + about.Description + "."
	}
	return &huma.SecurityScheme{
		Type: "oauth2", Description: "An access token for a client's id and secret. `<resource>:*` is both `:read` and `:write`; writing does not imply reading.",
		Flows: &huma.OAuthFlows{ClientCredentials: &huma.OAuthFlow{TokenURL: "." + tokenPath, Scopes: scopes}},
	}
}

// failures are the common errors of operations by status.
var failures = map[int]struct{ name, description string }{
	http.StatusBadRequest:            {"BadRequest", "The body cannot be read: it is not the JSON or the rows that the operation takes, or has a member twice."},
	http.StatusUnauthorized:          {"Unauthorized", "The access token is missing, invalid or expired."},
	http.StatusForbidden:             {"Forbidden", "The access token lacks the required scope."},
	http.StatusNotFound:              {"NotFound", "The vendor has no such record, or the listing no such page."},
	http.StatusConflict:              {"Conflict", "The change conflicts with existing records or with a concurrent change."},
	http.StatusPreconditionFailed:    {"PreconditionFailed", "The record is not in the state that If-Match names, and nothing was changed."},
	http.StatusRequestEntityTooLarge: {"TooLarge", "The body is too large."},
	http.StatusUnsupportedMediaType:  {"UnsupportedMediaType", "Content-Type is not application/json."},
	http.StatusUnprocessableEntity:   {"ValidationFailed", "A field or parameter is invalid; `errors` lists each."},
	http.StatusTooManyRequests:       {"TooManyRequests", "There were too many calls: wait as long as Retry-After says."},
	http.StatusServiceUnavailable:    {"Unavailable", "The store or the keys of an issuer are unavailable. Retry-After says when to try again; with an Idempotency-Key a change is made once."},
	http.StatusInsufficientStorage:   {"StoreFull", "The store has no room, and nothing was written: its operator must make some. What takes access away goes on."},
}

// describeProblems replaces huma's error model by Problem.
func (a *api) describeProblems() {
	components := a.huma.OpenAPI().Components
	schema := components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	components.Responses = map[string]*huma.Response{"Error": {
		Description: "Any other error.", Content: map[string]*huma.MediaType{problemType: {Schema: schema}},
	}}
	for status, failure := range failures {
		example := Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: failure.description, Code: codes[status]}
		if status == http.StatusUnprocessableEntity {
			example.Detail = "validation failed"
			example.Errors = []FieldError{{Message: "expected length >= 1", Location: "body.name"}}
		}
		response := &huma.Response{
			Description: failure.description,
			Content:     map[string]*huma.MediaType{problemType: {Schema: schema, Example: example}},
		}
		switch status {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			response.Headers = map[string]*huma.Param{"Retry-After": {
				Description: "The number of seconds to wait.", Schema: &huma.Schema{Type: huma.TypeInteger, Examples: []any{5}},
			}}
		case http.StatusUnauthorized, http.StatusForbidden:
			response.Headers = map[string]*huma.Param{"WWW-Authenticate": {
				Description: "The error of the access token (RFC 6750, section 3).", Schema: &huma.Schema{Type: huma.TypeString, Examples: []any{`Bearer realm="gatefold", error="invalid_token"`}},
			}}
		}
		components.Responses[failure.name] = response
	}
	delete(components.Schemas.Map(), "ErrorModel")
	delete(components.Schemas.Map(), "ErrorDetail")
}

// describeErrors adds the common errors to an operation, unless it describes them
// itself.
func (a *api) describeErrors(operation *huma.Operation) {
	if len(operation.Security) == 0 {
		return // described in openapiaccess.go
	}
	statuses := []int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity,
		http.StatusTooManyRequests, http.StatusServiceUnavailable,
	}
	has := func(name string) bool {
		return slices.ContainsFunc(operation.Parameters, func(p *huma.Param) bool { return p.Name == name })
	}
	// A page after the last is not found.
	if strings.Contains(operation.Path, "{") || has("page") {
		statuses = append(statuses, http.StatusNotFound)
	}
	if operation.Method != http.MethodGet {
		statuses = append(statuses, http.StatusConflict, http.StatusInsufficientStorage)
	}
	if has(ifMatch) {
		statuses = append(statuses, http.StatusPreconditionFailed)
	}
	if operation.RequestBody != nil {
		statuses = append(statuses, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	for status, response := range operation.Responses {
		if status == "default" || isLibraryError(response) {
			delete(operation.Responses, status)
		}
	}
	for _, status := range statuses {
		if name := strconv.Itoa(status); operation.Responses[name] == nil {
			operation.Responses[name] = &huma.Response{Ref: "#/components/responses/" + failures[status].name}
		}
	}
	operation.Responses["default"] = &huma.Response{Ref: "#/components/responses/Error"}
}

// plainSchemas marks arrays in responses as not nullable: huma describes every array as
// nullable, and those of requests stay as they are validated. It takes out huma's own
// keyword, which is in the messages of validation already.
func (a *api) plainSchemas() {
	sent, answered := make(map[*huma.Schema]bool), make(map[*huma.Schema]bool)
	for _, operation := range operationsOf(a.huma.OpenAPI()) {
		if operation.RequestBody != nil {
			for _, media := range operation.RequestBody.Content {
				a.reach(media.Schema, sent)
			}
		}
		for _, response := range operation.Responses {
			for _, media := range response.Content {
				a.reach(media.Schema, answered)
			}
		}
	}
	for schema := range sent {
		schema.PatternDescription = ""
	}
	for schema := range answered {
		schema.PatternDescription = ""
		if schema.Type == huma.TypeArray && !sent[schema] {
			schema.Nullable = false
		}
	}
}

// reach marks a schema and all schemas that it contains.
func (a *api) reach(schema *huma.Schema, reached map[*huma.Schema]bool) {
	if schema = a.resolve(schema); schema == nil || reached[schema] {
		return
	}
	reached[schema] = true
	a.reach(schema.Items, reached)
	for _, property := range schema.Properties {
		a.reach(property, reached)
	}
	for _, one := range slices.Concat(schema.OneOf, schema.AnyOf, schema.AllOf) {
		a.reach(one, reached)
	}
	if values, ok := schema.AdditionalProperties.(*huma.Schema); ok {
		a.reach(values, reached)
	}
}

// isLibraryError reports whether a response describes huma's error model.
func isLibraryError(response *huma.Response) bool {
	for _, media := range response.Content {
		if media.Schema != nil && strings.HasSuffix(media.Schema.Ref, "/ErrorModel") {
			return true
		}
	}
	return false
}

// documentOf returns the OpenAPI document.
func (a *api) documentOf() ([]byte, error) {
	document, err := stdjson.Marshal(a.huma.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("admin: describing the API: %w", err)
	}
	return document, nil
}
