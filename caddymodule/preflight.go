package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/preflight"
	"github.com/gatefold/gatefold/caddymodule/setting"
)

// PreflightConfig answers CORS preflights at the gate, without the origin.
type PreflightConfig struct {
	// Origins are the origins whose scripts may read the site, as browsers send them:
	// `https://app.example.com`. `*` alone is every origin, and excludes credentials.
	Origins []string `json:"origins,omitempty"`
	// Methods are the allowed methods. Default: `GET`, `HEAD` and `POST`.
	Methods []string `json:"methods,omitempty"`
	// Headers are the allowed request headers, besides those that browsers always allow.
	Headers []string `json:"headers,omitempty"`
	// MaxAge is how long browsers may keep an answer, at most 24 hours. Default: 5
	// seconds.
	MaxAge setting.Duration `json:"max_age,omitzero"`
	// Credentials allows requests with cookies.
	Credentials bool `json:"credentials,omitempty"`
}

func (c *PreflightConfig) policy() *preflight.Policy {
	return &preflight.Policy{Origins: c.Origins, Methods: c.Methods, Headers: c.Headers, MaxAge: c.MaxAge.V, Credentials: c.Credentials}
}

func init() {
	gateOptions.Register(func(h *Handler) []block.Option {
		return []block.Option{{Name: "preflight", Parse: h.parsePreflight}}
	})
}

func (h *Handler) parsePreflight(d *caddyfile.Dispenser) error {
	h.Preflight = new(PreflightConfig)
	c := h.Preflight
	err := block.Parse(d, "preflight",
		block.List("origins", &c.Origins, nil).Repeated(), block.List("methods", &c.Methods, nil), block.List("headers", &c.Headers, nil),
		block.Duration("max_age", &c.MaxAge, time.Second, 0), block.Flag("credentials", &c.Credentials))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(slices.Concat(c.Origins, c.Methods, c.Headers), setting.Has) || c.MaxAge.Deferred() {
		return nil // the values are checked once they are known
	}
	if err := c.policy().Validate(); err != nil {
		return d.Errf("preflight: %v", err)
	}
	return nil
}

// answerPreflight answers a CORS preflight, at the gate or by the headers of the next
// handler's answer.
func (h *Handler) answerPreflight(w http.ResponseWriter, g *gateRequest, next caddyhttp.Handler) error {
	g.outcome.last.hold(w, g.r, wordNone)
	if h.Preflight != nil {
		h.Preflight.policy().Answer(w, g.r)
		return nil
	}
	if g.isLocalPreflight() {
		next = caddyhttp.HandlerFunc(h.serveLocal)
	}
	if rest, tokens, _ := h.takeTokens(g.original.RawQuery); tokens != nil {
		g.cleanQuery, g.stripsTokens = rest, true
		g.stripTokens()
	}
	preflight.Strip(g.r)
	return h.passPreflight(w, g.r, next)
}

// passPreflight passes a preflight to the next handler, and the headers of its answer to
// the client. An error is answered by its status: error routes would respond with a page.
func (h *Handler) passPreflight(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	answer := preflight.NewWriter(w, cancel)
	defer func() {
		// A proxy aborts when the response that was given up ends; the client has its
		// answer.
		if failure := recover(); failure != nil && (failure != http.ErrAbortHandler || ctx.Err() == nil || !answer.Wrote()) { //nolint:errorlint // a panic's value
			panic(failure)
		}
	}()
	if err := next.ServeHTTP(answer, r.WithContext(ctx)); err != nil {
		h.logger.Error("a preflight failed", zap.Error(err))
		status := http.StatusInternalServerError
		var failed caddyhttp.HandlerError
		if errors.As(err, &failed) && failed.StatusCode >= 400 {
			status = failed.StatusCode
		}
		answer.WriteHeader(status)
	}
	answer.WriteHeader(http.StatusNoContent)
	return nil
}

// isLocalPreflight reports whether the rule of the request that a preflight announces is
// local, so that the preflight does not reach the origin either.
func (g *gateRequest) isLocalPreflight() bool {
	announced := g.request
	announced.Preflight, announced.Links = false, nil
	announced.Method = g.r.Header.Get("Access-Control-Request-Method")
	decision := g.site.policy.Decide(g.r.Context(), &announced)
	return decision.Rule != nil && !decision.Rule.Forward
}
