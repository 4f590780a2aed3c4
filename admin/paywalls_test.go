package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const paywallsPath = "/management/paywalls"

type paywallOffer struct {
	ID, SKU, Title, Description string
	Price, DiscountPrice        any
	Selected                    bool
}

type paywallRecord struct {
	ID, VendorID, Entity, Name, Status, Currency, Headline, PreviewURL, CreatedAt, ModifiedAt string
	Version                                                                                   int
	Features, FooterPaymentMethods                                                            []string
	Settings                                                                                  struct{ Template string }
	Subscriptions                                                                             []paywallOffer
}

// seedPaywall is the example of the published reference, with its fields.
const seedPaywall = `{"currency":"DKK","name":"Article paywall","status":"ACTIVE","headline":"Login for at læse artiklen",
	"logoUrl":"https://assets.example/logo.svg","mainColor":"#3377fe","features":["Danmarks nyhedsmedie"],"showLoginButton":true,
	"settings":{"template":"BOXES","useDefaultLogo":true,"useDefaultCurrency":true,"useDefaultColor":true,
		"styling":{"dropShadow":true,"backgroundColor":"#000000","showBackground":false},"displayOptions":{"enableGift":true,"enableCompany":true,"enableLoginButton":true}},
	"subscriptions":[{"id":"R4gX0YSbSU1WJA7bCrbQw","sku":"sid:fGb4GbMUclADQtBxoX1rl","poId":"VDuH_poxqIPKW638Ok43q","title":"Månedsabonnement",
		"description":"<p>Kun 720 kr./år – spar 20%</p>","price":99.50,"discountPrice":"75","discountCode":"","periodText":"måned","tag":"","selected":true,
		"features":["Daglige nyheder"],"buttonText":"KØB ADGANG","readMoreText":"Læs mere","preferBusiness":false,"url":"https://24victoria.dk/business"}],
	"singlePurchase":{"enabled":true,"title":"Buy Now","description":"One-time purchase","discountCode":""},
	"footerPaymentMethods":["visa","mastercard","google-pay","apple-pay"]}`

func TestPaywalls(t *testing.T) {
	b := newFixture(t, false)
	var made paywallRecord
	got := b.call(http.MethodPost, paywallsPath, seedPaywall).want(http.StatusCreated, &made)
	one := paywallsPath + "/" + made.ID
	if !strings.HasPrefix(made.ID, "pw_") || made.Version != 1 || made.VendorID != "acme" || made.Entity != "Paywall" || got.head.Get("Location") != "paywalls/"+made.ID {
		t.Errorf("made %+v, %s", made, got.head.Get("Location"))
	}
	if !strings.Contains(got.body, `"price":99.50,"discountPrice":75`) {
		t.Errorf("the digits of prices are not kept: %s", got.body)
	}
	var read, put paywallRecord
	first := b.call(http.MethodGet, one, "").want(http.StatusOK, &read)
	if first.head.Get("Cache-Control") != "private, max-age=3600" || first.head.Get("Vary") != "Authorization, Cache-Timestamp" || fmt.Sprint(read) != fmt.Sprint(made) {
		t.Errorf("read %+v with %v", read, first.head)
	}
	etag := first.head.Get("ETag")

	// What was read can be sent back, and changes nothing; a change is another version.
	if again := b.send("acme", http.MethodPut, one, first.body, ifMatch(etag)).want(http.StatusOK, &read); again.head.Get("ETag") != etag || read.Version != 1 {
		t.Errorf("sent back: version %d", read.Version)
	}
	b.send("acme", http.MethodPatch, one, `{"headline":"Læs videre","subscriptions":[{"sku":"a","title":"A"},{"sku":"b","title":"B"}]}`, ifMatch(etag)).want(http.StatusOK, &read)
	if read.Version != 2 || read.Headline != "Læs videre" || read.Currency != "DKK" || len(read.Subscriptions) != 2 || read.Subscriptions[1].ID != "sub_2" {
		t.Errorf("patched to %+v", read)
	}
	b.send("acme", http.MethodPatch, one, `{"headline":"x"}`, ifMatch(etag)).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.send("acme", http.MethodPut, one, `{"headline":"x"}`, ifMatch(etag)).refused(http.StatusPreconditionFailed, "precondition_failed", "")

	// PUT replaces, and makes one under an id of the caller's.
	b.call(http.MethodPut, one, `{"headline":"Only this"}`).want(http.StatusOK, &put)
	if put.Version != 3 || put.Currency != "" || put.Settings.Template != "BOXES" || len(put.Subscriptions) != 0 {
		t.Errorf("put %+v", put)
	}
	b.call(http.MethodPut, paywallsPath+"/main", seedPaywall).want(http.StatusCreated, &read)
	b.send("acme", http.MethodPut, paywallsPath+"/none", seedPaywall, ifMatch("*")).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	var versions, all []paywallRecord
	b.call(http.MethodGet, one+"/versions", "").want(http.StatusOK, &versions)
	if len(versions) != 3 || versions[0].Version != 3 || versions[2].Headline != "Login for at læse artiklen" {
		t.Errorf("versions %+v", versions)
	}
	if list := b.call(http.MethodGet, paywallsPath, "").want(http.StatusOK, &all); len(all) != 2 || list.head.Get("Cache-Control") != "private, max-age=3600" {
		t.Errorf("listed %+v with %v", all, list.head)
	}
	for _, call := range [][2]string{{http.MethodGet, ""}, {http.MethodPatch, `{"name":"x"}`}, {http.MethodDelete, ""}} {
		b.callAs("other", call[0], one, call[1]).refused(http.StatusNotFound, "not_found", "")
	}
	b.call(http.MethodDelete, one, "").want(http.StatusNoContent, nil)
	b.call(http.MethodGet, one, "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodGet, one+"/versions", "").refused(http.StatusNotFound, "not_found", "")
}

// Only twenty earlier versions are kept.
func TestPaywallVersionsAreBounded(t *testing.T) {
	b := newFixture(t, false)
	for i := range 23 {
		b.call(http.MethodPut, paywallsPath+"/main", fmt.Sprintf(`{"headline":"%d"}`, i))
	}
	var versions []paywallRecord
	b.call(http.MethodGet, paywallsPath+"/main/versions", "").want(http.StatusOK, &versions)
	if len(versions) != 21 || versions[0].Version != 23 || versions[20].Version != 3 {
		t.Errorf("%d versions, from %d to %d", len(versions), versions[0].Version, versions[len(versions)-1].Version)
	}
}

// Each bad field is named, and nothing is stored.
func TestPaywallRefusals(t *testing.T) {
	b := newFixture(t, false)
	for body, location := range map[string]string{
		`{"status":"DELETED"}`:                                          "body.status",
		`{"currency":"kr"}`:                                             "body.currency",
		`{"mainColor":"red;}*{display:none"}`:                           "body.mainColor",
		`{"logoUrl":"javascript:alert(1)"}`:                             "body.logoUrl",
		`{"logoUrl":"https://u:p@x.example/"}`:                          "body.logoUrl",
		`{"settings":{"template":"POPUP"}}`:                             "body.settings.template",
		`{"headline":"` + strings.Repeat("x", 301) + `"}`:               "body.headline",
		`{"headline":"a\u202eb"}`:                                       "body.headline",
		`{"footerPaymentMethods":["bitcoin"]}`:                          "body.footerPaymentMethods[0]",
		`{"features":["` + strings.Repeat("x", 201) + `"]}`:             "body.features[0]",
		`{"subscriptions":[{"title":"x"}]}`:                             "body.subscriptions[0].sku",
		`{"subscriptions":[{"sku":"a","title":"x","price":-1}]}`:        "body.subscriptions[0].price",
		`{"subscriptions":[{"sku":"a","title":"x","price":1e3}]}`:       "body.subscriptions[0].price",
		`{"subscriptions":[{"sku":"a","title":"x","discountPrice":1}]}`: "body.subscriptions[0].discountPrice",
		`{"subscriptions":[{"sku":"a","title":"x","url":"/x"}]}`:        "body.subscriptions[0].url",
		`{"subscriptions":[{"sku":"a","title":"x","selected":true},{"sku":"b","title":"y","selected":true}]}`: "body.subscriptions[1].selected",
		`{"subscriptions":[{"sku":"a","title":"x","id":"1"},{"sku":"b","title":"y","id":"1"}]}`:               "body.subscriptions[1].id",
		`{"subscriptions":[{"sku":"a","title":"x","description":"` + strings.Repeat("y", 2001) + `"}]}`:       "body.subscriptions[0].description",
		`{"subscriptions":[` + strings.TrimSuffix(strings.Repeat(`{"sku":"a","title":"x"},`, 13), ",") + `]}`: "body.subscriptions",
		`{"price":1}`: "body.price",
	} {
		b.call(http.MethodPost, paywallsPath, body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
	b.call(http.MethodPut, paywallsPath+"/a.b", `{}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.id")
	var all []paywallRecord
	if b.call(http.MethodGet, paywallsPath, "").want(http.StatusOK, &all); len(all) != 0 {
		t.Errorf("stored %+v", all)
	}
}

// An editor of the paywall pastes what a stranger sent: a script in a description never
// reaches a reader, whichever field it is in. It is removed when it is written.
func TestPaywallMarkupIsSanitised(t *testing.T) {
	b := newFixture(t, false)
	attack := `<p onclick=alert(1)>Read <b>all</b><script>alert(1)</script><img src=x onerror=alert(1)><a href=\"javascript:alert(1)\">x</a> <a href=\"https://news.example/\">more</a><style>*{display:none}</style><svg><script>1</script></svg>`
	var made paywallRecord
	b.call(http.MethodPut, paywallsPath+"/main", `{"subscriptions":[{"sku":"a","title":"x","description":"`+attack+`"}],"singlePurchase":{"enabled":true,"description":"`+attack+`"}}`).want(http.StatusCreated, &made)
	stored := made.Subscriptions[0].Description
	for _, bad := range []string{"script", "onclick", "onerror", "javascript", "style", "svg", "img", "alert"} {
		if strings.Contains(stored, bad) {
			t.Errorf("%q is stored: %s", bad, stored)
		}
	}
	if !strings.Contains(stored, "<b>all</b>") || !strings.Contains(stored, `<a href="https://news.example/"`) {
		t.Errorf("what is allowed is not stored: %s", stored)
	}
}

// The web component reads a paywall without a token, from any origin; the preview is the
// page as readers get it.
func TestPublicPaywall(t *testing.T) {
	p := newPublic(t)
	id, secret := p.client("acme", "paywalls:read", "paywalls:write")
	bearer := http.Header{"Authorization": {"Bearer " + p.token(id, secret)}, "Content-Type": {"application/json"}}
	var made paywallRecord
	p.ask(http.MethodPut, paywallsPath+"/main", seedPaywall, bearer).want(http.StatusCreated, &made)
	if made.PreviewURL != "http://example.com/paywalls/acme/main/preview" {
		t.Errorf("previewUrl is %s", made.PreviewURL)
	}
	var read paywallRecord
	got := p.ask(http.MethodGet, "/paywalls/acme/main", "", http.Header{"Origin": {"https://elsewhere.example"}}).want(http.StatusOK, &read)
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "", "Set-Cookie": "", "Cache-Control": "public, max-age=60", "Content-Type": "application/json",
	} {
		if got.head.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.head.Get(name), want)
		}
	}
	if read.PreviewURL != "main/preview" || strings.Contains(got.body, "example.com/paywalls") {
		t.Errorf("the record that caches keep names the host of the request: %s", got.body)
	}
	read.PreviewURL = made.PreviewURL
	if fmt.Sprint(read) != fmt.Sprint(made) {
		t.Errorf("read %+v, want %+v", read, made)
	}
	p.ask(http.MethodGet, "/paywalls/acme/main", "", http.Header{"If-None-Match": {`"x", ` + got.head.Get("ETag")}}).want(http.StatusNotModified, nil)
	if pre := p.ask(http.MethodOptions, "/paywalls/acme/main", "", nil).want(http.StatusNoContent, nil); pre.head.Get("Access-Control-Allow-Headers") == "" {
		t.Errorf("the preflight has %v", pre.head)
	}
	page := p.ask(http.MethodGet, "/paywalls/acme/main/preview?reason=link_expired&lang=sv", "", nil).want(http.StatusOK, nil)
	if !strings.Contains(page.body, "Länken har gått ut") || !strings.Contains(page.body, "KØB ADGANG") || !strings.Contains(page.head.Get("Content-Security-Policy"), "img-src https://assets.example") {
		t.Errorf("the preview is %v %s", page.head, page.body)
	}
	p.ask(http.MethodGet, "/paywalls/acme/main/preview?reason=nothing", "", nil).refused(http.StatusUnprocessableEntity, "validation_failed", "query.reason")
	for _, unknown := range []string{"/paywalls/acme/none", "/paywalls/none/main", "/paywalls/_system/main", "/paywalls/acme/%00", "/paywalls/acme/none/preview"} {
		p.ask(http.MethodGet, unknown, "", nil).refused(http.StatusNotFound, "not_found", "")
	}
	// A canceled one is shown to its editors only.
	p.ask(http.MethodPatch, paywallsPath+"/main", `{"status":"CANCELED"}`, bearer).want(http.StatusOK, nil)
	p.ask(http.MethodGet, "/paywalls/acme/main", "", nil).refused(http.StatusNotFound, "not_found", "")
	p.ask(http.MethodGet, "/paywalls/acme/main/preview", "", nil).want(http.StatusOK, nil)
}
