package caddymodule

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// Identity is one source of credentials by which readers are known.
type Identity struct {
	// Source is `jwt`, a signed token, or `http_auth`, whom an earlier Caddy
	// handler authenticated: `{http.auth.user.id}`.
	Source string `json:"source"`

	// Issuer is who makes the tokens: `self` for tokens made by Gatefold's own
	// keys, else exactly what their `iss` claim says. Required for `jwt`.
	Issuer string `json:"issuer,omitempty"`

	// JWKS is where the issuer's public keys are, a JWK Set: a file, or an https
	// URL, which may be a private address. Default for an issuer that is an https
	// URL: where its OpenID configuration says.
	JWKS string `json:"jwks,omitempty"`

	// Audience is what the tokens' `aud` claim must name. Default for the
	// issuer `self`: the site. Required for any other.
	Audience string `json:"audience,omitempty"`

	// Cookie names a cookie that may carry the token, besides the header
	// `Authorization: Bearer`.
	Cookie string `json:"cookie,omitempty"`

	// Claims says which claims of the token tell what of the reader:
	// `user_id` (default `sub`), `email`, `email_verified` and
	// `publisher_user_id`.
	Claims map[string]string `json:"claims,omitempty"`

	verifier policy.ReaderVerifier
	remote   keys.KeySetLocation // where the keys are fetched; zero when they are not
}

const (
	sourceJWT      = "jwt"
	sourceHTTPAuth = "http_auth"
	issuerSelf     = "self"
)

// source is an identity at work.
type credentialSource struct {
	httpAuth bool
	cookie   string
	verifier policy.ReaderVerifier
}

// fixedKeys are keys from the configuration.
type staticKeys struct{ set keys.KeySet }

func (f staticKeys) KeySet(context.Context) (keys.KeySet, error) { return f.set, nil }

// provision checks the identity and reads its keys.
func (i *Identity) provision(vendor, site string) error {
	switch i.Source {
	case sourceHTTPAuth:
		return nil
	case sourceJWT:
	default:
		return fmt.Errorf("unknown source %q; known are %s and %s", i.Source, sourceJWT, sourceHTTPAuth)
	}
	if i.Issuer == issuerSelf {
		return i.provisionOwn(vendor, site)
	}
	return i.provisionForeign()
}

func (i *Identity) provisionOwn(vendor, site string) error {
	if i.JWKS != "" || i.Claims != nil || i.Audience != "" {
		return errors.New("jwt: the issuer self has its own keys, claims and audience: leave jwks, claim and audience out")
	}
	i.verifier = policy.NewReaderVerifier(verifierID("own", vendor, site), keys.OwnReaderIssuer(vendor, site), nil)
	return nil
}

func (i *Identity) provisionForeign() error {
	switch {
	case i.Issuer == "":
		return errors.New("jwt: issuer is required: self, or what the tokens' iss claim says")
	case strings.HasPrefix(i.Issuer, keys.VendorIssuer("")):
		return fmt.Errorf("jwt: %q is a name of Gatefold's own tokens: write issuer self", i.Issuer)
	case i.Audience == "":
		return errors.New("jwt: audience is required: without it any token of the issuer, made for whatever service, would count here")
	}
	names, err := i.claimNames()
	if err != nil {
		return err
	}
	issuer := keys.ReaderIssuer{Issuer: i.Issuer, Audience: i.Audience, Claims: names}
	fetched, err := i.fetched()
	if err != nil || fetched {
		id := verifierID("fetched", i.Issuer, i.Audience, names.UserID, names.Email, names.EmailVerified,
			names.PublisherUserID, i.remote.Issuer, i.remote.URL)
		i.verifier = policy.NewReaderVerifier(id, issuer, nil)
		return err
	}
	data, err := os.ReadFile(i.JWKS)
	if err != nil {
		return fmt.Errorf("jwt: jwks: %w", err)
	}
	set, dropped, err := keys.ParseJWKS(data)
	if err != nil {
		return fmt.Errorf("jwt: jwks %s: %w", i.JWKS, err)
	}
	if set.Len() == 0 {
		return fmt.Errorf("jwt: jwks %s: holds no key that can be used: %w", i.JWKS, errors.Join(dropped...))
	}
	sum := sha256.Sum256(data)
	// Results are cached across reloads: the keys are part of the id, so that tokens
	// are verified again when the keys change.
	id := verifierID("jwks", i.Issuer, i.Audience, names.UserID, names.Email, names.EmailVerified,
		names.PublisherUserID, string(sum[:]))
	i.verifier = policy.NewReaderVerifier(id, issuer, staticKeys{set})
	return nil
}

// fetched says whether the issuer's keys are fetched over the network, and notes
// from where. The operator wrote the address, so it may be a private one.
func (i *Identity) fetched() (bool, error) {
	switch {
	case strings.Contains(i.JWKS, "://"):
		i.remote = keys.KeySetLocation{URL: i.JWKS, Trusted: true}
	case i.JWKS != "":
		return false, nil
	case strings.Contains(i.Issuer, "://"):
		i.remote = keys.KeySetLocation{Issuer: i.Issuer, Trusted: true}
	default:
		return false, errors.New("jwt: jwks is required: a file or an https URL with the issuer's public keys; only an issuer that is an https URL says itself where they are")
	}
	if err := i.remote.Check(); err != nil {
		if i.JWKS != "" {
			return false, fmt.Errorf("jwt: jwks %w", err)
		}
		return false, fmt.Errorf("jwt: issuer %w: name a file or an https URL with its keys by jwks", err)
	}
	return true, nil
}

func (i *Identity) claimNames() (keys.ClaimNames, error) {
	names := keys.DefaultClaimNames
	for field, claim := range i.Claims {
		if claim == "" {
			return names, fmt.Errorf("jwt: claim %s: the claim's name is missing", field)
		}
		switch field {
		case "user_id":
			names.UserID = claim
		case "email":
			names.Email = claim
		case "email_verified":
			names.EmailVerified = claim
		case "publisher_user_id":
			names.PublisherUserID = claim
		default:
			return names, fmt.Errorf("jwt: claim %s: unknown; known are user_id, email, email_verified, publisher_user_id", field)
		}
	}
	return names, nil
}

// verifierID joins what makes a verifier; no two different lists give the same.
func verifierID(parts ...string) string {
	var id []byte
	for _, part := range parts {
		id = appendText(id, part)
	}
	return string(id)
}

// source returns the identity at work, over the vendor's own keys, or those that
// are fetched. It waits for no network: an issuer that is down stops nobody.
func (i *Identity) credentialSource(own policy.KeySource, sets *watchedKeySets) (credentialSource, error) {
	s := credentialSource{httpAuth: i.Source == sourceHTTPAuth, cookie: i.Cookie, verifier: i.verifier}
	if i.Issuer == issuerSelf {
		s.verifier.Keys = own
	}
	if i.remote != (keys.KeySetLocation{}) {
		remote, err := sets.watch(i.remote)
		if err != nil {
			return credentialSource{}, fmt.Errorf("identify: jwt: %w", err)
		}
		s.verifier.Keys = remote
	}
	return s, nil
}

// identify finds the reader: the first source for which the request carries a
// credential decides. A credential that fails identifies no one.
func (g *gateRequest) identify() policy.Reader {
	bearer := bearerToken(g.authorization)
	for i := range g.site.sources {
		s := &g.site.sources[i]
		if s.httpAuth {
			if reader, ok := httpAuthReader(g.r); ok {
				return reader
			}
			continue
		}
		if bearer != "" {
			if reader, ok := s.verify(g, bearer); ok {
				return reader
			}
		}
		if s.cookie == "" {
			continue
		}
		token := cookieValue(g.r.Header, s.cookie)
		if token == "" {
			continue
		}
		if reader, ok := s.verify(g, token); ok {
			return reader
		}
		if !g.site.expectsFromCookie(s.cookie, token) {
			return policy.Reader{Rejected: true}
		}
	}
	return policy.Reader{}
}

// verify verifies a token, if it is one of this source's issuer; else it is not
// this source's credential.
func (s *credentialSource) verify(g *gateRequest, raw string) (policy.Reader, bool) {
	reader, err := g.site.policy.Reader(g.r.Context(), &s.verifier, raw, g.request.Now)
	switch {
	case err == nil:
		g.source, g.token = s, raw
		return reader, true
	case !s.issued(raw):
		return policy.Reader{}, false
	case errors.Is(err, policy.ErrUnavailable):
		return policy.Reader{Unknown: true, NoKeys: errors.Is(err, keys.ErrKeysUnavailable)}, true
	default:
		return policy.Reader{Rejected: true}, true
	}
}

// issued says whether a token claims to be by this source's issuer.
func (s *credentialSource) issued(raw string) bool {
	token, err := keys.Scan(raw)
	return err == nil && token.Issuer() == s.verifier.Issuer.Issuer
}

// expectsFromCookie says whether another source takes tokens of this issuer
// from the same cookie.
func (r *siteRuntime) expectsFromCookie(cookie, raw string) bool {
	for i := range r.sources {
		if s := &r.sources[i]; s.cookie == cookie && s.issued(raw) {
			return true
		}
	}
	return false
}

// bearerToken returns the token of an Authorization header with the scheme
// Bearer (RFC 6750, section 2.1), or "". Whether it is ours is not said.
func bearerToken(values []string) string {
	if len(values) != 1 {
		return ""
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	if strings.HasPrefix(token, " ") {
		// More spaces may stand before it, and then none in it. They are counted many
		// at a time: somebody could send thousands.
		if token = token[strings.Count(token, " "):]; strings.IndexByte(token, ' ') >= 0 {
			return ""
		}
	}
	return token
}

// cookieValue returns the value of a cookie. One that comes twice counts as
// none: a sibling domain may have set the other.
func cookieValue(header http.Header, name string) string {
	found, value := false, ""
	for _, line := range header["Cookie"] {
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ";")
			n, v, _ := strings.Cut(part, "=")
			if strings.Trim(n, " \t") != name {
				continue
			}
			if found {
				return ""
			}
			found, value = true, strings.Trim(v, " \t")
		}
	}
	return value
}

// httpAuthReader returns whom an earlier handler authenticated.
func httpAuthReader(r *http.Request) (policy.Reader, bool) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return policy.Reader{}, false
	}
	id, ok := repl.GetString("http.auth.user.id")
	return policy.Reader{UserID: id}, ok && id != ""
}
