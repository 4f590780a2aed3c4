package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// maxCode bounds a code, in bytes.
const maxCode = 4096

// callback answers /.gatefold/callback: it exchanges the code for tokens, and begins a session.
func (s *Site) callback(w http.ResponseWriter, r *Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	for _, values := range query {
		if len(values) > 1 { // RFC 6749, section 3.1
			err = errors.New("a parameter is there twice")
		}
	}
	var known state
	if err == nil && !s.open("state", query.Get("state"), &known) {
		err = errors.New("the state is not one of this site")
	}
	if err == nil && known.Host != r.Origin {
		err = errors.New("the state is of another host of this site")
	}
	if err != nil {
		s.refused(w, r, err, "/")
		return
	}
	known.Next = SafeNext(known.Next)
	a, ok := s.takeAttempt(w, r, query.Get("state"))
	if !ok {
		s.withoutAttempt(w, r, &known)
		return
	}
	next := SafeNext(a.Next)
	if !fresh(r.now, time.Unix(known.At, 0)) {
		s.sendToProvider(w, r, next, known.Round, wishes{}, known.authentication())
		return
	}
	provider, err := s.discover(r.Context())
	if err != nil {
		s.providerFailed(w, r, KindLogin, err, next)
		return
	}
	// RFC 9207, section 2.4: the response is one of the provider to which the browser was
	// sent, not of another one that wants its code.
	if issuer, named := query["iss"]; named && issuer[0] != s.Issuer || !named && provider.IssuerParameter {
		s.refused(w, r, errors.New("iss is not that of the issuer"), next)
		return
	}
	if code := query.Get("error"); code != "" {
		s.failedAtProvider(w, r, code, next, known.authentication())
		return
	}
	code := query.Get("code")
	if code == "" || len(code) > maxCode {
		s.refused(w, r, errors.New("there is no code"), next)
		return
	}
	s.finish(w, r, provider, a, code, next, known.Round)
}

// finish exchanges a code, and begins the session of its reader.
func (s *Site) finish(w http.ResponseWriter, r *Request, provider *keys.Provider, a attempt, code, next string, round int) {
	done, err := s.calling()
	if err != nil {
		s.providerFailed(w, r, KindLogin, err, next)
		return
	}
	defer done()
	// A browser that leaves does not waste its code.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 2*keys.ExchangeTimeout)
	defer cancel()
	tokens, err := s.requestTokens(ctx, provider, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {r.Origin + s.own(pathCallback)}, "code_verifier": {a.Verifier},
	})
	var id keys.IDToken
	var reader keys.ReaderClaims
	if err == nil {
		id, reader, err = s.readerOf(ctx, provider, &tokens, func(set keys.KeySet) (keys.IDToken, error) {
			return s.client.VerifyID(tokens.IDToken, set, a.Nonce, s.Now())
		})
	}
	switch {
	case errors.Is(err, errGrant), errors.Is(err, errTokens):
		s.refused(w, r, err, next)
		return
	case err != nil:
		s.providerFailed(w, r, KindLogin, err, next)
		return
	}
	err = s.beginSession(ctx, w, r, a.began(), &id, &reader, &tokens)
	switch {
	case errors.Is(err, store.ErrLoginEnded):
		s.report(KindLogin, ResultEnded, r, err)
		s.page(w, r, page{
			Status: http.StatusForbidden, Title: "You are not logged in", Detail: "You were logged out while you logged in.", Button: "Log in", Link: s.loginURL(next),
		})
		return
	case err != nil:
		s.storeFailed(w, r, KindLogin, err)
		return
	}
	s.markDone(w, r, next, round+1)
	s.report(KindLogin, ResultOK, r, nil)
	redirect(w, next)
}

// withoutAttempt answers a callback whose attempt is not in the browser: it was answered
// before, as when the reader goes back, or its cookie is lost. An attacker can send a browser
// here with a code of their own; no code is used.
func (s *Site) withoutAttempt(w http.ResponseWriter, r *Request, known *state) {
	switch {
	case r.loggedIn(known.authentication()):
		redirect(w, known.Next)
	case known.Round+1 < maxRounds:
		s.report(KindLogin, ResultRestarted, r, errors.New("the browser has no cookie of the attempt"))
		s.sendToProvider(w, r, known.Next, known.Round+1, wishes{}, known.authentication())
	default:
		s.loop(w, r, known.Next, errors.New("the browser has no cookie of the attempt, twice"))
	}
}

// refused answers a callback that is not acceptable. A new login is the reader's own choice.
func (s *Site) refused(w http.ResponseWriter, r *Request, err error, next string) {
	s.report(KindLogin, ResultRefused, r, err)
	s.page(w, r, page{
		Status: http.StatusForbidden, Title: "The login failed", Detail: "The answer of the login service was not acceptable. Try again; if it fails again, tell the site this code.",
		Button: "Log in again", Link: s.loginURL(next),
	})
}

// failedAtProvider answers an error response (RFC 6749, section 4.1.2.1). The browser is not
// sent back to the page, from where it would come here again.
func (s *Site) failedAtProvider(w http.ResponseWriter, r *Request, code, next string, asked policy.Authentication) {
	switch code {
	case "unmet_authentication_requirements": // OpenID Connect Core Unmet Authentication Requirements 1.0
		s.report(KindLogin, ResultRefused, r, errUnmet)
		s.unmet(w, r, next, asked)
	case "access_denied", "login_required", "interaction_required", "consent_required", "account_selection_required":
		s.report(KindLogin, ResultCancelled, r, nil)
		s.page(w, r, page{
			Status: http.StatusForbidden, Title: "You are not logged in", Detail: "The login was cancelled, or your account may not be used here.",
			Button: "Log in", Link: s.loginURL(next),
		})
	case "temporarily_unavailable", "server_error":
		s.providerFailed(w, r, KindLogin, fmt.Errorf("the provider answers with the error %s", code), next)
	default:
		s.refused(w, r, errors.New("the provider answers with an error: check client_id, redirect_uri and scopes, and what the provider's log says"), next)
	}
}
