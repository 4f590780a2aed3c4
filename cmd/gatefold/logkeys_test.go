package main

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys/keystest"
)

// keyHeaders returns lines of a request's header with a key, as programs write it: those in which
// the gate finds it, and others with which it could be taken for something else.
func keyHeaders(key string) (lines []string) {
	encoded := func(encoding *base64.Encoding, text string) string { return encoding.EncodeToString([]byte(text)) }
	std, raw := base64.StdEncoding, base64.RawURLEncoding
	for _, value := range []string{
		"Bearer " + key, "bearer   " + key, "BEARER " + key + " ", "Bearer\t" + key, `Bearer "` + key + `"`, "Bearer " + key + ",", "Bearer " + key[:50], "Bearer " + key + ", Bearer " + key,
		"Token " + key, "ApiKey " + key, key, "Bearer " + strings.ToUpper(key), "Bearer token=" + key,
		"Basic " + encoded(std, "ann:"+key), "basic  " + encoded(std, key+":"), "Basic " + encoded(std, key), "Basic " + encoded(raw, "anna:"+key), "Basic " + encoded(raw, "an@example.com:"+key+":x"),
		"Basic " + key, "Basic ann:" + key, `Digest username="` + key + `"`,
	} {
		for _, name := range []string{"Authorization", "authorization", "Proxy-Authorization"} {
			lines = append(lines, name+": "+value)
		}
	}
	return append(lines, "Authorization: Bearer "+key+"\r\nAuthorization: Bearer x", "Cookie: key="+key, "Cookie: a=b; "+key)
}

// keyTargets returns targets with a spelling of a key, which belongs into a header.
func keyTargets(host, spelling string) []string {
	return []string{
		"/articles/hello?key=" + spelling, "/articles/hello?a=b&api_key=" + spelling + "&c=d", "/articles/hello?" + spelling, "/articles/" + spelling, "/moved/hello?key%3D" + spelling,
		"/.gatefold/l/" + spelling + "/articles/hello", "/%2Egatefold/l/" + spelling + "/a", "http://ann:" + spelling + "@" + host + "/articles/hello",
	}
}

// referer returns the URL of a target of a site.
func referer(site, target string) string {
	if strings.HasPrefix(target, "/") {
		return site + target
	}
	return target
}

// keyParts returns what a line of a log is searched for: parts of a key, as it is and as base64
// has it at each of its places.
func keyParts(key string) (parts []string) {
	for _, at := range []int{7, 42} {
		parts = append(parts, key[at:at+20], strings.ToUpper(key[at:at+20]))
		for i := range 3 {
			parts = append(parts, base64.RawURLEncoding.EncodeToString([]byte(key[at+i:at+i+15])))
		}
	}
	return parts
}

// A program of a reader sends their API key, or that of a feed, as a bearer token, as Basic
// credentials and in forms that no server takes, in headers, and by mistake in the URL and in a
// Referer. With the filters of Caddyfile.example no line of the log has a part of it. Without
// them, and with credentials in the access log, the search finds each request.
func TestNoSpellingOfAKeyIsLogged(t *testing.T) {
	t.Parallel()
	for name, filtered := range map[string]bool{"with the example's filters": true, "without filters": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.leaks = !filtered
			ports := keystest.FreePorts(t, 2)
			config := strings.Replace(exampleOn(t, s, ports[0], ports[1]), "\tgatefold {\n\t\tidentify", "\tredir /moved/* /articles/hello?{query}\n\tgatefold {\n\t\tidentify", 1)
			if !filtered {
				config = strings.ReplaceAll(config, "import without_tokens\n", "\n")
				config = strings.Replace(config, "\tadmin "+s.admin+"\n", "\tadmin "+s.admin+"\n\tservers {\n\t\tlog_credentials\n\t}\n", 1)
			}
			s.writeConfig(config)
			s.start()
			var made admin.CreatedAPIKey
			if status := s.api(http.MethodPost, "/api/users/ann/api-keys", `{}`, &made); status != http.StatusCreated {
				t.Fatalf("making a key: %d", status)
			}
			conn := s.dial()
			if got := s.get(s.site+"/account", "Authorization", "Bearer "+made.Secret); got.StatusCode != http.StatusOK {
				t.Fatalf("the key opens nothing: %d", got.StatusCode)
			}
			requests := 1
			ask := func(target, header string) {
				conn.ask("GET "+target+" HTTP/1.1\r\nHost: "+conn.host+"\r\n"+header+"\r\n\r\n", t)
				requests++
			}
			for _, key := range []string{made.Secret, "gff_" + made.Secret[4:]} {
				for _, header := range keyHeaders(key) {
					ask("/account", header)
				}
				for _, spelling := range tokenSpellings(key) {
					for _, target := range keyTargets(conn.host, spelling) {
						ask(target, "Accept: */*")
						ask("/", "Referer: "+referer(s.site, target))
					}
				}
			}
			s.waitFor("the last request is logged", func() bool {
				_ = s.get(s.site + "/last-request")
				return strings.Contains(s.log.String(), "/last-request")
			})
			found, parts := 0, keyParts(made.Secret)
			for line := range strings.Lines(s.log.String()) {
				text := plainly(line)
				has := false
				for _, part := range parts {
					has = has || strings.Contains(text, part)
				}
				if !has {
					continue
				}
				if found++; filtered && found < 20 {
					t.Errorf("the log has a key: %s", line)
				}
			}
			if filtered && found > 0 || !filtered && found < requests*9/10 {
				t.Errorf("keys are in %d lines, for %d requests", found, requests)
			}
		})
	}
}
