package admin_test

import (
	"net/http"
	"strings"
	"testing"
)

type auditEntry struct {
	ID, At, Actor, Operation string
	Records                  []struct {
		Kind, ID      string
		Before, After map[string]any
	}
	More int
}

// The audit log names caller and operation, and is visible to its vendor only.
func TestAuditOverHTTP(t *testing.T) {
	b := newFixture(t, false)
	var list struct{ ID string }
	b.call(http.MethodPost, listsPath, `{"name":"Partners"}`).want(http.StatusCreated, &list)
	b.call(http.MethodPatch, listsPath+"/"+list.ID, `{"status":"INACTIVE"}`).want(http.StatusOK, nil)
	b.call(http.MethodPatch, listsPath+"/"+list.ID, `{"status":"NONE"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "")
	b.call(http.MethodPost, "/management/create-signed-link", `{"sku":"s"}`).want(http.StatusOK, nil)

	var entries []auditEntry
	got := b.call(http.MethodGet, "/management/audit", "").want(http.StatusOK, &entries)
	// The first link of a vendor creates its first key.
	var operations []string
	for _, entry := range entries {
		operations = append(operations, entry.Operation)
		if entry.Actor != "test" || entry.ID == "" || entry.At == "" || len(entry.Records) != 1 {
			t.Errorf("an entry is %+v", entry)
		}
	}
	if logged := strings.Join(operations, ", "); logged != "create-signed-link, "+"create-signed-link, change-access-list, create-access-list" {
		t.Errorf("the log has %s", logged)
	}
	change := entries[2].Records[0]
	if change.Kind != "access-list" || change.ID != list.ID || change.Before["status"] != "ACTIVE" || change.After["status"] != "INACTIVE" || len(change.After) != 2 {
		t.Errorf("the change is %+v", change)
	}
	if strings.Contains(got.body, "eyJ") || strings.Contains(got.body, "sealed") {
		t.Errorf("the log holds a token or a key: %s", got.body)
	}
	kinds := b.call(http.MethodGet, "/management/audit?kind=grants", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.kind")
	if text := kinds.Errors[0].Message; !strings.Contains(text, "access-list") || !strings.Contains(text, "grant,") {
		t.Errorf("of a kind that does not exist it says %q", text)
	}
	b.call(http.MethodGet, "/management/audit?operation=change-access-list&record="+list.ID, "").want(http.StatusOK, &entries)
	if len(entries) != 1 {
		t.Errorf("filtered: %+v", entries)
	}
	page := b.call(http.MethodGet, "/management/audit?limit=3&kind=access-list&since=2026-11-23T00:00:00Z", "").want(http.StatusOK, &entries)
	if len(entries) != 2 || page.head.Get("Link") != "" {
		t.Errorf("a page: %+v, %s", entries, page.head.Get("Link"))
	}
	page = b.call(http.MethodGet, "/management/audit?limit=1&kind=access-list", "").want(http.StatusOK, &entries)
	next := strings.TrimSuffix(strings.TrimPrefix(page.head.Get("Link"), "<"), `>; rel="next"`)
	b.call(http.MethodGet, "/management/audit"+next, "").want(http.StatusOK, &entries)
	if len(entries) != 1 || entries[0].Operation != "create-access-list" {
		t.Errorf("the next page %s: %+v", next, entries)
	}
	b.callAs("other", http.MethodGet, "/management/audit", "").want(http.StatusOK, &entries)
	if len(entries) != 0 {
		t.Errorf("another vendor reads %+v", entries)
	}
	b.send("acme", http.MethodGet, "/management/audit", "", http.Header{"X-Test-Scope": {"grants:read"}}).refused(http.StatusForbidden, "forbidden", "")
	b.call(http.MethodGet, "/management/audit?since=yesterday", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.since")
}
