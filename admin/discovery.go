package admin

import (
	stdjson "encoding/json"
	"net/http"
	"slices"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	discoveryPath = "/.well-known/openid-configuration"
	jwksPath      = "/.well-known/jwks.json"
	// vendorJWKSPath has the keys with which origins verify reader assertions.
	vendorJWKSPath = "/.well-known/gatefold/{vendor}/jwks.json"
)

// discovery is the OpenID Provider configuration (OpenID Connect Discovery 1.0,
// section 3; RFC 8414).
type discovery struct {
	Issuer        string   `json:"issuer" doc:"The URL of this API." example:"https://api.news.example.com"`
	TokenEndpoint string   `json:"token_endpoint" doc:"The URL of the token endpoint." example:"https://api.news.example.com/oauth/token"`
	JWKSURI       string   `json:"jwks_uri" doc:"The keys that sign access tokens." example:"https://api.news.example.com/.well-known/jwks.json"`
	GrantTypes    []string `json:"grant_types_supported" doc:"The grant types of the token endpoint."`
	ResponseTypes []string `json:"response_types_supported" doc:"Always empty: there is no login here."`
	SubjectTypes  []string `json:"subject_types_supported" doc:"Always public."`
	SigningAlgs   []string `json:"id_token_signing_alg_values_supported" doc:"The algorithm of all tokens."`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported" doc:"The authentication methods of the token endpoint."`
	Scopes        []string `json:"scopes_supported" doc:"The supported scopes."`
	Documentation string   `json:"service_documentation" doc:"The URL of the documentation of this API." example:"https://api.news.example.com/docs"`
	Claims        []string `json:"claims_supported" doc:"The claims of an access token."`
}

// servePublic registers the operations that require no authentication.
func (a *api) servePublic() error {
	document, err := a.documentOf()
	if err != nil {
		return err
	}
	a.public.HandleFunc("GET "+openAPIPath, func(w http.ResponseWriter, _ *http.Request) { serveJSON(w, stdjson.RawMessage(document)) })
	if err := a.serveDocs(); err != nil {
		return err
	}
	a.public.HandleFunc("GET "+vendorJWKSPath, a.serveVendorJWKS)
	a.public.Handle(providerPath+"{provider}", &hookReceiver{a, store.NewHooks(a.Keyring), newFailureLimit()})
	a.servePaywalls()
	if a.Authority.Own {
		a.public.HandleFunc(tokenPath, a.Authority.serveToken)
		a.public.HandleFunc("GET "+discoveryPath, a.serveDiscovery)
		a.public.HandleFunc("GET "+jwksPath, a.Authority.serveJWKS)
	}
	return nil
}

func (a *api) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	base := a.Authority.BaseURL(r)
	serveJSON(w, discovery{
		Issuer: base, TokenEndpoint: base + tokenPath, JWKSURI: base + jwksPath, Documentation: base + docsPath,
		GrantTypes: []string{"client_credentials"}, ResponseTypes: []string{}, SubjectTypes: []string{"public"},
		SigningAlgs: []string{"ES256"}, AuthMethods: []string{"client_secret_basic", "client_secret_post"},
		Scopes: usedScopes(a.huma.OpenAPI()),
		Claims: []string{"iss", "aud", "sub", "client_id", "jti", "iat", "exp", "vendor_id", "scope"},
	})
}

// serveJWKS serves the public keys of access tokens (RFC 7517, section 5).
func (o *Authority) serveJWKS(w http.ResponseWriter, r *http.Request) {
	// Ring creates the first key if there is none.
	ring, err := o.Keyring.Ring(r.Context(), store.SystemPartition)
	if err != nil {
		o.unavailable(w, err)
		return
	}
	o.serveKeySet(w, ring.KeySet())
}

// serveVendorJWKS serves the public keys of a vendor. The request is not
// authenticated, so it creates neither keys nor memory for unknown vendors.
func (a *api) serveVendorJWKS(w http.ResponseWriter, r *http.Request) {
	vendor := r.PathValue("vendor")
	known, err := a.Store.Vendors(r.Context())
	if err == nil && !slices.Contains(known, vendor) {
		newProblem(http.StatusNotFound, "There is no such vendor.").write(w)
		return
	}
	var set keys.KeySet
	if err == nil {
		set, err = a.Keyring.Source(vendor).KeySet(r.Context())
	}
	if err != nil {
		a.Authority.unavailable(w, err)
		return
	}
	a.Authority.serveKeySet(w, set)
}

func (o *Authority) serveKeySet(w http.ResponseWriter, set keys.KeySet) {
	encoded, err := stdjson.Marshal(set)
	if err != nil {
		o.unavailable(w, err)
		return
	}
	serveJSON(w, stdjson.RawMessage(encoded))
}

func (o *Authority) unavailable(w http.ResponseWriter, err error) {
	o.Failed(err)
	newProblem(http.StatusServiceUnavailable, "The server could not complete the request; its log has the cause.").write(w)
}

func serveJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = stdjson.NewEncoder(w).Encode(value) // fails only if the client is gone
}
