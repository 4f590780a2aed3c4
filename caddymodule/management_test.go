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
func (b *bench) manage(admin, method, path, kind, body string, status int) map[string]any {
	b.Helper()
	for tries := 1; ; tries++ {
		request, err := http.NewRequestWithContext(b.Context(), method, admin+"/gatefold/management"+path, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		if kind != "" {
			request.Header.Set("Content-Type", kind)
		}
		response, err := browser.Do(request)
		if (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) && tries < 10 {
			continue // see post
		}
		if err != nil {
			b.Fatal(err)
		}
		got := b.read(response)
		if got.StatusCode != status {
			b.Fatalf("%s %s: %d %s", method, path, got.StatusCode, got.body)
		}
		var fields map[string]any
		if strings.HasPrefix(got.body, "{") {
			if err := json.Unmarshal([]byte(strings.SplitN(got.body, "\n", 2)[0]), &fields); err != nil {
				b.Fatal(err)
			}
		}
		return fields
	}
}

// Every kind of change with the API applies to the next request at the gate, although
// the previous decision was cached.
func TestChangeDecidesTheNextRequest(t *testing.T) {
	b, admin := adminBench(t)
	const (
		jsonType = "application/json"
		patch    = "application/merge-patch+json"
	)
	bearer := "Bearer " + b.reader(keys.ReaderClaims{UserID: "ann"})
	open := func(page string) {
		t.Helper()
		for range 2 {
			b.get(page, "Authorization", bearer).page()
		}
	}
	shut := func(page string) {
		t.Helper()
		for range 2 {
			b.get(page, "Authorization", bearer).denied(http.StatusForbidden, "not_entitled")
		}
	}
	shut("/articles/a1")

	// A pass, a grant of it, and its members.
	b.manage(admin, http.MethodPost, "/products", jsonType, `{"type":"pass","sku":"weekend"}`, http.StatusCreated)
	list, _ := b.manage(admin, http.MethodPost, "/access-lists", jsonType, `{"name":"Partners"}`, http.StatusCreated)["id"].(string)
	grants := "/access-lists/" + list + "/grants"
	grant, _ := b.manage(admin, http.MethodPost, grants, jsonType, `{"userId":"ann","sku":"weekend"}`, http.StatusCreated)["id"].(string)
	shut("/articles/a1")
	b.manage(admin, http.MethodPatch, "/products/weekend", jsonType, `{"members":["a1","a2"]}`, http.StatusOK)
	open("/articles/a1")
	open("/articles/a2")
	b.manage(admin, http.MethodPatch, "/products/weekend", jsonType, `{"members":["a2"]}`, http.StatusOK)
	shut("/articles/a1")
	open("/articles/a2")
	b.manage(admin, http.MethodPost, "/products", jsonType, `{"type":"bundle","sku":"box","members":["a1"]}`, http.StatusCreated)
	b.manage(admin, http.MethodPatch, "/products/weekend", jsonType, `{"members":["box"]}`, http.StatusOK)
	open("/articles/a1")
	b.manage(admin, http.MethodDelete, "/products/box", "", "", http.StatusNoContent)
	shut("/articles/a1")

	// The grant itself.
	b.manage(admin, http.MethodPatch, grants+"/"+grant, patch, `{"sku":"premium"}`, http.StatusOK)
	open("/articles/a1")
	b.manage(admin, http.MethodPatch, grants+"/"+grant, patch, `{"endsAt":"2020-01-01T00:00:00Z"}`, http.StatusOK)
	shut("/articles/a1")
	b.manage(admin, http.MethodPatch, grants+"/"+grant, patch, `{"endsAt":null}`, http.StatusOK)
	open("/articles/a1")

	// An import of grants, and the removal of their list.
	b.manage(admin, http.MethodDelete, grants+"/"+grant, "", "", http.StatusNoContent)
	shut("/articles/a1")
	done := b.manage(admin, http.MethodPost, grants+"/import", "application/x-ndjson", `{"userId":"bob","sku":"premium"}`+"\n"+`{"userId":"ann","sku":"premium"}`, http.StatusOK)
	if done["created"] != 2.0 {
		t.Errorf("the stream made %v", done)
	}
	open("/articles/a1")
	b.manage(admin, http.MethodDelete, "/access-lists/"+list, "", "", http.StatusNoContent)
	shut("/articles/a1")

	// A batch of links, one of which is revoked.
	link := b.manage(admin, http.MethodPost, "/signed-links/batch", jsonType, `{"url":"`+b.site+`/articles/a1","recipients":[{"userId":"ann"},{"userId":"bob"}]}`, http.StatusOK)
	address, _ := link["signedUrl"].(string)
	id, _ := link["tokenId"].(string)
	if got := b.get(address, "Accept", "application/json"); got.StatusCode != http.StatusOK {
		t.Errorf("a link of many: %d %s", got.StatusCode, got.body)
	}
	b.manage(admin, http.MethodDelete, "/signed-links/"+id, "", "", http.StatusNoContent)
	if got := b.get(address, "Accept", "application/json"); got.StatusCode != http.StatusForbidden {
		t.Errorf("after it was revoked: %d", got.StatusCode)
	}

	// The audit log names the local operator and holds no secret.
	log := b.get(admin + "/gatefold/management/audit?limit=1000")
	if !strings.Contains(log.body, `"actor":"local operator"`) || !strings.Contains(log.body, `"operation":"change-grant"`) || strings.Contains(log.body, "eyJ") {
		t.Errorf("the audit log is %s", log.body)
	}
}
