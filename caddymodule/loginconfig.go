package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// LoginConfig configures the login of readers at the gate, at the OpenID provider that is the
// issuer of the identity. A denied reader who can log in is sent there, and comes back to the
// page with a session. The paths `/.gatefold/login`, `callback`, `logout` and `backchannel`
// are those of the login. A site may have several, each with a name: the reader chooses.
type LoginConfig struct {
	// Name tells the logins of a site apart, if it has several: lower-case letters, digits and
	// hyphens. `/.gatefold/login?idp=<name>` begins one, and its paths are
	// `/.gatefold/callback/<name>` and `/.gatefold/backchannel/<name>`.
	Name string `json:"name,omitempty"`

	// UserPrefix begins the ids of the readers of this login, in grants too. One of several
	// logins may be without: providers may have the same id for two readers.
	UserPrefix string `json:"user_prefix,omitempty"`

	// Label is what the reader chooses by. Default: the issuer's host.
	Label string `json:"label,omitempty"`

	// ClientID is the site's name at the provider. Required.
	ClientID string `json:"client_id,omitempty"`

	// ClientSecret authenticates the site at the provider. It must be a placeholder,
	// `{env.NAME}` or `{file./path}`. Either it or PrivateKeyJWT is required.
	ClientSecret string `json:"client_secret,omitempty" placeholders:"-"`

	// PrivateKeyJWT authenticates the site by a JWT that the vendor's own key signs
	// (`private_key_jwt`). The provider reads the keys from the site's `gatefold_keys`.
	PrivateKeyJWT bool `json:"private_key_jwt,omitempty"`

	// Scopes are what is asked of the provider. Default: `openid email`. With
	// `offline_access` the session ends when the provider does not renew its tokens.
	Scopes []string `json:"scopes,omitempty"`

	// Idle ends a session that is not used. Default: 720 hours (30 days).
	Idle setting.Duration `json:"idle,omitzero"`

	// Lifetime ends every session, at most 9600 hours (400 days), as long as browsers keep
	// cookies. Default: 9600 hours.
	Lifetime setting.Duration `json:"lifetime,omitzero"`

	// MaxSessions is the number of sessions of a reader; a further login ends the oldest.
	// Default: 20.
	MaxSessions setting.Count `json:"max_sessions,omitzero"`

	// LocalLogout leaves a reader who logs out of the site logged in at the provider.
	LocalLogout bool `json:"local_logout,omitempty"`

	secret string
}

const (
	defaultIdle        = 30 * 24 * time.Hour
	defaultLifetime    = 400 * 24 * time.Hour
	maxLifetime        = 400 * 24 * time.Hour
	minIdle            = time.Minute
	defaultMaxSessions = 20
	scopeOpenID        = "openid"
	// maxLabel bounds the label of a login, in bytes.
	maxLabel = 100
	// maxUserPrefix bounds the prefix of a login's user ids, in bytes.
	maxUserPrefix = 32
)

func (i *Identity) parseLogin(d *caddyfile.Dispenser) error {
	i.Login = new(LoginConfig)
	c := i.Login
	err := block.Parse(d, "identify oidc",
		block.Text("issuer", &i.Issuer),
		block.Text("name", &c.Name),
		block.Text("label", &c.Label),
		block.Text("user_prefix", &c.UserPrefix),
		block.Text("client_id", &c.ClientID),
		block.Secret("client_secret", &c.ClientSecret),
		block.Flag("private_key_jwt", &c.PrivateKeyJWT),
		block.List("scopes", &c.Scopes, nil),
		block.Option{Name: "claim", Parse: i.parseClaim, Repeatable: true},
		block.Flag("integer_ids", &i.IntegerIDs),
		block.Duration("idle", &c.Idle, minIdle, maxLifetime),
		block.Duration("lifetime", &c.Lifetime, minIdle, maxLifetime),
		block.Count("max_sessions", &c.MaxSessions),
		block.Flag("local_logout", &c.LocalLogout),
	)
	switch {
	case err != nil:
		return err
	case i.Issuer == "":
		return d.Err("identify oidc: issuer is missing: the https URL of the OpenID provider")
	case c.ClientID == "":
		return d.Err("identify oidc: client_id is missing: the name under which the site is registered at the provider")
	}
	return nil
}

// provisionLogin validates an identity of the source oidc.
func (i *Identity) provisionLogin() error {
	if i.Login == nil {
		i.Login = new(LoginConfig)
	}
	if i.JWKS != "" || i.Audience != "" || i.Cookie != "" || i.Headers != nil || i.Copied != nil {
		return errors.New("oidc: jwks, audience, cookie, header and copied are for other sources: the provider's configuration names its keys, and client_id is the audience")
	}
	c := i.Login
	if c.ClientID == "" || len(c.ClientID) > 512 {
		return setting.In("client_id", errors.New("oidc: client_id is required, of at most 512 bytes"))
	}
	if c.Name != "" && !login.IsName(c.Name) {
		return setting.In("name", fmt.Errorf("oidc: name must be lower-case letters, digits and hyphens, at most %d", login.MaxName))
	}
	if len(c.Label) > maxLabel {
		return setting.In("label", fmt.Errorf("oidc: label must have at most %d bytes", maxLabel))
	}
	if len(c.UserPrefix) > maxUserPrefix || strings.ContainsFunc(c.UserPrefix, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return setting.In("user_prefix", fmt.Errorf("oidc: user_prefix must be at most %d ASCII characters without spaces, such as `partner:`", maxUserPrefix))
	}
	if (c.ClientSecret == "") != c.PrivateKeyJWT {
		return setting.In("client_secret", errors.New("oidc: give either client_secret or private_key_jwt, as the site is registered at the provider"))
	}
	var err error
	if c.secret, err = setting.Secret("oidc: client_secret", c.ClientSecret); err != nil {
		return setting.In("client_secret", err)
	}
	names, err := i.claimNames()
	if err != nil {
		return setting.In("claim", err)
	}
	i.remote = keys.KeySetLocation{Issuer: i.Issuer, Trusted: true}
	if err := i.remote.Check(); err != nil {
		return setting.In("issuer", fmt.Errorf("oidc: issuer %w", err))
	}
	i.verifier = policy.NewReaderVerifier(verifierID("login", i.Issuer, c.ClientID), keys.ReaderIssuer{Issuer: i.Issuer, Audience: c.ClientID, Claims: names}, nil)
	return c.setDefaults()
}

func (c *LoginConfig) setDefaults() error {
	if c.Scopes == nil {
		c.Scopes = []string{scopeOpenID, "email"}
	}
	if !slices.Contains(c.Scopes, scopeOpenID) {
		return setting.In("scopes", errors.New("oidc: scopes must contain openid: without it the provider does not say who logged in"))
	}
	for _, scope := range c.Scopes {
		if scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
			return setting.In("scopes", fmt.Errorf("oidc: %q is not a scope", scope))
		}
	}
	c.Idle.V, c.Lifetime.V = cmp.Or(c.Idle.V, defaultIdle), cmp.Or(c.Lifetime.V, defaultLifetime)
	c.MaxSessions.V = cmp.Or(c.MaxSessions.V, defaultMaxSessions)
	switch {
	case c.Lifetime.V < minIdle || c.Lifetime.V > maxLifetime:
		return setting.In("lifetime", errors.New("oidc: lifetime must be from 1m to 9600h, for which browsers keep cookies"))
	case c.Idle.V < minIdle || c.Idle.V > maxLifetime:
		return setting.In("idle", errors.New("oidc: idle must be from 1m to 9600h"))
	case c.MaxSessions.V < 1 || c.MaxSessions.V > store.MaxLoginSessions:
		return setting.In("max_sessions", fmt.Errorf("oidc: max_sessions must be from 1 to %d", store.MaxLoginSessions))
	}
	return nil
}

// addLogin notes the identity by which readers log in at the gate.
func (h *Handler) addLogin(identity *Identity) error {
	if identity.Source != sourceOIDC {
		return nil
	}
	for _, other := range h.logins {
		switch {
		case identity.Login.Name == "" || other.Login.Name == "":
			return errors.New("identify oidc is there twice: give each a name, by which its paths and ?idp= tell them apart")
		case identity.Login.Name == other.Login.Name:
			return fmt.Errorf("identify oidc: the name %s is given twice", other.Login.Name)
		case identity.Issuer == other.Issuer && identity.Login.ClientID == other.Login.ClientID:
			return fmt.Errorf("identify oidc: the issuer and client_id of %s are those of %s as well", identity.Login.Name, other.Login.Name)
		case namesAlike(identity.Login.UserPrefix, other.Login.UserPrefix):
			return fmt.Errorf("identify oidc: give %s a user_prefix that %s does not have: the two may name two readers alike", identity.Login.Name, other.Login.Name)
		}
	}
	if h.logins = append(h.logins, identity); len(h.logins) > login.MaxLogins {
		return fmt.Errorf("identify oidc: a site has at most %d logins", login.MaxLogins)
	}
	return nil
}

// namesAlike reports whether two logins with these prefixes can have one id for two readers.
func namesAlike(a, b string) bool {
	return a == b || a != "" && b != "" && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// newLogin returns the login of the site over an open store.
func (h *Handler) newLogin(rt *openstore.Opened, i *Identity, source policy.KeySource) (*login.Site, error) {
	remote, ok := source.(policy.RefreshedKeys)
	if !ok {
		return nil, errors.New("identify: oidc: the issuer's keys are not fetched")
	}
	c := i.Login
	var reserved []string
	for _, other := range h.logins {
		if other != i && other.Login.UserPrefix != "" {
			reserved = append(reserved, other.Login.UserPrefix)
		}
	}
	return login.New(login.Options{
		Settings: login.Settings{
			Vendor: h.Vendor, Site: h.Site, Name: c.Name, Label: c.Label, UserPrefix: c.UserPrefix, Reserved: reserved, Issuer: i.Issuer, ClientID: c.ClientID, ClientSecret: c.secret, Scopes: c.Scopes,
			Claims: i.verifier.Issuer.Claims, IntegerIDs: i.IntegerIDs,
			Idle: c.Idle.V, Lifetime: c.Lifetime.V, MaxSessions: c.MaxSessions.V, LocalLogout: c.LocalLogout,
		},
		Store: rt.Store, Sealer: rt.Sealer, Sets: h.app.shared.KeySets, Keys: remote,
		Ring: ringOf(rt, h.Vendor), Now: now, Report: h.reportLogin,
	})
}
