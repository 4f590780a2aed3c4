package login

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/gatefold/gatefold/caddymodule/denial"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store"
)

const (
	// maxLogoutBody bounds the body of a logout of the provider, in bytes, and logoutBodyFor
	// the time to read it: every client can send one.
	maxLogoutBody = 64 << 10
	logoutBodyFor = 5 * time.Second
)

// backchannel answers /.gatefold/backchannel: the provider says that a reader logged out there
// (OpenID Connect Back-Channel Logout 1.0, section 2.5). The token is verified before the
// store is read.
func (s *Site) backchannel(w http.ResponseWriter, r *Request) {
	raw, err := readLogoutToken(w, r)
	if err != nil {
		s.logoutRefused(w, r, err)
		return
	}
	var token keys.LogoutToken
	err = s.tryLogout(r, raw, &token)
	switch {
	case errors.Is(err, keys.ErrKeysUnavailable):
		s.report(KindBackchannel, ResultProvider, r, err)
		answerLogout(w, http.StatusServiceUnavailable, "temporarily_unavailable")
		return
	case err != nil:
		s.logoutRefused(w, r, err)
		return
	}
	_, err = s.Store.As(store.Actor{}).EndIssuerSessions(r.Context(), s.Vendor, store.IssuerLogout{
		Issuer: s.Issuer, ClientID: s.ClientID, SID: token.SessionID, Subject: token.Subject, TokenID: token.ID, ExpiresAt: time.Unix(token.ExpiresAt, 0),
	})
	switch {
	case errors.Is(err, store.ErrLogoutRepeated):
		s.logoutRefused(w, r, err)
	case err != nil:
		s.report(KindBackchannel, ResultStore, r, err)
		answerLogout(w, http.StatusServiceUnavailable, "temporarily_unavailable")
	default:
		s.report(KindBackchannel, ResultOK, r, nil)
		w.WriteHeader(http.StatusOK)
	}
}

// tryLogout verifies a logout token. Only one that names the issuer can cause a fetch of keys.
func (s *Site) tryLogout(r *Request, raw string, token *keys.LogoutToken) error {
	verify := func(set keys.KeySet) (err error) {
		*token, err = s.client.VerifyLogout(raw, set, s.Now())
		return err
	}
	scanned, err := keys.Scan(raw)
	switch {
	case err != nil:
		return err
	case scanned.Issuer() != s.Issuer:
		return keys.ErrIssuer
	}
	return s.Keys.Try(r.Context(), verify)
}

// readLogoutToken reads the token of the form, which has it once.
func readLogoutToken(w http.ResponseWriter, r *Request) (string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", errors.New("the body is not a form")
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(logoutBodyFor))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogoutBody))
	if err != nil {
		return "", errors.New("the body is too long, or did not arrive in time")
	}
	_ = control.SetReadDeadline(time.Time{})
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["logout_token"]) != 1 {
		return "", errors.New("the form has no logout_token")
	}
	return form.Get("logout_token"), nil
}

func (s *Site) logoutRefused(w http.ResponseWriter, r *Request, err error) {
	s.report(KindBackchannel, ResultRefused, r, err)
	answerLogout(w, http.StatusBadRequest, "invalid_request")
}

// answerLogout answers with an error (section 2.8).
func answerLogout(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", denial.RetryAfter)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code})
}
