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

// AuthorityOptions say whose access tokens open the API.
type AuthorityOptions struct {
	Store   *store.Store
	Keyring *store.Keyring
	// Own: clients of Gatefold's own get tokens at /oauth/token.
	Own bool
	// Issuers are others whose tokens count.
	Issuers []AccessIssuer
	// BaseURL returns the absolute URL under which the API is reached, without
	// a slash at the end. Nil: scheme and host of the request.
	BaseURL func(*http.Request) string
	// Source returns the address from which a request comes, by which failed
	// attempts are counted. Nil: RemoteAddr.
	Source func(*http.Request) string
	// Now is the clock.
	Now func() time.Time
	// Failed is told of errors that are the server's own. Nil: nobody is.
	Failed func(error)
}

// AccessIssuer is somebody else whose access tokens count.
type AccessIssuer struct {
	keys.AccessVerifier
	// Keys calls verify with the issuer's keys, and again with newer ones where
	// the token names a key that is not among them. Its error is verify's, or
	// keys.ErrKeysUnavailable.
	Keys interface {
		Try(ctx context.Context, verify func(keys.KeySet) error) error
	}
}

// Authority says who may call the API: it makes access tokens for clients, and
// verifies those that calls carry. It is safe for concurrent use.
type Authority struct {
	AuthorityOptions
	own      keys.AccessVerifier
	ownKeys  policy.KeySource
	failures *failureLimit
}

// NewAuthority returns an authority.
func NewAuthority(options AuthorityOptions) (*Authority, error) {
	if options.Store == nil || options.Keyring == nil || options.Now == nil {
		return nil, errors.New("admin: an authority needs Store, Keyring and Now")
	}
	if !options.Own && len(options.Issuers) == 0 {
		return nil, errors.New("admin: an authority needs an issuer: its own, or another's")
	}
	if options.BaseURL == nil {
		options.BaseURL = requestBase
	}
	if options.Source == nil {
		options.Source = func(r *http.Request) string { return r.RemoteAddr }
	}
	return &Authority{
		AuthorityOptions: options, own: keys.OwnAccessVerifier(),
		ownKeys: options.Keyring.Source(store.SystemPartition), failures: newFailureLimit(),
	}, nil
}

// requestBase is the URL by which a request reached this server.
func requestBase(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

func (o *Authority) fail(err error) {
	if o.Failed != nil {
		o.Failed(err)
	}
}

// issueAccess makes an access token for a client, with scopes that it has.
func issueAccess(ctx context.Context, keyring *store.Keyring, client *store.Client, scopes []string, now time.Time) (token string, expiresAt time.Time, err error) {
	ring, err := keyring.Ring(ctx, store.SystemPartition)
	if err != nil {
		return "", time.Time{}, err
	}
	// Rounded up, so that the hour that is told is there.
	expiresAt = now.Add(accessLifetime + time.Second - 1).Truncate(time.Second)
	token, err = keys.SignAccess(ring, keys.AccessClaims{
		Subject: client.ID, ID: rand.Text(), Vendor: client.Vendor, Scopes: scopes,
		Generation: client.Generation, ExpiresAt: expiresAt.Unix(),
	}, now)
	return token, expiresAt, err
}

// Authorize says who calls, by the access token of the request (RFC 6750,
// section 2.1). A token in the query or in a form is not looked at.
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
	// errInvalidToken does not say what is wrong: that would help only whoever
	// guesses.
	errInvalidToken = &RefusedError{
		Status: http.StatusUnauthorized, Challenge: `Bearer realm="gatefold", error="invalid_token"`,
		Detail: "The access token is invalid or expired: get a new one.",
	}
)

// bearer returns the token of the one Authorization header that there may be.
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

// authorizeClient says which client a token of ours was made for. The client is
// read anew: what was revoked, or has another secret now, ended at once.
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
	return Caller{Vendor: claims.Vendor, Name: issuer.Issuer + " " + claims.Subject, Scopes: claims.Scopes}, nil
}

// unavailable marks an error of what an answer depends on.
func unavailable(err error) error { return fmt.Errorf("%w: %w", policy.ErrUnavailable, err) }
