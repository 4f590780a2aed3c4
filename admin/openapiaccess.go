package admin

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// tokenForm describes a token request.
type tokenForm struct {
	GrantType    string `json:"grant_type" enum:"client_credentials" doc:"Always client_credentials." example:"client_credentials"`
	ClientID     string `json:"client_id,omitempty" doc:"The client's id; omitted with Basic authorization." example:"client_01kb2m3q4r5s6t7v8w9x0y1z2a"`
	ClientSecret string `json:"client_secret,omitempty" doc:"The client's secret; omitted with Basic authorization." example:"gfsecret_…"`
	Scope        string `json:"scope,omitempty" doc:"The requested scopes, separated by spaces. Default: all scopes of the client." example:"links:write grants:read"`
}

// jwksDocument describes a JWK Set.
type jwksDocument struct {
	Keys []map[string]string `json:"keys" doc:"The keys (RFC 7517), each with kty, crv, x, y, kid, alg and use."`
}

// describeAccess describes the operations that huma does not serve: the token
// endpoint, discovery and key sets.
func (a *api) describeAccess() {
	document := a.huma.OpenAPI()
	schema := func(of any, name string) *huma.Schema {
		return document.Components.Schemas.Schema(reflect.TypeOf(of), true, name)
	}
	answer := func(description string, of *huma.Schema) *huma.Response {
		return &huma.Response{Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: of}}}
	}
	open := []map[string][]string{}
	tags := []string{"Access"}
	keySet := schema(jwksDocument{}, "KeySet")
	document.AddOperation(&huma.Operation{
		OperationID: "get-vendor-jwks", Method: http.MethodGet, Path: vendorJWKSPath, Tags: tags, Security: open,
		Summary: "Returns the public keys with which origins verify reader assertions",
		Parameters: []*huma.Param{{
			Name: "vendor", In: "path", Required: true, Description: "The vendor's id.", Example: "acme",
			Schema: &huma.Schema{Type: huma.TypeString},
		}},
		Responses: map[string]*huma.Response{
			"200":     answer("The keys (RFC 7517, section 5).", keySet),
			"404":     {Ref: "#/components/responses/NotFound"},
			"503":     {Ref: "#/components/responses/Unavailable"},
			"default": {Ref: "#/components/responses/Error"},
		},
	})
	if a.Authority == nil || !a.Authority.Own {
		return
	}
	failed := schema(tokenErrorAnswer{}, "TokenError")
	limited := answer("There were too many failed attempts: wait as long as Retry-After says.", failed)
	limited.Headers = map[string]*huma.Param{"Retry-After": {
		Description: "The number of seconds to wait.", Schema: &huma.Schema{Type: huma.TypeInteger, Examples: []any{30}},
	}}
	request := schema(tokenForm{}, "TokenRequest")
	document.AddOperation(&huma.Operation{
		OperationID: "get-access-token", Method: http.MethodPost, Path: tokenPath, Tags: tags, Security: open,
		Summary: "Issues an access token to a client",
		Description: "The client credentials grant of OAuth 2.0 (RFC 6749, section 4.4), in a form or in JSON. " +
			"The secret is sent in the body or as Basic authorization. The token is valid for an hour.",
		RequestBody: &huma.RequestBody{Required: true, Description: "The token request.", Content: map[string]*huma.MediaType{
			"application/x-www-form-urlencoded": {Schema: request}, "application/json": {Schema: request},
		}},
		Responses: map[string]*huma.Response{
			"200": answer("The token.", schema(tokenAnswer{}, "Token")),
			"400": answer("The request is malformed or requests a scope that the client lacks.", failed),
			"401": answer("The client is unknown or its secret is wrong.", failed),
			"413": answer("The body is larger than 64 KiB.", failed),
			"415": answer("The body is neither a form nor JSON.", failed),
			"429": limited,
			"503": answer("The service is unavailable.", failed),
		},
	})
	document.AddOperation(&huma.Operation{
		OperationID: "get-openid-configuration", Method: http.MethodGet, Path: discoveryPath, Tags: tags, Security: open,
		Summary: "Returns the OpenID configuration",
		Responses: map[string]*huma.Response{
			"200":     answer("The configuration (OpenID Connect Discovery 1.0, RFC 8414).", schema(discovery{}, "Discovery")),
			"default": {Ref: "#/components/responses/Error"},
		},
	})
	document.AddOperation(&huma.Operation{
		OperationID: "get-jwks", Method: http.MethodGet, Path: jwksPath, Tags: tags, Security: open,
		Summary: "Returns the public keys that sign access tokens",
		Responses: map[string]*huma.Response{
			"200":     answer("The keys (RFC 7517, section 5).", keySet),
			"503":     {Ref: "#/components/responses/Unavailable"},
			"default": {Ref: "#/components/responses/Error"},
		},
	})
}
