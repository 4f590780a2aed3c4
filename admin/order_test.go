package admin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// ordered returns what rows of a list show, over all of its pages.
func (b *fixture) ordered(path string, show func(row map[string]any) string) string {
	b.Helper()
	var shown []string
	plain, _, _ := strings.Cut(path, "?")
	for next := path; next != ""; {
		var rows []map[string]any
		got := b.call(http.MethodGet, next, "").want(http.StatusOK, &rows)
		for _, row := range rows {
			if at, err := time.Parse(time.RFC3339, fmt.Sprint(row["createdAt"])); err != nil || at.IsZero() {
				b.Errorf("%s: createdAt is %v", next, row["createdAt"])
			}
			shown = append(shown, show(row))
		}
		link, _, found := strings.Cut(strings.TrimPrefix(got.head.Get("Link"), "<"), ">")
		if next = ""; found {
			next = plain + link
		}
	}
	return strings.Join(shown, " ")
}

// Grants, links and entitlements are listed by creation, both ways and within a period, whole
// and in pages.
func TestListsByCreation(t *testing.T) {
	b := newFixture(t, false)
	var list record
	b.call(http.MethodPost, listsPath, `{"name":"Partner"}`).want(http.StatusCreated, &list)
	b.call(http.MethodPost, "/management/products", `{"sku":"s1","title":"One","type":"article","url":"https://news.example.com/1"}`).want(http.StatusCreated, nil)
	for i := range 5 {
		b.clock = b.clock.Add(24 * time.Hour) // from 2026-11-24 on
		status := []string{"ACTIVE", "INACTIVE"}[i/4]
		path := []string{defaultPath, listsPath + "/" + list.ID + "/grants"}[i%2]
		b.call(http.MethodPost, path, fmt.Sprintf(`{"userId":"u","sku":"s%d","status":%q}`, i, status)).want(http.StatusCreated, nil)
		b.call(http.MethodPost, createLink, fmt.Sprintf(`{"userId":"u","sku":"s%d","url":"https://news.example.com/%d"}`, i, i%2)).want(http.StatusOK, nil)
	}
	sku := func(row map[string]any) string { return fmt.Sprint(row["sku"]) }
	for _, path := range []string{"/management/grants?", "/management/signed-links?", "/management/signed-links?userId=u&", "/management/grants?userId=u&", "/management/entitlements?userId=u&"} {
		for query, want := range map[string]string{
			"sort=createdAt":                                 "s0 s1 s2 s3 s4",
			"sort=createdAt&dateFrom=2026-11-25":             "s1 s2 s3 s4",
			"sort=createdAt&dateTo=2026-11-26":               "s0 s1 s2",
			"dateFrom=2026-11-25&dateTo=2026-11-27":          "s1 s2 s3",
			"dateFrom=2026-11-25T12:00:00Z&sort=createdAt":   "s1 s2 s3 s4",
			"dateFrom=2026-11-25T12:00:00.5Z&sort=createdAt": "s2 s3 s4",
			"dateTo=2026-11-25T12:00:00Z&sort=createdAt":     "s0 s1",
			"dateTo=2026-11-25T11:59:59.999Z&sort=createdAt": "s0",
			"sort=createdAt&dateFrom=2026-11-25&sku=s1":      "s1",
			"sort=createdAt&dateFrom=2028-01-01":             "",
		} {
			for _, limit := range []string{"", "&limit=1", "&limit=2"} {
				if got := b.ordered(path+query+limit, sku); got != want {
					t.Errorf("%s%s%s: %s, want %s", path, query, limit, got, want)
				}
				back, newest := strings.Fields(want), strings.Replace(query, "sort=createdAt", "sort=-createdAt", 1)
				slices.Reverse(back)
				if got := b.ordered(path+newest+limit, sku); newest != query && got != strings.Join(back, " ") {
					t.Errorf("%s%s%s: %s, want %s", path, newest, limit, got, back)
				}
			}
		}
		for query, location := range map[string]string{
			"sort=sku": "query.sort", "sort=": "query.sort", "dateFrom=soon": "query.dateFrom", "dateTo=32": "query.dateTo",
			"dateFrom=2027-01-02&dateTo=2027-01-01": "query.dateTo", "sort=-createdAt&from=x": "query.from",
			"sort=-createdAt&from=" + url.QueryEscape(list.ID+"/grant_01kb2m3q4r5s6t7v8w9x0y1z2a"): "query.from",
		} {
			b.call(http.MethodGet, path+query, "").refused(http.StatusUnprocessableEntity, "validation_failed", location)
		}
	}
	for path, want := range map[string]string{
		listsPath + "/" + list.ID + "/grants?sort=-createdAt":                             "s3 s1",
		"/management/grants?sort=-createdAt&list=" + list.ID + "&limit=1":                 "s3 s1",
		"/management/grants?sort=-createdAt&status=INACTIVE":                              "s4",
		"/management/signed-links?sort=-createdAt&url=https://news.example.com/1&limit=1": "s3 s1",
		"/management/entitlements?userId=u&list=" + list.ID + "&sort=-createdAt":          "s3 s1",
		"/management/entitlements?userId=u&hasAccess=false":                               "s4",
		"/management/entitlements?userId=u&hasAccess=true&sort=createdAt":                 "s0 s1 s2 s3",
		"/management/entitlements?userId=u&url=https://news.example.com/1":                "s1",
	} {
		if got := b.ordered(path, sku); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	// The rows of an import have an order of their own.
	batch := store.ImportBatch{ID: "one", Rows: []store.ImportRow{{Grant: store.Grant{UserID: "x", SKU: "s"}}}}
	if _, err := b.store.As(store.Actor{}).ImportGrants(t.Context(), "acme", store.DefaultList, batch); err != nil {
		t.Fatal(err)
	}
	b.call(http.MethodGet, defaultPath+"?importId=one&sort=createdAt", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.sort")
}
