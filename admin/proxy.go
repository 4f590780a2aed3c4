package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

const proxyPath = "/api/proxy"

// proxySettings changes the named forwarding settings of a site. The fields after
// the first two exist for clients of the published contract and accept one value
// only.
type proxySettings struct {
	EntryPoint     *string `json:"entry_point,omitempty" maxLength:"255" doc:"The URL of the origin, used by reverse_proxy with dynamic gatefold. Empty: the configuration sets it." example:"https://app.example.com"`
	SessionBackend *int    `json:"session_backend,omitempty" doc:"How the origin learns the reader's identity: 0 not at all, 1 by an encrypted cookie (legacy), 2 by a token under a shared key, 3 by an assertion that the vendor's public keys verify."`
	Slug           *string `json:"slug,omitempty" maxLength:"63" doc:"The site's name. Read-only: must equal the name of the site."`
	Authentication *string `json:"authentication,omitempty" maxLength:"20" doc:"Always enabled: readers log in elsewhere."`
	WelcomeEmail   *bool   `json:"welcome_email,omitempty" doc:"Always false: no e-mail is sent."`
	CORSRestricted *bool   `json:"cors_restricted,omitempty" doc:"Always true: no other origin is admitted; the site's own CORS headers pass."`
	ShowEditTools  *bool   `json:"show_edit_tools,omitempty" doc:"Always false: there is no online editor."`
	Detail         *string `json:"detail,omitempty" maxLength:"1000" doc:"Ignored: accepted so that a response can be sent back."`
}

// proxyAnswer is the forwarding settings of a site.
type proxyAnswer struct {
	Slug           string `json:"slug" doc:"The site's name."`
	EntryPoint     string `json:"entry_point" doc:"The URL of the origin; empty if the configuration sets it."`
	SessionBackend int    `json:"session_backend" enum:"0,1,2,3" doc:"How the origin learns the reader's identity: 0 not at all, 1 by an encrypted cookie (legacy), 2 by a token under a shared key, 3 by a signed assertion."`
	Detail         string `json:"detail,omitempty" doc:"The result of the call, and what is left to do."`
}

func wireForwarding(site string, settings policy.Forwarding) proxyAnswer {
	return proxyAnswer{Slug: site, EntryPoint: settings.EntryPoint, SessionBackend: int(settings.Backend)}
}

func (a *api) registerProxy() {
	a.registerProxySettings()
	a.registerSessionKeys()
	a.registerEngagement()
}

func (a *api) registerProxySettings() {
	tags := []string{"Proxy"}
	register(a, huma.Operation{
		OperationID: "get-proxy", Method: http.MethodGet, Path: proxyPath, Tags: tags, Security: needs("proxy:read"),
		Summary: "Returns a site's forwarding settings",
	}, func(ctx context.Context, c *call, in *struct{ SiteParam }) (*record[proxyAnswer], error) {
		settings, err := c.store.Forwarding(ctx, c.Vendor, in.site(c.Vendor))
		return newRecord(wireForwarding(in.site(c.Vendor), settings), err)
	})
	for _, method := range []string{http.MethodPut, http.MethodPatch} {
		operation := huma.Operation{
			OperationID: "update-proxy", Method: method, Path: proxyPath, Tags: tags, Security: needs("proxy:write"),
			Summary:     "Changes the named forwarding settings of a site",
			Description: "The change applies from the next request on.",
		}
		if method == http.MethodPatch {
			operation.OperationID = "change-proxy"
		}
		register(a, operation, func(ctx context.Context, c *call, in *struct {
			SiteParam
			IfMatch
			Body proxySettings
		},
		) (*record[proxyAnswer], error) {
			return a.changeProxy(ctx, c, in.site(c.Vendor), &in.Body, in.IfMatch)
		})
	}
	register(a, huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: proxyPath + "/sessions/{user}", Tags: tags, Security: needs("proxy:write"),
		Summary:     "Returns a user's session as the origin receives it",
		Description: "The session is valid and can impersonate the user at the origin, so the call requires write access.",
	}, func(ctx context.Context, c *call, in *struct {
		SiteParam
		User string `path:"user" minLength:"1" maxLength:"255" doc:"The user's id." example:"user-123"`
	},
	) (*body[sampleAnswer], error) {
		return a.sampleSession(ctx, c.Vendor, in.site(c.Vendor), in.User)
	})
	register(a, huma.Operation{
		OperationID: "get-session-jwks", Method: http.MethodGet, Path: proxyPath + "/jwks.json", Tags: tags, Security: needs("proxy:read"),
		Summary: "Returns the public keys that verify session assertions, as a JWK Set",
	}, func(ctx context.Context, c *call, _ *struct{}) (*body[json.RawMessage], error) {
		// RingFor creates the first key, so that an origin can be set up before
		// the first request.
		ring, err := a.Keyring.RingFor(ctx, c.store, c.Vendor)
		if err != nil {
			return nil, err
		}
		set, err := json.Marshal(ring.KeySet())
		return &body[json.RawMessage]{Body: set}, err
	})
}

// changeProxy changes the settings of a site.
func (a *api) changeProxy(ctx context.Context, c *call, site string, wanted *proxySettings, match IfMatch) (*record[proxyAnswer], error) {
	if err := wanted.check(site); err != nil {
		return nil, err
	}
	if wanted.EntryPoint != nil && *wanted.EntryPoint != "" {
		if err := a.checkEntryPoint(ctx, *wanted.EntryPoint); err != nil {
			return nil, err
		}
	}
	if wanted.SessionBackend != nil && policy.SessionBackend(*wanted.SessionBackend).Shared() {
		// The key must exist before a request needs it.
		if err := a.sessions.EnsureSessionKey(ctx, c.store, c.Vendor, site); err != nil {
			return nil, err
		}
	}
	settings, err := c.store.ChangeForwarding(ctx, c.Vendor, site, func(f *policy.Forwarding) error {
		if err := match.check(wireForwarding(site, *f)); err != nil {
			return err
		}
		if wanted.EntryPoint != nil {
			f.EntryPoint = *wanted.EntryPoint
		}
		if wanted.SessionBackend != nil {
			f.Backend = policy.SessionBackend(*wanted.SessionBackend)
		}
		return nil
	})
	if err != nil {
		return nil, match.changed(err)
	}
	answer := wireForwarding(site, settings)
	changed := &record[proxyAnswer]{ETag: etagOf(answer)}
	answer.Detail = "Update successful." + keyAdvice(settings.Backend)
	changed.Body = answer
	return changed, nil
}

// keyAdvice says what is left to do for a backend.
func keyAdvice(backend policy.SessionBackend) string {
	switch backend {
	case policy.SessionCookie:
		return " The origin needs the key of POST " + proxyPath + "/key. This format cannot be checked against alteration and has no end: where the origin can read another one, use that."
	case policy.SessionJWT:
		return " The origin needs the key of POST " + proxyPath + "/key."
	default:
		return ""
	}
}

// check returns a problem for values that cannot be set.
func (p *proxySettings) check(site string) error {
	only := func(field string, holds bool, word string) error {
		if holds {
			return nil
		}
		return invalidBody(field, field+": can only be "+word+": Gatefold supports no other value")
	}
	return errors.Join(
		only("slug", p.Slug == nil || *p.Slug == site, site),
		only("authentication", p.Authentication == nil || *p.Authentication == "enabled", `"enabled"`),
		only("welcome_email", p.WelcomeEmail == nil || !*p.WelcomeEmail, "false"),
		only("cors_restricted", p.CORSRestricted == nil || *p.CORSRestricted, "true"),
		only("show_edit_tools", p.ShowEditTools == nil || !*p.ShowEditTools, "false"),
	)
}

// checkEntryPoint returns a problem for a URL to which the gate must not connect.
// The gate checks again when it connects, because DNS can change.
func (a *api) checkEntryPoint(ctx context.Context, text string) error {
	entry, err := store.ParseEntryPoint(text)
	if err != nil {
		return invalidBody("entry_point", "entry_point: "+err.Error())
	}
	if a.CheckEntryPoint == nil {
		return nil
	}
	if err := a.CheckEntryPoint(ctx, entry); err != nil {
		return invalidBody("entry_point", "entry_point: Unsafe URLs are not allowed: "+err.Error())
	}
	return nil
}

// sampleAnswer is a session as the origin receives it.
type sampleAnswer struct {
	Session string `json:"forward_session" doc:"The session's content as JSON; empty if the origin receives no session."`
	Header  string `json:"forward_session_header" doc:"The request header that carries the session; empty if the origin receives none."`
	URL     string `json:"forward_url" doc:"The URL of the origin; empty if the configuration sets it."`
}

func (a *api) sampleSession(ctx context.Context, vendor, site, user string) (*body[sampleAnswer], error) {
	sample, err := a.Policy.Sample(ctx, a.sessions, vendor, site, user)
	if err != nil {
		return nil, err
	}
	answer := sampleAnswer{URL: sample.EntryPoint}
	if sample.Value == "" {
		return &body[sampleAnswer]{Body: answer}, nil
	}
	pretty, err := json.MarshalIndent(json.RawMessage(sample.JSON), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing a session: %w", err)
	}
	answer.Session = string(pretty)
	answer.Header = sessionHeaders[sample.Backend] + sample.Value
	return &body[sampleAnswer]{Body: answer}, nil
}

// sessionHeaders are the header lines up to the session, by backend.
var sessionHeaders = map[policy.SessionBackend]string{
	policy.SessionCookie:    "Cookie: sessionid=",
	policy.SessionJWT:       "Authorization: Bearer ",
	policy.SessionAssertion: "Gatefold-Session: ",
}
