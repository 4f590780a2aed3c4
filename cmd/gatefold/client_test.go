package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// startAPI starts a server with the management API and returns its URL.
func startAPI(t *testing.T) (s *server, api string) {
	t.Helper()
	s = newServer(t)
	ports := keystest.FreePorts(t, 4)
	s.admin, s.site = "127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	config := withoutTokens + fmt.Sprintf(siteConfig, s.admin, "store bolt "+s.database(), ports[1], ports[2], ports[2])
	s.writeConfig(config + "\nhttp://127.0.0.1:" + ports[3] + " {\n\tbind 127.0.0.1\n\tlog\n\tgatefold_api\n}\n")
	s.start()
	return s, "http://127.0.0.1:" + ports[3]
}

// client creates a client and returns its id and secret.
func (s *server) client(args ...string) (id, secret string) {
	s.t.Helper()
	var made struct{ ClientID, ClientSecret string }
	decode(s.t, s.must(append([]string{"client", "create", "--name", "test", "--json"}, args...)...), &made)
	return made.ClientID, made.ClientSecret
}

// accessToken requests a token as a client does. It returns an empty string when the
// request is refused.
func accessToken(t *testing.T, api, id, secret string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	got := postBody(t, api+"/oauth/token", "application/x-www-form-urlencoded", form.Encode())
	if got.StatusCode != http.StatusOK {
		return ""
	}
	var handed struct {
		Token string `json:"access_token"`
	}
	decode(t, got.body, &handed)
	return handed.Token
}

func postBody(t *testing.T, address, kind, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	got, err := send(request)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Creating a client, rotating its secret and revoking it take effect with the next
// call.
func TestClientsFromTheCommandLine(t *testing.T) {
	t.Parallel()
	s, api := startAPI(t)
	lines := s.must("client", "create", "--name", "back office", "--scope", "links:* grants:read")
	id, found := strings.CutPrefix(strings.Split(lines, "\n")[0], "CLIENT_ID=")
	secret, too := strings.CutPrefix(strings.Split(lines, "\n")[1], "CLIENT_SECRET=")
	if !found || !too || strings.Count(lines, "\n") != 1 {
		t.Fatalf("client create prints\n%s", lines)
	}
	links := api + "/management/signed-links"
	token := accessToken(t, api, id, secret)
	s.get(links, "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")

	made := s.must("token", "api", "--client", id, "--scope", "grants:read")
	s.get(links, "Authorization", "Bearer "+made).expect(t, http.StatusForbidden, "forbidden")
	s.get(api+"/management/access-lists", "Authorization", "Bearer "+made).expect(t, http.StatusOK, "")

	listed := s.must("client", "list")
	if !strings.Contains(listed, id) || !strings.Contains(listed, "back office") || strings.Contains(listed, secret) || strings.Contains(s.must("client", "list", "--json"), "ecretHash") {
		t.Errorf("client list says\n%s", listed)
	}
	var rotated struct{ ClientID, ClientSecret string }
	decode(t, s.must("client", "rotate-secret", id, "--json"), &rotated)
	s.get(links, "Authorization", "Bearer "+token).expect(t, http.StatusUnauthorized, "unauthorized")
	if rotated.ClientID != id || rotated.ClientSecret == secret || accessToken(t, api, id, secret) != "" {
		t.Error("the old secret is still accepted")
	}
	token = accessToken(t, api, id, rotated.ClientSecret)
	s.get(links, "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")

	s.must("client", "revoke", id)
	s.get(links, "Authorization", "Bearer "+token).expect(t, http.StatusUnauthorized, "unauthorized")
	if accessToken(t, api, id, rotated.ClientSecret) != "" {
		t.Error("a revoked client got a token")
	}
	if listed := s.must("client", "list"); !strings.Contains(listed, "revoked") {
		t.Errorf("client list says\n%s", listed)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"client", "create", "--scope", "links:*"}, "--name"},
		{[]string{"client", "create", "--name", "x"}, "--scope"},
		{[]string{"client", "create", "--name", "x", "--scope", "everything"}, "scopes"},
		{[]string{"client", "create", "--name", "x", "--scope", "readers:write"}, "scopes"},
		{[]string{"client", "create", "--name", "x", "--scope", "vendors:*"}, "requires a client that belongs to no vendor"},
		{[]string{"client", "create", "--name", "x", "--scope", "links:*", "--operator"}, "vendor"},
		{[]string{"client", "create", "--name", "x", "--scope", "vendors:*", "--operator", "--vendor", "acme"}, "--vendor"},
		{[]string{"client", "revoke", "client_unknown"}, "no such record"},
		{[]string{"client", "rotate-secret", id}, "revoked"},
		{[]string{"token", "api", "--client", id}, "revoked"},
		{[]string{"token", "api"}, "--client"},
	} {
		got := s.command(test.args...)
		if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q; want %q", test.args, got.code, got.stdout, got.stderr, test.want)
		}
	}
	operator, operatorSecret := s.client("--operator", "--scope", "vendors:*")
	if accessToken(t, api, operator, operatorSecret) == "" {
		t.Error("an operator's client got no token")
	}
}

// The system's key is rotated and retired as a vendor's is, and every access token
// that it signed ends.
func TestSystemKeyRotation(t *testing.T) {
	t.Parallel()
	s, api := startAPI(t)
	id, secret := s.client("--scope", "links:read")
	token := accessToken(t, api, id, secret)
	links := api + "/management/signed-links"
	old := strings.Fields(strings.Split(s.must("key", "list", "--system"), "\n")[1])[0]
	if own := s.must("key", "list"); strings.Contains(own, old) {
		t.Error("the vendor's list has the system's key")
	}
	s.must("key", "rotate", "--system")
	s.get(links, "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")
	s.must("key", "retire", old, "--system")
	s.get(links, "Authorization", "Bearer "+token).expect(t, http.StatusUnauthorized, "unauthorized")
	s.get(links, "Authorization", "Bearer "+accessToken(t, api, id, secret)).expect(t, http.StatusOK, "")
	// That name gives access to nothing else in the system's partition.
	if got := s.command("link", "list", "--vendor", "_system"); got.code != 1 || !strings.Contains(got.stderr, "vendor") {
		t.Errorf("%+v", got)
	}
}
