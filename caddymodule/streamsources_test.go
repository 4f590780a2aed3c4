package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
)

// sourcesSite is a site whose readers have a session, a token, an API key, or the user of an
// earlier handler: the sources that no gate can tell apart by the id of a verifier of tokens.
type sourcesSite struct {
	*loginSite
	admin *keySite
}

const (
	oidcSource = "identify oidc {\nissuer " + providerIssuer + "\nclient_id " + loginClient + "\nclient_secret {env.OIDC_SECRET}\n}\n"
	ownSource  = "identify jwt {\nissuer self\ncookie reader\n}\n"
	authSource = "identify http_auth\n"
)

// text returns the configuration with some sources of readers.
func (s *sourcesSite) text(sources, outside string) string {
	text := s.config("servers {\ntrusted_proxies static 127.0.0.1/32\n}", sources+"rule /account authenticated\nrule / any", outside)
	text = strings.Replace(text, "store bolt", "jwks {\nca "+s.provider.WriteRoots(s)+"\n}\nstore bolt", 1)
	return strings.Replace(text, "admin off", "admin "+strings.TrimSuffix(strings.TrimPrefix(s.admin.admin, "http://"), "/gatefold"), 1)
}

// Readers of every source hold streams open while the operator changes by what readers are
// identified. A stream goes on if its reader would be the same one in a new request, and is cut
// otherwise: whatever else the new configuration identifies readers by is no reason to go on.
// A reader whom another handler authenticated is not known without a request, and is cut.
func TestStreamsOfChangedSources(t *testing.T) {
	login := newLoginSite(t, "")
	s := &sourcesSite{loginSite: login, admin: &keySite{testSite: login.testSite, admin: "http://127.0.0.1:" + keystest.FreePort(t) + "/gatefold"}}
	s.origin.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("hello\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	hash, err := bcrypt.GenerateFromPassword([]byte("hiccup"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	basicAuth := "basic_auth /account/basic {\nbob " + string(hash) + "\n}\n"
	client := streamClients(t)["HTTP/1.1"]
	first := oidcSource + ownSource + authSource
	s.load(s.text(first, basicAuth))
	ann := s.browser()
	s.provider.do(func() { s.provider.subject = "ann" })
	ann.open(s.provider.authorize(ann.open("/.gatefold/login").to())).to()
	var key admin.CreatedAPIKey
	s.admin.call(http.MethodPost, "/api/users/ann/api-keys", `{}`, http.StatusCreated, &key)
	token := s.reader(keys.ReaderClaims{UserID: "ann"})
	const session, own, bearer, api, password = "a session", "a token in a cookie", "a token in the header", "an API key", "a password"
	sent := map[string][]string{
		session:  {"Cookie", ann.cookie(), "X-Forwarded-Proto", "https"},
		own:      {"Cookie", "reader=" + token},
		bearer:   {"Authorization", "Bearer " + token},
		api:      {"Authorization", "Bearer " + key.Secret},
		password: {"Authorization", basic("bob", "hiccup")},
	}
	for name, test := range map[string]struct {
		sources string
		goes    []string // the streams that go on
	}{
		"the same":                {first, []string{session, own, bearer, api}},
		"another order":           {authSource + ownSource + oidcSource, []string{session, own, bearer, api}},
		"none":                    {"", []string{api}},
		"http_auth alone":         {authSource, []string{api}},
		"tokens alone":            {ownSource, []string{own, bearer, api}},
		"sessions alone":          {oidcSource, []string{session, api}},
		"tokens in another way":   {oidcSource + strings.Replace(ownSource, "cookie reader", "cookie other", 1), []string{session, bearer, api}},
		"another client":          {strings.Replace(oidcSource, "client_id ", "client_id other-", 1) + ownSource, []string{own, bearer, api}},
		"another prefix":          {strings.Replace(oidcSource, "client_id", "user_prefix old:\nclient_id", 1) + ownSource, []string{own, bearer, api}},
		"headers of a service":    {"identify http_auth {\nheader user_id Remote-User\n}\n" + ownSource, []string{own, bearer, api}},
		"a session and http_auth": {oidcSource + authSource, []string{session, api}},
	} {
		t.Run(name, func(t *testing.T) {
			s.load(s.text(first, basicAuth))
			open := map[string]chan struct{}{}
			for credential, headers := range sent {
				path := "/account"
				if credential == password {
					path = "/account/basic"
				}
				open[credential] = client.open(t, s.site+path, headers...)
			}
			s.waitFor("all are watched", func() bool { return openStreams.count() == len(sent) })
			s.load(s.text(test.sources, basicAuth))
			for credential, ended := range open {
				if slices.Contains(test.goes, credential) {
					continue
				}
				select {
				case <-ended:
				case <-time.After(10 * time.Second):
					t.Errorf("%s goes on", credential)
				}
			}
			<-time.After(judgeStreams + 3*watchStreams) // the others are judged again
			for _, credential := range test.goes {
				select {
				case <-open[credential]:
					t.Errorf("%s is cut", credential)
				default:
				}
			}
			s.load("{\nadmin off\nlog {\noutput test\n}\n}\n") // ends them all
			for _, ended := range open {
				<-ended
			}
			s.waitFor("the streams to end", func() bool { return openStreams.count() == 0 })
		})
	}
}
