package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

// begin answers /.gatefold/login: it sends the browser to the provider.
func (s *Site) begin(w http.ResponseWriter, r *Request) {
	if !mayBegin(r) {
		// A script, an image or a frame would follow the redirect and see nothing, and each
		// such request would set a cookie.
		s.page(w, r, page{Status: http.StatusForbidden, Title: "Open this page to log in", Detail: "A login is a page of its own: it cannot be loaded by a script or in a frame."})
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		query = nil
	}
	next, asked := nextOf(query, r), authenticationOf(query)
	round := s.rounds(r, next)
	if round >= maxRounds && !r.Reader.Anonymous() && !r.loggedIn(asked) {
		s.insufficient(w, r, next, asked)
		return
	}
	if round >= maxRounds {
		s.loop(w, r, next, errors.New("the browser came back without a session, twice"))
		return
	}
	if r.loggedIn(asked) {
		s.markDone(w, r, next, round+1)
		redirect(w, next)
		return
	}
	s.sendToProvider(w, r, next, round, wishes{register: query.Get("prompt") == promptCreate, hint: hintOf(query)}, asked)
}

// paramHint is the parameter in which the form of a paywall sends an e-mail address, here and at
// the provider (OpenID Connect Core 1.0, section 3.1.2.1).
const paramHint = "login_hint"

// maxHint bounds an e-mail address, in bytes (RFC 5321, section 4.5.3.1.3).
const maxHint = 254

// hintOf returns the e-mail address in the query of a login: none, if it cannot be one.
func hintOf(query url.Values) string {
	hint := strings.TrimSpace(query.Get(paramHint))
	if len(hint) > maxHint || !utf8.ValidString(hint) || strings.ContainsFunc(hint, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return ""
	}
	return hint
}

// mayBegin reports whether a request is a navigation, as far as the browser says.
func mayBegin(r *Request) bool {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return (mode == "" || mode == "navigate") && (dest == "" || dest == "document" || dest == "empty") && !isPrefetch(r)
}

// nextOf returns the page to which the query of a login leads.
func nextOf(query url.Values, r *Request) string {
	return SafeNext(strings.TrimPrefix(query.Get("next"), r.Origin))
}

// loop ends a login that leads to a login again.
func (s *Site) loop(w http.ResponseWriter, r *Request, next string, err error) {
	s.report(KindLogin, ResultLoop, r, err)
	clearCookie(w, cookieDone)
	s.page(w, r, page{
		Status: http.StatusForbidden, Title: "You logged in, but this site does not see it",
		Detail: "Your browser does not send the cookie that this site set. Allow cookies for this site, check the clock of your device, and try again.",
		Button: "Log in again", Link: s.loginURL(next),
	})
}

func isPrefetch(r *Request) bool {
	return r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") != ""
}

// wishes are what a reader who begins a login says of their account.
type wishes struct {
	// register: they have none yet.
	register bool
	// hint is their e-mail address, which the provider may fill in.
	hint string
}

// sendToProvider begins an attempt. RFC 9700, section 2.1, asks for all that it sends: a
// code, PKCE, and a state that is bound to the browser. A reader who registers makes an
// account there, if the provider says that it can: another one would answer with an error.
func (s *Site) sendToProvider(w http.ResponseWriter, r *Request, next string, round int, wish wishes, asked policy.Authentication) {
	provider, err := s.discover(r.Context())
	if err != nil {
		s.providerFailed(w, r, KindLogin, err, next)
		return
	}
	if provider.PushedAuthorization != "" {
		done, err := s.calling()
		if err != nil {
			s.providerFailed(w, r, KindLogin, err, next)
			return
		}
		defer done()
	}
	stateParam, a := s.newAttempt(w, r, next, round, asked)
	challenge := sha256.Sum256([]byte(a.Verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {s.ClientID}, "redirect_uri": {r.Origin + s.own(pathCallback)}, "scope": {strings.Join(s.Scopes, " ")},
		"state": {stateParam}, "nonce": {a.Nonce},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	setAuthentication(query, asked)
	if wish.register && provider.Creates {
		query.Set("prompt", promptCreate)
	}
	if wish.hint != "" {
		query.Set(paramHint, wish.hint)
	}
	if provider.PushedAuthorization != "" {
		pushed, err := s.push(r.Context(), provider, query)
		if err != nil {
			s.providerFailed(w, r, KindLogin, err, next)
			return
		}
		query = url.Values{"client_id": {s.ClientID}, "request_uri": {pushed}}
	}
	redirect(w, withQuery(provider.Authorization, query))
}

// withQuery returns a URL with further parameters.
func withQuery(address string, query url.Values) string {
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + query.Encode()
}

// push sends an authorization request to the provider itself (RFC 9126), so that its
// parameters are in no URL.
func (s *Site) push(ctx context.Context, provider *keys.Provider, form url.Values) (string, error) {
	answer, err := s.call(ctx, provider, provider.PushedAuthorization, form)
	if err != nil {
		return "", err
	}
	return keys.ReadPushedRequest(answer)
}

// providerFailed answers that the provider cannot be reached, or does not do what it should.
func (s *Site) providerFailed(w http.ResponseWriter, r *Request, kind Kind, err error, next string) {
	s.report(kind, ResultProvider, r, err)
	w.Header().Set("Retry-After", denial.RetryAfter)
	s.page(w, r, page{
		Status: http.StatusServiceUnavailable, Title: "Login is not available at the moment",
		Detail: "The service that knows your account does not answer. Try again in a moment.", Button: "Try again", Link: s.loginURL(next),
	})
}

// storeFailed answers that the store cannot be reached.
func (s *Site) storeFailed(w http.ResponseWriter, r *Request, kind Kind, err error) {
	s.report(kind, ResultStore, r, err)
	w.Header().Set("Retry-After", denial.RetryAfter)
	s.page(w, r, page{Status: http.StatusServiceUnavailable, Title: "Try again in a moment", Detail: "This site cannot read or write its records at the moment."})
}
