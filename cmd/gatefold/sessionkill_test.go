package main

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// loginNode starts a node whose readers log in at the gate, behind a proxy that ends TLS.
func loginNode(t *testing.T, redis, secret string) *server {
	t.Helper()
	s := newNodeWith(t, redis, "", []byte(secret))
	s.withLogin()
	s.start()
	return s
}

// withLogin lets the readers of the site log in at the gate.
func (s *server) withLogin() {
	s.t.Helper()
	config, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	text := strings.Replace(string(config), "\tgatefold {\n\t\tidentify", "\tgatefold {\n\t\tidentify oidc {\n\t\t\tissuer https://id.example.com\n\t\t\tclient_id news\n\t\t\tclient_secret {env.OIDC_SECRET}\n\t\t}\n\t\tidentify", 1)
	s.writeConfig(strings.Replace(text, "\tauto_https off\n", "\tauto_https off\n\tservers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}\n", 1))
	s.variables = append(s.variables, "OIDC_SECRET=secret")
}

// sessionWorld are three nodes over a Redis, and a store in this process by which sessions begin.
type sessionWorld struct {
	t       *testing.T
	nodes   []*server
	store   store.Writer
	tickets *policy.Tickets
}

func newSessionWorld(t *testing.T) *sessionWorld {
	t.Helper()
	const secret = "the same secret on all nodes"
	redis := redistest.Start(t).URL()
	w := &sessionWorld{t: t}
	for range 3 {
		w.nodes = append(w.nodes, loginNode(t, redis, secret))
	}
	options, err := redisengine.ParseURLs([]string{redis})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	w.store = store.New(engine, new(policy.Versions), time.Now).As(store.Actor{})
	w.tickets = ticketsOf(t, secret)
	return w
}

// ticketsOf returns the tickets of the default site of servers with a secret.
func ticketsOf(t *testing.T, secret string) *policy.Tickets {
	t.Helper()
	sealer, err := keys.NewSealer([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	key, err := sealer.Derive(keys.PurposeLoginTicket)
	if err != nil {
		t.Fatal(err)
	}
	return policy.NewTickets(key, "default", "default")
}

// begin begins a session, and returns its id and the headers of a request with it.
func (w *sessionWorld) begin() (id string, headers []string) {
	w.t.Helper()
	ticket, id := w.tickets.New()
	err := w.store.CreateLoginSession(w.t.Context(), "default", store.LoginSession{
		ID: id, Site: "default", Issuer: "https://id.example.com", ClientID: "news", Subject: "ann", UserID: "ann",
		EndsAt: time.Now().Add(time.Hour), IdleSeconds: 3600,
	}, "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return id, []string{"Cookie", login.CookieSession + "=" + ticket, "X-Forwarded-Proto", "https"}
}

// makeKey makes an API key, and returns its id and the headers of a request with it.
func (w *sessionWorld) makeKey() (id string, headers []string) {
	w.t.Helper()
	var made admin.CreatedAPIKey
	if status := w.nodes[0].api(http.MethodPost, "/api/users/ann/api-keys", `{}`, &made); status != http.StatusCreated {
		w.t.Fatalf("making a key: %d", status)
	}
	return made.ID, []string{"Authorization", "Bearer " + made.Secret}
}

// A reader's session ends, and an API key is revoked, at a node that is killed with kill -9 as
// soon as it has said so. The other nodes, which both know from memory, refuse them, and so
// does the killed node once it runs again.
func TestEndsAreExactOverKilledNodes(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	for name, credential := range map[string]struct {
		begin func() (string, []string)
		path  string
	}{
		"session": {w.begin, "/management/sessions/"}, "API key": {w.makeKey, "/api/users/ann/api-keys/"},
	} {
		for round := range 3 {
			id, headers := credential.begin()
			for _, node := range w.nodes {
				node.waitFor(name+" is known", func() bool { return node.get(node.site+"/account", headers...).StatusCode == http.StatusOK })
			}
			victim := w.nodes[round]
			if status := victim.api(http.MethodDelete, credential.path+id, "", nil); status != http.StatusNoContent {
				t.Fatalf("ending the %s: %d", name, status)
			}
			ended := time.Now()
			victim.kill()
			_ = victim.wait()
			for _, node := range w.nodes {
				if node == victim {
					continue
				}
				node.waitFor(name+" is refused", func() bool { return node.get(node.site+"/account", headers...).StatusCode == http.StatusUnauthorized })
				if took := time.Since(ended); took > reachesWithin {
					t.Errorf("the %s is refused %v after its end", name, took)
				}
			}
			victim.start()
			if got := victim.get(victim.site+"/account", headers...); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("after its restart the node answers a %s that ended with %d", name, got.StatusCode)
			}
		}
	}
}
