package login

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/gatefold/gatefold/policy/store"
)

// logout answers /.gatefold/logout. GET shows a button, because an image of another site must
// not log a reader out.
func (s *Site) logout(w http.ResponseWriter, r *Request) {
	// The form says of which site it is: with no-referrer browsers would send `Origin: null`.
	w.Header().Set("Referrer-Policy", "same-origin")
	if r.Method == http.MethodGet {
		target := ""
		if provider, err := s.discover(r.Context()); err == nil && !s.LocalLogout {
			target = originOf(provider.EndSession)
		}
		s.page(w, r, page{Status: http.StatusOK, Title: "Log out", Detail: "Log out of this site in this browser.", Button: "Log out", Post: pathLogout, target: target})
		return
	}
	// The session's cookie is not sent with a POST of another site (SameSite=Lax); these
	// headers say the same in browsers that send it all the same. A sandboxed frame of any site
	// sends `null`.
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if site != "" && site != "same-origin" && site != "none" || origin != "" && origin != r.Origin && (origin != "null" || site != "same-origin") {
		s.report(KindLogout, ResultRefused, r, errors.New("the request is of another site"))
		s.page(w, r, page{Status: http.StatusForbidden, Title: "Log out on this page", Detail: "The request came from another site.", Button: "Log out", Post: pathLogout})
		return
	}
	if err := s.endSession(r.Context(), r.Ticket); err != nil {
		s.storeFailed(w, r, KindLogout, err)
		return
	}
	if r.Ticket != "" {
		// Without it the request may be of another site, in a browser that sends neither of
		// these headers: what such a request changes would be in the reader's browser.
		clearCookie(w, CookieSession)
		clearCookie(w, cookieDone)
		w.Header().Set("Clear-Site-Data", `"cache"`) // what the reader saw is not shown to the next one
	}
	s.report(KindLogout, ResultOK, r, nil)
	redirect(w, s.afterLogout(r))
}

// afterLogout returns where a reader who logged out is sent: to the provider (OpenID Connect
// RP-Initiated Logout 1.0, section 2), which sends them to the site's first page. The client is
// named by its id: an ID token would be in a URL.
func (s *Site) afterLogout(r *Request) string {
	const first = "/"
	if s.LocalLogout {
		return first
	}
	provider, err := s.discover(r.Context())
	if err != nil || provider.EndSession == "" {
		return first
	}
	return withQuery(provider.EndSession, url.Values{"client_id": {s.ClientID}, "post_logout_redirect_uri": {r.Origin + first}})
}

// originOf returns the scheme and host of a URL, or "".
func originOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return ""
	}
	return parsed.Scheme + "://" + parsed.Host
}

// endSession ends the session of a ticket, if there is one.
func (s *Site) endSession(ctx context.Context, ticket string) error {
	id, ok := s.tickets.ID(ticket)
	if !ok {
		return nil
	}
	if err := s.Store.As(store.Actor{}).EndLoginSession(ctx, s.Vendor, id); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// EndSession logs a reader out of this site, by the ticket of their session; without one it
// does nothing. The caller removes the cookies, and has seen that the request is of this site.
func (s *Site) EndSession(ctx context.Context, ticket string) error {
	result, err := ResultOK, s.endSession(ctx, ticket)
	if err != nil {
		result = ResultStore
	}
	s.report(KindLogout, result, nil, err)
	return err
}

// ClearedCookies are the values of Set-Cookie that remove the cookies of a session.
func ClearedCookies() []string {
	header := make(http.Header)
	for _, name := range []string{CookieSession, cookieDone} {
		clearCookie(headerWriter{header}, name)
	}
	return header["Set-Cookie"]
}

// headerWriter is a response of which only the header is wanted.
type headerWriter struct{ header http.Header }

func (w headerWriter) Header() http.Header       { return w.header }
func (headerWriter) Write(b []byte) (int, error) { return len(b), nil }
func (headerWriter) WriteHeader(int)             {}
