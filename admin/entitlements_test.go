package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestEntitlements(t *testing.T) {
	b := newFixture(t, false)
	var list record
	b.call(http.MethodPost, listsPath, `{"name":"Partner"}`).want(http.StatusCreated, &list)
	add := func(path, body string) {
		t.Helper()
		b.clock = b.clock.Add(time.Second)
		b.call(http.MethodPost, path, body).want(http.StatusCreated, nil)
	}
	add(defaultPath, `{"userId":"u","sku":"premium","poId":"po_1","endsAt":"2027-01-01T00:00:00Z"}`)
	add(listsPath+"/"+list.ID+"/grants", `{"userId":"u","sku":"article-1"}`)
	add(defaultPath, `{"userId":"u","sku":"later","startsAt":"2027-06-01T00:00:00Z"}`)
	add(defaultPath, `{"userId":"u","sku":"off","status":"INACTIVE"}`)
	add(defaultPath, `{"userId":"other-user","sku":"premium"}`)

	type entitlement struct {
		SKU, PurchaseOption, ExpiresAt string
		Origin                         struct{ Type, ID, ListID, Name string }
		HasAccess                      bool
	}
	list4 := func(query string) []entitlement {
		t.Helper()
		var got []entitlement
		b.call(http.MethodGet, "/management/entitlements?"+query, "").want(http.StatusOK, &got)
		return got
	}
	skus := func(query string) string {
		var names []string
		for _, e := range list4(query) {
			names = append(names, e.SKU)
			if e.HasAccess {
				names[len(names)-1] += "+"
			}
		}
		return strings.Join(names, " ")
	}
	for query, want := range map[string]string{
		"userId=u":                 "premium+ article-1+ later off",
		"userId=unknown":           "",
		"userId=u&sku=premium":     "premium+",
		"userId=u&q=ART":           "article-1+",
		"userId=u&type=article":    "",
		"userId=u&limit=2":         "premium+ article-1+",
		"userId=u&sku=nothing":     "",
		"userId=u&q=e&sku=premium": "premium+",
	} {
		if got := skus(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	first := list4("userId=u&limit=1")[0]
	if first.PurchaseOption != "po_1" || first.ExpiresAt != "2027-01-01T00:00:00Z" || first.Origin.ListID != "src_default" || !strings.HasPrefix(first.Origin.ID, "grant_") {
		t.Errorf("the first is %+v", first)
	}
	if second := list4("userId=u&limit=1&from=" + first.Origin.ID)[0]; second.Origin.ListID != list.ID || second.Origin.Name != "Partner" {
		t.Errorf("the second is %+v", second)
	}

	// The period is half open, and an inactive list grants nothing.
	b.clock = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	b.call(http.MethodPatch, listsPath+"/"+list.ID, `{"status":"INACTIVE"}`).want(http.StatusOK, nil)
	if got, want := skus("userId=u"), "premium article-1 later off"; got != want {
		t.Errorf("at the end: %q, want %q", got, want)
	}
	b.clock = time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)
	if got, want := skus("userId=u"), "premium article-1 later+ off"; got != want {
		t.Errorf("at the start: %q, want %q", got, want)
	}

	b.call(http.MethodGet, "/management/entitlements", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.userId")
	b.call(http.MethodGet, "/management/entitlements?userId=u&type=car", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.type")
}
