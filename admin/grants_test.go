package admin_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	listsPath    = "/management/access-lists"
	defaultPath  = listsPath + "/src_default/grants"
	exampleGrant = `{
		"email": "user@example.com",
		"userId": "pub_user_123",
		"publisherUserId": "pub_user_123",
		"sku": "premium-article-123",
		"poId": "po_123abc",
		"status": "ACTIVE",
		"startsAt": "2024-01-01T00:00:00Z",
		"endsAt": "2024-12-31T23:59:59Z",
		"firstName": "John",
		"lastName": "Doe",
		"phone": "+1234567890",
		"deliveryAddress": {"street": "s", "city": "c", "zip": "z", "country": "SE", "co": "x"},
		"billingAddress": {"street": "s", "city": "c", "zip": "z", "country": "SE", "co": "x"},
		"publisherPurchaseId": "pub_purchase_123",
		"notes": "Bulk purchase",
		"extraFields": {"additionalProperties": "string"},
		"excludeFromStats": false
	}`
)

type record struct {
	ID, Name, Description, Type, Status, Source string
	ExcludeFromStats                            bool
}

func TestAccessLists(t *testing.T) {
	b := newFixture(t, false)
	var lists []record
	b.call(http.MethodGet, listsPath, "").want(http.StatusOK, &lists)
	if len(lists) != 1 || lists[0].ID != "src_default" || lists[0].Status != "ACTIVE" {
		t.Fatalf("a new vendor has %+v", lists)
	}

	example := `{"name":"My Partner API","description":"Purchases from partner system","type":"MANUAL","status":"ACTIVE","excludeFromStats":false}`
	var made record
	got := b.call(http.MethodPost, listsPath, example).want(http.StatusCreated, &made)
	if !strings.HasPrefix(made.ID, "src_") || got.head.Get("Location") != "access-lists/"+made.ID {
		t.Errorf("made %+v at %s", made, got.head.Get("Location"))
	}
	want := map[string]any{
		"id": made.ID, "name": "My Partner API", "description": "Purchases from partner system",
		"type": "MANUAL", "status": "ACTIVE", "excludeFromStats": false,
		"createdAt": b.clock.Format(time.RFC3339), "updatedAt": b.clock.Format(time.RFC3339),
	}
	if !reflect.DeepEqual(got.fields(), want) {
		t.Errorf("the answer is %v, want %v", got.fields(), want)
	}
	path := listsPath + "/" + made.ID
	if got := b.call(http.MethodGet, path, "").want(http.StatusOK, nil); !reflect.DeepEqual(got.fields(), want) {
		t.Errorf("GET gives %v", got.fields())
	}

	// PATCH changes named fields, PUT all.
	var changed record
	b.call(http.MethodPatch, path, `{"status":"INACTIVE"}`).want(http.StatusOK, &changed)
	if changed.Status != "INACTIVE" || changed.Name != "My Partner API" || changed.Description == "" {
		t.Errorf("PATCH gives %+v", changed)
	}
	b.call(http.MethodPut, path, `{"name":"Other","excludeFromStats":true}`).want(http.StatusOK, &changed)
	if changed != (record{ID: made.ID, Name: "Other", Type: "MANUAL", Status: "INACTIVE", ExcludeFromStats: true}) {
		t.Errorf("PUT gives %+v", changed)
	}

	for body, location := range map[string]string{
		`{}`:                             "body.name",
		`{"name":""}`:                    "body.name",
		`{"name":"x","type":"AUTO"}`:     "body.type",
		`{"name":"x","status":"active"}`: "body.status",
		`{"name":"x","id":"src_mine"}`:   "body.id",
		`{"name":1}`:                     "body.name",
	} {
		b.call(http.MethodPost, listsPath, body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
		b.call(http.MethodPut, path, body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch} {
		body := ""
		if method != http.MethodGet {
			body = `{"name":"x"}`
		}
		b.call(method, listsPath+"/src_none", body).refused(http.StatusNotFound, "not_found", "")
	}
}

// The reference's example, field by field, in both directions.
func TestGrantsAsInTheReference(t *testing.T) {
	b := newFixture(t, false)
	got := b.call(http.MethodPost, defaultPath, exampleGrant)
	got.want(http.StatusCreated, nil)
	shown := got.fields()
	var want map[string]any
	if err := json.Unmarshal([]byte(exampleGrant), &want); err != nil {
		t.Fatal(err)
	}
	now := b.clock.Format(time.RFC3339)
	want["id"], want["source"], want["createdAt"], want["updatedAt"] = shown["id"], "src_default", now, now
	if !reflect.DeepEqual(shown, want) {
		t.Errorf("the answer is\n%v, want\n%v", shown, want)
	}
	id, _ := shown["id"].(string)
	path := defaultPath + "/" + id
	if got.head.Get("Location") != "grants/"+id {
		t.Errorf("Location is %s", got.head.Get("Location"))
	}
	if read := b.call(http.MethodGet, path, "").want(http.StatusOK, nil).fields(); !reflect.DeepEqual(read, want) {
		t.Errorf("GET gives %v", read)
	}
	var all []map[string]any
	b.call(http.MethodGet, defaultPath, "").want(http.StatusOK, &all)
	if len(all) != 1 || !reflect.DeepEqual(all[0], want) {
		t.Errorf("the list holds %v", all)
	}

	// PUT clears the fields that it does not name.
	b.clock = b.clock.Add(time.Second)
	then := b.clock.Format(time.RFC3339)
	replaced := b.call(http.MethodPut, path, `{"userId":"u2","sku":"other","status":"ACTIVE","endsAt":null,"source":"src_default"}`).want(http.StatusOK, nil).fields()
	if !reflect.DeepEqual(replaced, map[string]any{
		"id": id, "source": "src_default", "userId": "u2", "sku": "other", "status": "ACTIVE", "excludeFromStats": false, "createdAt": now, "updatedAt": then,
	}) {
		t.Errorf("PUT gives %v", replaced)
	}
	if gone := b.call(http.MethodDelete, path, ""); gone.code != http.StatusNoContent || gone.body != "" {
		t.Errorf("DELETE: %d %s", gone.code, gone.body)
	}
	b.call(http.MethodDelete, path, "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodGet, path, "").refused(http.StatusNotFound, "not_found", "")
}

func TestGrantBadInputStoresNothing(t *testing.T) {
	b := newFixture(t, false)
	for name, test := range map[string]struct{ body, location string }{
		"no sku":            {`{"userId":"u"}`, "body.sku"},
		"empty sku":         {`{"userId":"u","sku":""}`, "body.sku"},
		"no reader":         {`{"sku":"s"}`, "body.userId"},
		"ends before start": {`{"userId":"u","sku":"s","startsAt":"2027-01-02T00:00:00Z","endsAt":"2027-01-01T00:00:00Z"}`, "body.endsAt"},
		"ends at its start": {`{"userId":"u","sku":"s","startsAt":"2027-01-02T00:00:00Z","endsAt":"2027-01-02T01:00:00+01:00"}`, "body.endsAt"},
		"a date alone":      {`{"userId":"u","sku":"s","startsAt":"2027-01-02"}`, "body.startsAt"},
		"no such day":       {`{"userId":"u","sku":"s","startsAt":"2027-02-30T00:00:00Z"}`, "body.startsAt"},
		"time as number":    {`{"userId":"u","sku":"s","startsAt":1700000000}`, "body.startsAt"},
		"status":            {`{"userId":"u","sku":"s","status":"PAUSED"}`, "body.status"},
		"another list":      {`{"userId":"u","sku":"s","source":"src_other"}`, "body.source"},
		"unknown field":     {`{"userId":"u","sku":"s","expiresAt":"2027-01-01T00:00:00Z"}`, "body.expiresAt"},
		"other case":        {`{"userId":"u","sku":"s","EndsAt":"2027-01-01T00:00:00Z"}`, "body.EndsAt"},
		"id of theirs":      {`{"userId":"u","sku":"s","id":"grant_mine"}`, "body.id"},
		"bad e-mail":        {`{"email":"invalid","sku":"s"}`, "body.email"},
		"user as number":    {`{"userId":7,"sku":"s"}`, "body.userId"},
		"extra as number":   {`{"userId":"u","sku":"s","extraFields":{"a":1}}`, "body.extraFields.a"},
		"address field":     {`{"userId":"u","sku":"s","billingAddress":{"planet":"x"}}`, "body.billingAddress.planet"},
		"control in user":   {`{"userId":"u\u0000v","sku":"s"}`, "body.userId"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call(http.MethodPost, defaultPath, test.body)
			got.t = t
			got.refused(http.StatusUnprocessableEntity, "validation_failed", test.location)
		})
	}
	b.call(http.MethodPost, listsPath+"/src_none/grants", `{"userId":"u","sku":"s"}`).refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodGet, listsPath+"/src_none/grants", "").refused(http.StatusNotFound, "not_found", "")
	if got := b.call(http.MethodGet, defaultPath, "").want(http.StatusOK, nil); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("a grant was stored: %s", got.body)
	}
}

func TestGrantPages(t *testing.T) {
	b := newFixture(t, false)
	for range 5 {
		b.clock = b.clock.Add(time.Second)
		b.call(http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`).want(http.StatusCreated, nil)
	}
	var first, second []record
	page := b.call(http.MethodGet, defaultPath+"?limit=3", "").want(http.StatusOK, &first)
	if len(first) != 3 || page.head.Get("Link") == "" {
		t.Fatalf("the first page has %d, and the link %q", len(first), page.head.Get("Link"))
	}
	last := b.call(http.MethodGet, defaultPath+"?limit=3&from="+first[2].ID, "").want(http.StatusOK, &second)
	if len(second) != 2 || last.head.Get("Link") != "" || second[0].ID <= first[2].ID {
		t.Errorf("the second page has %+v, and the link %q", second, last.head.Get("Link"))
	}
}

// A vendor cannot access another vendor's records by their ids.
func TestVendorsSeeOnlyTheirOwn(t *testing.T) {
	b := newFixture(t, true)
	var list, grant record
	b.call(http.MethodPost, listsPath, `{"name":"x"}`).want(http.StatusCreated, &list)
	b.call(http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`).want(http.StatusCreated, &grant)
	var link linkMade
	b.call(http.MethodPost, createLink, `{"sku":"s"}`).want(http.StatusOK, &link)

	for _, path := range []string{
		listsPath + "/" + list.ID, listsPath + "/" + list.ID + "/grants",
		defaultPath + "/" + grant.ID, "/management/signed-links/" + link.TokenID,
	} {
		b.callAs("other", http.MethodGet, path, "").refused(http.StatusNotFound, "not_found", "")
		b.call(http.MethodGet, path, "").want(http.StatusOK, nil)
	}
	b.callAs("other", http.MethodPut, listsPath+"/"+list.ID, `{"name":"mine"}`).refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodPatch, listsPath+"/"+list.ID, `{"name":"mine"}`).refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodPost, listsPath+"/"+list.ID+"/grants", `{"userId":"u","sku":"s"}`).refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodPut, defaultPath+"/"+grant.ID, `{"userId":"u","sku":"s"}`).refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodDelete, defaultPath+"/"+grant.ID, "").refused(http.StatusNotFound, "not_found", "")
	b.callAs("other", http.MethodDelete, "/management/signed-links/"+link.TokenID, "").refused(http.StatusNotFound, "not_found", "")
	for _, path := range []string{"/management/signed-links", "/management/entitlements?userId=u", defaultPath} {
		if got := b.callAs("other", http.MethodGet, path, "").want(http.StatusOK, nil); strings.TrimSpace(got.body) != "[]" {
			t.Errorf("%s shows another vendor's records: %s", path, got.body)
		}
	}
}
