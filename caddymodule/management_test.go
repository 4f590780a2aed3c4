package caddymodule

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/gatefold/gatefold/keys"
)

// manage calls the management API as the local operator. It returns the fields of a
// response that is an object.
func (s *testSite) manage(admin, method, path, kind, body string, status int) map[string]any {
	s.Helper()
	for tries := 1; ; tries++ {
		request, err := http.NewRequestWithContext(s.Context(), method, admin+"/gatefold/management"+path, strings.NewReader(body))
		if err != nil {
			s.Fatal(err)
		}
		if kind != "" {
			request.Header.Set("Content-Type", kind)
		}
		response, err := browser.Do(request)
		if (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) && tries < 10 {
			continue // see post
		}
		if err != nil {
			s.Fatal(err)
		}
		got := s.read(response)
		if got.StatusCode != status {
			s.Fatalf("%s %s: %d %s", method, path, got.StatusCode, got.body)
		}
		var fields map[string]any
		if strings.HasPrefix(got.body, "{") {
			if err := json.Unmarshal([]byte(strings.SplitN(got.body, "\n", 2)[0]), &fields); err != nil {
				s.Fatal(err)
			}
		}
		return fields
	}
}

// Every kind of change with the API applies to the next request at the gate, although
// the previous decision was cached.
func TestChangeDecidesTheNextRequest(t *testing.T) {
	s, admin := newAdminSite(t)
	const (
		jsonType = "application/json"
		patch    = "application/merge-patch+json"
	)
	bearer := "Bearer " + s.reader(keys.ReaderClaims{UserID: "ann"})
	open := func(page string) {
		t.Helper()
		for range 2 {
			s.get(page, "Authorization", bearer).page()
		}
	}
	shut := func(page string) {
		t.Helper()
		for range 2 {
			s.get(page, "Authorization", bearer).denied(http.StatusForbidden, "not_entitled")
		}
	}
	shut("/articles/a1")

	// A pass, a grant of it, and its members.
	s.manage(admin, http.MethodPost, "/products", jsonType, `{"type":"pass","sku":"weekend"}`, http.StatusCreated)
	list, _ := s.manage(admin, http.MethodPost, "/access-lists", jsonType, `{"name":"Partners"}`, http.StatusCreated)["id"].(string)
	grants := "/access-lists/" + list + "/grants"
	grant, _ := s.manage(admin, http.MethodPost, grants, jsonType, `{"userId":"ann","sku":"weekend"}`, http.StatusCreated)["id"].(string)
	shut("/articles/a1")
	s.manage(admin, http.MethodPatch, "/products/weekend", jsonType, `{"members":["a1","a2"]}`, http.StatusOK)
	open("/articles/a1")
	open("/articles/a2")
	s.manage(admin, http.MethodPatch, "/products/weekend", jsonType, `{"members":["a2"]}`, http.StatusOK)
	shut("/articles/a1")
	open("/articles/a2")
	s.manage(admin, http.MethodPost, "/products", jsonType, `{"type":"bundle","sku":"box","members":["a1"]}`, http.StatusCreated)
	s.manage(admin, http.MethodPatch, "/products/weekend", jsonType, `{"members":["box"]}`, http.StatusOK)
	open("/articles/a1")
	s.manage(admin, http.MethodDelete, "/products/box", "", "", http.StatusNoContent)
	shut("/articles/a1")

	// The grant itself.
	s.manage(admin, http.MethodPatch, grants+"/"+grant, patch, `{"sku":"premium"}`, http.StatusOK)
	open("/articles/a1")
	s.manage(admin, http.MethodPatch, grants+"/"+grant, patch, `{"endsAt":"2020-01-01T00:00:00Z"}`, http.StatusOK)
	shut("/articles/a1")
	s.manage(admin, http.MethodPatch, grants+"/"+grant, patch, `{"endsAt":null,"status":"ACTIVE"}`, http.StatusOK)
	open("/articles/a1")

	// An import of grants, and the removal of their list.
	s.manage(admin, http.MethodDelete, grants+"/"+grant, "", "", http.StatusNoContent)
	shut("/articles/a1")
	done := s.manage(admin, http.MethodPost, grants+"/import", "application/x-ndjson", `{"userId":"bob","sku":"premium"}`+"\n"+`{"userId":"ann","sku":"premium"}`, http.StatusOK)
	if done["created"] != 2.0 {
		t.Errorf("the stream made %v", done)
	}
	open("/articles/a1")
	s.manage(admin, http.MethodDelete, "/access-lists/"+list, "", "", http.StatusNoContent)
	shut("/articles/a1")

	// A batch of links, one of which is revoked.
	link := s.manage(admin, http.MethodPost, "/signed-links/batch", jsonType, `{"url":"`+s.site+`/articles/a1","recipients":[{"userId":"ann"},{"userId":"bob"}]}`, http.StatusOK)
	address, _ := link["signedUrl"].(string)
	id, _ := link["tokenId"].(string)
	if got := s.get(address, "Accept", "application/json"); got.StatusCode != http.StatusOK {
		t.Errorf("a link of many: %d %s", got.StatusCode, got.body)
	}
	s.manage(admin, http.MethodDelete, "/signed-links/"+id, "", "", http.StatusNoContent)
	if got := s.get(address, "Accept", "application/json"); got.StatusCode != http.StatusForbidden {
		t.Errorf("after it was revoked: %d", got.StatusCode)
	}

	// The audit log names the local operator and holds no secret.
	log := s.get(admin + "/gatefold/management/audit?limit=1000")
	if !strings.Contains(log.body, `"actor":"local operator"`) || !strings.Contains(log.body, `"operation":"change-grant"`) || strings.Contains(log.body, "eyJ") {
		t.Errorf("the audit log is %s", log.body)
	}
}
