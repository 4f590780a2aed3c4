package login

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gatefold/gatefold/policy"
)

// The parameters by which a page asks for a login, at /.gatefold/login and at the provider
// (OpenID Connect Core 1.0, section 3.1.2.1).
const (
	paramACR    = "acr_values"
	paramMaxAge = "max_age"
)

// StepUpURL returns the path and query of a login, with what a page asks of it.
func StepUpURL(to string, asked policy.Authentication) string {
	query := url.Values{}
	setAuthentication(query, asked)
	if len(query) == 0 {
		return to
	}
	return withQuery(to, query)
}

func setAuthentication(query url.Values, asked policy.Authentication) {
	if asked.ACR != "" {
		query.Set(paramACR, asked.ACR)
	}
	if asked.MaxAge != 0 {
		query.Set(paramMaxAge, strconv.FormatInt(asked.MaxAge, 10))
	}
}

// authenticationOf returns what the query of a login asks for: nothing, if that is not what a
// rule can ask.
func authenticationOf(query url.Values) policy.Authentication {
	asked, err := policy.ParseAuthentication(query.Get(paramACR), query.Get(paramMaxAge))
	if err != nil {
		return policy.Authentication{}
	}
	return asked
}

// authentication returns what the page asks for that led to an attempt.
func (s *state) authentication() policy.Authentication {
	return policy.Authentication{ACR: s.ACR, MaxAge: s.MaxAge}
}

// errUnmet is the error of a provider that cannot authenticate the reader as the page asks.
var errUnmet = errors.New("the provider answers with the error unmet_authentication_requirements: it cannot log the reader in as acr_values asks")

// loggedIn reports whether a request's reader has no need to log in.
func (r *Request) loggedIn(asked policy.Authentication) bool {
	return !r.Reader.Anonymous() && asked.MetBy(&r.Reader, r.now.UnixMilli()) == nil
}

// insufficient ends a login that the provider answered twice with one that is weaker or older
// than the page asks for.
func (s *Site) insufficient(w http.ResponseWriter, r *Request, next string, asked policy.Authentication) {
	err := asked.MetBy(&r.Reader, r.now.UnixMilli())
	s.report(KindLogin, ResultLoop, r, fmt.Errorf("the provider's login is not what the page asks for, twice: %w", err))
	clearCookie(w, cookieDone)
	s.unmet(w, r, next, asked)
}

func (s *Site) unmet(w http.ResponseWriter, r *Request, next string, asked policy.Authentication) {
	s.page(w, r, page{
		Status: http.StatusForbidden, Title: "Your login is not sufficient for this page",
		Detail: "The page asks for a stronger or a more recent login than the login service gave. Try again, with a second factor if you are asked for one; if it fails again, tell the site this code.",
		Button: "Log in again", Link: StepUpURL(s.loginURL(next), asked),
	})
}
