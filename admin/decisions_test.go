package admin_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store"
)

// keptCode is a code whose check is right.
const keptCode = "00000000"

// A support desk with the scope decisions:read looks up the refusals of its vendor, and no
// other caller does.
func TestDecisionByItsSupportCode(t *testing.T) {
	b := newFixture(t, false)
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	kept, _, err := b.store.RecordRefusals(t.Context(), "acme", []store.Refusal{{
		Code: keptCode, At: at, Site: "news", Method: "GET", Host: "news.example", Path: "/a", Query: []string{"page"}, Reason: "not_entitled", Status: 403, UserID: "ann",
		Explanation: json.RawMessage(`{"site":"news"}`), Issuer: "x", Link: "link_1",
	}})
	if err != nil || kept != 1 {
		t.Fatal(kept, err)
	}
	var got admin.RefusedRequest
	path := "/management/decisions/" + keptCode
	b.call(http.MethodGet, "/management/decisions/oooo-0000", "").want(http.StatusOK, &got)
	if got.Code != keptCode || got.UserID != "ann" || !got.ExpiresAt.Equal(at.Add(30*24*time.Hour)) || string(got.Then) != `{"site":"news"}` || len(got.Query) != 1 || len(got.LinkNow) == 0 {
		t.Errorf("it is %+v", got)
	}
	b.callAs("rival", http.MethodGet, path, "").refused(http.StatusNotFound, "not_found", "")
	b.callReader("acme", "ann", http.MethodGet, path, "").refused(http.StatusForbidden, "forbidden", "")
	b.send("acme", http.MethodGet, path, "", http.Header{"X-Test-Scope": {"links:read"}}).refused(http.StatusForbidden, "forbidden", "")
	b.send("acme", http.MethodGet, path, "", http.Header{"X-Test-Scope": {"decisions:read"}}).want(http.StatusOK, &got)
	b.call(http.MethodGet, "/management/decisions/0000000G", "").refused(http.StatusNotFound, "not_kept", "")
	b.call(http.MethodGet, "/management/decisions/00000001", "").refused(http.StatusUnprocessableEntity, "validation_failed", "path.code")
}
