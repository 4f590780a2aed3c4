package admin_test

import (
	"net/http"
	"testing"
)

// The cases of RFC 7396, appendix A, on the fields of a grant.
func TestPatchGrant(t *testing.T) {
	b := newFixture(t, false)
	var made struct{ ID string }
	b.call(http.MethodPost, defaultPath, `{"userId":"u","sku":"s","email":"u@example.org","endsAt":"2030-01-01T00:00:00Z",
		"deliveryAddress":{"street":"Way 1","city":"Town"},"extraFields":{"a":"1","b":"2"},"notes":"old"}`).want(http.StatusCreated, &made)
	one := defaultPath + "/" + made.ID
	merge := http.Header{"Content-Type": {"application/merge-patch+json"}}
	patch := func(body string) map[string]any {
		t.Helper()
		return b.send("acme", http.MethodPatch, one, body, merge).want(http.StatusOK, nil).fields()
	}
	got := patch(`{"sku":"t","endsAt":null,"deliveryAddress":{"city":"Village","zip":"1"},"extraFields":{"a":null,"c":"3"},"status":"INACTIVE"}`)
	address, _ := got["deliveryAddress"].(map[string]any)
	extra, _ := got["extraFields"].(map[string]any)
	if got["sku"] != "t" || got["endsAt"] != nil || got["notes"] != "old" || got["email"] != "u@example.org" || got["status"] != "INACTIVE" ||
		address["street"] != "Way 1" || address["city"] != "Village" || address["zip"] != "1" ||
		len(extra) != 2 || extra["b"] != "2" || extra["c"] != "3" {
		t.Errorf("patched to %v", got)
	}
	if got := patch(`{}`); got["sku"] != "t" || got["status"] != "INACTIVE" {
		t.Errorf("an empty patch made %v", got)
	}
	if got := patch(`{"status":"ACTIVE","deliveryAddress":null,"extraFields":null}`); got["status"] != "ACTIVE" || got["deliveryAddress"] != nil || got["extraFields"] != nil {
		t.Errorf("removed to %v", got)
	}
	// application/json is the same patch.
	if got := b.call(http.MethodPatch, one, `{"notes":null}`).want(http.StatusOK, nil).fields(); got["notes"] != nil {
		t.Errorf("patched to %v", got)
	}
	patch(`{"status":"INACTIVE"}`)
	for body, location := range map[string]string{
		`{"status":null}`:              "body.status",
		`{"sku":null}`:                 "body.sku",
		`{"sku":""}`:                   "body.sku",
		`{"price":1}`:                  "body.price",
		`{"id":"grant_x"}`:             "body.id",
		`{"source":"src_other"}`:       "body.source",
		`{"status":"GONE"}`:            "body.status",
		`{"email":null,"userId":null}`: "body.userId",
		`{"endsAt":"tomorrow"}`:        "body.endsAt",
		`{"startsAt":"2030-01-02T00:00:00Z","endsAt":"2030-01-01T00:00:00Z"}`: "body.endsAt",
	} {
		b.send("acme", http.MethodPatch, one, body, merge).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	for _, body := range []string{`[]`, `"x"`, `null`, `{"sku":"a","sku":"b"}`, `{`} {
		b.send("acme", http.MethodPatch, one, body, merge).refused(http.StatusBadRequest, "bad_request", "")
	}
	if got := b.call(http.MethodGet, one, "").fields(); got["sku"] != "t" {
		t.Errorf("a refused patch made %v", got)
	}
	b.callAs("other", http.MethodPatch, one, `{"sku":"x"}`).refused(http.StatusNotFound, "not_found", "")
	b.send("acme", http.MethodPut, one, `{"userId":"u","sku":"s"}`, merge).refused(http.StatusUnsupportedMediaType, "unsupported_media_type", "")
}

func TestDeleteList(t *testing.T) {
	b := newFixture(t, false)
	var list struct{ ID string }
	etag := b.call(http.MethodPost, listsPath, `{"name":"Partners"}`).want(http.StatusCreated, &list).head.Get("ETag")
	one := listsPath + "/" + list.ID
	var made struct{ ID string }
	b.call(http.MethodPost, one+"/grants", `{"userId":"u","sku":"s"}`).want(http.StatusCreated, &made)
	b.callAs("other", http.MethodDelete, one, "").refused(http.StatusNotFound, "not_found", "")
	b.send("acme", http.MethodDelete, one, "", http.Header{"If-Match": {`"other"`}}).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.send("acme", http.MethodDelete, one, "", http.Header{"If-Match": {etag}}).want(http.StatusNoContent, nil)
	b.call(http.MethodGet, one, "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodGet, one+"/grants/"+made.ID, "").refused(http.StatusNotFound, "not_found", "")
	var entitlements []any
	b.call(http.MethodGet, "/management/entitlements?userId=u", "").want(http.StatusOK, &entitlements)
	if len(entitlements) != 0 {
		t.Errorf("the reader still has %v", entitlements)
	}
	b.call(http.MethodDelete, listsPath+"/src_default", "").refused(http.StatusConflict, "conflict", "")
	// Page by page.
	for range 3 {
		b.call(http.MethodPost, listsPath, `{"name":"x"}`).want(http.StatusCreated, nil)
	}
	var lists []struct{ ID string }
	var seen int
	for from := ""; ; from = "&from=" + lists[len(lists)-1].ID {
		page := b.call(http.MethodGet, listsPath+"?limit=2"+from, "").want(http.StatusOK, &lists)
		if seen += len(lists); page.head.Get("Link") == "" {
			break
		}
	}
	if seen != 4 {
		t.Errorf("page by page there are %d lists", seen)
	}
}
