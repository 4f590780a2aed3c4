package admin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const productsPath = "/management/products"

type product struct {
	SKU, ProductType, Title, URL, Cover, Language, PublisherContentID, CreatedAt, UpdatedAt string
	ExternalIDs                                                                             map[string]string
	Members                                                                                 []string
}

func TestProducts(t *testing.T) {
	b := newFixture(t, false)
	var made product
	got := b.call(http.MethodPost, productsPath, `{"type":"podcast","url":"https://news.example/pod/the-daily","spotifyId":"4rOo"}`).want(http.StatusCreated, &made)
	if !strings.HasPrefix(made.SKU, "sku_") || made.Title != "the-daily" || made.ExternalIDs["spotifyId"] != "4rOo" || got.head.Get("Location") != "products/"+made.SKU {
		t.Errorf("made %+v, %s", made, got.head.Get("Location"))
	}
	// A SKU is any text; slashes are escaped in paths.
	for _, sku := range []string{"premium", "sid:a/b", "ü & %2F?"} {
		b.call(http.MethodPost, productsPath, `{"type":"pass","sku":"`+sku+`"}`).want(http.StatusCreated, nil)
		one := productsPath + "/" + url.PathEscape(sku)
		var read product
		etag := b.call(http.MethodGet, one, "").want(http.StatusOK, &read).head.Get("ETag")
		if read.SKU != sku || read.ProductType != "pass" {
			t.Errorf("read %+v", read)
		}
		var changed product
		b.send("acme", http.MethodPatch, one, `{"title":"Everything","members":["b","a","b"],"externalIds":{"spotifyId":"x","old":"y"}}`, ifMatch(etag)).want(http.StatusOK, &changed)
		if changed.Title != "Everything" || strings.Join(changed.Members, " ") != "a b" || changed.ProductType != "pass" {
			t.Errorf("changed to %+v", changed)
		}
		b.send("acme", http.MethodPatch, one, `{"title":"Nothing"}`, ifMatch(etag)).refused(http.StatusPreconditionFailed, "precondition_failed", "")
		var patched product
		b.send("acme", http.MethodPatch, one, `{"externalIds":{"old":null}}`, http.Header{"Content-Type": {"application/merge-patch+json"}}).want(http.StatusOK, &patched)
		if len(patched.ExternalIDs) != 1 || patched.ExternalIDs["spotifyId"] != "x" || patched.Title != "Everything" {
			t.Errorf("patched to %+v", patched)
		}
		b.call(http.MethodDelete, one, "").want(http.StatusNoContent, nil)
		b.call(http.MethodGet, one, "").refused(http.StatusNotFound, "not_found", "")
	}
	for body, location := range map[string]string{
		`{"url":"https://news.example/"}`:                                    "body.type",
		`{"type":"car"}`:                                                     "body.type",
		`{"type":"article","url":"javascript:alert(1)"}`:                     "body.url",
		`{"type":"article","cover":"/x.png"}`:                                "body.cover",
		`{"type":"article","members":["a"]}`:                                 "body.members",
		`{"type":"article","sku":"a//b"}`:                                    "body.sku",
		`{"type":"article","price":1}`:                                       "body.price",
		`{"type":"podcast","spotifyId":"a","externalIds":{"spotifyId":"b"}}`: "body.spotifyId",
	} {
		b.call(http.MethodPost, productsPath, body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	b.call(http.MethodPost, productsPath, `{"type":"article","sku":"`+made.SKU+`"}`).refused(http.StatusConflict, "conflict", "")
	b.call(http.MethodPatch, productsPath+"/"+made.SKU, `{"cover":"data:text/html,x"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.cover")
	b.callAs("other", http.MethodGet, productsPath+"/"+made.SKU, "").refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodPatch, productsPath+"/"+made.SKU, `{"title":"x"}`).refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodDelete, productsPath+"/"+made.SKU, "").refused(http.StatusNotFound, "not_found", "")

	b.call(http.MethodPost, productsPath, `{"type":"article","sku":"a1","title":"A story"}`).want(http.StatusCreated, nil)
	var found []product
	page := b.call(http.MethodGet, productsPath+"?q=STORY&limit=1", "").want(http.StatusOK, &found)
	if len(found) != 1 || found[0].SKU != "a1" || !strings.Contains(page.head.Get("Link"), "q=STORY") {
		t.Errorf("found %+v, %s", found, page.head.Get("Link"))
	}
}

// Entitlements have the fields of their product and are found by the SKU of a
// member.
func TestEntitlementsIncludeProducts(t *testing.T) {
	b := newFixture(t, false)
	b.call(http.MethodPost, productsPath, `{"type":"pass","sku":"premium","title":"Everything","members":["a1"]}`).want(http.StatusCreated, nil)
	b.call(http.MethodPost, productsPath, `{"type":"article","sku":"a1","title":"A story","publisherContentId":"c1"}`).want(http.StatusCreated, nil)
	for _, sku := range []string{"premium", "a1", "plain"} {
		b.call(http.MethodPost, defaultPath, `{"userId":"u","sku":"`+sku+`"}`).want(http.StatusCreated, nil)
	}
	b.call(http.MethodPost, defaultPath, `{"userId":"u","sku":"a1","endsAt":"2020-01-01T00:00:00Z"}`).want(http.StatusCreated, nil)
	type entitlement struct {
		SKU, Title, Type, PublisherContentID, Token string
		HasAccess                                   bool
	}
	for query, want := range map[string]int{
		"": 4, "&type=pass": 1, "&type=article": 2, "&type=ebook": 0, "&sku=a1": 3, "&sku=premium": 1, "&sku=a1&type=pass": 1,
		"&q=story": 2, "&q=EVERY": 1, "&sku=none": 0, "&limit=3": 3,
	} {
		var got []entitlement
		b.call(http.MethodGet, "/management/entitlements?userId=u"+query, "").want(http.StatusOK, &got)
		if len(got) != want {
			t.Errorf("%s: %+v", query, got)
		}
		for _, e := range got {
			if (e.Token != "") != e.HasAccess || e.Type == "article" && (e.PublisherContentID != "c1" || e.Title != "A story") {
				t.Errorf("%s: %+v", query, e)
			}
		}
	}
}

// A vendor's client reads its own vendor only, and creates none.
func TestVendors(t *testing.T) {
	b := newFixture(t, true)
	var made map[string]any
	b.call(http.MethodPost, "/management/vendors", `{"name":"Acme News","id":"acme","website":"https://acme.example","country":"SE"}`).want(http.StatusCreated, &made)
	if made["id"] != "acme" || made["country"] != "SE" || made["logo"] != "" {
		t.Errorf("made %v", made)
	}
	b.call(http.MethodPost, "/management/vendors", `{"name":"Acme","id":"acme"}`).refused(http.StatusConflict, "conflict", "")
	b.call(http.MethodPost, "/management/vendors", `{"name":"Acme","id":"_system"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.id")
	b.call(http.MethodPost, "/management/vendors", `{"name":"Acme","id":"x","website":"javascript:x"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.website")
	b.callAs("beta", http.MethodPost, listsPath, `{"name":"x"}`).want(http.StatusCreated, nil)
	var list []map[string]any
	page := b.call(http.MethodGet, "/management/vendors?limit=1", "").want(http.StatusOK, &list)
	if len(list) != 1 || list[0]["name"] != "Acme News" || !strings.Contains(page.head.Get("Link"), "from=acme") {
		t.Errorf("the first page is %v, %s", list, page.head.Get("Link"))
	}
	b.call(http.MethodGet, "/management/vendors?from=acme", "").want(http.StatusOK, &list)
	if len(list) != 1 || list[0]["id"] != "beta" || list[0]["name"] != "beta" {
		t.Errorf("the second page is %v", list)
	}
	for _, scope := range []string{"vendors:read", "vendors:*"} {
		b.send("acme", http.MethodGet, "/management/vendors", "", http.Header{"X-Test-Scope": {scope}}).want(http.StatusOK, &list)
		if len(list) != 1 || list[0]["id"] != "acme" {
			t.Errorf("with %s, a vendor's client lists %v", scope, list)
		}
		b.send("acme", http.MethodPost, "/management/vendors", `{"name":"x","id":"x"}`, http.Header{"X-Test-Scope": {scope}, "Content-Type": {"application/json"}}).refused(http.StatusForbidden, "forbidden", "")
	}
	// Changes of vendors are in the system log.
	var entries []auditEntry
	b.call(http.MethodGet, "/management/system-audit", "").want(http.StatusOK, &entries)
	if len(entries) != 1 || entries[0].Operation != "create-vendor" || entries[0].Records[0].ID != "acme" {
		t.Errorf("the log tells %+v", entries)
	}
	b.send("acme", http.MethodGet, "/management/system-audit", "", http.Header{"X-Test-Scope": {"vendors:read"}}).refused(http.StatusForbidden, "forbidden", "")
}
