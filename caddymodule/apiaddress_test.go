package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
)

// atAPI returns the site with the address of its API in the place of its own.
func (s *apiSite) atAPI() *testSite {
	api := *s.testSite
	api.site = s.api
	_, api.port, _ = strings.Cut(strings.TrimPrefix(s.api, "http://"), ":")
	return &api
}

// previewOf returns the previewUrl that a client of the API gets with a Host.
func (s *apiSite) previewOf(path, host, bearer string) string {
	s.Helper()
	got := s.atAPI().raw("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + bearer + "\r\nConnection: close\r\n\r\n")
	if got.StatusCode != http.StatusOK {
		s.Fatalf("Host %s: %d %s", host, got.StatusCode, got.body)
	}
	var wall struct{ PreviewURL string }
	if err := json.Unmarshal([]byte(got.body), &wall); err != nil {
		s.Fatal(err)
	}
	return wall.PreviewURL
}

// An editor opens the preview that a back office shows. A request with the Host of another site,
// or with one in the place of a port, does not lead them there: an API whose site block names
// no host answers the path alone, and one that names it answers no other.
func TestPreviewLeadsToTheAPI(t *testing.T) {
	s := newAPISite(t, boundAPI)
	bearer := s.token(defaultVendor, "paywalls:*")
	made := s.atAPI().doBody(http.MethodPut, "/management/paywalls/main", `{"name":"Main","currency":"SEK"}`, "Authorization", "Bearer "+bearer, "Content-Type", "application/json")
	if made.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", made.StatusCode, made.body)
	}
	const record = "/management/paywalls/main"
	host := strings.TrimPrefix(s.api, "http://")
	for sent, want := range map[string]string{
		host:                        s.api + "/paywalls/default/main/preview",
		"127.0.0.1":                 "http://127.0.0.1/paywalls/default/main/preview",
		"127.0.0.1:80.evil.example": "http://127.0.0.1/paywalls/default/main/preview",
	} {
		if got := s.previewOf(record, sent, bearer); got != want {
			t.Errorf("Host %s: previewUrl %s, want %s", sent, got, want)
		}
	}
	port := keystest.FreePort(t)
	s.api = "http://127.0.0.1:" + port
	s.load(s.config("", standardRules, "") + "\nhttp://:" + port + " {\n\tbind 127.0.0.1\n\thandle_path /office/* {\n\t\tgatefold_api\n\t}\n}\n")
	for _, sent := range []string{"evil.example", "127.0.0.1:" + port, "127.0.0.1:80.evil.example"} {
		for _, path := range []string{"/office", "//office"} {
			if got := s.previewOf(path+record, sent, bearer); got != "/office/paywalls/default/main/preview" {
				t.Errorf("Host %s: previewUrl %s", sent, got)
			}
		}
	}
	// The page is there.
	s.get(s.api+"/office/paywalls/default/main/preview").want(t, http.StatusOK)
}
