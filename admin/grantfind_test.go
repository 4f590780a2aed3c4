package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A back office streams the file of its billing system: it asks what would change, makes
// the list equal to the file, and undoes it. A refused row removes nothing.
func TestStreamReplacesList(t *testing.T) {
	b := newFixture(t, false)
	server := b.serve()
	b.importStream(server, "text/csv", "", "userId,sku,endsAt\na,s,2037-01-31\nb,s,\n")
	b.clock = b.clock.Add(time.Second)
	post := func(query, body string) (done streamed) {
		t.Helper()
		b.send("acme", http.MethodPost, importPath+query, body, http.Header{"Content-Type": {"text/csv"}}).want(http.StatusOK, &done)
		return done
	}
	file := "userId,sku,endsAt\na,s,2037-02-01\nc,s,\n"
	if dry := post("?replaceList=true&dryRun=true", file); dry.Created != 1 || dry.Changed != 1 || dry.Removed != 1 || dry.Replaced {
		t.Errorf("the dry run: %+v", dry)
	}
	if bad := post("?replaceList=true", file+"d,,\n"); bad.Failed != 1 || bad.Removed != 0 || bad.Replaced {
		t.Errorf("with a refused row: %+v", bad)
	}
	b.clock = b.clock.Add(time.Second)
	done := post("?replaceList=true", file)
	if done.Unchanged != 2 || done.Removed != 1 || !done.Replaced {
		t.Errorf("the file: %+v", done)
	}
	var users []struct{ UserID, EndsAt, CreatedAt string }
	b.call(http.MethodGet, "/management/grants?sku=s", "").want(http.StatusOK, &users)
	if len(users) != 2 || users[0].EndsAt != "2037-02-01T00:00:00Z" || users[0].CreatedAt == "" {
		t.Errorf("the list has %+v", users)
	}
	b.call(http.MethodPost, defaultPath+"/imports/"+done.ImportID+"/undo", "").want(http.StatusOK, nil)
	b.call(http.MethodGet, "/management/grants?userId=b", "").want(http.StatusOK, &users)
	if len(users) != 1 {
		t.Errorf("b has %+v", users)
	}
	b.send("acme", http.MethodPost, importPath+"?replaceList=maybe", file, http.Header{"Content-Type": {"text/csv"}}).refused(http.StatusUnprocessableEntity, "validation_failed", "query.replaceList")
	b.send("acme", http.MethodPost, importPath+"?replaceList=true", "userId,sku\n", http.Header{"Content-Type": {"text/csv"}}).refused(http.StatusConflict, "conflict", "")
}

// Support knows the reader's e-mail address alone.
func TestEntitlementsByEmail(t *testing.T) {
	b := newFixture(t, false)
	b.call(http.MethodPost, defaultPath, `{"email":"Ada@example.com","sku":"s"}`).want(http.StatusCreated, nil)
	b.call(http.MethodPost, defaultPath, `{"email":"ada@example.com","userId":"u1","sku":"t"}`).want(http.StatusCreated, nil)
	var found []struct{ SKU, Token string }
	b.call(http.MethodGet, "/management/entitlements?email=ADA@example.com", "").want(http.StatusOK, &found)
	if len(found) != 2 {
		t.Fatalf("found %+v", found)
	}
	for _, e := range found {
		// A statement about a reader needs their user id.
		if (e.Token != "") != (e.SKU == "t") {
			t.Errorf("the token of %s is %q", e.SKU, e.Token)
		}
	}
	b.call(http.MethodGet, "/management/entitlements", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.userId")
}

// A search is followed by its links, and refuses a position that is none.
func TestFindGrantsOverHTTP(t *testing.T) {
	b := newFixture(t, false)
	for _, user := range []string{"a", "b", "c"} {
		b.clock = b.clock.Add(time.Second)
		b.call(http.MethodPost, defaultPath, `{"userId":"`+user+`","sku":"s"}`).want(http.StatusCreated, nil)
	}
	for _, path := range []string{"/management/grants?sku=s&limit=2", defaultPath + "?sku=s&limit=2"} {
		var page []struct{ UserID string }
		first := b.call(http.MethodGet, path, "").want(http.StatusOK, &page)
		next, _, _ := strings.Cut(strings.TrimPrefix(first.head.Get("Link"), "<"), ">")
		if len(page) != 2 || next == "" {
			t.Fatalf("%s: %+v, Link %q", path, page, first.head.Get("Link"))
		}
		base, _, _ := strings.Cut(path, "?")
		b.call(http.MethodGet, base+next, "").want(http.StatusOK, &page)
		if len(page) != 1 || page[0].UserID != "c" {
			t.Errorf("%s: the next page is %+v", path, page)
		}
	}
	b.call(http.MethodGet, "/management/grants?from=x", "").refused(http.StatusUnprocessableEntity, "validation_failed", "")
	b.call(http.MethodPost, "/management/grants/remove", `{"status":"ACTIVE"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.list")
}

// A program passes an identifier that it does not have. The other conditions alone would
// select the grants of all readers, so nothing is found or removed.
func TestEmptyConditionIsRefused(t *testing.T) {
	b := newFixture(t, false)
	b.call(http.MethodPost, defaultPath, `{"userId":"u1","sku":"s"}`).want(http.StatusCreated, nil)
	for _, name := range []string{"userId", "email", "publisherUserId", "publisherPurchaseId", "importId"} {
		b.call(http.MethodPost, "/management/grants/remove", `{"sku":"s","`+name+`":""}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body."+name)
		b.call(http.MethodGet, "/management/grants?sku=s&"+name+"=", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query."+name)
	}
	b.call(http.MethodPost, "/management/grants/remove", `{"sku":"s","list":""}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.list")
	b.call(http.MethodGet, "/management/signed-links?sku=", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.sku")
	b.call(http.MethodGet, "/management/grants?userId=u1&userId=u2", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.userId")
	b.call(http.MethodGet, "/management/grants?meta=a=1&meta=b=2", "").want(http.StatusOK, nil)
	var kept []record
	b.call(http.MethodGet, "/management/grants?sku=s", "").want(http.StatusOK, &kept)
	if len(kept) != 1 {
		t.Errorf("%d grants are left", len(kept))
	}
}

// The same with links; and all urls begin with nothing.
func TestEmptyConditionOfLinksIsRefused(t *testing.T) {
	b := newFixture(t, false)
	b.call(http.MethodPost, "/management/create-signed-link", `{"url":"https://site.example/a","sku":"s","userId":"u1"}`).want(http.StatusOK, nil)
	for _, operation := range []string{"revoke", "restore"} {
		for _, name := range []string{"userId", "publisherContentId", "url"} {
			b.call(http.MethodPost, "/management/signed-links"+"/"+operation, `{"sku":"s","`+name+`":""}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body."+name)
		}
		b.call(http.MethodPost, "/management/signed-links"+"/"+operation, `{"url":"*"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.url")
	}
	var active []record
	b.call(http.MethodGet, "/management/signed-links"+"?status=active", "").want(http.StatusOK, &active)
	if len(active) != 1 {
		t.Errorf("%d links are active", len(active))
	}
}
