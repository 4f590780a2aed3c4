package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// The program also runs, in processes of their own, the origin, the authorization
// service of forward_auth and auth_request, and a Caddy whose handler verifies a
// token on every request.
const (
	roleOrigin     = "origin"
	roleAuthorizer = "authorizer"
	roleCaddy      = "caddy"
)

// play runs a role until the process is stopped.
func play(role string, args []string) error {
	switch role {
	case roleOrigin:
		return serveOrigin(args)
	case roleAuthorizer:
		return serveAuthorizer(args)
	case roleCaddy:
		os.Args = append([]string{"caddy"}, args...)
		caddycmd.Main()
		return nil
	default:
		return fmt.Errorf("there is no part %q", role)
	}
}

// serveOrigin answers every request with as many bytes as its path says, by default one
// kilobyte.
func serveOrigin(args []string) error {
	flags := flag.NewFlagSet(roleOrigin, flag.ExitOnError)
	listen := flags.String("listen", "", "address")
	_ = flags.Parse(args)
	page := bytes.Repeat([]byte("a"), 1<<20)
	return listenAndServe(*listen, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page[:pageSize(r.URL.Path)])
	})
}

// serveAuthorizer allows every request or, with keys, requests with a token that
// one of them signed.
func serveAuthorizer(args []string) error {
	flags := flag.NewFlagSet(roleAuthorizer, flag.ExitOnError)
	listen := flags.String("listen", "", "address")
	file := flags.String("jwks", "", "keys that verify tokens")
	_ = flags.Parse(args)
	var set *jose.JSONWebKeySet
	if *file != "" {
		var err error
		if set, err = readKeys(*file); err != nil {
			return err
		}
	}
	return listenAndServe(*listen, func(w http.ResponseWriter, r *http.Request) {
		user := "reader"
		if set != nil {
			var err error
			if user, err = verifyBearer(r, set); err != nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		w.Header().Set("X-User", user)
	})
}

func listenAndServe(address string, handler http.HandlerFunc) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}

func readKeys(file string) (*jose.JSONWebKeySet, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set := new(jose.JSONWebKeySet)
	return set, json.Unmarshal(text, set)
}

// verifyBearer verifies the token of a request, without a cache.
func verifyBearer(r *http.Request, set *jose.JSONWebKeySet) (string, error) {
	token, err := jwt.ParseSigned(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	if err := token.Claims(set, &claims); err != nil {
		return "", err
	}
	return claims.Subject, claims.Validate(jwt.Expected{Issuer: tokenIssuer, AnyAudience: jwt.Audience{tokenAudience}})
}

// verifyEach is a handler that verifies a token on every request.
type verifyEach struct {
	// JWKS is the file with the keys.
	JWKS string `json:"jwks"`

	set *jose.JSONWebKeySet
}

func init() {
	caddy.RegisterModule(new(verifyEach))
	httpcaddyfile.RegisterHandlerDirective("verify_each", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		v := new(verifyEach)
		h.Next()
		if !h.Args(&v.JWKS) {
			return nil, h.ArgErr()
		}
		return v, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("verify_each", httpcaddyfile.Before, "reverse_proxy")
}

// CaddyModule returns the Caddy module information.
func (*verifyEach) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.verify_each", New: func() caddy.Module { return new(verifyEach) }}
}

// Provision reads the keys.
func (v *verifyEach) Provision(caddy.Context) error {
	var err error
	v.set, err = readKeys(v.JWKS)
	return err
}

// ServeHTTP calls the next handler if the request has a valid token.
func (v *verifyEach) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if _, err := verifyBearer(r, v.set); err != nil {
		return caddyhttp.Error(http.StatusUnauthorized, errors.New("no good token"))
	}
	return next.ServeHTTP(w, r)
}
