package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

func (b *fixture) product(sku, kind string, members ...string) {
	b.Helper()
	_, err := b.CreateProduct(b.Context(), vendor, store.Product{SKU: sku, Type: kind, Members: members})
	b.ok(err)
}

func (b *fixture) containers(sku string) []string {
	b.Helper()
	containers, err := b.Containers(b.Context(), vendor, sku)
	b.ok(err)
	return containers
}

func (b *fixture) setMembers(sku string, members ...string) error {
	_, err := b.UpdateProduct(b.Context(), vendor, sku, func(p *store.Product) error {
		p.Members = members
		return nil
	})
	return err
}

// What is in a collection is found from below, at any depth, and no longer when
// it is taken out.
func TestContainers(t *testing.T) {
	b := newFixture(t)
	b.product("premium", "pass", "weekly", "a3")
	b.product("weekly", "publication", "a1", "a2")
	b.product("gift", "bundle", "a1")
	for sku, want := range map[string][]string{
		"a1": {"gift", "weekly", "premium"}, "a2": {"weekly", "premium"}, "a3": {"premium"}, "weekly": {"premium"}, "premium": nil, "none": nil, "a": nil,
	} {
		if got := b.containers(sku); !slices.Equal(got, want) {
			t.Errorf("%s is in %v, want %v", sku, got, want)
		}
	}
	stamp := b.versions.Shared()
	b.ok(b.setMembers("weekly", "a2"))
	if got := b.containers("a1"); !slices.Equal(got, []string{"gift"}) {
		t.Errorf("a1 is still in %v", got)
	}
	if b.versions.Shared() == stamp {
		t.Error("what was taken out is still had, as far as memory knows")
	}
	// A change that affects no entitlements invalidates nothing.
	stamp = b.versions.Shared()
	_, err := b.UpdateProduct(t.Context(), vendor, "weekly", func(p *store.Product) error {
		p.Title = "The weekly"
		return nil
	})
	b.ok(err)
	b.product("a9", "article")
	if b.versions.Shared() != stamp {
		t.Error("a title makes everybody's entitlements stale")
	}
	b.ok(b.DeleteProduct(t.Context(), vendor, "premium", nil))
	if got := b.containers("a2"); !slices.Equal(got, []string{"weekly"}) || b.versions.Shared() == stamp {
		t.Errorf("a2 is in %v", got)
	}
	b.is(b.DeleteProduct(t.Context(), vendor, "premium", nil), store.ErrNotFound)
	other, err := b.Containers(t.Context(), "other", "a2")
	if err != nil || len(other) != 0 {
		t.Errorf("another vendor's a2 is in %v, %v", other, err)
	}
}

// A collection cannot contain itself, even under concurrent writes.
func TestCollectionsHaveNoCircles(t *testing.T) {
	b := newFixture(t)
	b.product("a", "pass", "b")
	b.product("b", "bundle", "c")
	b.product("c", "bundle")
	b.names(b.setMembers("c", "x", "a"), "members")
	b.names(b.setMembers("c", "c"), "members")
	if got := b.containers("x"); got != nil {
		t.Errorf("a refused member is in %v", got)
	}
	// Two changes, each of which is good alone, close a circle together.
	for i := range 20 {
		one, two := fmt.Sprint("one", i), fmt.Sprint("two", i)
		b.product(one, "bundle")
		b.product(two, "bundle")
		var group sync.WaitGroup
		errs := make([]error, 2)
		group.Go(func() { errs[0] = b.setMembers(one, two) })
		group.Go(func() { errs[1] = b.setMembers(two, one) })
		group.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("both or none of the changes that close a circle: %v", errs)
		}
	}
}

func TestProductsAreChecked(t *testing.T) {
	b := newFixture(t)
	many := make([]string, store.MaxMembers+1)
	for i := range many {
		many[i] = fmt.Sprint("m", i)
	}
	for _, c := range []struct {
		field   string
		product store.Product
	}{
		{"sku", store.Product{Type: "article"}},
		{"sku", store.Product{Type: "article", SKU: ".."}},
		{"sku", store.Product{Type: "article", SKU: "a//b"}},
		{"sku", store.Product{Type: "article", SKU: "a/"}},
		{"sku", store.Product{Type: "article", SKU: "a\x00b"}},
		{"sku", store.Product{Type: "article", SKU: strings.Repeat("x", 256)}},
		{"type", store.Product{SKU: "a"}},
		{"type", store.Product{SKU: "a", Type: "ARTICLE"}},
		{"members", store.Product{SKU: "a", Type: "article", Members: []string{"b"}}},
		{"members", store.Product{SKU: "a", Type: "pass", Members: []string{""}}},
		{"members", store.Product{SKU: "a", Type: "pass", Members: []string{"x\ny"}}},
		{"members", store.Product{SKU: "a", Type: "pass", Members: many}},
		{"title", store.Product{SKU: "a", Type: "pass", Title: "x\ny"}},
	} {
		_, err := b.CreateProduct(t.Context(), vendor, c.product)
		b.names(err, c.field)
	}
	// The most that there may be fits, whatever it is called.
	long := make([]string, store.MaxMembers)
	for i := range long {
		long[i] = fmt.Sprintf("%0255d", i)
	}
	b.product("full", "pass", long...)
	// Neither can a sku be in more collections than are looked at.
	for i := range store.MaxContainers {
		b.product(fmt.Sprint("p", i), "pass", "x")
	}
	_, err := b.CreateProduct(t.Context(), vendor, store.Product{SKU: "one more", Type: "pass", Members: []string{"x"}})
	b.names(err, "members")
	if n := len(b.containers("x")); n != store.MaxContainers {
		t.Errorf("x is in %d collections", n)
	}
}

func TestProductsByPage(t *testing.T) {
	b := newFixture(t)
	for i := range 7 {
		_, err := b.CreateProduct(t.Context(), vendor, store.Product{SKU: fmt.Sprint("sku-", i), Type: "article", Title: []string{"Odd", "EVEN"}[i%2]})
		b.ok(err)
	}
	_, err := b.CreateProduct(t.Context(), vendor, store.Product{SKU: "sku-3", Type: "pass"})
	b.is(err, store.ErrExists)
	made, err := b.Product(t.Context(), vendor, "sku-3")
	if err != nil || made.Type != "article" || made.CreatedAt.IsZero() {
		t.Errorf("the product is %+v, %v", made, err)
	}
	var found []string
	page, more := store.Page{Limit: 2}, true
	for more {
		var products []store.Product
		products, page.From, more, err = b.Products(t.Context(), vendor, "even", page)
		b.ok(err)
		for _, product := range products {
			found = append(found, product.SKU)
		}
	}
	if !slices.Equal(found, []string{"sku-1", "sku-3", "sku-5"}) {
		t.Errorf("found %v", found)
	}
}

func TestVendorRecords(t *testing.T) {
	b := newFixture(t)
	_, err := b.CreateList(t.Context(), "zeta", store.AccessList{Name: "x"})
	b.ok(err)
	_, err = b.CreateList(t.Context(), "beta", store.AccessList{Name: "x"})
	b.ok(err)
	for _, id := range []string{"alpha", "beta"} {
		made, err := b.CreateVendor(t.Context(), store.Vendor{ID: id, Name: "Name of " + id})
		b.ok(err)
		if !made.CreatedAt.Equal(b.clock) {
			t.Errorf("made at %v", made.CreatedAt)
		}
	}
	_, err = b.CreateVendor(t.Context(), store.Vendor{ID: "beta", Name: "Another"})
	b.is(err, store.ErrExists)
	for field, vendor := range map[string]store.Vendor{
		"id": {ID: "_system", Name: "x"}, "name": {ID: "x"}, "website": {ID: "x", Name: "x", Website: strings.Repeat("x", 2049)},
	} {
		_, err := b.CreateVendor(t.Context(), vendor)
		b.names(err, field)
	}
	list, err := b.VendorList(t.Context(), store.Page{})
	b.ok(err)
	var names []string
	for _, vendor := range list {
		names = append(names, vendor.Name)
	}
	if !slices.Equal(names, []string{"Name of alpha", "Name of beta", "zeta"}) {
		t.Errorf("the vendors are %v", names)
	}
	list, err = b.VendorList(t.Context(), store.Page{Limit: 1, From: "alpha"})
	if err != nil || len(list) != 1 || list[0].ID != "beta" {
		t.Errorf("the second page is %v, %v", list, err)
	}
	// The built-in partition is no vendor.
	if _, err := b.Vendor(t.Context(), "_system"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
	b.clock = b.clock.Add(time.Second)
}
