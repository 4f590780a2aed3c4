package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// accessLifetime is how long an access token is valid.
const accessLifetime = time.Hour

// AuthorityOptions define whose access tokens the API accepts.
type AuthorityOptions struct {
	Store   *store.Store
	Keyring *store.Keyring
	// Own enables the token endpoint for Gatefold's own clients.
	Own bool
	// Issuers are external issuers whose access tokens are accepted.
	Issuers []AccessIssuer
	// BaseURL returns the absolute URL of the API, without a trailing slash.
	// Default: scheme and host of the request.
	BaseURL func(*http.Request) string
	// LinkBase returns what links to pages of the API begin with, which people open: it has no
	// host that only the client of the request names. Default: BaseURL.
	LinkBase func(*http.Request) string
	// Source returns the client address, by which failed attempts are limited.
	// Default: RemoteAddr.
	Source func(*http.Request) string
	// Now is the clock.
	Now func() time.Time
	// Failed receives errors of the server itself, for the log. Optional.
	Failed func(error)
}

// AccessIssuer is an external issuer of access tokens.
type AccessIssuer struct {
	keys.AccessVerifier
	// Keys calls verify with the issuer's keys, and again with refreshed ones if
	// the token names an unknown key. It returns verify's error, or
	// keys.ErrKeysUnavailable.
	Keys interface {
		Try(ctx context.Context, verify func(keys.KeySet) error) error
	}
}

// Authority authorizes calls: it issues access tokens to clients and verifies the
// tokens of calls. It is safe for concurrent use.
type Authority struct {
	AuthorityOptions
	own      keys.AccessVerifier
	ownKeys  policy.KeySource
	failures *failureLimit
}

// NewAuthority returns an Authority. It returns an error if a required option is
// missing.
func NewAuthority(options AuthorityOptions) (*Authority, error) {
	if options.Store == nil || options.Keyring == nil || options.Now == nil {
		return nil, errors.New("admin: an authority needs Store, Keyring and Now")
	}
	if !options.Own && len(options.Issuers) == 0 {
		return nil, errors.New("admin: an authority needs Own or Issuers")
	}
	if options.BaseURL == nil {
		options.BaseURL = requestBase
	}
	if options.LinkBase == nil {
		options.LinkBase = options.BaseURL
	}
	if options.Source == nil {
		options.Source = func(r *http.Request) string { return r.RemoteAddr }
	}
	if options.Failed == nil {
		options.Failed = func(error) {}
	}
	return &Authority{
		AuthorityOptions: options, own: keys.OwnAccessVerifier(),
		ownKeys: options.Keyring.Source(store.SystemPartition), failures: newFailureLimit(),
	}, nil
}

// requestBase returns scheme and host of a request.
func requestBase(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// issueAccess issues an access token to a client, with a subset of its scopes.
func issueAccess(ring *keys.Ring, client *store.Client, scopes []string, now time.Time) (token string, expiresAt time.Time, err error) {
	// Rounded up, so that expires_in is never more than the remaining lifetime.
	expiresAt = now.Add(accessLifetime + time.Second - 1).Truncate(time.Second)
	token, err = keys.SignAccess(ring, keys.AccessClaims{
		Subject: client.ID, ID: rand.Text(), Vendor: client.Vendor, Scopes: scopes,
		Generation: client.Generation, ExpiresAt: expiresAt.Unix(),
	}, now)
	return token, expiresAt, err
}

// Authorize returns the caller by the access token in the Authorization header (RFC
// 6750, section 2.1), or a *RefusedError. Tokens in a query or a form are ignored.
func (o *Authority) Authorize(r *http.Request) (Caller, error) {
	raw, err := bearer(r)
	if err != nil {
		return Caller{}, err
	}
	token, err := keys.Scan(raw)
	if err != nil {
		return Caller{}, errInvalidToken
	}
	issuer := token.Issuer()
	if o.Own && issuer == keys.AccessIssuer {
		return o.authorizeClient(r.Context(), raw)
	}
	for i := range o.Issuers {
		if o.Issuers[i].Issuer == issuer {
			return o.authorizeOther(r.Context(), &o.Issuers[i], raw)
		}
	}
	return Caller{}, errInvalidToken
}

var (
	errNoToken = &RefusedError{
		Status: http.StatusUnauthorized, Challenge: `Bearer realm="gatefold"`,
		Detail: "An access token is required: Authorization: Bearer <token>.",
	}
	// errInvalidToken does not say why, which would help an attacker.
	errInvalidToken = &RefusedError{
		Status: http.StatusUnauthorized, Challenge: `Bearer realm="gatefold", error="invalid_token"`,
		Detail: "The access token is invalid or expired: get a new one.",
	}
)

// bearer returns the token of the Authorization header, of which there may be one.
func bearer(r *http.Request) (string, error) {
	switch headers := r.Header.Values("Authorization"); len(headers) {
	case 0:
		return "", errNoToken
	case 1:
		scheme, token, _ := strings.Cut(headers[0], " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", errNoToken
		}
		return strings.TrimLeft(token, " "), nil
	default:
		return "", errInvalidToken
	}
}

// authorizeClient returns the caller of one of Gatefold's own tokens. It reads the
// client each time, so that a revocation or a new secret takes effect at once.
func (o *Authority) authorizeClient(ctx context.Context, raw string) (Caller, error) {
	set, err := o.ownKeys.KeySet(ctx)
	if err != nil {
		return Caller{}, unavailable(err)
	}
	claims, err := o.own.Verify(raw, set, o.Now())
	if errors.Is(err, keys.ErrBusy) {
		return Caller{}, unavailable(err)
	}
	if err != nil {
		return Caller{}, errInvalidToken
	}
	client, err := o.Store.Client(ctx, claims.Subject)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Caller{}, errInvalidToken
	case err != nil:
		return Caller{}, unavailable(err)
	case !client.Active() || client.Generation != claims.Generation || client.Vendor != claims.Vendor:
		return Caller{}, errInvalidToken
	}
	scopes := slices.DeleteFunc(claims.Scopes, func(scope string) bool { return !covers(client.Scopes, scope) })
	return Caller{Vendor: client.Vendor, Name: client.ID, Scopes: scopes}, nil
}

var vendorPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (o *Authority) authorizeOther(ctx context.Context, issuer *AccessIssuer, raw string) (Caller, error) {
	var claims keys.AccessClaims
	err := issuer.Keys.Try(ctx, func(set keys.KeySet) (err error) {
		claims, err = issuer.Verify(raw, set, o.Now())
		return err
	})
	if errors.Is(err, keys.ErrKeysUnavailable) {
		return Caller{}, unavailable(err)
	}
	if err != nil || claims.Vendor != "" && !vendorPattern.MatchString(claims.Vendor) {
		return Caller{}, errInvalidToken
	}
	return Caller{Vendor: claims.Vendor, Name: issuer.Issuer + " " + claims.Subject, Scopes: ownSpellings(claims.Scopes)}, nil
}

// unavailable wraps an error of the store. One of an issuer's keys is no error of the
// store, see problemOf.
func unavailable(err error) error {
	if errors.Is(err, keys.ErrKeysUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", policy.ErrUnavailable, err)
}
