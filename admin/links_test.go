package admin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
)

const createLink = "/management/create-signed-link"

// linkMade is the response with a new link.
type linkMade struct {
	SignedURL, PathURL, Token, TokenID, ExpiresAt, SKU, PublisherContentID string
}

// The reference's example request, compared field by field.
func TestCreateSignedLink(t *testing.T) {
	b := newFixture(t, false)
	got := b.call(http.MethodPost, createLink, `{
		"url": "https://example.com/article/123?a=1#top",
		"sku": "premium-subscription",
		"purchaseOption": "monthly",
		"publisherContentId": "article-2024-01-15-news",
		"userId": "user-456",
		"maxUses": 1000,
		"expiresIn": "7d",
		"meta": {"campaign": "autumn", "wave": 2, "test": true}
	}`)
	for _, field := range []string{"signedUrl", "token", "tokenId", "expiresAt", "sku", "publisherContentId"} {
		if got.fields()[field] == nil {
			t.Errorf("the answer lacks %s: %s", field, got.body)
		}
	}
	var made linkMade
	got.want(http.StatusOK, &made)
	if want := "https://example.com/article/123?a=1&token=" + made.Token + "#top"; made.SignedURL != want {
		t.Errorf("signedUrl is %s, want %s", made.SignedURL, want)
	}
	if want := "https://example.com/.gatefold/l/" + made.Token + "/article/123?a=1#top"; made.PathURL != want {
		t.Errorf("pathUrl is %s, want %s", made.PathURL, want)
	}
	if want := b.clock.Add(7 * 24 * time.Hour).Format(time.RFC3339); made.ExpiresAt != want {
		t.Errorf("expiresAt is %s, want %s", made.ExpiresAt, want)
	}

	set, err := b.keyring.Source("acme").KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	claims, err := keys.VerifyLink(made.Token, keys.VendorIssuer("acme"), set, b.clock)
	if err != nil {
		t.Fatalf("the token does not verify: %v", err)
	}
	if claims.ID != made.TokenID || claims.Subject != "user-456" || claims.MaxUses != 1000 || claims.PurchaseOption != "monthly" || string(claims.Meta) != `{"campaign":"autumn","test":true,"wave":2}` {
		t.Errorf("the claims are %+v", claims)
	}
}

func TestLinkWithoutURLHasNoSignedURL(t *testing.T) {
	b := newFixture(t, false)
	got := b.call(http.MethodPost, createLink, `{"sku":"premium"}`).want(http.StatusOK, nil)
	if _, there := got.fields()["signedUrl"]; there {
		t.Errorf("signedUrl of a link without url: %s", got.body)
	}
	if _, there := got.fields()["pathUrl"]; there {
		t.Errorf("pathUrl of a link without url: %s", got.body)
	}
}

func TestLinkLifetimes(t *testing.T) {
	b := newFixture(t, false)
	for text, want := range map[string]time.Duration{
		``:                         7 * 24 * time.Hour,
		`,"expiresIn":"90s"`:       90 * time.Second,
		`,"expiresIn":90`:          90 * time.Second,
		`,"expiresIn":"12h"`:       12 * time.Hour,
		`,"expiresIn":"366d"`:      366 * 24 * time.Hour,
		`,"expiresIn":31622400`:    366 * 24 * time.Hour,
		`,"expiresIn":"0s"`:        0,
		`,"expiresIn":0`:           0,
		`,"expiresIn":-1`:          0,
		`,"expiresIn":1.5`:         0,
		`,"expiresIn":"367d"`:      0,
		`,"expiresIn":31622401`:    0,
		`,"expiresIn":"7 d"`:       0,
		`,"expiresIn":"P7D"`:       0,
		`,"expiresIn":"7"`:         0,
		`,"expiresIn":""`:          0,
		`,"expiresIn":true`:        0,
		`,"expiresIn":null`:        0,
		`,"expiresIn":{}`:          0,
		`,"expiresIn":1e400`:       0,
		`,"expiresIn":"99999999d"`: 0,
	} {
		got := b.call(http.MethodPost, createLink, `{"sku":"s"`+text+`}`)
		if want == 0 {
			if got.code != http.StatusUnprocessableEntity && got.code != http.StatusBadRequest {
				t.Errorf("%s: %d %s", text, got.code, got.body)
			}
			continue
		}
		var made linkMade
		got.want(http.StatusOK, &made)
		if wanted := b.clock.Add(want).Format(time.RFC3339); made.ExpiresAt != wanted {
			t.Errorf("%s: expires %s, want %s", text, made.ExpiresAt, wanted)
		}
	}
}

func TestLinkBadInputStoresNothing(t *testing.T) {
	b := newFixture(t, false)
	long := strings.Repeat("x", 300)
	for name, test := range map[string]struct{ body, location string }{
		"nothing to open":    {`{}`, "body.url"},
		"only a purchase":    {`{"purchaseOption":"p"}`, "body.url"},
		"relative url":       {`{"url":"/articles/x"}`, "body.url"},
		"script url":         {`{"url":"javascript:alert(1)"}`, "body.url"},
		"user in url":        {`{"url":"https://news.example.com@evil.example/x"}`, "body.url"},
		"dots in url":        {`{"url":"https://news.example.com/a/../b"}`, "body.url"},
		"control in url":     {`{"url":"https://news.example.com/\r\nSet-Cookie: x"}`, "body.url"},
		"token in url":       {`{"url":"https://news.example.com/x?a=1&%74oken=y"}`, "body.url"},
		"long url":           {`{"url":"https://news.example.com/` + strings.Repeat("x", 2048) + `"}`, "body.url"},
		"url that is number": {`{"url":1}`, "body.url"},
		"long sku":           {`{"sku":"` + long + `"}`, "body.sku"},
		"long in bytes":      {`{"sku":"` + strings.Repeat("ä", 200) + `"}`, "body.sku"},
		"long content id":    {`{"publisherContentId":"` + long + `"}`, "body.publisherContentId"},
		"no uses":            {`{"sku":"s","maxUses":0}`, "body.maxUses"},
		"negative uses":      {`{"sku":"s","maxUses":-1}`, "body.maxUses"},
		"half a use":         {`{"sku":"s","maxUses":1.5}`, "body.maxUses"},
		"too many uses":      {`{"sku":"s","maxUses":2147483648}`, "body.maxUses"},
		"uses as text":       {`{"sku":"s","maxUses":"3"}`, "body.maxUses"},
		"meta in meta":       {`{"sku":"s","meta":{"a":{"b":1}}}`, "body.meta.a"},
		"meta null":          {`{"sku":"s","meta":{"a":null}}`, "body.meta.a"},
		"long meta":          {`{"sku":"s","meta":{"a":"` + strings.Repeat("x", 1100) + `"}}`, "body.meta"},
		"unknown field":      {`{"sku":"s","max_uses":1}`, "body"},
		"tokenId of theirs":  {`{"sku":"s","tokenId":"mine"}`, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call(http.MethodPost, createLink, test.body)
			got.t = t
			if test.location == "body" {
				got.refused(http.StatusUnprocessableEntity, "validation_failed", "")
				return
			}
			got.refused(http.StatusUnprocessableEntity, "validation_failed", test.location)
		})
	}
	if got := b.call(http.MethodGet, "/management/signed-links", "").want(http.StatusOK, nil); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("a link was stored: %s", got.body)
	}
}

func TestSignedLinksAreShownUsedAndRevoked(t *testing.T) {
	b := newFixture(t, false)
	var made linkMade
	b.call(http.MethodPost, createLink, `{"url":"https://news.example.com/x","maxUses":1,"userId":"u","expiresIn":60}`).want(http.StatusOK, &made)
	path := "/management/signed-links/" + made.TokenID
	status := func() string {
		t.Helper()
		got := b.call(http.MethodGet, path, "").want(http.StatusOK, nil)
		if strings.Contains(got.body, "eyJ") {
			t.Errorf("a token is shown: %s", got.body)
		}
		shown, _ := got.fields()["status"].(string)
		return shown
	}
	if got := status(); got != "active" {
		t.Errorf("a new link is %s", got)
	}
	err := b.store.Redeem(t.Context(), "acme", policy.Redemption{
		Issuer: keys.VendorIssuer("acme"), LinkID: made.TokenID, ID: "one", MaxUses: 1, At: b.clock, ExpiresAt: b.clock.Add(time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := status(); got != "used_up" {
		t.Errorf("a used link is %s", got)
	}
	b.clock = b.clock.Add(time.Minute)
	if got := status(); got != "expired" {
		t.Errorf("a link at its end is %s", got)
	}
	for range 2 { // idempotent
		if got := b.call(http.MethodDelete, path, ""); got.code != http.StatusNoContent || got.body != "" {
			t.Errorf("DELETE: %d %s", got.code, got.body)
		}
	}
	if got := status(); got != "revoked" {
		t.Errorf("a revoked link is %s", got)
	}
	b.call(http.MethodGet, "/management/signed-links/link_none", "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodDelete, "/management/signed-links/link_none", "").refused(http.StatusNotFound, "not_found", "")
}

func TestListingFollowsLink(t *testing.T) {
	b := newFixture(t, true)
	want := []string{}
	for range 7 {
		b.clock = b.clock.Add(time.Second)
		var made linkMade
		b.call(http.MethodPost, createLink, `{"sku":"s"}`).want(http.StatusOK, &made)
		want = append(want, made.TokenID)
	}
	var got []string
	path := "/management/signed-links"
	for next := "?limit=3&vendor=acme"; next != ""; {
		page := b.call(http.MethodGet, path+next, "")
		var links []struct{ TokenID string }
		page.want(http.StatusOK, &links)
		for _, link := range links {
			got = append(got, link.TokenID)
		}
		next = ""
		if link := page.head.Get("Link"); link != "" {
			next, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), `>; rel="next"`)
			if query, err := url.ParseQuery(next[1:]); err != nil || query.Get("vendor") != "acme" {
				t.Fatalf("the link to the next page lost the vendor: %s", link)
			}
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the pages hold %v, want %v", got, want)
	}
}

// The vendor declares a content space, and a new link that names a content id alone is one
// of it, which the answer says.
func TestDeclaredContentSpace(t *testing.T) {
	b := newFixture(t, false)
	space := func(link string) any {
		t.Helper()
		got := b.call(http.MethodPost, createLink, link).want(http.StatusOK, nil).fields()
		shown := b.call(http.MethodGet, "/management/signed-links/"+got["tokenId"].(string), "").want(http.StatusOK, nil).fields()
		if shown["contentSpace"] != got["contentSpace"] {
			t.Errorf("the link has the space %v, the answer %v", shown["contentSpace"], got["contentSpace"])
		}
		return got["contentSpace"]
	}
	const bare = `{"publisherContentId":"hello"}`
	if got := space(bare); got != nil {
		t.Errorf("without a declaration the space is %v", got)
	}
	const path = "/management/content-space"
	b.call(http.MethodPut, path, `{"contentSpace":"news"}`).want(http.StatusOK, nil)
	if got := b.call(http.MethodGet, path, "").want(http.StatusOK, nil).fields()["contentSpace"]; got != "news" {
		t.Errorf("declared is %v", got)
	}
	for link, want := range map[string]any{
		bare: "news",
		`{"publisherContentId":"hello","contentSpace":"films"}`:                       "films",
		`{"publisherContentId":"hello","url":"https://news.example.com/films/hello"}`: nil, // that of the page
		`{"sku":"premium"}`: nil,
	} {
		if got := space(link); got != want {
			t.Errorf("%s has the space %v, want %v", link, got, want)
		}
	}
	rows := b.call(http.MethodPost, "/management/signed-links/batch", `{"recipients":[`+bare+`]}`).want(http.StatusOK, nil)
	if !strings.Contains(rows.body, `"contentSpace":"news"`) {
		t.Errorf("the bulk call answers %s", rows.body)
	}
	b.call(http.MethodPost, createLink, `{"sku":"premium","contentSpace":"news"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.contentSpace")
	b.call(http.MethodPut, path, `{"contentSpace":"a b"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.contentSpace")
	b.call(http.MethodPut, path, `{"contentSpace":""}`).want(http.StatusOK, nil)
	if got := space(bare); got != nil {
		t.Errorf("without a declaration the space is %v", got)
	}
}
