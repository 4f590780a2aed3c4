package admin_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
)

// useID returns an id of a use, as the gate makes them.
func useID(n int) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(make([]byte, 8), uint32(n)))
}

// Lists that the published API does not page are whole without limit: a client that ignores
// Link gets more than a page of each. With limit they are paged, and each page names the next
// one.
func TestListsAreWhole(t *testing.T) {
	const many = 120
	b := newFixture(t, true)
	w := b.store.As(store.Actor{Name: "test"})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var links []keys.LinkClaims
	for i := range many {
		_, err := w.CreateGrant(t.Context(), "acme", store.DefaultList, store.Grant{UserID: "reader", SKU: fmt.Sprintf("sku-%03d", i)})
		must(err)
		_, _, err = w.CreateClient(t.Context(), store.Client{Name: fmt.Sprint("client ", i), Vendor: "acme", Scopes: []string{"links:read"}})
		must(err)
		_, err = w.CreatePromo(t.Context(), "acme", store.Promo{Code: fmt.Sprintf("P%03d", i), Duration: store.DurationPerpetual, Items: []store.ContractItem{{SKU: "a"}}})
		must(err)
		links = append(links, keys.LinkClaims{
			Issuer: keys.VendorIssuer("acme"), ID: b.store.NewLinkID(), SKU: "a", MaxUses: many, IssuedAt: b.clock.Unix(), ExpiresAt: b.clock.Unix() + 3600,
		})
	}
	must(w.CreateLinks(t.Context(), "acme", links, false))
	_, err := w.CreateProduct(t.Context(), "acme", store.Product{SKU: "a", Title: "A", Type: "bundle"})
	must(err)
	contract, _, err := w.CreateContract(t.Context(), "acme", store.Contract{
		Owner: store.Party{Email: "owner@example.org"}, Duration: store.DurationPerpetual, Items: []store.ContractItem{{SKU: "a", Seats: many}},
	}, true)
	must(err)
	for i := range many {
		_, _, err := w.AddSeat(t.Context(), "acme", contract.ID, store.Seat{Email: fmt.Sprintf("seat%d@example.org", i)})
		must(err)
		_, err = w.CreatePurchaseOption(t.Context(), "acme", store.PurchaseOption{SKU: "a", ID: fmt.Sprintf("po%03d", i), Name: "Once", Type: "SINGLE", Price: "1.00", Currency: "SEK"})
		must(err)
		must(b.store.Redeem(t.Context(), "acme", policy.Redemption{
			Issuer: links[0].Issuer, LinkID: links[0].ID, ID: useID(i), MaxUses: many, At: b.clock, ExpiresAt: b.clock.Add(time.Hour),
		}))
		published := keys.LinkClaims{Issuer: "news.example", ID: fmt.Sprint("jti ", i), SKU: "a", IssuedAt: b.clock.Unix(), ExpiresAt: b.clock.Unix() + 3600}
		must(b.store.Redeem(t.Context(), "acme", policy.Redemption{
			Issuer: published.Issuer, LinkID: published.ID, ID: useID(i), Link: &policy.Link{Claims: published}, At: b.clock, ExpiresAt: b.clock.Add(time.Hour),
		}))
	}
	for path, want := range map[string]int{
		"/management/grants?userId=reader":                      many,
		"/management/signed-links":                              many,
		"/management/signed-links/" + links[0].ID + "/uses":     many,
		"/management/links/" + links[0].ID + "/uses":            many,
		"/management/domains/news.example/links":                many,
		"/management/clients":                                   many,
		"/management/entitlements?userId=reader":                many,
		"/management/promos":                                    many,
		"/management/products/a/purchase-options":               many,
		"/management/contracts/" + contract.ID + "/licenses":    many,
		"/management/access-lists/src_default/grants?sku=sku-7": 0,
	} {
		var rows []json.RawMessage
		if got := b.call(http.MethodGet, path, "").want(http.StatusOK, &rows); len(rows) != want || got.head.Get("Link") != "" {
			t.Errorf("%s: %d rows of %d, and the Link %q", path, len(rows), want, got.head.Get("Link"))
		}
		if got := b.pages(path, 50); got != want {
			t.Errorf("%s: %d rows in pages, want %d", path, got, want)
		}
	}
	// The audit log is never whole, and always says how it goes on.
	var rows []json.RawMessage
	if got := b.call(http.MethodGet, "/management/audit", "").want(http.StatusOK, &rows); len(rows) != 100 || got.head.Get("Link") == "" {
		t.Errorf("%d audit entries, and the Link %q", len(rows), got.head.Get("Link"))
	}
}

// pages returns the number of rows over all pages of a list, each row of which comes once.
func (b *fixture) pages(path string, limit int) int {
	b.Helper()
	separator, seen := "?", map[string]bool{}
	if bytes.ContainsRune([]byte(path), '?') {
		separator = "&"
	}
	for next := fmt.Sprint(path, separator, "limit=", limit); next != ""; {
		var rows []json.RawMessage
		got := b.call(http.MethodGet, next, "").want(http.StatusOK, &rows)
		for _, row := range rows {
			if seen[string(row)] {
				b.Errorf("%s: a row comes twice: %s", next, row)
			}
			seen[string(row)] = true
		}
		link, _, _ := bytes.Cut(bytes.TrimPrefix([]byte(got.head.Get("Link")), []byte("<")), []byte(">"))
		if next = ""; len(link) > 0 {
			plain, _, _ := bytes.Cut([]byte(path), []byte("?"))
			next = string(plain) + string(link)
		}
	}
	return len(seen)
}

// A long list takes a stream slot before it answers: without a free one the call is refused
// as a whole, and not broken off after a thousand rows. The slot is free again after the call,
// also after one whose client is gone.
func TestLongListsTakeASlotFirst(t *testing.T) {
	b := newFixture(t, false)
	batch := store.ImportBatch{ID: "all"}
	for n := range 2500 {
		batch.Rows = append(batch.Rows, store.ImportRow{Grant: store.Grant{UserID: fmt.Sprint("u", n), SKU: "s"}})
	}
	if _, err := b.store.As(store.Actor{}).ImportGrants(t.Context(), "acme", store.DefaultList, batch); err != nil {
		t.Fatal(err)
	}
	begun, end := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, importPath, &waitingBody{begun: begun, end: end})
			request.Header.Set("Content-Type", "application/x-ndjson")
			request.Header.Set("X-Test-Vendor", "acme")
			b.handler.ServeHTTP(httptest.NewRecorder(), request)
		})
		<-begun
	}
	b.call(http.MethodGet, defaultPath, "").refused(http.StatusTooManyRequests, "too_many_requests", "")
	// One part needs no slot.
	b.call(http.MethodGet, defaultPath+"?userId=u7", "").want(http.StatusOK, nil)
	b.call(http.MethodGet, defaultPath+"?limit=1000", "").want(http.StatusOK, nil)
	close(end)
	group.Wait()
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		request := httptest.NewRequestWithContext(ctx, http.MethodGet, defaultPath, nil)
		request.Header.Set("X-Test-Vendor", "acme")
		func() {
			defer func() { _ = recover() }() // http.ErrAbortHandler
			b.handler.ServeHTTP(&writingRecorder{ResponseRecorder: httptest.NewRecorder(), each: cancel}, request)
		}()
	}
	var grants []json.RawMessage
	if b.call(http.MethodGet, defaultPath, "").want(http.StatusOK, &grants); len(grants) != 2500 {
		t.Errorf("there are %d grants", len(grants))
	}
}
