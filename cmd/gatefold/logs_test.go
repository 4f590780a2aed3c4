package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// exampleOn returns Caddyfile.example with the ports and the database of a server.
func exampleOn(t *testing.T, s *server, originPort, apiPort string) string {
	t.Helper()
	text, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for _, change := range [][2]string{
		{"http://localhost:8080", s.site},
		{"localhost:8082", "localhost:" + originPort},
		{"localhost:8081", "localhost:" + apiPort},
		{"store bolt\n", "store bolt " + s.database() + "\n"},
		{"\tgatefold {\n\t\tstore", "\tadmin " + s.admin + "\n\tgatefold {\n\t\tstore"},
	} {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("Caddyfile.example has no %q", change[0])
		}
		config = strings.ReplaceAll(config, change[0], change[1])
	}
	return config
}

// A link's token passes everything that writes logs: the access log, the gate's log,
// Caddy's error log while the origin is down, a Referer, the admin endpoint's log.
// With the filters of Caddyfile.example no line has the token. Without them the
// search finds it.
func TestNoLogLineHoldsAToken(t *testing.T) {
	t.Parallel()
	for name, filtered := range map[string]bool{"with the example's filters": true, "without filters": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.leaks = !filtered
			ports := keystest.FreePorts(t, 2)
			config := exampleOn(t, s, ports[0], ports[1])
			if !filtered {
				config = strings.ReplaceAll(config, "import without_tokens", "")
			}
			// The origin is down: its site block is not there.
			config, _, _ = strings.Cut(config, "# A demonstration origin.")
			s.writeConfig(config)
			s.launch()
			s.waitFor("the site answers", func() bool {
				got, err := fetch(s.site + "/")
				return err == nil && got.StatusCode == http.StatusBadGateway
			})
			link := s.must("link", "create", s.site+"/articles/hello")
			_, token, _ := strings.Cut(link, "token=")
			reader := s.must("token", "reader", "--user", "u")

			s.get(link).expect(t, http.StatusBadGateway, "")
			for _, path := range []string{
				"/?token=" + token, "/?share=" + token, "/articles/hello?share=" + token, "/articles/hello?token=" + token + "&token=" + token,
				"/articles/other?token=" + token, "/articles//hello?token=" + token, "/articles/hello?%74oken=" + token, "/?a=1;b=2&token=" + token,
				"/account?token=" + token, "/articles/hello?token=" + token + "#" + token,
			} {
				s.get(s.site + path)
			}
			invitation := "/api/users/u/accessibles/accept/" + invitationKey
			for _, address := range []string{s.site, "http://" + s.admin + "/gatefold"} {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address+invitation, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := send(request); err != nil {
					t.Fatal(err)
				}
			}
			s.get(s.site+"/", "Referer", link)
			s.get(s.site+"/articles/hello", "Referer", s.site+"/?share="+token)
			s.get(s.site+"/account", "Authorization", "Bearer "+reader)
			s.get(s.site+"/account", "Cookie", "reader="+reader)
			s.get(link, "Accept", "text/html")
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, link, strings.NewReader("token="+token))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := send(request); err != nil {
				t.Fatal(err)
			}
			// The admin endpoint refuses a token in a query, and names the alternative.
			asked := s.get("http://" + s.admin + "/gatefold/management/explain?url=" + url.QueryEscape(link))
			asked.expect(t, http.StatusUnprocessableEntity, "validation_failed")
			if !strings.Contains(asked.body, "POST") || strings.Contains(asked.body, token) {
				t.Errorf("explain answers %s", asked.body)
			}
			s.callAPI("http://localhost:"+ports[1], filtered)
			s.must("explain", link)
			s.must("explain", s.site+"/account", "--token", reader)

			found := map[string]int{}
			for line := range strings.Lines(s.log.String()) {
				var entry struct{ Logger string }
				decode(t, line, &entry)
				if tokenMaterial.MatchString(line) || strings.Contains(line, invitationKey) {
					found[strings.TrimRight(entry.Logger, "0123456789")]++
				}
			}
			if filtered && len(found) > 0 {
				t.Errorf("tokens are in the logs of %v", found)
			}
			if !filtered && (found["http.log.access.log"] == 0 || found["http.log.error.log"] == 0 || found["admin.api"] == 0 || found["http.handlers.gatefold"] > 0) {
				t.Errorf("without filters the search finds %v", found)
			}
		})
	}
}

// invitationKey is the key of an invitation to a role.
const invitationKey = "53a1b0657c7cf738514bf791e6f20f36429e57aa"

// callAPI calls the management API with a client's secret and with tokens: valid,
// invalid, and in the query, where none is accepted.
func (s *server) callAPI(api string, filtered bool) {
	s.t.Helper()
	var client struct {
		ID     string `json:"clientId"`
		Secret string `json:"clientSecret"`
	}
	decode(s.t, s.must("client", "create", "--name", "back office", "--scope", "grants:*", "--json"), &client)
	if client.ID == "" || !tokenMaterial.MatchString(client.Secret) {
		s.t.Fatalf("the search would not find the secret of %+v", client)
	}
	token := s.must("token", "api", "--client", client.ID)
	grants := api + "/management/access-lists/src_default/grants"
	s.get(grants, "Authorization", "Bearer "+token).expect(s.t, http.StatusOK, "")
	s.get(grants, "Authorization", "Bearer "+token[:len(token)-4]+"AAAA").expect(s.t, http.StatusUnauthorized, "")
	if filtered { // a query is not where tokens go, and no filter knows it
		s.get(grants+"?token="+token).expect(s.t, http.StatusUnauthorized, "")
	}
	for _, secret := range []string{client.Secret, client.Secret + "x"} {
		for _, inBody := range []bool{true, false} {
			form := url.Values{"grant_type": {"client_credentials"}}
			if inBody {
				form.Set("client_id", client.ID)
				form.Set("client_secret", secret)
			}
			request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, api+"/oauth/token", strings.NewReader(form.Encode()))
			if err != nil {
				s.t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if !inBody {
				request.SetBasicAuth(client.ID, secret)
			}
			if _, err := send(request); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	s.must("client", "revoke", client.ID)
	s.get(grants, "Authorization", "Bearer "+token).expect(s.t, http.StatusUnauthorized, "")
}

// The error of a denial may quote a request: it has no token, and no control
// character reaches a terminal.
func TestDenialLogIsSafe(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	link := s.must("link", "create", s.site+"/articles/hello")
	_, token, _ := strings.Cut(link, "token=")
	head, _, _ := strings.Cut(token, ".")
	for i, bad := range []string{token[:len(token)-4] + "AAAA", head + ".e30.e30", token + token, head + ".x" + token, strings.ReplaceAll(token, ".", "..")} {
		s.get(fmt.Sprintf("%s/articles/%d?token=%s", s.site, i, bad)).expect(t, http.StatusForbidden, "link_invalid")
		s.get(fmt.Sprintf("%s/account?%d", s.site, i), "Authorization", "Bearer "+bad)
	}
	s.get(s.site+"/articles/%1b%5b31m%0a{}", "Cookie", "reader="+token)
	if strings.ContainsRune(s.log.String(), 0x1b) {
		t.Error("a control character is in the log")
	}
}
