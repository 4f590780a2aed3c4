package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

const cowork = "cowork"

// coworkSite is a gated site of the vendor cowork, which is the broker of its profiles. Its
// records are kept by its own API.
type coworkSite struct {
	*testSite
	admin  string
	ring   *keys.Ring
	tokens map[string]string
	loaded string // the configuration
}

// The engines of the store.
var coworkEngines = []string{openstore.Bolt, openstore.Redis}

// coworkPages are the pages of DjaoApp to which denials lead.
const coworkPages = `
		deny {
			login     /login/
			verify    /users/{user}/verify/
			agreement /legal/{agreement}/sign/
			subscribe /billing/{profile}/cart/ /pricing/
			balance   /billing/{profile}/balance/{plan}/
			role      /users/{user}/roles/
		}
`

// newCoworkSite runs a site on an engine, with further lines in its gatefold directive.
func newCoworkSite(t *testing.T, engine, gate string) *coworkSite {
	t.Helper()
	if engine == openstore.Redis {
		return newCoworkSiteOn(t, "redis "+redistest.Start(t).URL(), gate)
	}
	return newCoworkSiteOn(t, "", gate)
}

// newCoworkSiteOn runs a site on a store, or on a database of its own.
func newCoworkSiteOn(t *testing.T, store, gate string) *coworkSite {
	t.Helper()
	s := &coworkSite{testSite: &testSite{TB: t, dir: t.TempDir(), origin: keystest.NewOrigin(t), port: keystest.FreePort(t)}, tokens: map[string]string{}}
	s.site = "http://127.0.0.1:" + s.port
	s.admin = "http://127.0.0.1:" + keystest.FreePort(t)
	config := s.config("", "vendor cowork\n\t\tidentify jwt {\n\t\t\tissuer self\n\t\t\tcookie reader\n\t\t}\n"+coworkPages+gate, "header >X-Gate-Reason {http.gatefold.reason}")
	config = strings.Replace(config, "admin off", "admin "+strings.TrimPrefix(s.admin, "http://"), 1)
	if store != "" {
		t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
		config = strings.Replace(config, "store bolt "+s.database(), "store "+store+"\n\t\tsecret {env.GATEFOLD_TEST_SECRET}", 1)
	}
	logged.Reset()
	s.load(config)
	s.loaded = config
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		logged.holdsNoToken(t)
	})
	var err error
	if s.ring, err = s.running().Keyring.Ring(s.Context(), cowork); err != nil {
		t.Fatal(err)
	}
	return s
}

// as returns the header of a reader's credential.
func (s *coworkSite) as(user string) (name, value string) {
	return "Authorization", "Bearer " + s.token(user)
}

// token returns the token of a reader with a verified address.
func (s *coworkSite) token(user string) string {
	s.Helper()
	if token := s.tokens[user]; token != "" {
		return token
	}
	claims := keys.ReaderClaims{UserID: user, Email: user + "@example.com", EmailVerified: user != "unverified", ExpiresAt: clock.Now().AddDate(0, 0, 60).Unix()}
	token, err := keys.SignReader(s.ring, cowork, cowork, claims, clock.Now())
	if err != nil {
		s.Fatal(err)
	}
	s.tokens[user] = token
	return token
}

// call calls an operation as the local operator, and returns the members of the answer,
// which must have a status.
func (s *coworkSite) call(method, path, body string, want int) map[string]any {
	s.Helper()
	return s.callAs("application/json", method, path, body, want)
}

func (s *coworkSite) callAs(kind, method, path, body string, want int) map[string]any {
	s.Helper()
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	for tries := 1; ; tries++ {
		request, err := http.NewRequestWithContext(s.Context(), method, s.admin+"/gatefold"+path+separator+"vendor="+cowork, strings.NewReader(body))
		if err != nil {
			s.Fatal(err)
		}
		request.Header.Set("Content-Type", kind)
		response, err := browser.Do(request)
		if (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) && tries < 10 {
			continue // see post
		}
		if err != nil {
			s.Fatal(err)
		}
		return s.read(response).members(want, method+" "+path)
	}
}

// members returns the members of an answer in JSON, which must have a status.
func (a answer) members(want int, what string) map[string]any {
	a.t.Helper()
	if a.StatusCode != want {
		a.t.Fatalf("%s: %d %s, want %d", what, a.StatusCode, a.body, want)
	}
	members := map[string]any{}
	if a.body != "" && a.body[0] == '{' {
		if err := json.Unmarshal([]byte(a.body), &members); err != nil {
			a.t.Fatalf("%s: %v in %s", what, err, a.body)
		}
	}
	return members
}

// own calls an operation on the gated site, by a reader's own token.
func (s *coworkSite) own(user, method, path, body string) answer {
	s.Helper()
	name, value := s.as(user)
	return s.doBody(method, path, body, name, value, "Content-Type", "application/json")
}

// rules stores the rules of the site: pairs of path and allow.
func (s *coworkSite) rules(rules ...[2]string) {
	s.Helper()
	var bodies []map[string]any
	for rank, rule := range rules {
		bodies = append(bodies, map[string]any{"rank": rank, "path": rule[0], "allow": rule[1]})
	}
	body, err := json.Marshal(bodies)
	if err != nil {
		s.Fatal(err)
	}
	s.call(http.MethodPut, "/api/proxy/rules", string(body), http.StatusOK)
}

// forget makes everything in memory stale.
func (s *coworkSite) forget() { s.shared().Versions.Bump(policy.Invalidation{Shared: true}) }

// asked is how the gate decided a request.
type asked struct {
	status         int
	reason, target string // of a redirect
}

// ask asks the gate for a page, as a browser does.
func (s *coworkSite) ask(client *http.Client, method, path, user string) asked {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), method, s.site+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	request.Header.Set("Accept", "text/html")
	if user != "" {
		request.Header.Set(s.as(user))
	}
	response, err := client.Do(request)
	if err != nil {
		s.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		s.Fatal(err)
	}
	return asked{response.StatusCode, response.Header.Get("X-Gate-Reason"), response.Header.Get("Location")}
}

// keepingClient returns a client that keeps its connections and follows no redirects.
func keepingClient(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: browser.CheckRedirect, Timeout: browser.Timeout}
}

func (a asked) String() string { return fmt.Sprintf("%d %s %s", a.status, a.reason, a.target) }
