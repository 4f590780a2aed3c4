package admin_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
)

const personPath = "/management/users"

// The documented calls of the reference, field by field: a reader is created, changed, found
// and shown, and is the user of the other API.
func TestReadersRecordHasEveryDocumentedField(t *testing.T) {
	b := newFixture(t, false)
	b.call(http.MethodPost, personPath, `{"email":"New.User@example.com","firstName":"New","lastName":"User"}`).want(http.StatusOK, nil)
	b.call(http.MethodPost, personPath, `{"email":"new.user@EXAMPLE.com"}`).want(http.StatusConflict, nil)
	path := personPath + "/new.user@example.com"
	address := `{"country":"SE","zip":"1","city":"c","street":"s","co":"x","lastName":"l","firstName":"f"}`
	b.call(http.MethodPatch, path, `{
		"firstName": "John", "lastName": "Doe", "nickname": "Johnny", "mobilePhone": "+1234567890", "workPhone": "+1234567891",
		"homePhone": "+1234567892", "billingAddress": `+address+`, "deliveryAddress": `+address+`, "user_metadata": {"additionalProperties": "string"},
		"companyInfo": {"companyName": "c", "vatNr": "v", "invoiceEmail": "i@example.com"},
		"given_name": "John", "family_name": "Doe", "phone_number": "+1", "locale": "sv", "picture": "https://p.example/1", "tags": ["vip"]
	}`).want(http.StatusOK, nil)
	got := b.call(http.MethodGet, path, "").want(http.StatusOK, nil).fields()
	postal := map[string]any{"country": "SE", "zip": "1", "city": "c", "street": "s", "co": "x", "lastName": "l", "firstName": "f"}
	want := map[string]any{
		"userId": "new.user@example.com", "firstName": "John", "lastName": "Doe", "email": "New.User@example.com", "emailVerified": false, "locale": "sv",
		"nickname": "Johnny", "picture": "https://p.example/1", "name": "John Doe", "mobilePhone": "+1234567890", "workPhone": "+1234567891",
		"homePhone": "+1234567892", "tags": []any{"vip"}, "user_metadata": map[string]any{"additionalProperties": "string"},
		"billingAddress": postal, "deliveryAddress": postal, "createdAt": got["createdAt"], "updatedAt": got["updatedAt"],
		"companyInfo": map[string]any{"companyName": "c", "vatNr": "v", "invoiceEmail": "i@example.com"}, "company": "c",
		"sub": "new.user@example.com", "given_name": "John", "family_name": "Doe", "phone_number": "+1",
	}
	if !reflect.DeepEqual(got, want) || got["createdAt"] == nil || got["updatedAt"] == nil {
		t.Errorf("the record is %v, want %v", got, want)
	}
	if user := b.call(http.MethodGet, "/api/users/new.user@example.com", "").want(http.StatusOK, nil).fields(); user["full_name"] != "John Doe" || user["phone"] != "+1" {
		t.Errorf("the other API has %v", user)
	}
	// What was read can be sent back, and null removes.
	b.call(http.MethodPatch, path, b.call(http.MethodGet, path, "").body).want(http.StatusOK, nil)
	if got := b.call(http.MethodPatch, path, `{"nickname":null,"companyInfo":null}`).want(http.StatusOK, nil).fields(); got["nickname"] != nil || got["company"] != nil || got["name"] != "John Doe" {
		t.Errorf("null leaves %v", got)
	}
	for patch, location := range map[string]string{
		`{"email":"other@example.com"}`: "body.email", `{"sub":"x"}`: "body.sub", `{"given_name":"a","firstName":"b"}`: "body.given_name",
		`{"plan":"x"}`: "body.plan", `{"homePhone":"` + strings.Repeat("1", 65) + `"}`: "body.homePhone", `{"billingAddress":{"planet":"x"}}`: "body.billingAddress.planet",
		`{"companyInfo":{"invoiceEmail":"x"}}`: "body.companyInfo.invoiceEmail",
	} {
		b.call(http.MethodPatch, path, patch).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	b.send("acme", http.MethodPut, path+"/user_metadata/preferences", "dark mode", http.Header{"Content-Type": {"text/plain"}}).want(http.StatusOK, nil)
	if got := b.call(http.MethodGet, path, "").fields(); !reflect.DeepEqual(got["user_metadata"], map[string]any{"additionalProperties": "string", "preferences": "dark mode"}) {
		t.Errorf("the metadata are %v", got["user_metadata"])
	}
	b.call(http.MethodDelete, path+"/user_metadata/preferences", "").want(http.StatusOK, nil)
	b.call(http.MethodGet, personPath+"/unknown", "").want(http.StatusNotFound, nil)
}

// What belongs to the issuer of the logins is refused by name, and never a silent success.
func TestLoginsAreManagedElsewhere(t *testing.T) {
	b := newFixture(t, false)
	for name, body := range map[string]string{
		"change-login-identifier": `{"email":"new.email@example.com"}`, "add-phone-identifier": `{"phoneNumber":"+46701234567"}`, "set-password": `{"password":"SecurePassword123!"}`,
	} {
		b.call(http.MethodPost, personPath+"/user123/"+name, body).refused(http.StatusConflict, "managed_elsewhere", "")
	}
	named := newFixtureWith(t, func(options *admin.Options) {
		options.ReaderIssuers = func(vendor string) []string {
			return []string{"https://login." + vendor + ".example", "https://sso.example"}
		}
	})
	got := named.call(http.MethodPost, personPath+"/user123/set-password", `{"password":"SecurePassword123!"}`)
	got.refused(http.StatusConflict, "managed_elsewhere", "")
	if !strings.Contains(got.body, "https://login.acme.example, https://sso.example") || strings.Contains(got.body, "SecurePassword") {
		t.Errorf("the answer does not name the issuers: %s", got.body)
	}
}

// What is kept about a reader by an address that their record does not have is exported as it
// is erased: with that address. Another reader's address is refused.
func TestExportByFurtherAddresses(t *testing.T) {
	b := newFixture(t, false)
	for id, email := range map[string]string{"ada": "ada@mail.example", "bob": "bob@mail.example"} {
		b.call(http.MethodPost, personPath, `{"userId":"`+id+`","email":"`+email+`"}`).want(http.StatusOK, nil)
	}
	b.call(http.MethodPost, defaultPath, `{"email":"ada.old@mail.example","sku":"archive"}`).want(http.StatusCreated, nil)
	b.call(http.MethodPost, defaultPath, `{"email":"ada.older@mail.example","sku":"attic"}`).want(http.StatusCreated, nil)
	export := personPath + "/ada/export"
	if got := b.call(http.MethodGet, export, "").want(http.StatusOK, nil).body; strings.Contains(got, "archive") {
		t.Errorf("without the address, the export has %s", got)
	}
	got := b.call(http.MethodGet, export+"?email=ADA.old@mail.example,ada.older@mail.example", "").want(http.StatusOK, nil).body
	if !strings.Contains(got, `"sku":"archive"`) || !strings.Contains(got, `"sku":"attic"`) {
		t.Errorf("with the addresses, the export has %s", got)
	}
	b.call(http.MethodGet, export+"?email=bob@mail.example", "").refused(http.StatusUnprocessableEntity, "validation_failed", "")
	b.call(http.MethodGet, export+"?email=none", "").refused(http.StatusUnprocessableEntity, "validation_failed", "")
	b.call(http.MethodGet, export+"?email="+strings.Repeat("a@mail.example,", 17), "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.email")
}

// Readers are found by the beginning of an id, an address or a name, in any case and form of
// Unicode. Pages follow each other while others are created.
func TestReadersAreFoundAndPaged(t *testing.T) {
	b := newFixture(t, false)
	for _, text := range []string{"ada|Ada|Zuse", "bo|Bo|Ek", "cy|Cy|A\u030angstro\u0308m"} {
		id, names, _ := strings.Cut(text, "|")
		first, last, _ := strings.Cut(names, "|")
		b.call(http.MethodPost, personPath, `{"userId":"`+id+`","email":"`+id+`@mail.example","firstName":"`+first+`","lastName":"`+last+`"}`).want(http.StatusOK, nil)
		b.clock = b.clock.Add(time.Second)
	}
	ids := func(query string) string {
		t.Helper()
		var found []struct{ UserID string }
		b.call(http.MethodGet, personPath+query, "").want(http.StatusOK, &found)
		all := make([]string, len(found))
		for i := range found {
			all[i] = found[i].UserID
		}
		return strings.Join(all, " ")
	}
	for query, want := range map[string]string{
		"?q=ADA": "ada", "?q=bo@MAIL": "bo", "?q=ek": "bo", "?q=%C3%A5ngstr": "cy", "?q=cy%20": "cy", "?q=use": "", "?limit=2": "ada bo", "?limit=2&from=2": "cy", "": "ada bo cy",
	} {
		if got := ids(query); got != want {
			t.Errorf("%q finds %q, want %q", query, got, want)
		}
	}
	b.call(http.MethodPost, personPath, `{"userId":"aaa","email":"aaa@mail.example"}`).want(http.StatusOK, nil)
	if got := ids("?limit=2&from=2"); got != "cy aaa" {
		t.Errorf("after another was created, the second page is %q", got)
	}
	b.call(http.MethodGet, personPath+"?from=x", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.from")
	b.call(http.MethodGet, personPath+"?from=-1", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.from")
}

// The export has what the erasure removes, and the erasure leaves another vendor's reader of
// the same id.
func TestReaderIsExportedAndErased(t *testing.T) {
	b := newFixture(t, false)
	b.call(http.MethodPost, personPath, `{"userId":"ada","email":"ada@mail.example","firstName":"Ada","lastName":"Zuse"}`).want(http.StatusOK, nil)
	b.call(http.MethodPost, defaultPath, `{"userId":"ada","sku":"news","firstName":"Ada"}`).want(http.StatusCreated, nil)
	b.send("other", http.MethodPost, personPath, `{"userId":"ada","email":"ada@mail.example"}`, http.Header{"Content-Type": {"application/json"}}).want(http.StatusOK, nil)
	exported := b.call(http.MethodGet, personPath+"/ada/export", "").want(http.StatusOK, nil).body
	for _, part := range []string{`{"kind":"users","id":["ada"]`, `{"kind":"readers"`, `{"kind":"grants"`, `{"kind":"audit"`, `"firstName":"Ada"`} {
		if !strings.Contains(exported, part) {
			t.Errorf("the export lacks %s: %s", part, exported)
		}
	}
	var erased struct {
		Success bool
		Erased  map[string]int
	}
	b.call(http.MethodDelete, personPath+"/ada", "").want(http.StatusOK, &erased)
	if !erased.Success || erased.Erased["users"] != 1 || erased.Erased["grants"] != 1 || erased.Erased["audit"] == 0 {
		t.Errorf("the erasure answers %+v", erased)
	}
	b.call(http.MethodGet, personPath+"/ada", "").want(http.StatusNotFound, nil)
	if again := b.call(http.MethodGet, personPath+"/ada/export", "").want(http.StatusOK, nil).body; again != "" {
		t.Errorf("after the erasure, the export has %s", again)
	}
	if log := b.call(http.MethodGet, "/management/audit", "").want(http.StatusOK, nil).body; !strings.Contains(log, "erase-reader") || strings.Contains(log, "Zuse") || strings.Contains(log, "ada") {
		t.Errorf("the audit log has %s", log)
	}
	b.send("other", http.MethodGet, personPath+"/ada", "", nil).want(http.StatusOK, nil)
}
