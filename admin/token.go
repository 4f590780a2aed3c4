package admin

import (
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/gatefold/gatefold/policy/store"
)

const (
	tokenPath = "/oauth/token" //nolint:gosec // an address, not a secret
	// maxTokenRequest bounds the body of a token request, in bytes.
	maxTokenRequest = 8 << 10
)

// tokenError is an error of the token endpoint (RFC 6749, section 5.2).
type tokenError struct {
	status      int
	code        string
	description string
	retryAfter  time.Duration
	challenge   string
}

func badTokenRequest(description string) *tokenError {
	return &tokenError{status: http.StatusBadRequest, code: "invalid_request", description: description}
}

// tokenRequest is a request for a token.
type tokenRequest struct {
	grantType, clientID, clientSecret, scope string
	basic                                    bool // the client used Basic authorization
}

// tokenAnswer is the response with a token (RFC 6749, section 5.1).
type tokenAnswer struct {
	AccessToken string `json:"access_token" doc:"The token, for the header Authorization: Bearer <token>." example:"eyJhbGciOiJFUzI1NiIsInR5cCI6ImdhdGVmb2xkLWFjY2Vzcytqd3QiLCJraWQiOiIuLi4ifQ.eyJzY29wZSI6Imxpbmtz…"`
	TokenType   string `json:"token_type" doc:"Always Bearer." example:"Bearer"`
	ExpiresIn   int64  `json:"expires_in" doc:"The lifetime of the token in seconds." example:"3600"`
	Scope       string `json:"scope" doc:"The token's scopes, separated by spaces." example:"grants:read links:*"`
}

// serveToken serves POST /oauth/token: the client credentials grant (RFC 6749,
// section 4.4). The request is a form as in the RFC, or JSON.
func (o *Authority) serveToken(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Pragma", "no-cache") // RFC 6749, section 5.1, besides no-store
	header.Set("Content-Type", "application/json")
	answer, failed := o.token(r)
	if failed == nil {
		_ = stdjson.NewEncoder(w).Encode(answer) //nolint:gosec // the response carries the token by design
		return
	}
	if failed.status == http.StatusMethodNotAllowed {
		header.Set("Allow", http.MethodPost)
	}
	if failed.challenge != "" {
		header.Set("WWW-Authenticate", failed.challenge)
	}
	if failed.retryAfter > 0 {
		header.Set("Retry-After", secondsOf(failed.retryAfter))
	}
	w.WriteHeader(failed.status)
	_ = stdjson.NewEncoder(w).Encode(tokenErrorAnswer{Error: failed.code, Description: failed.description})
}

// tokenErrorAnswer is the response with a tokenError.
type tokenErrorAnswer struct {
	Error       string `json:"error" enum:"invalid_request,invalid_client,invalid_scope,unsupported_grant_type,too_many_requests,server_error" doc:"The error code." example:"invalid_client"`
	Description string `json:"error_description" doc:"The error and its remedy, for people." example:"The client is unknown or its secret is wrong."`
}

func (o *Authority) token(r *http.Request) (*tokenAnswer, *tokenError) {
	request, failed := readTokenRequest(r)
	if failed != nil {
		return nil, failed
	}
	client, failed := o.authenticate(r, request)
	if failed != nil {
		return nil, failed
	}
	scopes, failed := grantedScopes(client, request.scope)
	if failed != nil {
		return nil, failed
	}
	now := o.Now()
	ring, err := o.Keyring.Ring(r.Context(), store.SystemPartition)
	if err != nil {
		return nil, o.serverError(err)
	}
	token, expiresAt, err := issueAccess(ring, client, scopes, now)
	if err != nil {
		return nil, o.serverError(err)
	}
	return &tokenAnswer{
		AccessToken: token, TokenType: "Bearer", Scope: strings.Join(scopes, " "),
		ExpiresIn: int64(expiresAt.Sub(now).Seconds()),
	}, nil
}

func (o *Authority) serverError(err error) *tokenError {
	o.Failed(err)
	return &tokenError{
		status: http.StatusServiceUnavailable, code: "server_error",
		description: "The server could not complete the request; its log has the cause.", retryAfter: 5 * time.Second,
	}
}

// authenticate returns the client whose secret the request has. Failed attempts are
// limited; beyond the limit a correct secret is refused too, so that further
// guesses reveal nothing.
func (o *Authority) authenticate(r *http.Request, request tokenRequest) (*store.Client, *tokenError) {
	wait, succeeded := o.failures.begin(request.clientID, sourceOf(o.Source(r)), o.Now())
	if wait > 0 {
		return nil, &tokenError{
			status: http.StatusTooManyRequests, code: "too_many_requests", retryAfter: wait,
			description: "Too many failed attempts from this address: wait as long as Retry-After says.",
		}
	}
	client, err := o.Store.AuthenticateClient(r.Context(), request.clientID, request.clientSecret)
	switch {
	case errors.Is(err, store.ErrBadSecret):
		failed := &tokenError{
			status: http.StatusUnauthorized, code: "invalid_client",
			description: "The client is unknown or its secret is wrong.",
		}
		if request.basic {
			failed.challenge = `Basic realm="gatefold"`
		}
		return nil, failed
	case err != nil:
		succeeded()
		return nil, o.serverError(err)
	}
	succeeded()
	return &client, nil
}

// grantedScopes returns the requested scopes, or all scopes of the client if none
// are requested.
func grantedScopes(client *store.Client, asked string) ([]string, *tokenError) {
	if asked == "" {
		return slices.Clone(client.Scopes), nil
	}
	scopes := ownSpellings(strings.Fields(asked))
	if len(scopes) > store.MaxClientScopes {
		return nil, badTokenRequest("scope has too many entries.")
	}
	for _, scope := range scopes {
		if !covers(client.Scopes, scope) {
			return nil, &tokenError{
				status: http.StatusBadRequest, code: "invalid_scope",
				description: "The client does not have all requested scopes. It has: " + strings.Join(client.Scopes, " "),
			}
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), nil
}

// readTokenRequest reads a request for a token. It refuses duplicate and misplaced
// parameters.
func readTokenRequest(r *http.Request) (tokenRequest, *tokenError) {
	var request tokenRequest
	if r.Method != http.MethodPost {
		return request, &tokenError{status: http.StatusMethodNotAllowed, code: "invalid_request", description: "Tokens are requested with POST."}
	}
	if r.URL.RawQuery != "" {
		// URLs are logged.
		return request, badTokenRequest("The URL must have no query: send all parameters in the body.")
	}
	parameters, failed := tokenParameters(r)
	if failed != nil {
		return request, failed
	}
	request = tokenRequest{
		grantType: parameters["grant_type"], scope: parameters["scope"],
		clientID: parameters["client_id"], clientSecret: parameters["client_secret"],
	}
	if headers := r.Header.Values("Authorization"); len(headers) > 0 {
		if failed := request.readBasic(headers); failed != nil {
			return request, failed
		}
	}
	switch {
	case request.grantType == "":
		return request, badTokenRequest("grant_type is required: client_credentials.")
	case request.grantType != "client_credentials":
		return request, &tokenError{status: http.StatusBadRequest, code: "unsupported_grant_type", description: "The only grant_type is client_credentials."}
	case request.clientID == "" || request.clientSecret == "":
		return request, &tokenError{
			status: http.StatusUnauthorized, code: "invalid_client", challenge: `Basic realm="gatefold"`,
			description: "client_id and client_secret are required, in the body or as Basic authorization.",
		}
	}
	return request, nil
}

// readBasic reads the client from the Authorization header, whose parts are
// form-encoded (RFC 6749, section 2.3.1).
func (t *tokenRequest) readBasic(headers []string) *tokenError {
	scheme, encoded, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "Basic") {
		return badTokenRequest("There must be one Authorization header, with the scheme Basic.")
	}
	if t.clientSecret != "" {
		return badTokenRequest("The client must authenticate either in the body or in the Authorization header.")
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	id, secret, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok {
		return badTokenRequest("The Authorization header is not Basic base64(client_id:client_secret).")
	}
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if errID != nil || errSecret != nil {
		return badTokenRequest("In the Authorization header, client_id and client_secret must be form-encoded.")
	}
	if t.clientID != "" && t.clientID != id {
		return badTokenRequest("client_id in the body differs from the Authorization header.")
	}
	t.clientID, t.clientSecret, t.basic = id, secret, true
	return nil
}

// tokenNames are the recognized parameters; others are ignored (RFC 6749, section
// 3.2).
var tokenNames = []string{"grant_type", "client_id", "client_secret", "scope"}

// tokenParameters reads the body, a form or JSON.
func tokenParameters(r *http.Request) (map[string]string, *tokenError) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" && kind != "application/json" {
		return nil, &tokenError{
			status: http.StatusUnsupportedMediaType, code: "invalid_request",
			description: "Content-Type must be application/x-www-form-urlencoded or application/json.",
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxTokenRequest+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &tokenError{status: http.StatusRequestTimeout, code: "invalid_request", description: "The body did not arrive in time: send it again."}
	case err != nil:
		return nil, badTokenRequest("The body cannot be read.")
	case len(body) > maxTokenRequest:
		return nil, &tokenError{status: http.StatusRequestEntityTooLarge, code: "invalid_request", description: "The body is larger than 8 KiB."}
	case kind == "application/json":
		return jsonParameters(body)
	default:
		return formParameters(body)
	}
}

func jsonParameters(body []byte) (map[string]string, *tokenError) {
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, badTokenRequest("The body is not a JSON object with unique members.")
	}
	parameters := make(map[string]string)
	for _, name := range tokenNames {
		switch value := members[name].(type) {
		case nil:
		case string:
			parameters[name] = value
		default:
			return nil, badTokenRequest(name + " must be a string.")
		}
	}
	return parameters, nil
}

func formParameters(body []byte) (map[string]string, *tokenError) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, badTokenRequest("The body is not a form.")
	}
	parameters := make(map[string]string)
	for _, name := range tokenNames {
		if len(form[name]) > 1 {
			return nil, badTokenRequest(name + " is given twice.")
		}
		parameters[name] = form.Get(name)
	}
	return parameters, nil
}
