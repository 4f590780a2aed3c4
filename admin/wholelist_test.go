package admin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/policy/store"
)

// A published client asks for the grants of a list without limit, and ignores Link: it gets
// all of them. While they are sent, others are created and removed: every grant that stays
// is sent once.
func TestAListWithoutLimitIsWhole(t *testing.T) {
	b := newFixture(t, false)
	w := b.store.As(store.Actor{})
	batch := store.ImportBatch{ID: "all"}
	for n := range 2500 {
		batch.Rows = append(batch.Rows, store.ImportRow{Grant: store.Grant{UserID: fmt.Sprint("u", n), SKU: "s"}})
	}
	if _, err := w.ImportGrants(t.Context(), "acme", store.DefaultList, batch); err != nil {
		t.Fatal(err)
	}
	stay, err := b.store.ListGrants(t.Context(), "acme", store.DefaultList, store.Page{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, defaultPath, nil)
	request.Header.Set("X-Test-Vendor", "acme")
	writes := 0
	recorder := &writingRecorder{ResponseRecorder: httptest.NewRecorder(), each: func() {
		if writes++; writes%500 == 0 {
			if _, err := w.CreateGrant(t.Context(), "acme", store.DefaultList, store.Grant{UserID: fmt.Sprint("new", writes), SKU: "s"}); err != nil {
				t.Error(err)
			}
		}
	}}
	b.handler.ServeHTTP(recorder, request)
	var grants []struct{ ID, UserID string }
	answer{t: t, code: recorder.Code, head: recorder.Header(), body: recorder.Body.String()}.want(http.StatusOK, &grants)
	seen := map[string]int{}
	for _, grant := range grants {
		seen[grant.ID]++
		if seen[grant.ID] > 1 {
			t.Errorf("%s is sent twice", grant.ID)
		}
	}
	if len(grants) < 2500 || seen[stay[0].ID] != 1 || recorder.Header().Get("Link") != "" || writes < 2500 {
		t.Errorf("there are %d grants in %d writes, and the Link %q", len(grants), writes, recorder.Header().Get("Link"))
	}
	// With limit there are pages as before, and a removed grant is still a position.
	page := b.call(http.MethodGet, defaultPath+"?limit=2", "").want(http.StatusOK, &grants)
	if len(grants) != 2 || page.head.Get("Link") == "" {
		t.Errorf("a page has %d grants", len(grants))
	}
	last := grants[1].ID
	b.call(http.MethodDelete, defaultPath+"/"+last, "").want(http.StatusNoContent, nil)
	b.call(http.MethodGet, defaultPath+"?limit=3&from="+last, "").want(http.StatusOK, &grants)
	if len(grants) != 3 || grants[0].ID <= last {
		t.Errorf("after a removed grant there is %v", grants)
	}
}

type writingRecorder struct {
	*httptest.ResponseRecorder
	each func()
}

func (w *writingRecorder) Write(p []byte) (int, error) {
	w.each()
	return w.ResponseRecorder.Write(p)
}

// What no page can have returned is no position: it is refused instead of listing nothing,
// or everything.
func TestFromMustBeAPosition(t *testing.T) {
	b := newFixture(t, true)
	var made struct{ TokenID string }
	b.call(http.MethodPost, createLink, `{"sku":"a"}`).want(http.StatusOK, &made)
	contract, _, err := b.store.As(store.Actor{}).CreateContract(t.Context(), "acme", store.Contract{
		Owner: store.Party{Email: "owner@example.org"}, Duration: store.DurationPerpetual, Items: []store.ContractItem{{SKU: "a", Seats: 1}},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	for path, positions := range map[string][]string{
		listsPath:                                {"x", "src_x", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a", "0"},
		defaultPath:                              {"x", "0", "src_01kb2m3q4r5s6t7v8w9x0y1z2a", "grant_x", "src_default/grant_01kb2m3q4r5s6t7v8w9x0y1z2a"},
		"/management/grants":                     {"x", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a", "src_default/x", "x/grant_01kb2m3q4r5s6t7v8w9x0y1z2a"},
		"/management/signed-links":               {"x", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a"},
		"/management/domains":                    {"no domain"},
		"/management/domains/news.example/links": {"\x00", "a\nb", strings.Repeat("x", 129)},
		"/management/audit":                      {"x", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a", "01kb2m3q4r5s6t7v8w9x0y1z2"},
		"/management/system-audit":               {"x"},
		"/management/clients":                    {"x", "grant_01kb2m3q4r5s6t7v8w9x0y1z2a"},
		"/management/signed-links/" + made.TokenID + "/uses": {"x", ".", ".x", ".-1", "0123456789abcde", "0123456789abcdef0", "0123456789abcde!"},
		"/management/contracts/" + contract.ID + "/licenses": {"x", "seat_x"},
		"/management/contracts":                              {"x"},
	} {
		for _, from := range positions {
			b.call(http.MethodGet, path+"?from="+url.QueryEscape(from), "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.from")
		}
	}
	for _, from := range []string{"x", "src_default", "grant_x", "sub_x.sku", "1d78271264b9c76d5842911dd70b4353", "1d78271264b9c76d5842911dd70b4353."} {
		b.call(http.MethodGet, "/management/entitlements?userId=u&from="+from, "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.from")
	}
	b.call(http.MethodGet, defaultPath+"?importId=x&from=1", "").refused(http.StatusNotFound, "not_found", "")
	b.call(http.MethodGet, "/management/grants?importId=x", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.list")
	b.call(http.MethodGet, "/management/grants?from=src_default/grant_01kb2m3q4r5s6t7v8w9x0y1z2a", "").want(http.StatusOK, nil)
}
