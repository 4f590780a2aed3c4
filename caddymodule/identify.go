package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/forwarded"
	"github.com/gatefold/gatefold/caddymodule/headers"
	"github.com/gatefold/gatefold/caddymodule/keysets"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// Identity configures one credential source of readers.
type Identity struct {
	// Source is `jwt`, a signed token, `oidc`, a login at the gate, `http_auth`, the user whom
	// an earlier Caddy handler authenticated: `{http.auth.user.id}`, or by Headers, or `address`,
	// a network whose clients are one reader unless they have another credential.
	Source string `json:"source" placeholders:"-"`

	// Issuer is the value of the tokens' `iss` claim, or `self` for tokens signed by
	// the vendor's own keys. Required for `jwt` and, as an https URL, for `oidc`.
	Issuer string `json:"issuer,omitempty"`

	// JWKS is the location of the issuer's JWK Set: a file, or an https URL, which may
	// be a private address. Default for an issuer that is an https URL: the `jwks_uri`
	// of its OpenID configuration.
	JWKS string `json:"jwks,omitempty"`

	// Audience is the value that the tokens' `aud` claim must contain. For the issuer
	// `self` it is the site; it is required for every other issuer.
	Audience string `json:"audience,omitempty"`

	// Cookie is the name of a cookie that may carry the token, besides the header
	// `Authorization: Bearer`.
	Cookie string `json:"cookie,omitempty"`

	// Claims maps the reader's `user_id` (default `sub`), `email`, `email_verified` and
	// `publisher_user_id` to the names of the token's claims.
	Claims map[string]string `json:"claims,omitempty" caddyfile:"claim"`

	// IntegerIDs accepts a user id that is an integer, as some issuers write although
	// `sub` must be a string. The reader's id is then its digits.
	IntegerIDs bool `json:"integer_ids,omitempty"`

	// Headers maps the reader's `user_id`, `email` and `publisher_user_id` to the names of
	// headers in the response of an authentication service that `forward_auth` asks before
	// the gate. They are read from that response, never from the request. With them,
	// `http_auth` does not read `{http.auth.user.id}`.
	Headers map[string]string `json:"headers,omitempty" caddyfile:"header"`

	// Copied lists further headers that `forward_auth` copies from the response. These and
	// Headers reach the origin only with the values that the service gave.
	Copied []string `json:"copied,omitempty"`

	// Name is that of the network of `address`: its clients are the reader `address:<name>`.
	Name string `json:"name,omitempty" caddyfile:"address"`

	// Ranges are the addresses of the network, in CIDR notation.
	Ranges []string `json:"ranges,omitempty" caddyfile:"address"`

	// Login configures the login of `oidc`.
	Login *LoginConfig `json:"login,omitempty"`

	verifier  policy.ReaderVerifier
	remote    keys.KeySetLocation // of a fetched key set; else zero
	forwarded *forwarded.Headers  // nil without Headers
}

const (
	sourceJWT      = "jwt"
	sourceHTTPAuth = "http_auth"
	sourceOIDC     = "oidc"
	issuerSelf     = "self"
)

// credentialSource is a provisioned Identity over an open store.
type credentialSource struct {
	httpAuth  bool
	forwarded *forwarded.Headers // of http_auth by headers
	cookie    string
	verifier  policy.ReaderVerifier
	login     *login.Site         // of oidc
	key       *policy.KeyVerifier // of keys, see keySource
}

// staticKeys is a key source of keys from the configuration.
type staticKeys struct{ set keys.KeySet }

func (f staticKeys) KeySet(context.Context) (keys.KeySet, error) { return f.set, nil }

// provision validates the identity and loads the keys of a file.
func (i *Identity) provision(vendor, site string) error {
	if i.Login != nil && i.Source != sourceOIDC {
		return setting.In("login", fmt.Errorf("%s: login is for oidc", i.Source))
	}
	switch i.Source {
	case sourceOIDC:
		return i.provisionLogin()
	case sourceHTTPAuth:
		return i.provisionForwarded()
	case sourceAddress:
		return nil // see provisionAddress
	case sourceJWT:
		if i.Headers != nil || i.Copied != nil {
			return setting.In("header", errors.New("jwt: header and copied are for http_auth: the claims of a token say who the reader is"))
		}
	default:
		return fmt.Errorf("unknown source %q; known are %s, %s, %s and %s", i.Source, sourceJWT, sourceOIDC, sourceHTTPAuth, sourceAddress)
	}
	if i.Issuer == issuerSelf {
		return i.provisionOwn(vendor, site)
	}
	return i.provisionForeign()
}

// provisionForwarded reads the headers of an authentication service.
func (i *Identity) provisionForwarded() (err error) {
	if i.Headers == nil && i.Copied == nil {
		return nil
	}
	if i.forwarded, err = forwarded.New(i.Headers, i.Copied); err != nil {
		return setting.In("header", fmt.Errorf("http_auth: %w", err))
	}
	return nil
}

func (i *Identity) provisionOwn(vendor, site string) error {
	if i.JWKS != "" || i.Claims != nil || i.Audience != "" || i.IntegerIDs {
		return setting.In("issuer", errors.New("jwt: the issuer self has its own keys, claims and audience: leave jwks, claim, integer_ids and audience out"))
	}
	i.verifier = policy.NewReaderVerifier(verifierID("own", vendor, site), keys.OwnReaderIssuer(vendor, site), nil)
	return nil
}

func (i *Identity) provisionForeign() error {
	switch {
	case i.Issuer == "":
		return errors.New("jwt: issuer is required: self, or what the tokens' iss claim says")
	case strings.HasPrefix(i.Issuer, keys.VendorIssuer("")):
		return setting.In("issuer", fmt.Errorf("jwt: %q is the issuer of Gatefold's own tokens: write issuer self", i.Issuer))
	case i.Audience == "":
		return errors.New("jwt: audience is required: without it the issuer's tokens for other services would be accepted: add `audience` with the value of their aud claim")
	}
	names, err := i.claimNames()
	if err != nil {
		return setting.In("claim", err)
	}
	location, set, err := issuerKeys(i.Issuer, i.JWKS)
	if err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	published, err := json.Marshal(set)
	if err != nil {
		return err
	}
	i.remote = location
	// Verified tokens stay cached across reloads: with other keys the verifier must
	// have another id.
	id := verifierID("foreign", i.Issuer, i.Audience, names.UserID, names.Email, names.EmailVerified, names.PublisherUserID,
		location.Issuer, location.URL, string(published), strconv.FormatBool(i.IntegerIDs))
	i.verifier = policy.NewReaderVerifier(id, keys.ReaderIssuer{Issuer: i.Issuer, Audience: i.Audience, Claims: names, IntegerIDs: i.IntegerIDs}, staticKeys{set})
	return nil
}

// issuerKeys returns the keys of an issuer: the key set in the file jwks, or the location
// from which the set is fetched. The operator configured the location, so that it may be
// a private address.
func issuerKeys(issuer, jwks string) (location keys.KeySetLocation, set keys.KeySet, err error) {
	switch {
	case strings.Contains(jwks, "://"):
		location = keys.KeySetLocation{URL: jwks, Trusted: true}
	case jwks != "":
		set, err = readKeySet(jwks)
		return location, set, setting.In("jwks", err)
	case strings.Contains(issuer, "://"):
		location = keys.KeySetLocation{Issuer: issuer, Trusted: true}
	default:
		return location, set, errors.New("jwks is required: a file or an https URL with the issuer's public keys; only an issuer that is an https URL publishes their location")
	}
	switch err = location.Check(); {
	case err == nil:
		return location, set, nil
	case jwks != "":
		return location, set, setting.In("jwks", fmt.Errorf("jwks %w", err))
	default:
		return location, set, setting.In("issuer", fmt.Errorf("issuer %w: name a file or an https URL with its keys by jwks", err))
	}
}

// readKeySet reads a JWK Set from a file. It fails if the set has no usable key.
func readKeySet(file string) (keys.KeySet, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the operator's own configuration names it
	if err != nil {
		return keys.KeySet{}, fmt.Errorf("jwks: %w", err)
	}
	set, dropped, err := keys.ParseJWKS(data)
	if err != nil {
		return keys.KeySet{}, fmt.Errorf("jwks %s: %w", file, err)
	}
	if set.Len() == 0 {
		return keys.KeySet{}, errors.Join(append([]error{fmt.Errorf("jwks %s: no usable key", file)}, dropped...)...)
	}
	return set, nil
}

func (i *Identity) claimNames() (keys.ClaimNames, error) {
	names := keys.DefaultClaimNames
	fields := map[string]*string{
		"user_id": &names.UserID, "email": &names.Email, "email_verified": &names.EmailVerified, "publisher_user_id": &names.PublisherUserID,
	}
	for field, claim := range i.Claims {
		name := fields[field]
		if name == nil {
			return names, fmt.Errorf("jwt: claim %s: unknown; known are user_id, email, email_verified, publisher_user_id", field)
		}
		if claim == "" {
			return names, fmt.Errorf("jwt: claim %s: the claim's name is missing", field)
		}
		*name = claim
	}
	return names, nil
}

// verifierID encodes a list; different lists have different ids.
func verifierID(parts ...string) string {
	var id []byte
	for _, part := range parts {
		id = appendText(id, part)
	}
	return string(id)
}

// credentialSource returns the identity with its keys: the vendor's own, the file's, or
// fetched ones. It does not wait for the network, so that an issuer that is down does
// not stop the site.
func (i *Identity) credentialSource(own policy.KeySource, sets *keysets.Watched) (credentialSource, error) {
	s := credentialSource{httpAuth: i.Source == sourceHTTPAuth, forwarded: i.forwarded, cookie: i.Cookie, verifier: i.verifier}
	if i.Issuer == issuerSelf {
		s.verifier.Keys = own
	}
	if i.remote != (keys.KeySetLocation{}) {
		remote, err := sets.Watch(i.remote)
		if err != nil {
			return credentialSource{}, fmt.Errorf("identify: jwt: %w", err)
		}
		s.verifier.Keys = remote
	}
	return s, nil
}

// identify sets the reader whom the request's first credential identifies, in the
// order of the sources. A failed credential identifies no reader. The address of the client is
// the weakest credential, wherever it is in the order.
func (g *gateRequest) identify() {
	reader := &g.request.Reader
	if g.request.Preflight {
		return // a preflight has no credentials that count
	}
	if g.keyed {
		*reader = g.keyReader()
		return
	}
	bearer := bearerToken(g.authorization)
	for i := range g.site.sources {
		s := &g.site.sources[i]
		if s.login != nil {
			if s.loggedIn(g, reader) {
				return
			}
			continue
		}
		if s.httpAuth {
			if known, ok := s.authenticated(g.r); ok {
				*reader = known
				return
			}
			continue
		}
		if bearer != "" {
			if s.verify(g, bearer, reader) {
				g.bearer = true
				return
			}
		}
		if s.cookie == "" {
			continue
		}
		token := headers.CookieValue(g.r.Header, s.cookie)
		if token == "" {
			continue
		}
		if s.verify(g, token, reader) {
			return
		}
		if !g.site.expectsFromCookie(s.cookie, token) {
			*reader = policy.Reader{Rejected: true, Failure: keys.ErrIssuer}
			return
		}
	}
	*reader = g.addressReader()
}

// verify verifies a token, and sets its reader. It returns false if the token is not by this
// source's issuer.
func (s *credentialSource) verify(g *gateRequest, raw string, to *policy.Reader) bool {
	var err error
	*to, err = g.site.policy.Reader(g.r.Context(), &s.verifier, raw, g.request.Now)
	switch {
	case err == nil:
		g.source, g.token = s, raw
	case !errors.Is(err, keys.ErrTooLarge) && !s.issued(raw): // the issuer of one that is too large is not read
		*to = policy.Reader{}
		return false
	default:
		*to = failedReader(err)
	}
	return true
}

// failedReader returns the reader of a token that could not be verified: it is unknown who
// that is while the keys are not there, and no reader otherwise.
func failedReader(err error) policy.Reader {
	if errors.Is(err, policy.ErrUnavailable) {
		return policy.Reader{Unknown: true, NoKeys: errors.Is(err, keys.ErrKeysUnavailable), Failure: err}
	}
	return policy.Reader{Rejected: true, Failure: err}
}

// issued reports whether a token names this source's issuer.
func (s *credentialSource) issued(raw string) bool {
	token, err := keys.Scan(raw)
	return err == nil && token.Issuer() == s.verifier.Issuer.Issuer
}

// expectsFromCookie reports whether a source accepts tokens of this issuer from the
// cookie.
func (r *siteRuntime) expectsFromCookie(cookie, raw string) bool {
	for i := range r.sources {
		if s := &r.sources[i]; s.cookie == cookie && s.issued(raw) {
			return true
		}
	}
	return false
}

// bearerToken returns the token of an Authorization header with the scheme Bearer (RFC
// 6750, section 2.1), or "".
func bearerToken(values []string) string {
	if len(values) != 1 {
		return ""
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	if strings.HasPrefix(token, " ") {
		// A token after several spaces must not contain one. Count is fast: a client
		// could send thousands.
		if token = token[strings.Count(token, " "):]; strings.IndexByte(token, ' ') >= 0 {
			return ""
		}
	}
	return token
}

// cleanForwarded removes from a request the headers that an authentication service before
// the gate alone sets.
func (h *Handler) cleanForwarded(r *http.Request) {
	for _, identity := range h.Identify {
		if identity.forwarded != nil {
			identity.forwarded.Clean(r)
		}
	}
}

// authenticated returns the reader whom an earlier handler authenticated.
func (s *credentialSource) authenticated(r *http.Request) (policy.Reader, bool) {
	if s.forwarded != nil {
		return s.forwarded.Reader(r)
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return policy.Reader{}, false
	}
	id, ok := repl.GetString("http.auth.user.id")
	return policy.Reader{UserID: id}, ok && id != ""
}
